use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that vanishes with this value.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("steadfast-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join("steadfast.toml");
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Messages as they would be if the file were in the current directory.
    fn shorten(&self, problems: &Problems) -> Vec<String> {
        let prefix = format!("{}/", self.0.display());
        problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn variables(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
}

fn flag(key: &'static str, value: &str) -> Flag {
    Flag { key, value: Value::String(value.to_owned()) }
}

fn load_all(file: PathBuf, pairs: &[(&str, &str)], flags: Vec<Flag>) -> Result<Configuration, Problems> {
    load(Sources { file: Some(file), places: &[], environment: variables(pairs), flags })
}

/// What a file's text sets.
fn good(text: &str) -> Configuration {
    let place = Place::new();
    load_all(place.file(text), &[], Vec::new()).unwrap()
}

/// What is wrong with a file.
fn wrong(content: impl AsRef<[u8]>) -> Vec<String> {
    let place = Place::new();
    let problems = load_all(place.file(content), &[], Vec::new()).unwrap_err();
    place.shorten(&problems)
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_defaults() {
    let place = Place::new();
    let file = place.file("[recovery]\nsuspicion = \"300ms\"\nbackoff = \"20ms\"\nbackoff_cap = \"900ms\"\n");
    let pairs = [("STEADFAST_RECOVERY_SUSPICION", "400ms"), ("STEADFAST_RECOVERY_BACKOFF", "30ms")];
    let loaded = load_all(file, &pairs, vec![flag("recovery.suspicion", "500ms")]).unwrap();
    let recovery = &loaded.settings.recovery;
    let millis = [recovery.suspicion, recovery.backoff, recovery.backoff_cap, recovery.client_suspicion];
    assert_eq!(millis.map(|time| time.as_millis()), [500, 30, 900, 600]);
    let sources =
        ["recovery.suspicion", "recovery.backoff", "recovery.backoff_cap", "recovery.client_suspicion"];
    let origins = sources.map(|key| loaded.origin(key).to_string());
    assert_eq!(origins[..2], ["--suspicion", "STEADFAST_RECOVERY_BACKOFF"]);
    assert!(origins[2].ends_with("/steadfast.toml:4"), "{}", origins[2]);
    assert_eq!(origins[3], "default");
}

#[test]
fn a_file_that_is_not_named_is_looked_for_in_the_usual_places() {
    let place = Place::new();
    let second = place.file("[cluster]\nname = \"second\"\n");
    let missing = place.0.join("missing.toml");
    let places = [missing.to_str().unwrap(), second.to_str().unwrap()];
    let from = |file, pairs: &[(&str, &str)]| {
        load(Sources { file, places: &places, environment: variables(pairs), flags: Vec::new() })
    };
    assert_eq!(from(None, &[]).unwrap().settings.cluster.name, "second");
    let named = place.0.join("named.toml");
    std::fs::write(&named, "[cluster]\nname = \"named\"\n").unwrap();
    let variable = [("STEADFAST_CONFIG", named.to_str().unwrap())];
    assert_eq!(from(None, &variable).unwrap().settings.cluster.name, "named");
    assert_eq!(from(Some(second.clone()), &variable).unwrap().settings.cluster.name, "second");
    assert_eq!(from(None, &variable).unwrap().file(), Some(named.as_path()));
    let nowhere =
        load(Sources { file: None, places: &[], environment: Environment::new(), flags: Vec::new() });
    assert_eq!(nowhere.unwrap().file(), None);
    let problems = from(Some(missing.clone()), &[]).unwrap_err();
    assert_eq!(
        place.shorten(&problems),
        [
            "--config: missing.toml: cannot be read: there is no such file; check its path, or create it: steadfast config default"
        ]
    );
}

#[test]
fn every_problem_of_a_file_is_named_with_its_line() {
    let text = "\
[cluster]
nme = \"a\"

[coordination]
session_timeout = \"soon\"
zookeeper = [\"zk1\", \"zk2:2181\"]
credential = \"bob:hidden\"

[broker]
lag = \"3s\"
log_limit = true
listen = 7411

[brokr]
name = \"one\"

[broker.retention]
records = -1
";
    let expected = [
        "steadfast.toml:2: cluster.nme is unknown; did you mean cluster.name?",
        "steadfast.toml:7: coordination.credential is a secret and does not belong here; set STEADFAST_COORDINATION_CREDENTIAL, or write it into a file of its own and name that with coordination.credential_file",
        "steadfast.toml:10: broker.lag is unknown; did you mean recovery.lag?",
        "steadfast.toml:14: brokr is unknown; did you mean broker?",
        "steadfast.toml:5: coordination.session_timeout = \"soon\": write for example 2s, 500ms or 1m",
        "steadfast.toml:6: coordination.zookeeper = [\"zk1\", \"zk2:2181\"]: \"zk1\" is not an address: the port is missing; write HOST:PORT, for example 127.0.0.1:7401",
        "steadfast.toml:11: broker.log_limit = true: invalid type: boolean `true`, expected a text in quotes or a whole number",
        "steadfast.toml:12: broker.listen = 7411: invalid type: integer `7411`, expected a text in quotes",
        "steadfast.toml:18: broker.retention.records = -1: write a whole number above zero",
    ];
    let mut found = wrong(text);
    let mut expected = expected.map(str::to_owned).to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert!(!found.iter().any(|line| line.contains("hidden")), "a secret is never shown");
}

#[test]
fn impossible_combinations_name_cause_and_remedy() {
    let cases = [
        (
            "[recovery]\nlag = \"1s\"",
            "steadfast.toml:2: recovery.lag = \"1s\" is not above coordination.session_timeout (2s): a sick primary could drop healthy backups; raise it, or remove it to have it follow the session timeout",
        ),
        (
            "[recovery]\nheartbeat = \"200ms\"\n",
            "steadfast.toml:2: recovery.suspicion = \"250ms\" is below twice recovery.heartbeat (200ms): one late sign of life would count as a death; raise it, or lower recovery.heartbeat",
        ),
        (
            "[recovery]\nclient_suspicion = \"200ms\"\n",
            "steadfast.toml:2: recovery.client_suspicion = \"200ms\" is below twice recovery.client_heartbeat (150ms): one late sign of life would count as a death; raise it, or lower recovery.client_heartbeat",
        ),
        (
            "[recovery]\nstep_down = \"100ms\"\n",
            "steadfast.toml:2: recovery.step_down = \"100ms\" is below recovery.suspicion (250ms): a primary would fall silent before anybody suspects it; raise it, or remove it to have it follow recovery.lag",
        ),
        (
            "[recovery]\nbackoff_cap = \"5ms\"\n",
            "steadfast.toml:2: recovery.backoff = \"10ms\" is above recovery.backoff_cap (5ms); lower it, or raise recovery.backoff_cap",
        ),
        (
            "[recovery]\nsuspicion = \"20m\"\n",
            "steadfast.toml:2: recovery.suspicion = \"20m\" is out of range; choose 10ms to 10m",
        ),
        (
            "[coordination]\nsession_timeout = \"50ms\"\n",
            "steadfast.toml:2: coordination.session_timeout = \"50ms\" is out of range; choose 100ms to 10m",
        ),
        (
            "[coordination]\nzookeeper = \"zk:2181\"\nembedded = \"h:7400\"\n",
            "steadfast.toml:3: coordination.embedded and coordination.zookeeper are both set, but a cluster coordinates in one place; remove one of them",
        ),
        (
            "[coordination]\nembedded = \"h:7400\"\nchroot = \"/a\"\n",
            "steadfast.toml:3: coordination.chroot is for ZooKeeper, but coordination.embedded is set; remove one of them",
        ),
        (
            "[coordination]\nzookeeper = \"zk:2181/a\"\nchroot = \"/b\"\n",
            "steadfast.toml:3: coordination.chroot = \"/b\" differs from the chroot \"/a\" in coordination.zookeeper; keep one of them",
        ),
        (
            "[coordination]\nzookeeper = \"zk:0\"\n",
            "steadfast.toml:2: coordination.zookeeper = \"zk:0\" has port 0, which nobody can dial; name the port",
        ),
        (
            "[broker]\nlisten = \"0.0.0.0:7411\"\n",
            "steadfast.toml:2: broker.listen = \"0.0.0.0:7411\" stands for every address of this machine, which nobody can dial; say where others reach this node: broker.advertise, or --advertise HOST:PORT",
        ),
        (
            "[discovery]\nadvertise = \"[::]:7401\"\n",
            "steadfast.toml:2: discovery.advertise = \"[::]:7401\" is no address that others can dial; name this machine's address and the port",
        ),
        (
            "[broker]\nlog_limit = \"1MiB\"\n",
            "steadfast.toml:2: broker.log_limit = \"1MiB\" is too small; choose 2MiB or more",
        ),
        (
            "[broker]\nlog_limit = \"16MiB\"\nuncommitted_limit = \"32MiB\"\n",
            "steadfast.toml:3: broker.uncommitted_limit = \"32MiB\" is above broker.log_limit (16MiB); lower it, or raise broker.log_limit",
        ),
        (
            "[broker]\nrecord_limit = \"1MiB\"\n",
            "steadfast.toml:2: broker.record_limit = \"1MiB\" is too little to record; choose 2MiB or more",
        ),
        (
            "[broker.retention]\nbytes = \"1GiB\"\n",
            "steadfast.toml:2: broker.retention.bytes = \"1GiB\" is above seven eighths of broker.log_limit (1GiB): the log would be full before anything is trimmed; lower it, or raise broker.log_limit",
        ),
        (
            "[metrics]\nbucket = \"b\"\n",
            "steadfast.toml:2: metrics.bucket is set, but metrics.url is not: nothing would be sent; set metrics.url, or remove it",
        ),
        (
            "[metrics]\nurl = \"influx\"\norg = \"o\"\nbucket = \"b\"\n",
            "steadfast.toml:2: metrics.url is not a URL; write for example http://127.0.0.1:8086",
        ),
        (
            "[metrics]\nurl = \"http://h:1\"\norg = \"o\"\n",
            "steadfast.toml:2: metrics.url is set, but metrics.bucket is not; say where to write",
        ),
        (
            "[metrics]\nqueue = 10000000\n",
            "steadfast.toml:2: metrics.queue = 10000000 is out of range; choose 100 to 1000000",
        ),
        (
            "[logging]\nrotation = \"day\"\n",
            "steadfast.toml:2: logging.rotation is for log files, but logging.directory is not set; set it, or remove logging.rotation",
        ),
        (
            "[logging]\ndirectory = \"/tmp\"\nkeep = 3\n",
            "steadfast.toml:3: logging.keep is for log files that rotate, but logging.rotation is not set; set it to \"day\" or \"hour\", or remove logging.keep",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(text), [expected], "{text}");
    }
}

#[test]
fn the_variable_or_flag_at_fault_is_named() {
    let place = Place::new();
    let lag = "[recovery]\nlag = \"3s\"\n";
    let pairs = [("STEADFAST_RECOVERY_LAG", "1s")];
    let problems = load_all(place.file(lag), &pairs, Vec::new()).unwrap_err().to_string();
    assert!(problems.starts_with("STEADFAST_RECOVERY_LAG: recovery.lag = \"1s\" is not above"), "{problems}");

    let problems = load_all(place.file(""), &[], vec![flag("recovery.suspicion", "10ms")]).map(drop);
    assert_eq!(problems, Ok(()), "the heartbeat follows");
    let problems = load_all(place.file(""), &[], vec![flag("recovery.suspicion", "1ms")]).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "--suspicion: recovery.suspicion = \"1ms\" is out of range; choose 10ms to 10m"
    );
    let pairs = [("STEADFAST_METRICS_QUEUE", "many")];
    let problems = load_all(place.file(""), &pairs, Vec::new()).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "STEADFAST_METRICS_QUEUE: metrics.queue = \"many\": write a whole number above zero"
    );
}

#[test]
fn more_than_one_problem_still_makes_one_line() {
    let place = Place::new();
    let problems = load_all(place.file("x = 1\ny = 2\nz = 3\n"), &[], Vec::new()).unwrap_err();
    assert_eq!(
        place.shorten(&Problems::from(Problem::new(&problems))),
        [
            "steadfast.toml:1: x is unknown; remove it, or see 'steadfast config default' (and 2 more: steadfast config check)"
        ]
    );
}

#[test]
fn a_higher_layers_coordination_service_takes_the_place_of_a_lower_ones() {
    let place = Place::new();
    let file = place.file("[coordination]\nzookeeper = \"zk1:2181,zk2:2181/apps\"\n");
    let from_file = load_all(file.clone(), &[], Vec::new()).unwrap().settings.coordination;
    assert_eq!(from_file.zookeeper.as_ref().unwrap().addresses.len(), 2);
    assert_eq!(from_file.chroot(), Some("/apps"));
    let flags = vec![flag("coordination.embedded", "127.0.0.1:7400")];
    let from_flag = load_all(file, &[], flags).unwrap().settings.coordination;
    assert!(from_flag.zookeeper.is_none() && from_flag.embedded.is_some());
}

#[test]
fn damaged_files_are_one_clear_line() {
    let binary = wrong(b"[cluster]\nname = \"\xff\xfe\x00\"\n");
    assert_eq!(
        binary,
        [
            "steadfast.toml:2: it is not text in UTF-8; name another file, or write it anew: steadfast config default"
        ]
    );
    let truncated = wrong("[cluster]\nname = \"ma");
    assert_eq!(truncated.len(), 1);
    assert!(
        truncated[0].starts_with("steadfast.toml:2: this is not TOML: invalid basic string"),
        "{truncated:?}"
    );
    assert!(truncated[0].ends_with("; correct the line"), "{truncated:?}");
    let twice = wrong("[cluster]\nname = \"a\"\nname = \"b\"\n");
    assert_eq!(twice, ["steadfast.toml:3: this is not TOML: duplicate key; correct the line"]);
    let section = wrong("broker = 7\n");
    assert_eq!(section, ["steadfast.toml:1: broker is a section; write [broker] and its keys below"]);
    let long = wrong("#".repeat((1 << 20) + 1));
    assert_eq!(
        long,
        ["--config: steadfast.toml: it is longer than 1MiB, so it is no configuration; name another file"]
    );
    let garbage: Vec<u8> = (0..=255).collect();
    assert_eq!(wrong(garbage).len(), 1);

    let place = Place::new();
    let directory = place.0.join("steadfast.toml");
    std::fs::create_dir(&directory).unwrap();
    let problems = load_all(directory.clone(), &[], Vec::new()).unwrap_err();
    let expected = "steadfast.toml: cannot be read: it is a directory; name a file in it";
    assert_eq!(place.shorten(&problems), [format!("--config: {expected}")]);
    let variable = variables(&[("STEADFAST_CONFIG", directory.to_str().unwrap())]);
    let sources = Sources { file: None, places: &[], environment: variable, flags: Vec::new() };
    assert_eq!(place.shorten(&load(sources).unwrap_err()), [format!("STEADFAST_CONFIG: {expected}")]);
    let places = [directory.to_str().unwrap()];
    let sources = Sources { file: None, places: &places, environment: Environment::new(), flags: Vec::new() };
    assert_eq!(place.shorten(&load(sources).unwrap_err()), [expected], "in a usual place as well");
}

#[test]
fn no_change_of_a_byte_panics() {
    let text = "[cluster]\nname = \"main\"\n[coordination]\nzookeeper = [\"zk:2181\"]\n[broker.retention]\nage = '7d'\n";
    for position in 0..text.len() {
        let _ = file::parse("f", &text[..position]);
        for byte in [0, b'"', b'[', b'=', b'\n', 0x7f] {
            let mut changed = text.as_bytes().to_vec();
            changed[position] = byte;
            let _ = file::parse("f", std::str::from_utf8(&changed).unwrap());
        }
    }
}

#[test]
fn unset_thresholds_follow_what_they_depend_on() {
    let timing = good("[coordination]\nsession_timeout = \"7s\"\n").settings.timing(Duration::from_secs(7));
    assert_eq!(timing.lag, Duration::from_millis(7_500));
    assert_eq!(timing.step_down, timing.lag);
    let defaults = good("").settings.timing(Duration::from_secs(2));
    assert_eq!(defaults, steadfast_core::limits::Timing::default(), "the defaults are the core's");
    let broker = steadfast_core::broker::Config::default();
    let settings = good("").settings;
    assert_eq!(settings.broker.log_limit, broker.log_bytes);
    assert_eq!(settings.broker.uncommitted_limit, broker.uncommitted_bytes);
    assert_eq!(settings.broker.session_expiry, broker.session_expiry);
    assert_eq!(settings.retention(), broker.retention);
    assert_eq!(good("[recovery]\nsuspicion = \"100ms\"").settings.recovery.heartbeat().as_millis(), 20);
}

#[test]
fn a_lag_threshold_is_measured_by_what_was_granted() {
    let loaded = good("[recovery]\nlag = \"3s\"\n");
    assert_eq!(loaded.check_granted(Duration::from_secs(2)), Ok(()));
    let refused = loaded.check_granted(Duration::from_secs(4)).unwrap_err().to_string();
    assert!(
        refused.contains("steadfast.toml:2: recovery.lag = \"3s\" is not above 4s, the session timeout that"),
        "{refused}"
    );
    assert_eq!(good("").check_granted(Duration::from_secs(40)), Ok(()), "it follows where it is not set");
}

#[test]
fn secrets_come_from_the_environment_or_a_file_and_are_not_shown() {
    let place = Place::new();
    let secret = place.0.join("secret");
    std::fs::write(&secret, "bob:hidden\n").unwrap();
    let file = place.file(format!("[coordination]\ncredential_file = \"{}\"\n", secret.display()));
    let loaded = load_all(file.clone(), &[], Vec::new()).unwrap();
    assert_eq!(loaded.credential().unwrap().unwrap().expose(), "bob:hidden");
    let pairs = [("STEADFAST_COORDINATION_CREDENTIAL", "eve:concealed"), ("STEADFAST_METRICS_TOKEN", "t")];
    let loaded = load_all(file.clone(), &pairs, Vec::new()).unwrap();
    assert_eq!(loaded.credential().unwrap().unwrap().expose(), "eve:concealed");
    assert_eq!(loaded.token().unwrap().unwrap().expose(), "t");
    let shown = format!("{:?} {:?}", loaded.shown(), loaded.credential());
    assert!(shown.contains("(hidden)") && !shown.contains("concealed") && !shown.contains("bob"), "{shown}");
    assert_eq!(loaded.check_secrets(), Ok(()));

    std::fs::write(&secret, "nocolon").unwrap();
    let loaded = load_all(file.clone(), &[], Vec::new()).unwrap();
    let problems = loaded.check_secrets().unwrap_err();
    assert_eq!(
        place.shorten(&problems),
        ["steadfast.toml:2: coordination.credential has no colon; write USER:PASSWORD"]
    );
    std::fs::write(&secret, "a:b".repeat(2_000)).unwrap();
    assert!(loaded.credential().unwrap_err().to_string().contains("longer than 4KiB"));
    std::fs::remove_file(&secret).unwrap();
    let problem = loaded.credential().unwrap_err().to_string();
    assert!(
        problem.contains("steadfast.toml:2: coordination.credential_file = ")
            && problem.contains("No such file"),
        "{problem}"
    );
}

#[test]
fn what_is_shown_says_where_it_comes_from() {
    let loaded = good("[broker]\nname = \"one\"\n");
    let shown = loaded.shown();
    assert_eq!(shown.len(), keys().len() + 2);
    let find = |key: &str| shown.iter().find(|one| one.key == key).unwrap();
    assert!(find("broker.name").source.ends_with("steadfast.toml:2"));
    assert_eq!(find("coordination.session_timeout").source, "default");
    assert_eq!(find("recovery.lag").value, Some(Value::String("2500ms".into())));
    assert_eq!(find("recovery.lag").source, "default: above the session timeout");
    assert_eq!(find("broker.advertise").value, None);
    assert_eq!(find("metrics.queue").value, Some(Value::Integer(10_000)));
    assert_eq!(find("metrics.token").value, None);
}

#[test]
fn unknown_variables_are_told() {
    let place = Place::new();
    let pairs = [("STEADFAST_BROKER_NAMES", "x"), ("STEADFAST_CONFIG", ""), ("STEADFAST_METRICS_TOKEN", "t")];
    let loaded = load_all(place.file(""), &pairs, Vec::new()).unwrap();
    assert_eq!(
        loaded.unknown_variables(),
        ["STEADFAST_BROKER_NAMES is unknown and has no effect; did you mean STEADFAST_BROKER_NAME?"]
    );
}

#[test]
fn the_default_file_sets_nothing_and_its_examples_are_right() {
    let text = default_file();
    let loaded = good(&text);
    assert!(loaded.shown().iter().all(|one| one.source.starts_with("default")));
    // Every key with a default stands there as a comment that can be taken out of it.
    let with_default = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && !line.ends_with('=');
    let taken: Vec<_> =
        text.lines().map(|line| if with_default(&line) { &line[1..] } else { line }).collect();
    let loaded = good(&taken.join("\n"));
    let made = loaded.shown().iter().filter(|one| !one.source.starts_with("default")).count();
    assert_eq!(made, keys().iter().filter(|key| key.default_value().is_some()).count());
    for key in keys() {
        assert!(text.contains(&format!("#{} =", key.name())) && text.contains(key.variable), "{}", key.path);
    }
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/configuration.md is out of date: UPDATE_DOCS=1 cargo test -p steadfast-runtime reference"
    );
}

#[test]
fn the_example_file_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/steadfast.toml");
    let loaded = load_all(path, &[], Vec::new()).unwrap();
    assert_eq!(loaded.settings.coordination.zookeeper.as_ref().unwrap().addresses.len(), 3);
    assert!(loaded.settings.recovery.lag.is_none() && loaded.settings.logging.directory.is_some());
}

#[test]
fn every_flag_has_a_key() {
    for (key, flag) in FLAGS {
        assert!(keys::find(key).is_some() && flag.starts_with("--"), "{key}");
    }
}

#[test]
fn what_came_from_a_file_cannot_change_how_its_problem_is_shown() {
    let escaped = wrong("\"a\\u001b[2Jb\" = 1\n");
    assert_eq!(escaped.len(), 1);
    assert!(escaped[0].contains("a\u{fffd}[2Jb is unknown"), "{escaped:?}");
    let long = wrong(format!("[recovery]\nlag = \"{}\"\n", "x".repeat(10_000)));
    assert!(long[0].len() < 300, "{long:?}");
    let password = wrong("[metrics]\nurl = \"http://me:hidden@h:1\"\norg = \"o\"\nbucket = \"b\"\n");
    assert!(password[0].contains("metrics.url") && !password[0].contains("hidden"), "{password:?}");
}
