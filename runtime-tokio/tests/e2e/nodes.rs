//! Processes of the program under test.

use crate::zookeeper::Ensemble;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longer than anything here takes, also on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Tests take turns: each starts a dozen processes, and their timings must mean something.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program with these arguments.
pub fn steadfast<S: AsRef<str>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command.args(args.iter().map(AsRef::as_ref)).stdin(Stdio::null());
    command
}

/// Waits until this holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What a stream has said so far.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn follow(mut stream: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let heard = Self::default();
        let sink = heard.clone();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 64 << 10];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                sink.lock().extend_from_slice(&buffer[..count]);
            }
        });
        (heard, reader)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.lock().clone()
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }
}

/// A process whose output is collected. It is killed when this is dropped.
pub struct Running {
    pub name: String,
    child: Child,
    pub out: Heard,
    pub err: Heard,
    readers: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let text = self.err.text();
            let tail: Vec<_> = text.lines().rev().take(40).collect();
            eprintln!("---- {} said:", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Running {
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (out, out_reader) = Heard::follow(child.stdout.take().unwrap());
        let (err, err_reader) = Heard::follow(child.stderr.take().unwrap());
        Self { name: name.to_owned(), child, out, err, readers: vec![out_reader, err_reader] }
    }

    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input is a pipe")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, with the shell's own `kill`.
    pub fn signal(&self, signal: &str) {
        let script = format!("kill -{signal} {}", self.pid());
        let sent = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert!(sent.success(), "{signal} to {}", self.name);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, and for the last of what it has said.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait_until(&format!("the end of {name}"), || !self.is_running());
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        self.child.wait().unwrap()
    }
}

/// Runs the program to its end.
pub fn run<S: AsRef<str>>(args: &[S]) -> Output {
    let mut child = steadfast(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let all = |mut stream: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    let (out, err) = (all(Box::new(out)), all(Box::new(err)));
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("the program does not end: {:?}", args.iter().map(AsRef::as_ref).collect::<Vec<&str>>());
        }
        thread::sleep(Duration::from_millis(5));
    };
    Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

/// A node that listens.
pub struct Node {
    pub process: Running,
    pub address: String,
}

impl Node {
    /// Starts it and waits for its ready line.
    pub fn start(name: &str, args: &[&str]) -> Self {
        let mut command = steadfast(args);
        command.args(["--log", "debug"]);
        let mut process = Running::start(name, command);
        let mut address = None;
        wait_until(&format!("{name} is ready"), || {
            assert!(process.is_running(), "{name} has ended: {}", process.err.text());
            let first = BufReader::new(process.out.bytes().as_slice()).lines().next().and_then(Result::ok);
            let complete = process.out.bytes().contains(&b'\n');
            address = first.filter(|_| complete);
            address.is_some()
        });
        let line = address.unwrap();
        let address = line.strip_prefix("listening on tcp://").expect("a ready line");
        Self { process, address: address.to_owned() }
    }

    /// How often it has become primary.
    fn reigns(&self) -> usize {
        self.process.err.text().matches("BecamePrimary").count()
    }
}

/// What a cluster coordinates with.
pub enum Service {
    Embedded(Node),
    ZooKeeper(Ensemble),
}

impl Service {
    pub fn embedded() -> Self {
        Self::Embedded(Node::start("coordination", &["coordination", "--listen", "127.0.0.1:0"]))
    }

    pub fn ensemble() -> Self {
        Self::ZooKeeper(Ensemble::start(3))
    }

    /// Starts a node that uses it.
    pub fn node(&self, name: &str, args: &[&str]) -> Node {
        let common = self.args();
        Node::start(name, &[args, &[common[0].as_str(), common[1].as_str()]].concat())
    }

    pub fn args(&self) -> [String; 2] {
        match self {
            Self::Embedded(node) => ["--coordination".into(), node.address.clone()],
            Self::ZooKeeper(ensemble) => ["--zookeeper".into(), ensemble.connect_string()],
        }
    }
}

/// A cluster of one discovery replica and some brokers.
pub struct Cluster {
    pub brokers: Vec<Node>,
    pub discovery: Node,
    pub service: Service,
}

impl Cluster {
    /// Starts it and waits until there is a primary and every other broker is in sync.
    pub fn start(service: Service, brokers: usize) -> Self {
        Self::start_with(service, brokers, &[])
    }

    /// As [`Cluster::start`]; the brokers get these options.
    pub fn start_with(service: Service, brokers: usize, options: &[&str]) -> Self {
        Self::start_as(service, brokers, options, &[])
    }

    /// As [`Cluster::start_with`]; discovery gets these options.
    pub fn start_as(service: Service, brokers: usize, options: &[&str], of_discovery: &[&str]) -> Self {
        let discovery = service.node("discovery", &[&["discovery"], of_discovery].concat());
        let mut cluster = Self { brokers: Vec::new(), discovery, service };
        for n in 0..brokers {
            let broker = cluster.new_broker(n, options);
            cluster.brokers.push(broker);
        }
        wait_until("every broker is in sync", || cluster.discovery.in_sync() == brokers);
        cluster
    }

    fn new_broker(&self, n: usize, options: &[&str]) -> Node {
        let name = format!("broker-{}", n + 1);
        self.service.node(&name, &[&["broker", "--name", &name], options].concat())
    }

    /// Starts a broker again, whose process is gone.
    pub fn restart_broker(&mut self, n: usize, options: &[&str]) {
        assert!(!self.brokers[n].process.is_running());
        self.brokers[n] = self.new_broker(n, options);
    }

    /// What an operator's command says and how it ends.
    pub fn operate(&self, args: &[&str]) -> Output {
        let common = self.service.args();
        run(&[args, &[common[0].as_str(), common[1].as_str()]].concat())
    }

    /// Where a further node finds the coordination service.
    pub fn coordination_args(&self) -> [String; 2] {
        self.service.args()
    }

    /// Index of the primary.
    pub fn primary(&self) -> usize {
        let latest = |broker: &Node| broker.latest_epoch();
        (0..self.brokers.len()).max_by_key(|&index| latest(&self.brokers[index])).unwrap()
    }

    /// How often a broker has become primary, all in all.
    pub fn reigns(&self) -> usize {
        self.brokers.iter().map(Node::reigns).sum()
    }
}

impl Node {
    /// The last epoch in which it became primary; 0 for none.
    pub fn latest_epoch(&self) -> u64 {
        let text = self.process.err.text();
        let last = text.rsplit("BecamePrimary { epoch: ").next().filter(|_| text.contains("BecamePrimary"));
        last.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    }

    /// How many brokers are in sync, as this discovery replica last saw it.
    pub fn in_sync(&self) -> usize {
        let text = self.process.err.text();
        let Some(rest) = text.rsplit_once("in_sync: [").map(|(_, rest)| rest) else { return 0 };
        let list = rest.split(']').next().unwrap_or_default();
        list.split(", ").filter(|name| !name.is_empty()).count()
    }
}
