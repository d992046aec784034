//! The registry, the election and the discovery node on a coordination tree, one call at a time.

mod discovery;
mod election;
mod faults;
mod registry;
mod status;
mod world;
