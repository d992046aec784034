//! What publishers and subscribers share: finding their group's primary and keeping a link to it.
//!
//! A [`Connector`] asks one discovery replica at a time, remembers the best route it was given, dials
//! the primary, notices when either falls silent, and tries again with full-jitter backoff. It tells
//! its owner only what matters there: a [`Notice`].

mod connector;
mod finder;
mod pulse;
mod routes;

pub use connector::{Connector, Notice};
