//! The client library: publish and subscribe.
//!
//! ```no_run
//! use futures::StreamExt;
//! use steadfast_tokio::client::{Publisher, PublisherOptions, Subscriber, SubscriberOptions};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let publisher = Publisher::connect("127.0.0.1:7401", PublisherOptions::default()).await?;
//! let receipt = publisher.publish("orders.eu", "42 apples").await?;
//! receipt.await?; // Every in-sync broker has it.
//!
//! let mut orders =
//!     Subscriber::connect("127.0.0.1:7401", ["orders.>"], SubscriberOptions::default()).await?;
//! while let Some(message) = orders.next().await {
//!     let message = message?;
//!     println!("{}: {:?}", message.topic, message.payload);
//! }
//! # Ok(())
//! # }
//! ```

mod drain;
mod publisher;
mod subscriber;
mod survey;

pub use drain::{DrainError, drain};
pub use publisher::{CloseError, Publisher, PublisherOptions, Receipt};
pub use steadfast_core::filter::{Filter, Topic};
pub use steadfast_core::subscriber::{Bookmark, LossReason, Start};
pub use steadfast_runtime::completions::{Bound, Progress, PublishError};
pub use steadfast_runtime::outbox::{Outbox, OutboxError};
pub use subscriber::{Batch, Gap, Message, Subscriber, SubscriberOptions};
pub use survey::{survey, survey_discovery};

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use steadfast_core::id::{Address, Endpoint, Epoch, InvalidText};
use steadfast_core::limits::MAX_FILTERS;
use steadfast_core::trace::Detachment;
use steadfast_runtime::address::InvalidAddress;
use steadfast_runtime::metrics::Sink;

/// How long [`Publisher::connect`] and [`Subscriber::connect`] look for a primary by default.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// News of a client's connection. Nothing is lost or missed by a change of primary: this is for logs
/// and displays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Served by this primary.
    Connected {
        /// Which process.
        endpoint: Endpoint,
        /// In which epoch.
        epoch: Epoch,
    },
    /// Without a primary; another is looked for.
    Disconnected {
        /// Why.
        cause: Detachment,
    },
}

/// Takes notices, on the client's own task: it must not block.
pub type Observer = Arc<dyn Fn(Notice) + Send + Sync>;

/// Where a client's metrics go.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What the client is called in them: the same in every run. Not its identity, which would make
    /// every run a series of its own.
    pub name: String,
    /// Of an exporter: see [`steadfast_runtime::metrics::Prepared`].
    pub sink: Sink,
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The application is at fault.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// The application is at fault.
    #[error("the filter {filter:?} {reason}")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        reason: InvalidText,
    },
    /// The application is at fault.
    #[error("a subscription has from 1 to {MAX_FILTERS} filters, not {count}")]
    Filters {
        /// As given.
        count: usize,
    },
    /// The outbox cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The publisher stopped before it was connected: another process has its identity, or its outbox
    /// cannot be written.
    #[error("{0}")]
    Stopped(String),
    /// The machine is at fault.
    #[error("cannot start the thread that writes the outbox: {0}; free some of the machine's resources")]
    Thread(std::io::Error),
    /// The cluster, or the way to it, is at fault.
    #[error(
        "no primary was found within {} s by discovery at {discovery}: check that discovery and \
         brokers run, and that the address is right", .timeout.as_secs_f32()
    )]
    Unreachable {
        /// Where it was looked for.
        discovery: String,
        /// For how long.
        timeout: Duration,
    },
}

fn unreachable(discovery: &[Address], timeout: Duration) -> ConnectError {
    let addresses: Vec<_> = discovery.iter().map(|one| one.as_str().trim_start_matches("tcp://")).collect();
    ConnectError::Unreachable { discovery: addresses.join(", "), timeout }
}

/// What can name a topic: a checked [`Topic`], which is cheapest, or text.
pub trait IntoTopic<'a> {
    /// The topic.
    ///
    /// # Errors
    /// When the text is not a topic.
    fn into_topic(self) -> Result<Cow<'a, Topic>, InvalidText>;
}

impl IntoTopic<'static> for Topic {
    fn into_topic(self) -> Result<Cow<'static, Topic>, InvalidText> {
        Ok(Cow::Owned(self))
    }
}

impl<'a> IntoTopic<'a> for &'a Topic {
    fn into_topic(self) -> Result<Cow<'a, Topic>, InvalidText> {
        Ok(Cow::Borrowed(self))
    }
}

impl IntoTopic<'static> for &str {
    fn into_topic(self) -> Result<Cow<'static, Topic>, InvalidText> {
        Topic::new(self).map(Cow::Owned)
    }
}
