//! See `clone(2)`, `prctl(2)` (`PR_SET_PDEATHSIG`) and, for the order in which a process is taken apart, `do_exit` in
//! the kernel's `kernel/exit.c`: memory, then files, then word to its children.

use libc::{c_int, c_void, pid_t};
use std::ffi::CStr;
use std::io::{Error, ErrorKind, Result};
use std::ptr::{from_ref, null_mut};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{mem, thread};

/// Bytes of the heir's stack: it makes six calls.
const STACK: usize = 64 << 10;
/// How far the heir stands back for others (see `nice(1)`): what it has to do at its end is not urgent.
const NICENESS: c_int = 10;
/// How long the heir may take to be ready, which is some microseconds' work.
const PATIENCE: Duration = Duration::from_secs(1);
/// What process lists call the heir.
const NAME: &CStr = c"steadfast-heir";
/// What the heir says of itself before it is ready: nothing.
const UNREADY: c_int = -1;

/// What parent and heir know of each other.
struct Will {
    parent: pid_t,
    /// [`UNREADY`], then 0, or the number of the error that has ended the heir.
    outcome: AtomicI32,
}

/// Gives this process an heir. To be called once, by the main thread: the heir ends with the thread that made it.
///
/// It costs a few pages of the kernel's memory and no time. Process lists show it as a child called `steadfast-heir`,
/// with the memory of its parent, which is there once.
///
/// # Errors
/// When the system refuses, or the heir is not ready in time; the process can go on all the same.
pub fn appoint() -> Result<()> {
    // Both live as long as the process: the heir sleeps on the one and nobody counts the other.
    let stack: &mut [u8] = Vec::leak(vec![0; STACK]);
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: getpid has no preconditions.
    let parent = unsafe { libc::getpid() };
    let will: &Will = Box::leak(Box::new(Will { parent, outcome: AtomicI32::new(UNREADY) }));
    let before = block_signals()?;
    // SAFETY: the stack is the heir's alone, and its end, which is where it begins, is aligned down by `clone`; `live`
    // takes a `Will`, which is never freed. Flags: shared memory only, and no signal when it ends. The heir has this
    // thread's local storage, so until it says that it is ready this thread does nothing that would use it.
    let heir = unsafe { libc::clone(live, top.cast(), libc::CLONE_VM, from_ref(will).cast_mut().cast()) };
    let refused = (heir < 0).then(Error::last_os_error);
    let began = Instant::now();
    while refused.is_none() && will.outcome.load(SeqCst) == UNREADY && began.elapsed() < PATIENCE {
        thread::yield_now();
    }
    restore_signals(&before)?;
    match (refused, will.outcome.load(SeqCst)) {
        (Some(error), _) => Err(error),
        (None, 0) => Ok(()),
        (None, UNREADY) => Err(ErrorKind::TimedOut.into()),
        (None, error) => Err(Error::from_raw_os_error(error)),
    }
}

/// The heir's life. It must not touch what belongs to its parent's thread once it has said that it is ready: it makes
/// no call then that could fail, and no signal but the last one wakes it.
extern "C" fn live(will: *mut c_void) -> c_int {
    // SAFETY: it is what `appoint` has passed, and shared.
    let will = unsafe { &*will.cast::<Will>() };
    // SAFETY: system calls with numbers for arguments, and a name that is never freed. Files: whoever reads what the
    // parent writes shall see its end. A system that refuses the first three loses nothing but what they are for.
    let outcome = unsafe {
        libc::syscall(libc::SYS_close_range, 0, c_int::MAX, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 if libc::getppid() == will.parent => 0,
            0 => libc::ESRCH,
            _ => *libc::__errno_location(),
        }
    };
    will.outcome.store(outcome, SeqCst);
    if outcome == 0 {
        loop {
            // SAFETY: no preconditions; all signals that can be are blocked.
            unsafe { libc::pause() };
        }
    }
    outcome
}

/// Blocks every signal for this thread, and so for the heir, which inherits that. Returns those that were blocked.
fn block_signals() -> Result<libc::sigset_t> {
    // SAFETY: both sets are plain numbers, filled by the calls before they are read.
    let (error, before) = unsafe {
        let (mut all, mut before) = (mem::zeroed(), mem::zeroed());
        libc::sigfillset(&raw mut all);
        (libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before), before)
    };
    if error == 0 { Ok(before) } else { Err(Error::from_raw_os_error(error)) }
}

fn restore_signals(before: &libc::sigset_t) -> Result<()> {
    // SAFETY: the set is what `block_signals` has got.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, null_mut()) };
    if error == 0 { Ok(()) } else { Err(Error::from_raw_os_error(error)) }
}
