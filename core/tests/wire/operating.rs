//! Taking over and draining: samples, any content, and what is refused.

use crate::rejections::{change, check, close, open, sample};
use crate::samples::{HISTORY, sender};
use crate::strategies;
use proptest::prelude::*;
use steadfast_core::id::NodeName;
use steadfast_core::message::{Departure, Message, TakeOver};
use steadfast_core::trace::Rejection::{Malformed, TooLarge};
use steadfast_proto as proto;
use steadfast_proto::envelope::Message as Wire;
use steadfast_proto::limits::MAX_NODE_NAME_LEN;

/// One message of every kind, named after its golden file.
pub fn messages() -> Vec<(&'static str, Message)> {
    let take_over = TakeOver { sender: sender("broker-1"), history: HISTORY, epoch: 5 };
    let successor = NodeName::new("broker-2").unwrap();
    vec![
        ("take_over", Message::TakeOver(take_over)),
        ("drain", Message::Drain),
        ("drained", Message::Drained(Departure::HandedOver { successor })),
        ("drained_begun", Message::Drained(Departure::Begun)),
        ("drained_left", Message::Drained(Departure::Left)),
        ("drained_gave_up", Message::Drained(Departure::GaveUp)),
        ("drained_timed_out", Message::Drained(Departure::TimedOut)),
    ]
}

/// Any of them.
pub fn message() -> impl Strategy<Value = Message> {
    let take_over = (strategies::sender(), strategies::history(), strategies::positive())
        .prop_map(|(sender, history, epoch)| Message::TakeOver(TakeOver { sender, history, epoch }));
    let departure = prop_oneof![
        Just(Departure::Begun),
        strategies::node().prop_map(|successor| Departure::HandedOver { successor }),
        Just(Departure::Left),
        Just(Departure::GaveUp),
        Just(Departure::TimedOut),
    ];
    prop_oneof![take_over, Just(Message::Drain), departure.prop_map(Message::Drained)]
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (take_over, drained) = (|| sample("take_over"), || sample("drained"));
    let long = "a".repeat(MAX_NODE_NAME_LEN + 1);
    let departure = |value: proto::Departure| change!(drained(), Drained, |m| m.departure = value.into());
    check([
        ("nobody asks", change!(take_over(), TakeOver, |m| m.sender = None), Malformed),
        ("of no group", change!(take_over(), TakeOver, |m| m.group_id = None), Malformed),
        ("in no epoch", change!(take_over(), TakeOver, |m| m.epoch = 0), Malformed),
        ("a high epoch", change!(take_over(), TakeOver, |m| m.epoch = u64::MAX), TooLarge),
        ("a high lineage", change!(take_over(), TakeOver, |m| m.lineage = u64::MAX), TooLarge),
        ("no departure", departure(proto::Departure::Unspecified), Malformed),
        ("an unknown departure", change!(drained(), Drained, |m| m.departure = 99), Malformed),
        ("a successor of nobody", departure(proto::Departure::Left), Malformed),
        ("no successor", change!(drained(), Drained, |m| m.successor.clear()), Malformed),
        ("a long successor", change!(drained(), Drained, |m| m.successor = long.clone()), TooLarge),
    ]);
}
