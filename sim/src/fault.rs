//! What can go wrong, as data. A fault that makes no sense where it strikes (a dead process is
//! paused) does nothing: leaving one fault out of a plan never makes another one invalid.
//!
//! Three of them are what TCP and its users call a lost connection, and differ in who learns of it:
//! after [`Fault::Reset`] both ends hear and everything under way vanishes; after [`Fault::HalfOpen`]
//! one end is gone and what it had sent still arrives; after [`Fault::Vanish`] neither end is told.
//!
//! A frame never arrives twice on one connection: TCP drops its own retransmissions, and the `zeromq`
//! crate sends nothing again and never reconnects a socket by itself. What a node can meet is the same
//! message on two connections, when its peer gave one up and repeated itself on the next; and with
//! [`Fault::Delay`] before [`Fault::HalfOpen`] the older copy comes after the newer one.

use crate::network::ProcessId;
use std::time::Duration;

/// One thing that goes wrong, or is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies, and the last of what it has sent with it. Its kernel resets its connections, so
    /// its peers learn soon.
    Crash(ProcessId),
    /// The process ends by itself, after its node has stopped. Its connections end with it.
    Exit(ProcessId),
    /// The whole machine dies: its peers hear nothing, and their connections to it stay half open.
    PowerLoss(ProcessId),
    /// A dead process is started again.
    Restart(ProcessId),
    /// The process stops running; its kernel still accepts connections and keeps what arrives.
    Pause(ProcessId),
    /// The process runs again.
    Resume(ProcessId),
    /// From now on each input keeps the process busy for so long; zero: for no time, as before.
    Slow(ProcessId, Duration),
    /// The process's clock runs so many millionths too fast (below zero: too slow) from now on, within
    /// [`crate::clock::MAX_DRIFT`]. It never goes back. Zero: it runs with virtual time again.
    ClockRate(ProcessId, i32),
    /// The process's clock jumps ahead by this much, at most [`crate::clock::MAX_JUMP`]: its machine
    /// was suspended.
    ClockJump(ProcessId, Duration),
    /// From now on the process is killed when what waits in its inbox and on its links exceeds so many
    /// bytes; `u64::MAX`: never.
    LimitMemory(ProcessId, u64),
    /// Packets from the first to the second process are held back.
    Cut(ProcessId, ProcessId),
    /// Packets flow again; those held back arrive.
    Heal(ProcessId, ProcessId),
    /// Every connection between the two breaks; what was under way vanishes.
    Reset(ProcessId, ProcessId),
    /// The first process loses its end of every connection to the second and hears of it. What it had
    /// sent still arrives; the second learns only when it sends.
    HalfOpen(ProcessId, ProcessId),
    /// Something in between has forgotten every connection between the two: nothing arrives on them any
    /// more, and neither end is told. New connections work.
    Vanish(ProcessId, ProcessId),
    /// What is under way from the first to the second process on the connections of this moment, and
    /// what follows on them, arrives after this time and not before: TCP backs off. New connections are
    /// not held up.
    Delay(ProcessId, ProcessId, Duration),
    /// From now on packets from the first to the second process take so much longer; zero: as before.
    Lag(ProcessId, ProcessId, Duration),
    /// From now on so many in a thousand frames from the first to the second process are damaged on their way,
    /// so that their receiver can tell (G8, R31); zero: none.
    Damage(ProcessId, ProcessId, u32),
    /// The process takes nothing from its links any more: they fill up. Everything else it still does.
    StopReading(ProcessId),
    /// The process reads again.
    ReadAgain(ProcessId),
    /// The process's storage completes nothing any more. Everything else it still does.
    StopStoring(ProcessId),
    /// The storage goes on, with what was asked of it meanwhile.
    StoreAgain(ProcessId),
    /// Nothing from the process reaches the coordination service.
    CutToCoordination(ProcessId),
    /// Nothing from the coordination service reaches the process.
    CutFromCoordination(ProcessId),
    /// Both ways to the coordination service are open again.
    HealCoordination(ProcessId),
    /// The process's connection to the coordination service breaks once.
    DropCoordination(ProcessId),
    /// The coordination service's leader dies: every client is disconnected until another one is
    /// elected, and every session is granted a full timeout again.
    NewLeader,
    /// The whole coordination service stops. Nothing expires while it is down.
    StopCoordination,
    /// The coordination service runs again, with everything that it had answered.
    StartCoordination,
    /// The coordination service's follower is cut off from its leader: for a while it goes on to answer
    /// the reads and the pings of the clients that it has, and their sessions run out meanwhile.
    CutFollower,
    /// The follower is back.
    HealFollower,
}

impl Fault {
    /// The process that it strikes; `None`: no process in particular.
    pub const fn process(self) -> Option<ProcessId> {
        match self {
            Self::Crash(process)
            | Self::Exit(process)
            | Self::PowerLoss(process)
            | Self::Restart(process)
            | Self::Pause(process)
            | Self::Resume(process)
            | Self::Slow(process, _)
            | Self::ClockRate(process, _)
            | Self::ClockJump(process, _)
            | Self::LimitMemory(process, _)
            | Self::Cut(process, _)
            | Self::Heal(process, _)
            | Self::Reset(process, _)
            | Self::HalfOpen(process, _)
            | Self::Vanish(process, _)
            | Self::Delay(process, ..)
            | Self::Lag(process, ..)
            | Self::Damage(process, ..)
            | Self::StopReading(process)
            | Self::ReadAgain(process)
            | Self::StopStoring(process)
            | Self::StoreAgain(process)
            | Self::CutToCoordination(process)
            | Self::CutFromCoordination(process)
            | Self::HealCoordination(process)
            | Self::DropCoordination(process) => Some(process),
            Self::NewLeader
            | Self::StopCoordination
            | Self::StartCoordination
            | Self::CutFollower
            | Self::HealFollower => None,
        }
    }
}

/// What puts everything right that a fault can have made wrong between these processes.
pub fn cures(processes: &[ProcessId]) -> Vec<Fault> {
    let mut cures = vec![Fault::StartCoordination, Fault::HealFollower];
    for &process in processes {
        cures.extend([
            Fault::LimitMemory(process, u64::MAX),
            Fault::Slow(process, Duration::ZERO),
            Fault::ClockRate(process, 0),
            Fault::ReadAgain(process),
            Fault::StoreAgain(process),
            Fault::Restart(process),
            Fault::Resume(process),
            Fault::HealCoordination(process),
        ]);
        let others = processes.iter();
        cures.extend(others.flat_map(|&to| {
            [Fault::Heal(process, to), Fault::Lag(process, to, Duration::ZERO), Fault::Damage(process, to, 0)]
        }));
    }
    cures
}
