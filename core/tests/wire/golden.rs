//! Golden bytes: the wire format changes only on purpose. One file for each kind of message, in
//! `proto/golden`, with one part of the frame a line, in hex. `UPDATE_GOLDEN=1` writes them anew.

use crate::samples;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};
use steadfast_core::link::Frame;
use steadfast_core::message::Message;
use steadfast_core::wire;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/golden")
}

/// What is in a golden file: a part of the frame a line.
pub fn file(name: &str) -> String {
    fs::read_to_string(directory().join(name).with_extension("hex")).unwrap()
}

fn to_hex(parts: &[Bytes]) -> String {
    let line = |part: &Bytes| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    parts.iter().map(line).collect()
}

fn from_hex(text: &str) -> Vec<Bytes> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// The parts that the file holds, after comparing it with what was encoded now.
fn compare(name: &str, encoded: &[Bytes]) -> Vec<Bytes> {
    let path = directory().join(name).with_extension("hex");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, to_hex(encoded)).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(to_hex(encoded), golden, "the encoding of {name} has changed");
    from_hex(&golden)
}

#[test]
fn the_wire_format_is_as_ever() {
    messages_are_encoded_and_decoded_as_ever();
    tree_data_is_encoded_and_decoded_as_ever();
    every_kind_of_message_has_a_golden_file_and_every_file_a_message();
}

fn messages_are_encoded_and_decoded_as_ever() {
    for (name, message) in samples::messages() {
        let parts = compare(name, &wire::encode(&message).parts);
        assert_eq!(wire::decode(Frame { parts }), Ok(message), "{name}");
    }
}

fn tree_data_is_encoded_and_decoded_as_ever() {
    let state = samples::group_state();
    let golden = compare("group_state", &[wire::encode_group_state(&state)]);
    assert_eq!(wire::decode_group_state(&golden[0]), Ok(state));
    let live = samples::live_node();
    let golden = compare("live_node", &[wire::encode_live_node(&live)]);
    assert_eq!(wire::decode_live_node(&golden[0]), Ok(live));
}

fn every_kind_of_message_has_a_golden_file_and_every_file_a_message() {
    let samples = samples::messages();
    let mut names: BTreeSet<_> = samples.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names.len(), samples.len(), "names are unique");
    let kinds: BTreeSet<_> = samples.iter().map(|(_, message)| kind(message)).collect();
    assert_eq!(kinds.len(), KINDS);
    names.extend(["group_state".into(), "live_node".into()]);
    let files = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<_> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().into()).collect();
    assert_eq!(names, files);
}

const KINDS: usize = 35;

/// Exhaustive, so that a new kind of message does not compile until it is counted here.
fn kind(message: &Message) -> usize {
    match message {
        Message::Hello(_) => 0,
        Message::Replicate(_) => 1,
        Message::ReplicateAck(_) => 2,
        Message::ReplicateNack(_) => 3,
        Message::OpenSession(_) => 4,
        Message::SessionOpened(_) => 5,
        Message::Publish(_) => 6,
        Message::PublishAck(_) => 7,
        Message::OpenStream(_) => 8,
        Message::StreamOpened(_) => 9,
        Message::Deliver(_) => 10,
        Message::Credit { .. } => 11,
        Message::CloseStream { .. } => 12,
        Message::Lookup(_) => 13,
        Message::Route(_) => 14,
        Message::CoordinationOpen { .. } => 15,
        Message::CoordinationOpened { .. } => 16,
        Message::CoordinationCall { .. } => 17,
        Message::CoordinationReply { .. } => 18,
        Message::CoordinationWatch { .. } => 19,
        Message::CoordinationClose => 20,
        Message::Ping { .. } => 21,
        Message::Pong { .. } => 22,
        Message::SnapshotRecords(_) => 23,
        Message::SnapshotFold(_) => 24,
        Message::SnapshotAck(_) => 25,
        Message::ReadHead { .. } => 26,
        Message::Head(_) => 27,
        Message::TakeOver(_) => 28,
        Message::Drain => 29,
        Message::Drained(_) => 30,
        Message::StatusRequest { .. } => 31,
        Message::BrokerStatus(_) => 32,
        Message::DiscoveryStatus(_) => 33,
        Message::Refusal { .. } => KINDS - 1,
    }
}
