//! An operator who asks brokers to leave by a frame, as `steadfast drain` does, and hears how they do (R34). It asks
//! once: whether a frame arrives is for the network to say.

use std::collections::{BTreeMap, VecDeque};
use steadfast_core::id::Address;
use steadfast_core::link::{LinkCommand, LinkId, LinkStatus};
use steadfast_core::message::{Departure, Message};
use steadfast_core::node::{Input, Output};
use steadfast_core::wire;

/// An order: the broker at this address is to leave.
#[derive(Clone, Debug)]
pub struct Drain(pub Address);

/// How a broker has left, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told(pub Departure);

/// The operator.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    dialled: u64,
    /// Whether each broker that was dialled has said that it leaves.
    asked: BTreeMap<LinkId, bool>,
    outputs: VecDeque<Output<Told>>,
}

impl Operator {
    /// Takes an input.
    pub fn handle(&mut self, input: Input<Drain>) {
        match input {
            Input::Command(Drain(address)) => {
                self.dialled += 1;
                let link = LinkId::dialled(self.dialled);
                self.asked.insert(link, false);
                self.outputs.push_back(Output::Link(LinkCommand::Dial { link, address }));
            }
            Input::Link { link, status: LinkStatus::Up } => {
                self.outputs.push_back(Output::Transmit { link, frame: wire::encode(&Message::Drain) });
            }
            Input::Link { link, .. } => drop(self.asked.remove(&link)),
            Input::Received { link, frame } => {
                if let Ok(Message::Drained(departure)) = wire::decode(frame) {
                    self.hear(link, departure);
                }
            }
            Input::Coordination(_) | Input::Storage(_) | Input::Timeout => {}
        }
    }

    fn hear(&mut self, link: LinkId, departure: Departure) {
        let Some(begun) = self.asked.get_mut(&link) else { return };
        match departure {
            Departure::Begun => *begun = true,
            departure if *begun => {
                self.asked.remove(&link);
                self.outputs.push_back(Output::Event(Told(departure)));
                self.outputs.push_back(Output::Link(LinkCommand::Close { link }));
            }
            _ => {}
        }
    }

    /// What it does next.
    pub fn next_output(&mut self) -> Option<Output<Told>> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(operator: &mut Operator) -> Vec<Output<Told>> {
        std::iter::from_fn(|| operator.next_output()).collect()
    }

    fn is_drain(output: &Output<Told>) -> bool {
        let Output::Transmit { frame, .. } = output else { return false };
        wire::decode(frame.clone()) == Ok(Message::Drain)
    }

    #[test]
    fn a_broker_is_asked_once_and_heard_to_the_end() {
        let (mut operator, link) = (Operator::default(), LinkId::dialled(1));
        let address = Address::new("sim://b1").expect("a valid address");
        operator.handle(Input::Command(Drain(address)));
        assert!(matches!(&outputs(&mut operator)[..], [Output::Link(LinkCommand::Dial { .. })]));
        operator.handle(Input::Link { link, status: LinkStatus::Up });
        assert!(matches!(&outputs(&mut operator)[..], [asked] if is_drain(asked)));
        for departure in [Departure::Begun, Departure::Left] {
            let frame = wire::encode(&Message::Drained(departure));
            operator.handle(Input::Received { link, frame });
        }
        let (left, told) = (outputs(&mut operator), Told(Departure::Left));
        assert!(
            matches!(&left[..], [Output::Event(how), Output::Link(LinkCommand::Close { .. })] if *how == told)
        );
    }
}
