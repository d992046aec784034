//! A cluster of processes on this machine, for the demo and the benchmark.

use super::failure::Failure;
use super::process::Process;
use super::service::Service;
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::Duration;
use steadfast_core::group::GroupState;
use steadfast_tokio::nodes::RunningService;
use steadfast_tokio::transport::Kind;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

/// Session timeout of the cluster's nodes: the shortest that a loaded machine keeps.
pub const SESSION_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long the coordination service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the group's state is read.
const POLL: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What all connections are made of.
    pub transport: Kind,
    /// The coordination service; none: an embedded one in this process.
    pub service: Option<Service>,
    /// The cluster's name: nobody else uses it.
    pub cluster: String,
    /// Where the discovery of a cluster is that somebody else has started: nothing is started, and only
    /// workers use it. None: a cluster of its own.
    pub named: Option<String>,
    /// How many discovery replicas.
    pub discovery: usize,
    /// How many brokers.
    pub brokers: usize,
    /// Further options of the brokers.
    pub broker_options: Vec<String>,
    /// Where each process's log goes.
    pub logs: Option<PathBuf>,
    /// Where the metrics of nodes and publishers go: flags.
    pub metrics: Vec<String>,
}

/// A cluster, as far as it is started.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    /// What the plan's nodes use, once they are started.
    service: Option<Service>,
    /// Served by this process, unless the plan names another service.
    embedded: Option<RunningService>,
    /// Reads the group's state.
    watcher: Option<JoinHandle<()>>,
    state: watch::Receiver<Option<GroupState>>,
    discovery: Vec<(Process, String)>,
    brokers: Vec<Process>,
}

impl Cluster {
    /// Starts nothing yet.
    pub fn new(plan: Plan) -> Self {
        let (_, state) = watch::channel(None);
        Self {
            plan,
            service: None,
            embedded: None,
            watcher: None,
            state,
            discovery: Vec::new(),
            brokers: Vec::new(),
        }
    }

    /// Connects to the coordination service, or starts the embedded one.
    ///
    /// # Errors
    /// When it is out of reach.
    pub async fn connect(&mut self) -> Result<(), Failure> {
        if self.plan.named.is_some() {
            return Ok(());
        }
        let service = match &self.plan.service {
            Some(service) => {
                service.probe(self.plan.transport, &self.root(), PATIENCE).await?;
                service.clone()
            }
            None => {
                let (service, running) = Service::embed(self.plan.transport).await?;
                self.embedded = Some(running);
                service
            }
        };
        self.watch_state(&service).await?;
        self.service = Some(service);
        Ok(())
    }

    /// Starts the plan's processes and waits until every broker is in sync.
    ///
    /// # Errors
    /// When a process does not start.
    pub async fn start(&mut self) -> Result<(), Failure> {
        if self.plan.named.is_some() {
            return Ok(());
        }
        for n in 1..=self.plan.discovery {
            let mut process = self.start_node(&format!("discovery-{n}"), &["discovery"])?;
            let address = process.ready().await?;
            self.discovery.push((process, address));
        }
        for n in 1..=self.plan.brokers {
            self.start_broker(&format!("broker-{n}")).await?;
        }
        let brokers = self.plan.brokers;
        self.state_when(PATIENCE, |state| state.primary.is_some() && state.in_sync.len() == brokers).await?;
        Ok(())
    }

    async fn watch_state(&mut self, service: &Service) -> Result<(), Failure> {
        let mut tree = service.open(self.plan.transport, PATIENCE).await?;
        let root = self.root();
        let (sender, receiver) = watch::channel(None);
        self.state = receiver;
        self.watcher = Some(spawn_local(async move {
            while !sender.is_closed() {
                if let Some(state) = tree.group_state(&root).await {
                    sender.send_if_modified(|known| known.replace(state) != *known);
                }
                sleep(POLL).await;
            }
        }));
        Ok(())
    }

    fn start_node(&self, name: &str, command: &[&str]) -> Result<Process, Failure> {
        let mut args: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        args.extend(self.service.iter().flat_map(Service::args));
        let session_timeout = format!("{}ms", SESSION_TIMEOUT.as_millis());
        args.extend(
            ["--cluster", &self.plan.cluster, "--session-timeout", &session_timeout].map(str::to_owned),
        );
        // This machine's configuration is for another cluster.
        args.extend(["--config", "/dev/null"].map(str::to_owned));
        args.extend(self.transport());
        args.extend_from_slice(&self.plan.metrics);
        Process::start(name, &args, self.plan.logs.as_deref())
    }

    /// Starts a broker, in place of a dead one of the same name.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_broker(&mut self, name: &str) -> Result<(), Failure> {
        self.brokers.retain(|broker| broker.name != name);
        let options = self.plan.broker_options.iter().map(String::as_str);
        let command: Vec<_> = ["broker", "--name", name].into_iter().chain(options).collect();
        let mut process = self.start_node(name, &command)?;
        process.ready().await?;
        self.brokers.push(process);
        self.brokers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// Starts a worker that knows where discovery is.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_worker(&self, name: &str, args: &[String]) -> Result<Process, Failure> {
        let mut all = vec!["worker".to_owned()];
        all.extend_from_slice(args);
        self.start_client(name, all)
    }

    /// Starts `steadfast drain` for a broker.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_drain(&self, broker: &str) -> Result<Process, Failure> {
        let args = ["drain", broker, "--config", "/dev/null"].map(str::to_owned);
        self.start_client("drain", args.to_vec())
    }

    fn start_client(&self, name: &str, mut args: Vec<String>) -> Result<Process, Failure> {
        let addresses: Vec<_> = self.discovery.iter().map(|(_, address)| address.as_str()).collect();
        let discovery = self.plan.named.clone().unwrap_or_else(|| addresses.join(","));
        args.extend(["--discovery".to_owned(), discovery]);
        args.extend(self.transport());
        Process::start(name, &args, self.plan.logs.as_deref())
    }

    fn transport(&self) -> [String; 2] {
        ["--transport".to_owned(), self.plan.transport.to_string()]
    }

    /// Where metrics go: flags for nodes and publishers.
    pub fn metrics(&self) -> &[String] {
        &self.plan.metrics
    }

    /// The group's state, as last read.
    pub fn state(&self) -> Option<GroupState> {
        self.state.borrow().clone()
    }

    /// Waits until the group's state is as wanted.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn state_when(
        &self,
        patience: Duration,
        wanted: impl Fn(&GroupState) -> bool,
    ) -> Result<GroupState, Failure> {
        let fits = |state: &Option<GroupState>| state.as_ref().is_some_and(&wanted);
        let mut watched = self.state.clone();
        match timeout(patience, watched.wait_for(fits)).await {
            Ok(Ok(state)) => Ok(state.clone().expect("a state was wanted")),
            _ => Err(self.unexpected()),
        }
    }

    /// The failure to say when the group's state is not what it should be by now.
    pub fn unexpected(&self) -> Failure {
        if let Some(discovery) = &self.plan.named {
            return Failure::new(
                format!("no records come through the cluster at {discovery} in time"),
                "look at 'steadfast status' whether it has a primary",
            );
        }
        let seen = match &*self.state.borrow() {
            None => "there is no group".to_owned(),
            Some(state) => {
                let primary = state.primary.as_ref().map_or("none", |primary| primary.member.node.as_str());
                let in_sync: Vec<_> = state.in_sync.iter().map(|member| member.node.as_str()).collect();
                format!("epoch {}, primary {primary}, in sync {}", state.epoch, in_sync.join(" "))
            }
        };
        Failure::new(
            format!("the cluster is not in the expected state in time ({seen})"),
            "try again with less load on the machine, or with --logs DIR",
        )
    }

    /// The processes of the primary and of the backups.
    ///
    /// # Errors
    /// When there is no primary.
    pub fn roles(&self) -> Result<(&Process, Vec<&Process>), Failure> {
        let state = self.state();
        let primary = state.as_ref().and_then(|state| state.primary.as_ref());
        let primary = primary.map(|primary| primary.member.node.as_str());
        let (leading, following): (Vec<_>, Vec<_>) =
            self.brokers.iter().partition(|broker| Some(broker.name.as_str()) == primary);
        let primary = leading.first().copied().ok_or_else(|| self.unexpected())?;
        Ok((primary, following))
    }

    /// The brokers, by name.
    pub fn brokers(&self) -> &[Process] {
        &self.brokers
    }

    /// The discovery replicas and where they listen.
    pub fn discovery(&self) -> impl Iterator<Item = (&Process, &str)> {
        self.discovery.iter().map(|(process, address)| (process, address.as_str()))
    }

    /// Sends a signal to a broker.
    pub fn signal(&self, broker: &str, signal: Signal) {
        self.brokers
            .iter()
            .filter(|process| process.name == broker)
            .for_each(|process| process.signal(signal));
    }

    /// Ends all processes and removes what they have left in the coordination service.
    ///
    /// # Errors
    /// When something is left there.
    pub async fn stop(mut self) -> Result<(), Failure> {
        // Killed, not asked to leave: nobody needs this cluster's data.
        let discovery = self.discovery.drain(..).map(|(process, _)| process);
        for mut process in self.brokers.drain(..).chain(discovery) {
            process.signal(Signal::KILL);
            process.ended().await;
        }
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
        let root = self.root();
        match self.service.take() {
            Some(service) => service.remove(&root, PATIENCE).await,
            None => Ok(()),
        }
    }

    fn root(&self) -> String {
        format!("/steadfast/{}", self.plan.cluster)
    }
}
