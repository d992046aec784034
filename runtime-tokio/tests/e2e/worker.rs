//! The publisher and the subscriber of the demo, told what to do by a test.

use crate::nodes::{Running, steadfast, wait_until};
use serde_json::Value;
use std::io::Write as _;
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

/// A publisher or subscriber that reports to this test, a line of JSON for each thing that it says.
pub struct Worker {
    pub process: Running,
    orders: ChildStdin,
    seen: usize,
    counted: u64,
}

impl Worker {
    pub fn start(name: &str, args: &[&str], discovery: &str) -> Self {
        let mut command = steadfast(&[args, &["--discovery", discovery, "--attached"]].concat());
        command.stdin(Stdio::piped());
        let mut process = Running::start(name, command);
        let orders = process.stdin();
        let worker = Self { process, orders, seen: 0, counted: 0 };
        wait_until(&format!("{name} is connected"), || worker.process.out.text().contains("\"connected\""));
        worker
    }

    pub fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// What it has said since the last call.
    fn news(&mut self) -> Vec<Value> {
        let text = self.process.out.text();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines: Vec<_> = complete.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let from = std::mem::replace(&mut self.seen, lines.len());
        lines[from..].to_vec()
    }

    /// The longest time without a record since the last call.
    pub fn silence(&mut self) -> Duration {
        let silence = |report: &Value| {
            let silence = &report["silence"];
            Some(silence["until"].as_u64()?.saturating_sub(silence["from"].as_u64()?))
        };
        Duration::from_nanos(self.news().iter().filter_map(silence).max().unwrap_or(0))
    }

    /// How many records it has had acknowledged, or delivered, by its last report.
    pub fn count(&mut self) -> u64 {
        let counts = self.news().iter().filter_map(|report| report["count"].as_u64()).max();
        self.counted = self.counted.max(counts.unwrap_or(0));
        self.counted
    }

    /// Waits until so many more are.
    pub fn wait_for(&mut self, more: u64) {
        let enough = self.count() + more;
        let name = self.process.name.clone();
        wait_until(&format!("{name} goes on"), || self.count() >= enough);
    }

    /// Its last words.
    pub fn finish(mut self) -> Value {
        assert!(self.process.wait().success(), "{} ends well", self.process.name);
        self.news().pop().expect("a last report")
    }
}

/// Which records a report names, as ranges.
fn numbers(report: &Value, field: &str) -> Vec<(u64, u64)> {
    serde_json::from_value(report[field].clone()).unwrap()
}

/// Ends them: everything that was published is acknowledged, and each subscriber got it once, in order.
/// Returns how much it was.
pub fn check(mut publisher: Worker, subscribers: Vec<Worker>) -> u64 {
    publisher.order("stop");
    let published = publisher.finish();
    let acknowledged = numbers(&published, "acknowledged");
    assert_eq!(published["failed"], 0, "{published}");
    let &[(0, end)] = &acknowledged[..] else { panic!("not everything is acknowledged: {acknowledged:?}") };
    assert!(end > 1_000, "only {end} records");
    for mut subscriber in subscribers {
        subscriber.order(&format!("finish {end}"));
        let received = subscriber.finish();
        for fault in ["duplicated", "out_of_order", "corrupt", "reported_missing"] {
            assert_eq!(received[fault], 0, "{received}");
        }
        assert_eq!(numbers(&received, "delivered"), acknowledged);
    }
    end
}
