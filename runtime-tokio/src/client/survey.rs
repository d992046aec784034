//! Asks a cluster how it stands: every discovery replica, and every broker that these name.

use crate::transport::{Kind, MAX_DIALLED, Transport};
use std::time::Duration;
use steadfast_core::id::Address;
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::message::Message;
use steadfast_core::node::Input;
use steadfast_core::status::{Answer, BrokerAt, BrokerStatus, DiscoveryStatus, Silence, Survey};
use steadfast_core::wire;
use steadfast_runtime::batch::Batch;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::identity;
use tokio::time::timeout;

/// Asks these discovery replicas alone: nothing is known of what the brokers say. Each gets `patience`
/// for its answer, and all are asked at once. Nothing is tried twice.
pub async fn survey_discovery(transport: Kind, discovery: &[Address], patience: Duration) -> Survey {
    let answers = ask(transport, discovery, patience).await;
    let answers = answers.into_iter().map(|answer| answer.and_then(from_discovery));
    Survey { discovery: discovery.iter().cloned().zip(answers).collect(), brokers: Vec::new() }
}

/// Asks these discovery replicas, and then the brokers that they name. Each gets `patience` for its
/// answer, and all of a kind are asked at once, so that it takes about twice that at the most. Nothing
/// is tried twice.
pub async fn survey(transport: Kind, discovery: &[Address], patience: Duration) -> Survey {
    let mut survey = survey_discovery(transport, discovery, patience).await;
    let brokers = survey.brokers_to_ask();
    let addresses: Vec<_> = brokers.iter().map(|broker| broker.address.clone()).collect();
    let answers = ask(transport, &addresses, patience).await.into_iter();
    let of_broker = |(at, answer): (BrokerAt, Answer<Message>)| {
        let answer = answer.and_then(|message| from_broker(message, &at));
        (at, answer)
    };
    survey.brokers = brokers.into_iter().zip(answers).map(of_broker).collect();
    survey
}

fn from_discovery(message: Message) -> Answer<DiscoveryStatus> {
    match message {
        Message::DiscoveryStatus(status) => Ok(*status),
        _ => Err(Silence::Other),
    }
}

/// Only the process that was asked speaks for itself: another one may listen at its address by now.
pub(super) fn from_broker(message: Message, at: &BrokerAt) -> Answer<BrokerStatus> {
    match message {
        Message::BrokerStatus(status)
            if status.sender.member == at.identity.member
                && status.sender.incarnation == at.identity.incarnation =>
        {
            Ok(*status)
        }
        _ => Err(Silence::Other),
    }
}

/// The answer of each address, in their order.
async fn ask(transport: Kind, addresses: &[Address], patience: Duration) -> Vec<Answer<Message>> {
    let mut answers = Vec::with_capacity(addresses.len());
    for some in addresses.chunks(MAX_DIALLED) {
        let mut inquiry = Inquiry::new(transport, some, patience);
        // Whoever has not answered by then is late.
        let _ = timeout(patience, inquiry.run()).await;
        answers.extend(inquiry.asked.into_iter().map(|(_, answer)| answer.unwrap_or(Err(Silence::Late))));
    }
    answers
}

/// Questions under way.
struct Inquiry {
    transport: Transport,
    token: u64,
    asked: Vec<(LinkId, Option<Answer<Message>>)>,
}

impl Inquiry {
    fn new(transport: Kind, addresses: &[Address], patience: Duration) -> Self {
        let mut transport = Transport::dialling(transport, patience);
        let mut asked = Vec::new();
        for (address, n) in addresses.iter().zip(1..) {
            let link = LinkId::dialled(n);
            transport.command(LinkCommand::Dial { link, address: address.clone() });
            asked.push((link, None));
        }
        Self { transport, token: identity::seed(), asked }
    }

    /// Until everybody has answered, or cannot.
    async fn run(&mut self) {
        let clock = Clock::start();
        while self.asked.iter().any(|(_, answer)| answer.is_none()) {
            let mut batch = Batch::default();
            self.transport.gather(clock, &mut batch).await;
            batch.drain().for_each(|input| self.handle(input));
        }
    }

    fn handle(&mut self, input: Input<()>) {
        match input {
            Input::Link { link, status: LinkStatus::Up } => {
                let question = wire::encode(&Message::StatusRequest { token: self.token });
                self.transport.transmit(link, question);
            }
            Input::Link { link, status: LinkStatus::Refused } => self.note(link, Err(Silence::Refused)),
            Input::Link { link, status: LinkStatus::Lost } => self.note(link, Err(Silence::Lost)),
            Input::Received { link, frame } => {
                let answer = self.check(frame);
                self.note(link, answer);
            }
            Input::Command(()) | Input::Coordination(_) | Input::Storage(_) | Input::Timeout => {}
        }
    }

    fn check(&self, frame: Frame) -> Answer<Message> {
        let message = wire::decode(frame).map_err(|_| Silence::Other)?;
        let token = match &message {
            Message::BrokerStatus(status) => status.token,
            Message::DiscoveryStatus(status) => status.token,
            _ => return Err(Silence::Other),
        };
        if token == self.token { Ok(message) } else { Err(Silence::Other) }
    }

    /// The first answer counts.
    fn note(&mut self, link: LinkId, answer: Answer<Message>) {
        if let Some((_, noted)) = self.asked.iter_mut().find(|(asked, _)| *asked == link) {
            noted.get_or_insert(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::id::{BrokerIdentity, Generation, Incarnation, Member, NodeName};
    use steadfast_core::status::{LogStatus, RoleStatus};

    fn status(process: u128, token: u64) -> Message {
        let member = Member { node: NodeName::new("a").unwrap(), generation: Generation(1) };
        Message::BrokerStatus(Box::new(BrokerStatus {
            token,
            sender: BrokerIdentity { member, incarnation: Incarnation(process), czxid: 1 },
            address: Address::new("tcp://h:1").unwrap(),
            group: 0,
            connected: true,
            leaving: false,
            state: None,
            log: LogStatus::default(),
            sessions: 0,
            role: RoleStatus::Backup { epoch: 1, primary: None, verified: 0 },
        }))
    }

    /// A restarted broker at the old address does not speak for the process before it.
    #[test]
    fn only_the_process_that_was_asked_counts() {
        let Message::BrokerStatus(asked) = status(7, 1) else { unreachable!("made above") };
        let at = BrokerAt { identity: asked.sender, address: asked.address };
        assert!(from_broker(status(7, 1), &at).is_ok());
        assert_eq!(from_broker(status(8, 1), &at), Err(Silence::Other));
        assert_eq!(from_broker(Message::Pong { token: 1 }, &at), Err(Silence::Other));
        assert_eq!(from_discovery(status(7, 1)), Err(Silence::Other));
    }

    #[test]
    fn the_first_answer_to_this_question_counts() {
        let mut inquiry = Inquiry::new(Kind::default(), &[], Duration::from_secs(1));
        inquiry.token = 5;
        assert_eq!(inquiry.check(wire::encode(&status(7, 5))), Ok(status(7, 5)));
        assert_eq!(inquiry.check(wire::encode(&status(7, 6))), Err(Silence::Other));
        assert_eq!(inquiry.check(wire::encode(&Message::Pong { token: 5 })), Err(Silence::Other));
        assert_eq!(inquiry.check(Frame::default()), Err(Silence::Other));
        let link = LinkId::dialled(1);
        inquiry.asked.push((link, None));
        inquiry.note(link, Ok(status(7, 5)));
        inquiry.note(link, Err(Silence::Lost));
        inquiry.note(LinkId::dialled(2), Err(Silence::Refused));
        assert_eq!(inquiry.asked, [(link, Some(Ok(status(7, 5))))]);
    }
}
