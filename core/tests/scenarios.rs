//! Scenarios in text: commands to a simulated cluster, and below each `----` the message trace that
//! they lead to. `STEADFAST_GOLDEN=update cargo test -p steadfast-core --test scenarios` rewrites the
//! traces; read the difference before you keep it.
//!
//! Commands: `cluster brokers=N ..`, `publish p1 TOPIC COUNT`, `settle`, `run MS`, `until TEXT` (a line
//! of the trace holds it), `crash`, `lose-power`, `restart`, `pause`, `resume`, `shut-down` NODE,
//! `cut`/`heal` FROM TO, `part`/`join` A B (both ways), `cut-coordination`/`heal-coordination`/
//! `drop-coordination` NODE, `slow FROM TO MS` (latency), `forget` (leave the trace so far out),
//! `logs` (what every broker holds).

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use steadfast_core::broker::OnTotalLoss;
use steadfast_sim::cluster::{Cluster, Config};
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;
use steadfast_sim::random::Span;
use steadfast_sim::render::Renderer;

const SETTLE: Duration = Duration::from_secs(20);
const UNTIL: Duration = Duration::from_secs(20);

struct Scenario {
    cluster: Option<Cluster>,
}

impl Scenario {
    fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("the first command is `cluster`")
    }

    fn node(&mut self, name: &str) -> ProcessId {
        self.cluster().find(name).unwrap_or_else(|| panic!("no node {name}"))
    }

    fn strike(&mut self, faults: &[Fault]) {
        for &fault in faults {
            self.cluster().strike(fault).expect("every property holds");
        }
    }

    /// Carries out one command and returns what it has to say.
    fn execute(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["cluster", ..] => self.begin(&words[1..]),
            ["publish", node, topic, count] => {
                let node = self.node(node);
                self.cluster().publish(node, topic, count.parse().expect("a number"), Duration::ZERO);
            }
            ["settle"] => {
                let settled = self.cluster().run_until(SETTLE, Cluster::is_settled);
                assert!(settled.expect("every property holds"), "the cluster settles");
            }
            ["run", ms] => {
                let time = Duration::from_millis(ms.parse().expect("milliseconds"));
                self.cluster().run_for(time).expect("every property holds");
            }
            ["until", ..] => return self.until(line.trim_start_matches("until ")),
            // What came before is of no interest here.
            ["forget"] => {}
            ["logs"] => return self.trace() + &self.logs(),
            _ => self.fault(&words),
        }
        self.trace()
    }

    fn begin(&mut self, settings: &[&str]) {
        let stagger = Duration::from_millis(50);
        let mut config = Config { brokers: 2, stagger, discoveries: 1, ..Config::default() };
        config.world.coordination.follower_lag = Span::ZERO;
        let mut seed = 1;
        for setting in settings {
            let (name, value) = setting.split_once('=').expect("name=value");
            match name {
                "brokers" => config.brokers = value.parse().expect("a number"),
                "publishers" => config.publishers = value.parse().expect("a number"),
                "retention-records" => config.retention.records = Some(value.parse().expect("a number")),
                "seed" => seed = value.parse().expect("a number"),
                "on-total-loss" if value == "wait" => config.on_total_loss = OnTotalLoss::Wait,
                "on-total-loss" if value == "reset" => config.on_total_loss = OnTotalLoss::Reset,
                _ => panic!("unknown setting {setting}"),
            }
        }
        let mut cluster = Cluster::new(&config, seed);
        cluster.render(Renderer::brief());
        self.cluster = Some(cluster);
    }

    fn fault(&mut self, words: &[&str]) {
        let ids: Vec<ProcessId> = words[1..].iter().take(2).map(|name| self.node(name)).collect();
        match (words[0], &ids[..]) {
            ("crash", &[node]) => self.strike(&[Fault::Crash(node)]),
            ("lose-power", &[node]) => self.strike(&[Fault::PowerLoss(node)]),
            ("restart", &[node]) => self.strike(&[Fault::Restart(node)]),
            ("pause", &[node]) => self.strike(&[Fault::Pause(node)]),
            ("resume", &[node]) => self.strike(&[Fault::Resume(node)]),
            ("cut", &[from, to]) => self.strike(&[Fault::Cut(from, to)]),
            ("heal", &[from, to]) => self.strike(&[Fault::Heal(from, to)]),
            ("part", &[a, b]) => self.strike(&[Fault::Cut(a, b), Fault::Cut(b, a)]),
            ("join", &[a, b]) => self.strike(&[Fault::Heal(a, b), Fault::Heal(b, a)]),
            ("cut-coordination", &[node]) => {
                self.strike(&[Fault::CutToCoordination(node), Fault::CutFromCoordination(node)]);
            }
            ("heal-coordination", &[node]) => self.strike(&[Fault::HealCoordination(node)]),
            ("drop-coordination", &[node]) => self.strike(&[Fault::DropCoordination(node)]),
            ("shut-down", &[node]) => {
                self.cluster().shut_down(node, None);
            }
            _ => panic!("unknown command {words:?}"),
        }
    }

    fn until(&mut self, text: &str) -> String {
        let end = self.cluster().world().now() + UNTIL.as_nanos() as u64;
        let mut trace = String::new();
        while self.cluster().step(end).expect("every property holds") {
            let lines = self.trace();
            trace.push_str(&lines);
            if lines.contains(text) {
                return trace;
            }
        }
        panic!("no line holds {text:?}:\n{trace}");
    }

    fn trace(&mut self) -> String {
        self.cluster().take_lines().into_iter().fold(String::new(), |text, line| text + &line + "\n")
    }

    fn logs(&mut self) -> String {
        let cluster = self.cluster();
        let mut text = String::new();
        for &process in cluster.brokers() {
            let name = cluster.world().name(process);
            match cluster.broker(process).map(|broker| broker.replica()) {
                None => writeln!(text, "{name}: dead"),
                Some(replica) => {
                    let log = replica.log().summary();
                    let epochs = log.epochs.iter().map(|last| format!(" e{}<{}", last.epoch, last.end));
                    let epochs: String = epochs.collect();
                    let start = if log.start > 0 { format!("start {} ", log.start) } else { String::new() };
                    writeln!(text, "{name}: {start}commit {} end {}{epochs}", replica.commit(), log.end)
                }
            }
            .expect("writing to a string does not fail");
        }
        text
    }
}

/// Runs a scenario's commands; returns its text with the traces that they led to.
fn run(text: &str) -> String {
    let mut scenario = Scenario { cluster: None };
    let mut result = String::new();
    let mut trace = String::new();
    let mut in_trace = false;
    for line in text.lines() {
        match line {
            "----" => {
                in_trace = true;
                let _ = write!(result, "----\n{}\n", std::mem::take(&mut trace));
            }
            "" if in_trace => in_trace = false,
            _ if in_trace => {}
            _ => {
                result.push_str(line);
                result.push('\n');
                if !line.is_empty() && !line.starts_with('#') {
                    trace.push_str(&scenario.execute(line));
                }
                if line == "forget" {
                    trace.clear();
                }
            }
        }
    }
    assert!(trace.is_empty(), "a scenario ends with a trace");
    result
}

#[test]
fn scenarios_lead_to_their_traces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "there are scenarios");
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a scenario");
        let result = run(&text);
        if std::env::var_os("STEADFAST_GOLDEN").is_some_and(|value| value == "update") {
            std::fs::write(&path, result).expect("the scenario is written");
        } else if result != text {
            let differs = result.lines().zip(text.lines()).position(|(now, golden)| now != golden);
            let line = differs.unwrap_or_else(|| result.lines().count().min(text.lines().count()));
            panic!(
                "{} differs from line {} on: now {:?}, golden {:?}",
                path.display(),
                line + 1,
                result.lines().nth(line),
                text.lines().nth(line)
            );
        }
    }
}
