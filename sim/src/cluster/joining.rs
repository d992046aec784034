//! How processes join a cluster.

use super::{Cluster, Config, ROOT};
use crate::actor::Actor;
use crate::check::Fact;
use crate::fault::Fault;
use crate::network::ProcessId;
use crate::operator::Operator;
use crate::outbox::Disk;
use crate::reader::Reader;
use crate::stranger::Stranger;
use crate::world::Life;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use steadfast_core::broker::{self, Broker};
use steadfast_core::compression::Codecs;
use steadfast_core::discovery::{self, Discovery};
use steadfast_core::id::{Address, Generation, Incarnation, NodeName, Nonce, PublisherId};
use steadfast_core::publisher::{self, Publisher};
use steadfast_core::subscriber::{self, Subscriber};

/// Most brokers of a cluster.
pub const MOST_BROKERS: u32 = 5;
/// Most discovery replicas.
pub const MOST_DISCOVERIES: u32 = 3;
/// Most publishers.
pub const MOST_PUBLISHERS: u32 = 16;
/// Most subscribers.
pub const MOST_SUBSCRIBERS: u32 = 32;

/// The places of each kind in the world come after those of the kinds before, whoever takes part: leaving
/// somebody out changes nobody's draws.
const BROKERS: u32 = MOST_DISCOVERIES;
const PUBLISHERS: u32 = BROKERS + MOST_BROKERS;
const SUBSCRIBERS: u32 = PUBLISHERS + MOST_PUBLISHERS;
const SECOND_PROCESSES: u32 = SUBSCRIBERS + MOST_SUBSCRIBERS;

/// The name of a stranger.
const STRANGER: &str = "x1";

/// The name and the place of an operator.
const OPERATOR: (&str, u32) = ("o1", SECOND_PROCESSES + MOST_BROKERS + 1);

pub(super) fn address(name: &str) -> Address {
    Address::new(&format!("sim://{name}")).expect("a valid address")
}

impl Cluster {
    pub(super) fn add_discovery(&mut self, config: &Config, number: u32) {
        let name = format!("d{number}");
        self.world.skip_to(number - 1);
        let (timing, min_in_sync) = (config.timing.clone(), config.min_in_sync);
        let starter = move |life: &Life| {
            let config = discovery::Config { timing: timing.clone(), min_in_sync };
            let (seed, replica) = (life.seed(), life.identity(0));
            let boot = discovery::Boot { seed, replica, root: ROOT.to_owned(), config };
            Actor::Discovery(Box::new(Discovery::new(life.now, boot)))
        };
        self.discoveries.push(self.world.add(&name, Some(address(&name)), Box::new(starter)));
    }

    pub(super) fn add_broker(&mut self, config: &Config, number: u32) {
        let name = format!("b{number}");
        self.world.skip_to(BROKERS + number - 1);
        let broker = self.place_broker(config, number, &name);
        self.brokers.push(broker);
    }

    /// Adds a second process of a broker's node, which does not start by itself and has no part in the cluster when
    /// everything is put right.
    pub fn add_second_process(&mut self, config: &Config, number: u32) {
        self.world.skip_to(SECOND_PROCESSES + number - 1);
        let process = self.place_broker(config, number, &format!("b{number}-again"));
        self.second_processes.push(process);
    }

    fn place_broker(&mut self, config: &Config, number: u32, name: &str) -> ProcessId {
        let node = NodeName::new(&format!("b{number}")).expect("a valid name");
        let listens = address(name);
        let config = broker::Config {
            timing: config.timing.clone(),
            on_total_loss: config.on_total_loss,
            session_expiry: config.session_expiry,
            retention: config.retention,
            log_bytes: config.log_bytes,
            uncommitted_bytes: config.uncommitted_bytes,
            compression: if number <= 2 { config.codecs } else { Codecs::default() },
        };
        let starter = move |life: &Life| {
            let boot = broker::Boot {
                seed: life.seed(),
                node: node.clone(),
                generation: Generation(life.identity(0)),
                incarnation: Incarnation(life.identity(1)),
                address: listens.clone(),
                group: 0,
                root: ROOT.to_owned(),
                config: config.clone(),
            };
            Actor::Broker(Box::new(Broker::new(life.now, boot)))
        };
        self.world.add(name, Some(address(name)), Box::new(starter))
    }

    /// Adds the stranger whose address clients have. It comes last.
    pub(crate) fn add_stranger(&mut self) {
        self.world.skip_to(SUBSCRIBERS + MOST_SUBSCRIBERS);
        let starter = |_: &Life| Actor::Stranger(Stranger::default());
        let process = self.world.add(STRANGER, Some(address(STRANGER)), Box::new(starter));
        self.world.schedule(self.world.now(), Fault::Restart(process));
    }

    /// Adds an operator, who can ask brokers to leave.
    pub(crate) fn add_operator(&mut self) {
        let (name, place) = OPERATOR;
        self.world.skip_to(place);
        let starter = |_: &Life| Actor::Operator(Operator::default());
        let process = self.world.add(name, None, Box::new(starter));
        self.world.schedule(self.world.now(), Fault::Restart(process));
        self.operator = Some(process);
    }

    fn discovery_addresses(config: &Config) -> Vec<Address> {
        let replicas = (1..=config.discoveries).map(|number| address(&format!("d{number}")));
        replicas.chain(config.stranger.then(|| address(STRANGER))).collect()
    }

    /// Adds a publisher, which starts now. With an outbox on a disk, its lives go on where the one before
    /// has ended; without one each has an identity of its own.
    pub fn add_publisher(&mut self, config: &Config, number: u32, outbox: bool) -> ProcessId {
        let identity = Rc::new(Cell::new(PublisherId(u128::from(number) << 96)));
        let disk = outbox.then(|| Rc::new(RefCell::new(Disk::default())));
        let process = self.place_publisher(config, (number, &identity), disk.as_ref());
        self.observer.add_publisher(process, identity, 0);
        self.disks.extend(disk.map(|disk| (process, disk)));
        self.publishers.push(process);
        self.world.schedule(self.world.now(), Fault::Restart(process));
        process
    }

    /// Keeps a place for a process that is to begin with a copy of this publisher's outbox.
    pub(crate) fn reserve_copy(&mut self, config: &Config, of: u32, number: u32) {
        let Some(original) = self.find(&format!("p{of}")) else { return };
        let identity = self.observer.shared_identity(original);
        let disk = Rc::new(RefCell::new(Disk::default()));
        let process = self.place_publisher(config, (number, &identity), Some(&disk));
        self.observer.add_publisher(process, identity, u64::from(number) << 32);
        self.copies.insert(process, (original, disk));
    }

    /// The process that this place was kept for begins, if it has not, with the outbox as it stands: from now on
    /// there are two. Says whether it does.
    pub(crate) fn copy_outbox(&mut self, process: ProcessId) -> bool {
        let Some((original, disk)) = self.copies.remove(&process) else { return false };
        *disk.borrow_mut() = self.disks[&original].borrow_mut().copy();
        self.disks.insert(process, disk);
        self.publishers.push(process);
        let copied = Fact::Copied { publisher: self.observer.identity(process) };
        self.checks.observe(&copied).expect("a copy violates nothing");
        self.world.schedule(self.world.now(), Fault::Restart(process));
        true
    }

    fn place_publisher(
        &mut self,
        config: &Config,
        (number, identity): (u32, &Rc<Cell<PublisherId>>),
        disk: Option<&Rc<RefCell<Disk>>>,
    ) -> ProcessId {
        self.world.skip_to(PUBLISHERS + number - 1);
        let discovery = Self::discovery_addresses(config);
        let settings = publisher::Config { timing: config.timing.clone(), ..config.publisher.clone() };
        let (id, shared, reads) = (identity.get(), Rc::clone(identity), disk.cloned());
        let starter = move |life: &Life| {
            if reads.is_none() {
                shared.set(PublisherId(id.0 | u128::from(life.number - 1)));
            }
            let boot = publisher::Boot {
                seed: life.seed(),
                publisher: shared.get(),
                nonce: Nonce(life.identity(0)),
                discovery: discovery.clone(),
                group: 0,
                config: settings.clone(),
                outbox: reads.as_ref().map(|disk| disk.borrow_mut().read()),
            };
            Actor::Publisher(Box::new(Publisher::new(life.now, boot)))
        };
        self.world.add(&format!("p{number}"), None, Box::new(starter))
    }

    /// Adds a subscriber that starts at this time.
    pub fn add_subscriber(
        &mut self,
        config: &Config,
        number: u32,
        reader: Reader,
        joins: Duration,
    ) -> ProcessId {
        self.world.skip_to(SUBSCRIBERS + number - 1);
        let discovery = Self::discovery_addresses(config);
        let config = subscriber::Config {
            timing: config.timing.clone(),
            credit_bytes: config.credit_bytes,
            ..subscriber::Config::default()
        };
        let filters = reader.filters().to_vec();
        let notes = reader.notes();
        let starter = move |life: &Life| {
            let boot = subscriber::Boot {
                seed: life.seed(),
                discovery: discovery.clone(),
                group: 0,
                filters: filters.clone(),
                start: notes.borrow().start(),
                config: config.clone(),
            };
            Actor::Subscriber(Box::new(Subscriber::new(life.now, boot)))
        };
        let process = self.world.add(&format!("s{number}"), None, Box::new(starter));
        self.observer.add_subscriber(process);
        self.subscribers.insert(process, reader);
        self.world.schedule(joins.as_nanos() as u64, Fault::Restart(process));
        process
    }
}
