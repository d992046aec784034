//! Recordings of simulated brokers, run again: as one, from any of their parts on, damaged and forged.

mod taped;

use std::time::Duration;
use steadfast_core::node::Input;
use steadfast_core::recording::{Decoder, Encoder, Flaw, Record};
use steadfast_sim::fault::Fault;
use steadfast_sim::recording::{End, Outcome, joins, replay};
use steadfast_sim::world::Config;
use taped::Cluster;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The recordings of all lives of the brokers of a run with failovers, a pause, trims and a snapshot.
fn lives(seed: u64, every: u64) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut cluster = Cluster::new(seed, Config::default(), every);
    cluster.publish(ms(500), 600, ms(8));
    let [first, second, third] = cluster.brokers[..] else { panic!("three brokers") };
    let mut at = |time: u64, fault| cluster.world.schedule(ms(time).as_nanos() as u64, fault);
    at(1_000, Fault::Crash(first));
    at(2_000, Fault::Pause(second));
    at(2_700, Fault::Restart(first));
    at(3_500, Fault::Resume(second));
    at(4_000, Fault::Reset(first, third));
    at(4_500, Fault::Crash(third));
    cluster.run(ms(7_000));
    let tapes = cluster.tapes.take();
    assert_eq!(tapes.len(), 4, "three brokers, of which one has lived twice");
    tapes.into_iter().collect()
}

/// The longest of them.
fn life(seed: u64, every: u64) -> Vec<Vec<u8>> {
    let all = lives(seed, every).into_iter().map(|(_, parts)| parts);
    all.max_by_key(|parts| parts.iter().map(Vec::len).sum::<usize>()).expect("a life")
}

fn parts(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

fn good(parts: &[&[u8]], what: &str) -> Outcome {
    let outcome = replay(parts).unwrap_or_else(|(part, damage)| panic!("{what}, part {part}: {damage}"));
    outcome.result.as_ref().unwrap_or_else(|failure| panic!("{what}: {failure}"));
    outcome
}

#[test]
fn a_life_is_lived_again_as_it_was() {
    let mut marks = String::new();
    for seed in 0..4 {
        for (life, recorded) in lives(seed, 0) {
            let outcome = good(&parts(&recorded), &life);
            assert_eq!((outcome.first, outcome.end, recorded.len()), (1, End::Open, 1));
            assert!(outcome.inputs > 100 && outcome.lines.len() > 20, "{life}: {}", outcome.lines.len());
            outcome.coverage.iter().for_each(|(mark, _)| marks.extend([mark, " "]));
        }
    }
    for mark in ["BecamePrimary", "Trimmed", "Installed", "Suspected", "Proposed"] {
        assert!(marks.contains(mark), "a run without {mark} shows little: {marks}");
    }
}

#[test]
fn a_life_goes_on_from_any_state_that_was_written_down() {
    for seed in 0..3 {
        for (life, recorded) in lives(seed, 97 + seed) {
            assert!(recorded.len() > 1);
            let whole = good(&parts(&recorded), &life);
            for first in 1..recorded.len() {
                let rest = good(&parts(&recorded[first..]), &format!("{life} from part {first} on"));
                assert_eq!(rest.outputs, whole.outputs);
                assert_eq!(rest.first + rest.inputs, whole.first + whole.inputs);
            }
        }
    }
}

#[test]
fn parts_that_do_not_belong_together_are_told_apart() {
    let [one, other] = [life(1, 200), life(2, 200)];
    assert!(joins(&one[2], &one[3]) && joins(&one[0], &one[1]));
    assert!(!joins(&one[1], &one[3]) && !joins(&one[3], &one[2]) && !joins(&one[2], &other[3]));
    assert!(!joins(b"duration 2s\n", &one[1]) && !joins(&one[1], b"duration 2s\n"));
}

/// Where each record begins, and where the last one ends.
fn places(bytes: &[u8]) -> Vec<usize> {
    let mut decoder = Decoder::new(bytes).unwrap();
    let mut places = vec![decoder.offset()];
    while decoder.next_record().unwrap().is_some() {
        places.push(decoder.offset());
    }
    places
}

#[test]
fn what_is_cut_is_read_up_to_there() {
    let recorded = life(2, 0);
    let bytes = &recorded[0];
    let places = places(bytes);
    let (from, to) = (places[100], places[104]);
    for end in from..to {
        let outcome = good(&[&bytes[..end]], "a part that is cut");
        match outcome.end {
            End::Cut(damage) => assert!(places[..104].contains(&damage.offset) && damage.offset < end),
            open => assert_eq!((open, places.contains(&end)), (End::Open, true)),
        }
    }
    for end in 0..places[1] {
        let (_, damage) = replay(&[&bytes[..end]]).unwrap_err();
        assert_eq!(damage.record, 1, "without a beginning there is nothing to replay");
    }
}

#[test]
fn any_byte_that_was_changed_is_found() {
    let recorded = life(3, 300);
    let bytes = &recorded[1];
    let places = places(bytes);
    // The state is long: every hundredth byte of it.
    let early = (0..places[3]).step_by(101).chain(0..100);
    for changed in early.chain(places[200]..places[206]) {
        for bit in [0x01, 0x80] {
            let mut bytes = bytes.clone();
            bytes[changed] ^= bit;
            let (_, damage) = replay(&[&bytes]).unwrap_err();
            let begins = places.iter().rev().find(|place| **place <= changed).copied().unwrap_or(0);
            assert_eq!(damage.offset, begins, "{damage}");
        }
    }
}

/// The same recording with other records, checksums and all.
fn forged(bytes: &[u8], change: impl Fn(u64, Record) -> Option<Record>) -> Vec<u8> {
    let mut decoder = Decoder::new(bytes).unwrap();
    let mut encoder = Encoder::default();
    let mut number = 0;
    while let Some(record) = decoder.next_record().unwrap() {
        number += 1;
        if let Some(record) = change(number, record) {
            encoder.push(&record);
        }
    }
    encoder.bytes().to_vec()
}

fn violates(bytes: &[u8]) -> &'static str {
    replay(&[bytes])
        .expect("every record is whole")
        .result
        .expect_err("it is another life")
        .violation
        .property
}

/// Number of the first record like this in the second half.
fn find(bytes: &[u8], wanted: impl Fn(&Record) -> bool) -> u64 {
    let half = places(bytes).len() as u64 / 2;
    let mut decoder = Decoder::new(bytes).unwrap();
    loop {
        let number = decoder.record();
        if wanted(&decoder.next_record().unwrap().expect("there is one")) && number > half {
            return number;
        }
    }
}

#[test]
fn another_life_is_noticed() {
    let recorded = life(2, 0);
    let bytes = &recorded[0];
    assert_eq!(&forged(bytes, |_, record| Some(record)), bytes);

    let frame = |record: &Record| matches!(record, Record::Input { input: Input::Received { frame, .. }, .. } if frame.parts.len() > 1);
    let number = find(bytes, frame);
    assert_eq!(violates(&forged(bytes, |at, record| (at != number).then_some(record))), "Replay");
    let damaged = forged(bytes, |at, mut record| {
        if let Record::Input { input: Input::Received { frame, .. }, .. } = &mut record
            && at == number
        {
            frame.parts.pop();
        }
        Some(record)
    });
    assert_eq!(violates(&damaged), "Replay");

    let stored = find(bytes, |record| matches!(record, Record::Input { input: Input::Storage(_), .. }));
    assert_eq!(violates(&forged(bytes, |at, record| (at != stored).then_some(record))), "Replay");

    let late = forged(bytes, |at, record| match record {
        Record::Input { input, .. } if at == number => {
            Some(Record::Input { at: steadfast_core::time::Instant::from_nanos(0), input })
        }
        other => Some(other),
    });
    let (_, damage) = replay(&[&late]).unwrap_err();
    assert_eq!((damage.record, damage.flaw), (number, Flaw::Misplaced), "time does not go back");
}

#[test]
fn a_page_and_a_timeline_show_the_process_and_its_peers() {
    let outcome = good(&parts(&life(2, 0)), "a life");
    let text = outcome.lines.join("\n");
    let name = &outcome.head.boot.node;
    for expected in ["session connected", " Hello ", "<- b2 Ack ", "-> b2 Replicate ", "becomes primary"] {
        assert!(text.contains(expected), "{expected} of {name}: {text}");
    }
    let page = outcome.page();
    assert!(page.contains(&format!("recording of broker {name}")) && page.contains("every property held"));
    assert!(outcome.to_string().contains("from its start on"));
}

#[test]
fn a_state_does_not_disturb_the_broker() {
    let [with, without] = [50, 0].map(|every| good(&parts(&life(1, every)), "a life").outputs);
    assert_eq!(with, without);
}

#[test]
fn nothing_can_follow_the_end_of_a_broker() {
    let recorded = life(2, 0);
    let mut decoder = Decoder::new(&recorded[0]).unwrap();
    let mut encoder = Encoder::default();
    while let Some(record) = decoder.next_record().unwrap() {
        encoder.push(&record);
    }
    encoder.push(&Record::End);
    let whole = encoder.bytes().to_vec();
    assert_eq!(good(&[&whole], "a life with its end").end, End::Orderly);
    encoder.push(&Record::End);
    for more in [[whole.as_slice(), b"junk"].concat(), encoder.bytes().to_vec()] {
        let (_, damage) = replay(&[&more]).unwrap_err();
        assert_eq!((damage.flaw, damage.offset), (Flaw::Trailing, whole.len()));
    }
}
