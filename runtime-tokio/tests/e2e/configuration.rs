//! A node's configuration: from a file, the environment and flags, and what happens to damaged ones.

use crate::command_line::fails;
use crate::nodes::{Node, Running, run, steadfast, turn, wait_until};
use crate::zookeeper::Ensemble;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A directory that vanishes with this value.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("steadfast-e2e-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join("steadfast.toml");
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts a node with variables and waits until it listens.
fn start(name: &str, args: &[&str], variables: &[(&str, &str)]) -> Running {
    let mut command = steadfast(args);
    command.envs(variables.iter().copied());
    let mut process = Running::start(name, command);
    wait_until(&format!("{name} is ready"), || {
        assert!(process.is_running(), "{name} has ended: {}", process.err.text());
        process.out.text().ends_with('\n')
    });
    process
}

fn output(mut command: Command) -> Output {
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_broker_starts_from_a_file_and_logs_into_files() {
    let _turn = turn();
    let place = Place::new("file");
    let service = Node::start("coordination", &["coordination"]);
    let logs = place.path("logs");
    let file = place.file(format!(
        "[coordination]\nembedded = \"{}\"\n[broker]\nname = \"one\"\n[cluster]\nname = \"orders\"\n\
         [logging]\nlevel = \"info\"\nformat = \"json\"\ndirectory = \"{}\"\nrotation = \"hour\"\n",
        service.address,
        logs.display()
    ));
    let said = |name: &str| {
        let files = std::fs::read_dir(&logs).map(|files| files.map(|file| file.unwrap().path()).collect());
        let files: Vec<PathBuf> = files.unwrap_or_default();
        let own = files.iter().find(|file| file.to_str().unwrap().ends_with(&format!(".broker.{name}.log")));
        own.map(|file| std::fs::read_to_string(file).unwrap()).unwrap_or_default()
    };
    let _discovery = start("discovery", &["discovery", "--config", &file], &[]);
    // The file alone, the environment over it, and a flag over both.
    let mut one = start("one", &["broker", "--config", &file], &[]);
    let mut two = start("two", &["broker", "--config", &file], &[("STEADFAST_BROKER_NAME", "two")]);
    let flags = ["broker", "--config", &file, "--name", "three"];
    let mut three = start("three", &flags, &[("STEADFAST_BROKER_NAME", "two")]);
    wait_until("each has said who leads", || {
        said("one").contains("BecamePrimary")
            && said("two").contains("BecameBackup")
            && said("three").contains("BecameBackup")
    });
    for process in [&mut three, &mut two, &mut one] {
        process.signal("TERM");
        assert!(process.wait().success());
        assert_eq!(process.err.text(), "", "lines go to the files");
    }
    for line in said("one").lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn sources_are_shown_with_every_value() {
    let place = Place::new("show");
    let file = place.file("[broker]\nname = \"one\"\nlog_limit = \"64MiB\"\n");
    let mut command = steadfast(&["config", "show", "--json"]);
    command.env("STEADFAST_CONFIG", &file).env("STEADFAST_BROKER_LOG_LIMIT", "128MiB");
    command.env("STEADFAST_COORDINATION_CREDENTIAL", "bob:concealed");
    let shown = output(command);
    assert!(shown.status.success() && !text(&shown.stdout).contains("concealed"), "{shown:?}");
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["file"], file.as_str());
    let find = |key: &str| {
        let settings = shown["settings"].as_array().unwrap();
        let one = settings.iter().find(|one| one["key"] == key).unwrap();
        (one["value"].clone(), one["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(find("broker.name"), ("one".into(), format!("{file}:2")));
    assert_eq!(find("broker.log_limit"), ("128MiB".into(), "STEADFAST_BROKER_LOG_LIMIT".into()));
    assert_eq!(find("broker.listen"), ("127.0.0.1:0".into(), "default".into()));
    assert_eq!(
        find("coordination.credential"),
        ("(hidden)".into(), "STEADFAST_COORDINATION_CREDENTIAL".into())
    );

    // What is shown for people is a configuration file itself.
    let shown = run(&["config", "show", "--config", &file]);
    let again = place.file(&shown.stdout);
    assert!(text(&shown.stdout).contains("log_limit = \"64MiB\" # "), "{shown:?}");
    let checked = run(&["config", "check", "--config", &again]);
    assert_eq!(text(&checked.stdout), format!("{again}: OK\n"));
}

#[test]
fn the_default_file_is_right() {
    let place = Place::new("default");
    let default = run(&["config", "default"]);
    assert!(default.status.success());
    let file = place.file(&default.stdout);
    let checked = run(&["config", "check", "--config", &file]);
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    // A file in the current directory is found.
    let mut command = steadfast(&["config", "check"]);
    command.current_dir(place.path("")).env_remove("STEADFAST_CONFIG");
    assert_eq!(text(&output(command).stdout), "steadfast.toml: OK\n");
}

#[test]
fn every_problem_is_said_by_check_and_the_first_by_others() {
    let place = Place::new("wrong");
    let file = place.file("[recovery]\nlag = \"soon\"\nsuspision = \"1s\"\n");
    let checked = run(&["config", "check", "--config", &file]);
    let mut lines: Vec<_> = text(&checked.stderr).lines().collect();
    lines.sort_unstable();
    assert_eq!(checked.status.code(), Some(2));
    assert_eq!(
        lines,
        [
            format!("error: {file}:2: recovery.lag = \"soon\": write for example 2s, 500ms or 1m"),
            format!("error: {file}:3: recovery.suspision is unknown; did you mean recovery.suspicion?")
        ]
    );
    fails(&["broker", "--name", "a", "--config", &file], 2, &[&file, "(and 1 more: steadfast config check)"]);
    fails(&["publish", "a", "--config", &file], 2, &[&file]);
    fails(&["subscribe", "a", "--config", &file], 2, &[&file]);

    let file = place.file("[recovery]\nlag = \"3s\"\n");
    let flags = ["discovery", "--coordination", "h:1", "--config", &file, "--session-timeout", "4s"];
    fails(&flags, 2, &[&format!("{file}:2: recovery.lag = \"3s\""), "session_timeout (4s)"]);
    let mut command = steadfast(&["config", "check", "--config", &file]);
    command.env("STEADFAST_RECOVERY_LAG", "1s");
    let refused = output(command);
    assert!(text(&refused.stderr).starts_with("error: STEADFAST_RECOVERY_LAG: "), "{refused:?}");
}

#[test]
fn damaged_files_are_one_clear_line() {
    let place = Place::new("damaged");
    let broker = |file: &str, words: &[&str]| {
        fails(&["broker", "--name", "a", "--config", file], 2, &[&[file][..], words].concat());
    };
    let garbage: Vec<u8> = (0..4_096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    broker(&place.file(garbage), &["it is not text in UTF-8"]);
    broker(&place.file("[broker]\nname = \"o"), &[":2: this is not TOML"]);
    broker(place.path("none.toml").to_str().unwrap(), &["there is no such file"]);
    broker(place.path("").to_str().unwrap(), &["it is a directory"]);
    // Root may read everything, so this test finds a file that nobody can: memory of this process.
    broker("/proc/self/mem", &["cannot be read"]);
    let locked = place.file("[broker]\nname = \"one\"\n");
    let mode = |mode: &str| assert!(Command::new("chmod").args([mode, &locked]).status().unwrap().success());
    mode("000");
    if std::fs::read(&locked).is_err() {
        broker(&locked, &["this user may not read it"]);
    }
    mode("600");
}

/// ZooKeeper of these tests grants at least 200 ms.
#[test]
fn a_cluster_with_a_credential_under_a_chroot() {
    let _turn = turn();
    let place = Place::new("credential");
    let ensemble = Ensemble::start(1);
    let servers = ensemble.connect_string();
    let secret = place.path("credential");
    std::fs::write(&secret, "bob:right\n").unwrap();
    let file = place.file(format!(
        "[coordination]\nzookeeper = \"{servers}/apps\"\ncredential_file = \"{}\"\n",
        secret.display()
    ));
    let discovery = start("discovery", &["discovery", "--config", &file], &[]);
    let address = discovery.out.text().trim().strip_prefix("listening on tcp://").unwrap().to_owned();
    let _broker = start("broker", &["broker", "--config", &file, "--name", "one"], &[]);
    std::fs::write(place.path("records"), "one\n").unwrap();
    let records = place.path("records");
    let publish = ["publish", "a", "--file", records.to_str().unwrap(), "--timeout", "60s"];
    let mut command = steadfast(&publish);
    command.env("STEADFAST_CLUSTER_DISCOVERY", &address);
    let published = output(command);
    assert!(published.status.success(), "{published:?}");

    let mut command = steadfast(&["broker", "--config", &file, "--name", "eve"]);
    command.env("STEADFAST_COORDINATION_CREDENTIAL", "eve:wrong");
    let refused = output(command);
    let error = text(&refused.stderr);
    assert_eq!((refused.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("refused to read /steadfast/main") && error.contains("credential"), "{error}");
    assert!(!error.contains("wrong"), "{error}");

    let short = "[recovery]\nlag = \"150ms\"\n[coordination]\nsession_timeout = \"100ms\"\n";
    let short = place.file(format!("{short}zookeeper = \"{servers}\"\n"));
    fails(
        &["broker", "--config", &short, "--name", "two", "--cluster", "short"],
        2,
        &[
            &format!("{short}:2: recovery.lag = \"150ms\""),
            "200ms, the session timeout that ZooKeeper grants",
        ],
    );
}
