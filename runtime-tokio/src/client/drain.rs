//! Asks one broker to leave (R34).

use super::survey::from_broker;
use crate::transport::{Kind, Transport};
use std::fmt;
use std::time::Duration;
use steadfast_core::limits::{LEARNER_DEADLINE, SHUTDOWN_DEADLINE};
use steadfast_core::link::{LinkCommand, LinkId, LinkStatus};
use steadfast_core::message::{Departure, Message};
use steadfast_core::node::Input;
use steadfast_core::status::BrokerAt;
use steadfast_core::wire;
use steadfast_runtime::batch::Batch;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::identity;
use tokio::time::timeout;

/// What a broker needs beyond its own limit: to be dialled, and to end.
const MARGIN: Duration = Duration::from_secs(5);
/// The only link.
const LINK: LinkId = LinkId::dialled(1);

/// Why it is not known how the broker left, or whether it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainError {
    /// Nobody listens there, or it does not answer.
    Unreachable,
    /// It began to leave, and its process ended before it said how.
    Ended,
    /// Another process listens at its address.
    Other,
    /// It does not take the order: too many others wait for the same, or it is no broker.
    Refused,
    /// It began to leave and has not said how within its time.
    Silent,
}

impl std::error::Error for DrainError {}

impl fmt::Display for DrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "it does not answer",
            Self::Ended => "it ended before it said how it has left",
            Self::Other => "another process is at its address",
            Self::Refused => "it has refused",
            Self::Silent => "it began to leave and says nothing more",
        })
    }
}

/// Asks this broker to leave, and waits until it has: until its process has closed the connection, so
/// that another one may listen there. Only the process that is meant is asked, whoever is at its
/// address by now.
///
/// # Errors
/// When it is not known how, or whether, it has left.
pub async fn drain(transport: Kind, broker: &BrokerAt) -> Result<Departure, DrainError> {
    let mut conversation = Conversation {
        broker,
        token: identity::seed(),
        clock: Clock::start(),
        transport: Transport::dial_only(transport),
        begun: false,
        departure: None,
    };
    let address = broker.address.clone();
    conversation.transport.command(LinkCommand::Dial { link: LINK, address });
    let mut result = timeout(SHUTDOWN_DEADLINE + MARGIN, conversation.run()).await;
    if result.is_err() && conversation.begun && conversation.departure.is_none() {
        // It alone holds the data, and waits for a follower that is copying it (R27).
        result = timeout(LEARNER_DEADLINE, conversation.run()).await;
    }
    match result {
        Ok(result) => result,
        // It has left the group; its process takes its time.
        Err(_) => conversation.departure.ok_or(match conversation.begun {
            true => DrainError::Silent,
            false => DrainError::Unreachable,
        }),
    }
}

struct Conversation<'a> {
    broker: &'a BrokerAt,
    token: u64,
    clock: Clock,
    transport: Transport,
    begun: bool,
    departure: Option<Departure>,
}

impl Conversation<'_> {
    async fn run(&mut self) -> Result<Departure, DrainError> {
        loop {
            let mut batch: Batch<()> = Batch::default();
            self.transport.gather(self.clock, &mut batch).await;
            for input in batch.drain() {
                if let Some(result) = self.handle(input) {
                    return result;
                }
            }
        }
    }

    fn handle(&mut self, input: Input<()>) -> Option<Result<Departure, DrainError>> {
        match input {
            Input::Link { status: LinkStatus::Up, .. } => {
                // Who is it? A link never changes its process.
                self.transport.transmit(LINK, wire::encode(&Message::StatusRequest { token: self.token }));
                None
            }
            Input::Link { .. } => Some(self.departure.clone().ok_or(match self.begun {
                true => DrainError::Ended,
                false => DrainError::Unreachable,
            })),
            Input::Received { frame, .. } => match wire::decode(frame) {
                Ok(message) => self.hear(message).err().map(Err),
                Err(_) => Some(Err(DrainError::Refused)),
            },
            _ => None,
        }
    }

    fn hear(&mut self, message: Message) -> Result<(), DrainError> {
        match message {
            Message::BrokerStatus(status) if status.token == self.token => {
                from_broker(Message::BrokerStatus(status), self.broker).map_err(|_| DrainError::Other)?;
                self.transport.transmit(LINK, wire::encode(&Message::Drain));
            }
            Message::Drained(Departure::Begun) => self.begun = true,
            Message::Drained(departure) => self.departure = Some(departure),
            _ => return Err(DrainError::Refused),
        }
        Ok(())
    }
}
