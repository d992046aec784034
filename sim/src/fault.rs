//! What can go wrong, as data. A fault that makes no sense where it strikes (a dead process is
//! paused) does nothing: leaving one fault out of a plan never makes another one invalid.

use crate::network::ProcessId;

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
    /// Packets from the first to the second process are held back.
    Cut(ProcessId, ProcessId),
    /// Packets flow again; those held back arrive.
    Heal(ProcessId, ProcessId),
    /// Every connection between the two breaks; what was under way vanishes.
    Reset(ProcessId, ProcessId),
    /// Nothing from the process reaches the coordination service.
    CutToCoordination(ProcessId),
    /// Nothing from the coordination service reaches the process.
    CutFromCoordination(ProcessId),
    /// Both ways to the coordination service are open again.
    HealCoordination(ProcessId),
    /// The process's connection to the coordination service breaks once.
    DropCoordination(ProcessId),
}
