//! The simulated network. Connections between processes are made of two ordered pipes; each packet
//! takes a drawn time. A cut holds packets back as TCP does, a reset loses them. Frames keep their order
//! within a connection and have none across connections.

mod faults;

use crate::pipe::Pipe;
use crate::random::{Draws, Purpose, Span};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;
use steadfast_core::id::Address;
use steadfast_core::limits::MAX_FRAME_LEN;
use steadfast_core::link::{Frame, LinkId, LinkStatus};

/// A process's place in its world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl ProcessId {
    /// The key of draws that concern it.
    pub fn entity(self) -> u64 {
        u64::from(self.0)
    }
}

/// How the network behaves.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Time that a packet takes.
    pub latency: Span,
    /// Each process is farther from each other one by a time drawn once, in each direction.
    pub distance: Span,
    /// A few packets take much longer.
    pub tail: Tail,
    /// How long a dial waits for an answer.
    pub dial_timeout: Duration,
    /// How late an end notices a reset.
    pub half_open: Span,
    /// Frames sent on a link and not taken by their receiver, before the sender gives the link up.
    pub link_frames: usize,
    /// The same in bytes.
    pub link_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            latency: Span::new(Duration::from_micros(100), Duration::from_millis(1)),
            distance: Span::ZERO,
            tail: Tail::NONE,
            dial_timeout: Duration::from_secs(1),
            half_open: Span::new(Duration::ZERO, Duration::from_millis(5)),
            link_frames: 1_000,
            link_bytes: 8 * MAX_FRAME_LEN,
        }
    }
}

/// How often a packet takes much longer than others, and how much longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// So many in a thousand packets.
    pub permille: u32,
    /// Take so much longer.
    pub extra: Span,
}

impl Tail {
    /// No packet does.
    pub const NONE: Self = Self { permille: 0, extra: Span::ZERO };
}

/// Whether a machine and its process answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The process exists, running or paused: its kernel accepts connections.
    Up,
    /// The machine runs, the process does not: connections are refused or reset.
    Refusing,
    /// The machine is off: nothing answers.
    Silent,
}

/// Number of a connection.
pub type ConnectionId = u64;

/// Something that the network wants to happen at a later time.
#[derive(Clone, Copy, Debug)]
pub enum Happening {
    /// The next packet of a pipe arrives at this end.
    Arrival(ConnectionId, usize),
    /// The dialler has waited long enough.
    DialTimeout(ConnectionId),
    /// This end notices that the connection was reset.
    Broken(ConnectionId, usize),
    /// What was delayed on the way to this end arrives.
    Delayed(ConnectionId, usize),
}

/// What a process's kernel hands it.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A frame.
    Frame(LinkId, Frame),
    /// A change of a link.
    Status(LinkId, LinkStatus),
}

/// What follows from a call: things to happen later, and inputs that are due now.
#[derive(Debug, Default)]
pub struct Effects {
    /// With the time at which they happen.
    pub later: SmallVec<[(u64, Happening); 2]>,
    /// With their receiver.
    pub arrivals: SmallVec<[(ProcessId, Arrival); 1]>,
}

#[derive(Debug)]
enum Packet {
    Syn,
    SynAck,
    Refuse,
    Frame(Frame),
    Reset,
}

#[derive(Debug)]
struct End {
    process: ProcessId,
    /// Whether the process still holds its end.
    open: bool,
    /// `None` at the accepting end until its first frame.
    link: Option<LinkId>,
    /// Frames, and bytes in them, that were sent to it and that its process has not taken.
    untaken: (usize, usize),
    /// Bytes of them in its process's inbox.
    unread: usize,
    marks: Marks,
}

/// Which frames of one end were damaged on their way.
#[derive(Debug, Default)]
struct Marks {
    /// Frames that its process has taken.
    taken: u64,
    /// The numbers of damaged ones that its process has not taken.
    damaged: VecDeque<u64>,
}

impl Marks {
    /// The process takes the next frame. Says whether it is damaged.
    fn take(&mut self) -> bool {
        self.taken += 1;
        self.damaged.pop_front_if(|number| *number + 1 == self.taken).is_some()
    }
}

impl End {
    fn new(process: ProcessId, link: Option<LinkId>) -> Self {
        Self { process, open: link.is_some(), link, untaken: (0, 0), unread: 0, marks: Marks::default() }
    }
}

/// The dialling end is number 0; pipe `n` leads to end `n`.
#[derive(Debug)]
struct Connection {
    ends: [End; 2],
    pipes: [Pipe<Packet>; 2],
    established: bool,
    /// Nothing arrives on it any more.
    broken: bool,
}

/// What is particular to packets from one process to another.
#[derive(Debug, Default)]
struct Way {
    /// In place of the usual latency.
    latency: Option<Span>,
    /// On top of it, in nanoseconds.
    lag: u64,
    /// Packets sent.
    sent: u64,
    /// So many in a thousand frames are damaged.
    damaged: u32,
    /// Whether packets are held back.
    cut: bool,
}

/// All connections.
#[derive(Debug)]
pub struct Network {
    config: Config,
    draws: Draws,
    ways: BTreeMap<(ProcessId, ProcessId), Way>,
    /// Processes that take nothing from their links.
    deaf: BTreeSet<ProcessId>,
    hosts: BTreeMap<ProcessId, Host>,
    listeners: BTreeMap<Address, ProcessId>,
    connections: BTreeMap<ConnectionId, Connection>,
    links: BTreeMap<(ProcessId, LinkId), (ConnectionId, usize)>,
    /// Links that are gone, with damaged frames that may be in their processes' inboxes.
    lost: BTreeMap<(ProcessId, LinkId), Marks>,
    accepted: BTreeMap<ProcessId, u64>,
    /// How often each process has dialled.
    dialled: BTreeMap<ProcessId, u64>,
}

impl Network {
    /// A network without processes.
    pub fn new(config: Config, draws: Draws) -> Self {
        Self {
            config,
            draws,
            ways: BTreeMap::new(),
            deaf: BTreeSet::new(),
            hosts: BTreeMap::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            links: BTreeMap::new(),
            lost: BTreeMap::new(),
            accepted: BTreeMap::new(),
            dialled: BTreeMap::new(),
        }
    }

    /// From now on the process is reached at this address.
    pub fn listen(&mut self, process: ProcessId, address: Address) {
        self.listeners.insert(address, process);
    }

    /// From now on packets from one process to another take this long.
    pub fn set_latency(&mut self, from: ProcessId, to: ProcessId, latency: Span) {
        self.ways.entry((from, to)).or_default().latency = Some(latency);
    }

    /// The process's machine answers like this from now on.
    pub fn set_host(&mut self, process: ProcessId, host: Host) {
        self.hosts.insert(process, host);
    }

    /// Who is at the other end of a link.
    pub fn peer(&self, process: ProcessId, link: LinkId) -> Option<ProcessId> {
        let (connection, end) = self.links.get(&(process, link))?;
        Some(self.connections.get(connection)?.ends[1 - end].process)
    }

    /// The connection that a link is an end of, and which end: 0 for the one that dialled, 1 for the other.
    pub fn connection(&self, process: ProcessId, link: LinkId) -> Option<(ConnectionId, usize)> {
        self.links.get(&(process, link)).copied()
    }

    /// A process dials.
    pub fn dial(&mut self, now: u64, process: ProcessId, link: LinkId, address: &Address) -> Effects {
        let mut effects = Effects::default();
        let Some(&target) = self.listeners.get(address) else {
            effects.arrivals.push((process, Arrival::Status(link, LinkStatus::Refused)));
            return effects;
        };
        let dialled = self.dialled.entry(process).or_default();
        *dialled += 1;
        let id = process.entity() << 32 | *dialled;
        let ends = [End::new(process, Some(link)), End::new(target, None)];
        let pipes = [Pipe::default(), Pipe::default()];
        self.connections.insert(id, Connection { ends, pipes, established: false, broken: false });
        self.links.insert((process, link), (id, 0));
        self.send(now, id, 1, Packet::Syn, &mut effects);
        let timeout = now + self.config.dial_timeout.as_nanos() as u64;
        effects.later.push((timeout, Happening::DialTimeout(id)));
        effects
    }

    /// A process sends a frame. On a link that is gone it vanishes; a link that is full is given up.
    pub fn transmit(&mut self, now: u64, process: ProcessId, link: LinkId, frame: Frame) -> Effects {
        let mut effects = Effects::default();
        let Some(&(id, end)) = self.links.get(&(process, link)) else { return effects };
        let Some(connection) = self.connections.get_mut(&id) else { return effects };
        let way = (process, connection.ends[1 - end].process);
        let receiver = &mut connection.ends[1 - end];
        let (frames, bytes) = &mut receiver.untaken;
        if *frames < self.config.link_frames && *bytes + frame.len() <= self.config.link_bytes {
            let number = receiver.marks.taken + *frames as u64;
            (*frames, *bytes) = (*frames + 1, *bytes + frame.len());
            let frame = match self.damage(way, &frame) {
                Some(damaged) => {
                    self.note_damage(id, 1 - end, number);
                    damaged
                }
                None => frame,
            };
            self.send(now, id, 1 - end, Packet::Frame(frame), &mut effects);
        } else {
            self.send(now, id, 1 - end, Packet::Reset, &mut effects);
            self.lose(id, end, LinkStatus::Lost, &mut effects);
        }
        effects
    }

    /// A process takes a frame of so many bytes from its inbox. Returns who sent it, if the link still
    /// exists, and whether it was damaged on its way.
    pub fn take(&mut self, process: ProcessId, link: LinkId, bytes: usize) -> (Option<ProcessId>, bool) {
        let Some((id, end)) = self.links.get(&(process, link)) else {
            let marks = self.lost.get_mut(&(process, link));
            return (None, marks.is_some_and(Marks::take));
        };
        let Some(connection) = self.connections.get_mut(id) else { return (None, false) };
        let taker = &mut connection.ends[*end];
        taker.untaken = (taker.untaken.0 - 1, taker.untaken.1 - bytes);
        taker.unread -= bytes;
        let damaged = taker.marks.take();
        (Some(connection.ends[1 - end].process), damaged)
    }

    /// Bytes in frames that the process has sent and nobody has taken, and in those that it has not
    /// taken itself.
    pub fn memory(&self, process: ProcessId) -> usize {
        let links = self.links.range((process, LinkId::dialled(0))..);
        let links = links.take_while(|((holder, _), _)| *holder == process);
        let ends = links.map(|(_, (id, end))| (&self.connections[id].ends, *end));
        ends.map(|(ends, end)| ends[1 - end].untaken.1 + ends[end].unread).sum()
    }

    /// A process closes a link.
    pub fn close(&mut self, now: u64, process: ProcessId, link: LinkId) -> Effects {
        let mut effects = Effects::default();
        if let Some(&(id, end)) = self.links.get(&(process, link)) {
            self.send(now, id, 1 - end, Packet::Reset, &mut effects);
            self.lose(id, end, LinkStatus::Lost, &mut Effects::default());
        }
        effects
    }

    /// A process is gone with all its ends; `host` says what its peers meet from now on.
    pub fn kill(&mut self, now: u64, process: ProcessId, host: Host) -> Effects {
        let mut effects = Effects::default();
        self.set_host(process, host);
        self.deaf.remove(&process);
        for (id, end) in self.ends_where(|ends, end| ends[end].process == process) {
            // One that it had with itself may have gone with the other end.
            let Some(connection) = self.connections.get(&id) else { continue };
            if host != Host::Silent && connection.ends[end].open {
                self.send(now, id, 1 - end, Packet::Reset, &mut effects);
            }
            self.lose(id, end, LinkStatus::Lost, &mut Effects::default());
        }
        self.lost.retain(|(holder, _), _| *holder != process);
        effects
    }

    /// A process is about to die: the last of what it has sent and its machine had not taken yet dies
    /// with it. (Who ends by itself lets it go out first.)
    pub fn lose_unsent(&mut self, process: ProcessId) {
        for (id, end) in self.ends_where(|ends, end| ends[end].process == process) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let pipe = &mut connection.pipes[1 - end];
            let keep = self.draws.below(Purpose::Unsent, id, end as u64, pipe.len() as u64 + 1);
            pipe.lose_after(keep as usize);
        }
    }

    /// Something that was to happen later happens.
    pub fn happen(&mut self, now: u64, happening: Happening) -> Effects {
        let mut effects = Effects::default();
        match happening {
            Happening::Arrival(id, end) => self.arrive(now, id, end, &mut effects),
            Happening::Broken(id, end) => self.lose(id, end, LinkStatus::Lost, &mut effects),
            Happening::Delayed(id, end) => self.release(now, id, end, &mut effects),
            Happening::DialTimeout(id) => {
                if self.connections.get(&id).is_some_and(|connection| !connection.established) {
                    self.lose(id, 0, LinkStatus::Lost, &mut effects);
                }
            }
        }
        effects
    }

    fn arrive(&mut self, now: u64, id: ConnectionId, end: usize, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.broken) else {
            return;
        };
        let way = (connection.ends[1 - end].process, connection.ends[end].process);
        let pipe = &mut connection.pipes[end];
        let cut = self.ways.get(&way).is_some_and(|way| way.cut);
        // The kernel goes on to make connections for a process that reads nothing.
        let unread =
            self.deaf.contains(&way.1) && matches!(pipe.first(), Some(Packet::Frame(_) | Packet::Reset));
        if cut || unread || pipe.is_delayed(now) {
            pipe.hold();
            return;
        }
        let Some(packet) = pipe.take() else { return };
        match packet {
            Packet::Syn => self.answer(now, id, effects),
            Packet::SynAck => {
                connection.established = true;
                if let Some(link) = connection.ends[0].link.filter(|_| connection.ends[0].open) {
                    effects.arrivals.push((way.1, Arrival::Status(link, LinkStatus::Up)));
                }
            }
            Packet::Refuse => self.lose(id, end, LinkStatus::Refused, effects),
            Packet::Reset => self.lose(id, end, LinkStatus::Lost, effects),
            Packet::Frame(frame) => self.receive(now, id, end, frame, effects),
        }
        self.tidy(id);
    }

    /// A dial reaches its target.
    fn answer(&mut self, now: u64, id: ConnectionId, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !connection.ends[0].open {
            return;
        }
        match self.hosts.get(&connection.ends[1].process).copied().unwrap_or(Host::Refusing) {
            Host::Up => {
                connection.ends[1].open = true;
                self.send(now, id, 0, Packet::SynAck, effects);
            }
            Host::Refusing => self.send(now, id, 0, Packet::Refuse, effects),
            Host::Silent => {}
        }
    }

    fn receive(&mut self, now: u64, id: ConnectionId, end: usize, frame: Frame, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let receiver = &mut connection.ends[end];
        let process = receiver.process;
        if !receiver.open {
            // The machine knows nothing of this connection and says so, if it is on.
            if self.hosts.get(&process) != Some(&Host::Silent) {
                self.send(now, id, 1 - end, Packet::Reset, effects);
            }
            return;
        }
        let link = *receiver.link.get_or_insert_with(|| {
            let accepted = self.accepted.entry(process).or_default();
            *accepted += 1;
            let link = LinkId::accepted(*accepted);
            self.links.insert((process, link), (id, end));
            link
        });
        connection.ends[end].unread += frame.len();
        effects.arrivals.push((process, Arrival::Frame(link, frame)));
    }

    /// One end of a connection is gone. Its process hears it only if it knows the link.
    fn lose(&mut self, id: ConnectionId, end: usize, status: LinkStatus, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let lost = &mut connection.ends[end];
        let was_open = std::mem::replace(&mut lost.open, false);
        if let Some(link) = lost.link.filter(|_| was_open) {
            self.links.remove(&(lost.process, link));
            if !lost.marks.damaged.is_empty() {
                self.lost.insert((lost.process, link), std::mem::take(&mut lost.marks));
            }
            effects.arrivals.push((lost.process, Arrival::Status(link, status)));
        }
        self.tidy(id);
    }

    /// Forgets a connection that nobody holds and nothing travels on.
    fn tidy(&mut self, id: ConnectionId) {
        let done = self.connections.get(&id).is_some_and(|connection| {
            let quiet = connection.broken || connection.pipes.iter().all(Pipe::is_empty);
            quiet && connection.ends.iter().all(|end| !end.open)
        });
        if done {
            self.connections.remove(&id);
        }
    }

    fn send(&mut self, now: u64, id: ConnectionId, end: usize, packet: Packet, effects: &mut Effects) {
        let Some(connection) = self.connections.get(&id) else { return };
        let latency = self.latency(connection.ends[1 - end].process, connection.ends[end].process);
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.broken) else {
            return;
        };
        let at = connection.pipes[end].put(packet, now + latency);
        effects.later.push((at, Happening::Arrival(id, end)));
    }

    /// Time that the next packet on this way takes.
    fn latency(&mut self, from: ProcessId, to: ProcessId) -> u64 {
        let way = self.ways.entry((from, to)).or_default();
        way.sent += 1;
        let (config, draws, number) = (&self.config, self.draws, way.sent);
        let entity = from.entity() << 32 | to.entity();
        let usual = draws.within(Purpose::Latency, entity, number, way.latency.unwrap_or(config.latency));
        let distance = draws.within(Purpose::Distance, entity, 0, config.distance);
        let is_slow = config.tail.permille > 0
            && draws.below(Purpose::Tail, entity, number << 1, 1_000) < u64::from(config.tail.permille);
        let extra = match is_slow {
            true => draws.within(Purpose::Tail, entity, number << 1 | 1, config.tail.extra),
            false => 0,
        };
        usual + distance + extra + way.lag
    }

    fn ends_where(&self, select: impl Fn(&[End; 2], usize) -> bool) -> Vec<(ConnectionId, usize)> {
        let both =
            self.connections.iter().flat_map(|(&id, connection)| [(id, connection, 0), (id, connection, 1)]);
        both.filter(|(_, connection, end)| select(&connection.ends, *end))
            .map(|(id, _, end)| (id, end))
            .collect()
    }
}
