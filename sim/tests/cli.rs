//! The program itself: what it says to bad input, to outputs that take nothing, and to an interrupt.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;
use steadfast_core::recording::MAGIC;

/// A run that takes no time.
const SHORT: &str = "brokers 1\ndiscoveries 1\nduration 1s\n";

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast-sim"));
    command.args(args).stdin(Stdio::null());
    command
}

/// What a call has come to: its status, and what it has printed.
fn call(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = program(args).output().expect("the program starts");
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
    (status.code().expect("no signal"), stdout, stderr)
}

/// A file of this test.
fn file(name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).expect("a file of a test");
    path
}

/// A file is refused in one line, which says this.
fn refused(command: &str, path: &Path, reason: &str) {
    let (status, stdout, stderr) = call(&[command, path.to_str().expect("text")]);
    assert_eq!((status, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{stderr}");
    assert!(stderr.contains(reason), "{stderr:?} does not say {reason:?}");
}

#[test]
fn a_damaged_plan_is_one_line() {
    refused("replay", Path::new("/dev/null"), "there is no item");
    refused("replay", &file("only-comments.plan", "# seed 1\n\n"), "line 2: up to here there is no item");
    refused(
        "minimise",
        &file("cut.plan", "items 3\nseed 1\n@1s crash b1\n"),
        "line 1: 3 items are announced, 2 are",
    );
    refused(
        "replay",
        &file("twice.plan", "seed 1\nseed 2\n"),
        "line 2: \"seed\" was given before, in line 1",
    );
    refused("replay", &file("mark.plan", "@1s on NoSuchMark crash it\n"), "line 1: nobody ever comes to");
    refused("replay", &file("latin.plan", b"seed 1\n# M\xfcller\n"), "line 2: this is no text in UTF-8");
    refused("replay", Path::new("no-such.plan"), "No such file");
    refused("replay", Path::new("/"), "/: ");
}

#[test]
fn what_can_have_no_effect_is_said_and_the_rest_runs() {
    let text = format!("\u{feff}{SHORT}@500ms crash b5\n@2s crash b1\n");
    let plan = file("idle.plan", text);
    let (status, stdout, stderr) = call(&["replay", "--brief", plan.to_str().expect("text")]);
    assert_eq!((status, stderr.lines().count()), (0, 2), "{stderr}");
    assert!(
        stderr.contains("crash b5: b5 does not take part") && stderr.contains("after the end"),
        "{stderr}"
    );
    assert!(stdout.contains("every property held"), "{stdout}");
}

#[test]
fn what_takes_long_is_said_beforehand() {
    let plan = file("long.plan", "brokers 1\ndiscoveries 1\nduration 300s\n");
    let page = plan.with_extension("html");
    let [plan, page] = [&plan, &page].map(|path| path.to_str().expect("text"));
    let (status, _, stderr) = call(&["replay", plan, "--html", page]);
    assert_eq!((status, stderr.lines().count()), (0, 2), "{stderr}");
    assert!(stderr.contains("takes a while") && stderr.contains("the latest 40000 messages"), "{stderr}");
}

#[test]
fn a_damaged_recording_is_one_line() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/00.recording");
    let whole = fs::read(&kept).expect("a recording");
    refused("replay", &file("ten.rec", &whole[..10]), "ends within its first line");
    refused("replay", &file("line.rec", MAGIC), "the file ends before it");
    let text = String::from_utf8_lossy(MAGIC).replace('\n', "\r\n");
    refused("replay", &file("crlf.rec", text), "line ends of this recording were changed");
    refused("minimise", &kept, "is a recording, not a plan");
}

#[test]
fn a_reader_that_goes_away_ends_nothing_else() {
    let plan = file("pipe.plan", SHORT);
    let plan = plan.to_str().expect("text");
    for args in [
        &["replay", plan][..],
        &["replay", plan, "--json"],
        &["run", "--seeds", "1"],
        &["coverage", "--seeds", "1"],
        &["explore", "--scope", "crash", "--min-in-sync", "1", "--states", "10"],
    ] {
        let mut child =
            program(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
        let status = child.wait().expect("it ends").code();
        // Coverage of one seed has gaps, and ten states are no exploration.
        let expected = match args[0] {
            "coverage" => 1,
            "explore" => 3,
            _ => 0,
        };
        assert_eq!((status, stderr.as_str()), (Some(expected), ""), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_one_line() {
    let plan = file("full.plan", SHORT);
    for args in [
        &["replay", plan.to_str().expect("text")][..],
        &["run", "--seeds", "1"],
        &["coverage", "--seeds", "1"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let output = program(args).stdout(full).output().expect("the program starts");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{args:?}: {stderr}");
        assert!(stderr.contains("cannot write to standard output: No space left"), "{stderr}");
    }
}

#[test]
fn a_place_that_cannot_be_written_to_is_refused_before_any_work() {
    let plan = file("place.plan", SHORT);
    let plan = plan.to_str().expect("text");
    for args in [
        &["run", "--seeds", "1000000", "--out", "/no/such/folder"][..],
        &["run", "--seeds", "1000000", "--out", plan],
        &["replay", plan, "--html", "/no/such/folder/page.html"],
        &["replay", plan, "--html", "/"],
        &["minimise", plan, "--out", "/no/such/folder/least.plan"],
    ] {
        let (status, stdout, stderr) = call(args);
        assert_eq!((status, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{args:?}: {stderr}");
    }
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    for args in [
        &["run", "--seeds", "0"][..],
        &["run", "--minutes", "0"],
        &["run", "--minutes", "307445734561825861"],
        &["run", "--minutes", "18446744073709551615"],
        &["coverage", "--seeds", "0"],
        &["explore", "--states", "0"],
        &["minimise", "--seed", "1", "--seconds", "18446744073709551615"],
    ] {
        let (status, stdout, stderr) = call(args);
        assert_eq!((status, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains("invalid value"), "{args:?}: {stderr}");
    }
}

#[test]
fn what_is_not_exhausted_is_not_good() {
    let args = ["explore", "--scope", "crash", "--min-in-sync", "1", "--states", "100"];
    assert_eq!(call(&args).0, 3);
}

/// Interrupts the program once it hears that. Returns its exit status and its last line.
fn interrupted(args: &[&str], signal: Signal) -> (Option<i32>, Value) {
    let child = program(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let status = format!("/proc/{}/status", child.id());
    let caught = || {
        let status = fs::read_to_string(&status).expect("it lives");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
        u64::from_str_radix(mask.trim(), 16).expect("a mask") >> (signal.as_raw() - 1) & 1 == 1
    };
    while !caught() {
        thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), signal).expect("it lives");
    let output = child.wait_with_output().expect("it ends");
    let last = output.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().expect("a line");
    (output.status.code(), serde_json::from_slice(last).expect("one line of JSON"))
}

#[test]
fn an_interrupt_ends_with_a_summary() {
    let many = ["--seeds", "1000000000", "--jobs", "1", "--json"];
    for signal in [Signal::INT, Signal::TERM] {
        let (status, summary) = interrupted(&[&["run", "--keep-going"], &many[..]].concat(), signal);
        assert!(summary["seeds"].is_u64() && summary["failed"].as_array().is_some_and(Vec::is_empty));
        assert_eq!(status, Some(3), "nothing was found until then");
    }
    let (status, summary) = interrupted(&[&["coverage"], &many[..]].concat(), Signal::INT);
    assert_eq!((status, summary["failed"].as_u64()), (Some(3), Some(0)), "{summary}");
    let explore = ["explore", "--scope", "pause", "--min-in-sync", "1", "--json"];
    let (status, summary) = interrupted(&explore, Signal::INT);
    assert_eq!((status, summary["exhausted"].as_bool()), (Some(3), Some(false)), "{summary}");
}
