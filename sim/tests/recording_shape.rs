//! Recordings of the present [`MAGIC`] that are kept, so that nobody changes how one is written and leaves its
//! number as it is. Each is a part of a broker's life in `recordings/`: its state and some inputs.

mod taped;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};
use steadfast_core::broker;
use steadfast_core::recording::{Decoder, Encoder, MAGIC, Record};
use steadfast_core::subscriber;
use steadfast_sim::actor::Command;
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;
use steadfast_sim::recording::replay;
use steadfast_sim::world::Config;
use taped::Cluster;

/// Inputs of a part.
const INPUTS: u64 = 20;
/// What the parts show at least, all together: every kind of input, entries, both roles, and something in the
/// tables of a broker. (That a table is always empty would say little of its shape.)
const SHOWN: &str = "Command Coordination Link Received Storage Timeout Batch EpochStart SessionOpen Trim Backup Primary \
                     shutdown attempt goal proposal reading finding live in_sync epochs base overlay heads by_end \
                     pending ages followers in_flight transfer staging probes streams publishers opens heard";

/// What to do when they cannot be read any more, or would be written in another way.
const REMEDY: &str = "a broker's state, an input or a record is written in another way than in recordings that exist: \
                      raise the number in MAGIC (core/src/recording/mod.rs), and then make those of sim/tests/recordings \
                      anew: UPDATE_GOLDEN=1 cargo test -p steadfast-sim --test recording_shape";

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
}

/// The parts that are kept, in the order of their names.
fn kept() -> Vec<Vec<u8>> {
    let files = fs::read_dir(recordings()).expect("a directory").map(|file| file.expect("a file").path());
    let files: BTreeSet<_> = files.collect();
    files.iter().map(|file| fs::read(file).expect("a file that can be read")).collect()
}

/// The same part, read and written again; `None` where it cannot be read.
fn rewritten(part: &[u8]) -> Option<Vec<u8>> {
    let (mut decoder, mut encoder) = (Decoder::new(part).ok()?, Encoder::default());
    while let Some(record) = decoder.next_record().ok()? {
        encoder.push(&record);
    }
    Some(encoder.bytes().to_vec())
}

/// What a part shows: the variants of its inputs and its role, and by their names all fields of the state
/// that hold something where they could be empty.
fn shown(part: &[u8]) -> BTreeSet<String> {
    let mut decoder = Decoder::new(part).expect("a part of the present version");
    let mut shown = BTreeSet::new();
    while let Some(record) = decoder.next_record().expect("a whole part") {
        match record {
            Record::Input { input, .. } => {
                let text = format!("{input:?}");
                shown.extend(text.split([' ', '(']).next().map(str::to_owned));
            }
            Record::State(state) => {
                let text = format!("{:?}", state.broker);
                let fields = text.match_indices(": ").map(|(colon, _)| (&text[..colon], &text[colon + 2..]));
                let full = fields.filter(|(_, value)| holds(value));
                let names = full.filter_map(|(before, _)| before.rsplit(|c: char| !is_of_name(c)).next());
                shown.extend(names.map(str::to_owned));
                let role = text.split_once("role: ").map(|(_, role)| role.split('(').next());
                shown.extend(role.flatten().map(str::to_owned));
            }
            Record::Entries(entries) | Record::Tail { entries, .. } => {
                let kinds = entries.iter().map(|entry| format!("{:?}", entry.kind));
                shown.extend(kinds.filter_map(|kind| kind.split([' ', '(']).next().map(str::to_owned)));
            }
            _ => {}
        }
    }
    shown
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether this begins like an option or a collection that holds something.
fn holds(value: &str) -> bool {
    let inner = value.trim_start_matches(is_of_name);
    let inner = inner.strip_prefix('(').unwrap_or(inner);
    value.starts_with("Some(")
        || (inner.starts_with(['{', '[']) && !inner.starts_with("{}") && !inner.starts_with("[]"))
}

/// All parts of the lives of the brokers of a run in which much happens.
fn lives(seed: u64) -> Vec<Vec<u8>> {
    let ms = Duration::from_millis;
    let mut cluster = Cluster::new(seed, Config::default(), INPUTS);
    cluster.publish(ms(500), 600, ms(8));
    let [first, second, third] = cluster.brokers[..] else { panic!("three brokers") };
    let at = |time: u64| ms(time).as_nanos() as u64;
    for (time, fault) in [
        (1_000, Fault::Crash(first)),
        (2_000, Fault::Pause(second)),
        (2_700, Fault::Restart(first)),
        (3_200, Fault::CutFromCoordination(third)),
        (3_500, Fault::Resume(second)),
        (4_000, Fault::Reset(first, third)),
        (4_200, Fault::HealCoordination(third)),
        (4_500, Fault::Crash(third)),
        (4_800, Fault::Restart(third)),
        (5_000, Fault::Crash(cluster.publisher)),
        (5_010, Fault::Restart(cluster.publisher)),
    ] {
        cluster.world.schedule(at(time), fault);
    }
    let is_subscriber = |process: &ProcessId| cluster.world.name(*process) == "s1";
    let subscriber = cluster.world.processes().find(is_subscriber).expect("a subscriber");
    for request in 0..400 {
        let asks = Command::Subscriber(subscriber::Command::ReadHead { request });
        cluster.world.command(at(500 + 13 * request), subscriber, asks);
    }
    for broker in [second, first] {
        cluster.world.command(at(6_000), broker, Command::Broker(broker::Command::Shutdown));
    }
    cluster.run(ms(8_000));
    cluster.tapes.take().into_values().flatten().collect()
}

/// As few parts as show everything that any shows.
fn made() -> Vec<Vec<u8>> {
    let mut parts: Vec<_> = (0..12).flat_map(lives).map(|part| (shown(&part), part)).collect();
    let (mut all, mut chosen) = (BTreeSet::new(), Vec::new());
    loop {
        let more = |(shown, part): &(BTreeSet<String>, Vec<u8>)| {
            (shown.difference(&all).count(), usize::MAX - part.len())
        };
        let Some(best) = (0..parts.len()).max_by_key(|index| more(&parts[*index])) else { return chosen };
        if more(&parts[best]).0 == 0 {
            return chosen;
        }
        let (shown, part) = parts.swap_remove(best);
        all.extend(shown);
        chosen.push(part);
    }
}

/// Makes them anew. Where the shape has changed, only under another number.
fn make_anew() {
    let shape_changed = |part: &Vec<u8>| part.starts_with(MAGIC) && rewritten(part).as_ref() != Some(part);
    assert!(!kept().iter().any(shape_changed), "{REMEDY}");
    fs::remove_dir_all(recordings()).expect("a directory");
    fs::create_dir(recordings()).expect("a directory can be made");
    for (number, part) in made().iter().enumerate() {
        fs::write(recordings().join(format!("{number:02}.recording")), part).expect("a file can be written");
    }
}

#[test]
fn a_recording_of_this_version_is_read_as_it_was_written() {
    if env::var_os("UPDATE_GOLDEN").is_some() {
        make_anew();
    }
    let parts = kept();
    for part in &parts {
        assert!(rewritten(part).as_ref() == Some(part), "{REMEDY}");
    }
    let all: BTreeSet<_> = parts.iter().flat_map(|part| shown(part)).collect();
    for expected in SHOWN.split_whitespace() {
        assert!(all.contains(expected), "no part shows {expected}");
    }
    for part in &parts {
        let outcome = replay(&[part]).expect("a whole part");
        let failure = outcome.result.err();
        assert!(
            failure.is_none(),
            "{}: brokers behave differently: UPDATE_GOLDEN=1 if that is meant. If a field only means something else \
             than it did, the number in MAGIC rises, too",
            failure.map_or_else(String::new, |failure| failure.to_string())
        );
    }
}
