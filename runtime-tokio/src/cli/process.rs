//! Processes of this same program that belong to this one.

use super::failure::Failure;
use futures::FutureExt as _;
use futures::future::select_all;
use rustix::process::{Pid, Signal, kill_process};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::env::current_exe;
use std::fs::File;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;
use steadfast_runtime::configuration::environment;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

/// How long a process may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(15);
/// Lines of standard error that are kept for an error message.
const KEPT_LINES: usize = 4;
/// How a node says that it is ready.
pub const READY: &str = "listening on ";

/// What a process says.
#[derive(Debug)]
pub enum Output {
    /// A line on standard output.
    Line(String),
    /// It has ended.
    Ended,
}

/// A process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    /// For people.
    pub name: String,
    pid: Pid,
    stdin: Option<ChildStdin>,
    output: mpsc::UnboundedReceiver<Output>,
    errors: Rc<RefCell<VecDeque<String>>>,
    end: Rc<RefCell<Option<ExitStatus>>>,
    /// Reads what the process says, and holds it.
    task: JoinHandle<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.task.abort();
    }
}

impl Process {
    /// Starts this program with other arguments. Its log goes to `NAME.log` in the directory, if
    /// there is one.
    ///
    /// # Errors
    /// When the system cannot start it.
    pub fn start(name: &str, args: &[String], logs: Option<&Path>) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::new(format!("cannot start {name}: {error}"), "free memory or processes, and try again")
        };
        let stderr = match logs {
            None => Stdio::piped(),
            Some(directory) => log_file(directory, name)?.into(),
        };
        let mut command = Command::new(current_exe().map_err(cannot)?);
        command.arg("--attached").args(args);
        command.args(if logs.is_some() { ["--log", "debug"] } else { ["--log", "error"] });
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        // What is set for this machine's own cluster is not meant for this one.
        environment().keys().for_each(|name| {
            command.env_remove(name);
        });
        // Ctrl-C is for the parent, which ends its processes in order.
        command.process_group(0);
        let mut child = command.spawn().map_err(cannot)?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let (sender, output) = mpsc::unbounded_channel();
        let errors = Rc::new(RefCell::new(VecDeque::new()));
        let end = Rc::new(RefCell::new(None));
        Ok(Self {
            name: name.to_owned(),
            pid: pid.expect("a process that was started has an id"),
            stdin: child.stdin.take(),
            output,
            errors: Rc::clone(&errors),
            end: Rc::clone(&end),
            task: spawn_local(follow(child, sender, errors, end)),
        })
    }

    /// The next thing it says; never anything after its end.
    pub async fn next(&mut self) -> Output {
        match self.output.recv().await {
            Some(output) => output,
            None => std::future::pending().await,
        }
    }

    /// Waits for the line that a node prints when it is ready; returns its address.
    ///
    /// # Errors
    /// When it ends before, or takes too long.
    pub async fn ready(&mut self) -> Result<String, Failure> {
        let line = timeout(PATIENCE, self.next()).await;
        match line {
            Ok(Output::Line(line)) if line.starts_with(READY) => Ok(line[READY.len()..].to_owned()),
            Ok(_) => Err(self.failure()),
            Err(_) => Err(Failure::new(
                format!("{} is not ready in time", self.name),
                "look at its log (--logs DIR)",
            )),
        }
    }

    /// Sends it a line.
    pub async fn tell(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            // A process that has ended says so in its output.
            let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
        }
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.end.borrow().is_none() {
            // It may end at this moment, which is what the signal is for.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) {
        while matches!(self.next().await, Output::Line(_)) {}
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Why it has ended, although it should not.
    pub fn failure(&self) -> Failure {
        let end = self.end.borrow().map_or_else(|| "runs".to_owned(), |status| status.to_string());
        let errors = self.errors.borrow();
        let said = errors.iter().map(String::as_str).collect::<Vec<_>>().join(" | ");
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        Failure::new(
            format!("{} does not do its job ({end}{said})", self.name),
            "try again with --logs DIR and look at its log",
        )
    }
}

/// The next thing that any of them says, and which of them does.
pub async fn next_of<'a>(processes: impl Iterator<Item = &'a mut Process>) -> (usize, Output) {
    let (output, index, _) = select_all(processes.map(|process| process.next().boxed_local())).await;
    (index, output)
}

fn log_file(directory: &Path, name: &str) -> Result<File, Failure> {
    let path = directory.join(format!("{name}.log"));
    std::fs::create_dir_all(directory)
        .and_then(|()| File::options().append(true).create(true).open(&path))
        .map_err(|error| {
            Failure::new(
                format!("cannot write {}: {error}", path.display()),
                "choose another directory for --logs",
            )
        })
}

async fn follow(
    mut child: Child,
    sender: mpsc::UnboundedSender<Output>,
    errors: Rc<RefCell<VecDeque<String>>>,
    end: Rc<RefCell<Option<ExitStatus>>>,
) {
    let stderr =
        child.stderr.take().map(|stderr| spawn_local(keep_errors(BufReader::new(stderr).lines(), errors)));
    let mut lines = BufReader::new(child.stdout.take().expect("standard output is a pipe")).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let _ = sender.send(Output::Line(line));
    }
    let status = child.wait().await;
    *end.borrow_mut() = status.ok();
    if let Some(stderr) = stderr {
        // Its last words; something that it has started may keep the pipe open.
        let _ = timeout(Duration::from_millis(200), stderr).await;
    }
    let _ = sender.send(Output::Ended);
}

async fn keep_errors(
    mut lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    errors: Rc<RefCell<VecDeque<String>>>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let mut errors = errors.borrow_mut();
        errors.push_back(line);
        if errors.len() > KEPT_LINES {
            errors.pop_front();
        }
    }
}
