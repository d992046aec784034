//! See `clone(2)`, `pidfd_open(2)` and, for the order in which a thread is taken apart, `do_exit` in the kernel's
//! `kernel/exit.c`: its part of the memory, then of the files, then word to others. A pidfd tells of that word when the
//! last thread has given it, so all files are closed then. (`PR_SET_PDEATHSIG` speaks for one thread alone.)

use libc::{c_int, c_void, pid_t};
use std::ffi::CStr;
use std::io::{Error, ErrorKind, Result};
use std::ptr::{from_ref, null, null_mut};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{mem, thread};

/// Bytes of the heir's stack: it makes six calls.
const STACK: usize = 64 << 10;
/// What a stack's end is a multiple of, on every processor.
const ALIGNMENT: usize = 16;
/// How far the heir stands back for others (see `nice(1)`): what it has to do at its end is not urgent.
const NICENESS: c_int = 10;
/// How long the heir may take to be ready, which is some microseconds' work.
const PATIENCE: Duration = Duration::from_secs(1);
/// The name of the heir's only thread.
const NAME: &CStr = c"steadfast-heir";
/// What the heir says of itself before it is ready: nothing.
const UNREADY: c_int = -1;

/// What parent and heir know of each other.
struct Will {
    parent: pid_t,
    /// [`UNREADY`], then 0, or the number of the error that has ended the heir.
    outcome: AtomicI32,
}

/// Gives this process an heir. To be called once, by a thread that does nothing else meanwhile.
///
/// It costs a few pages of the kernel's memory and no time. Process lists show it as a child, whose thread is called
/// `steadfast-heir`, with the arguments and the memory of its parent, which is there once.
///
/// # Errors
/// When the system refuses, as Linux before 5.3 does, or the heir is not ready in time; there is none then, and the
/// process can go on all the same.
pub fn appoint() -> Result<()> {
    // Both live as long as the process: the heir sleeps on the one and nobody counts the other.
    let stack: &mut [u8] = Vec::leak(vec![0; STACK]);
    let end = stack.as_mut_ptr_range().end;
    let top = end.wrapping_sub(end.addr() % ALIGNMENT);
    // SAFETY: getpid has no preconditions.
    let parent = unsafe { libc::getpid() };
    let will: &Will = Box::leak(Box::new(Will { parent, outcome: AtomicI32::new(UNREADY) }));
    let before = block_signals()?;
    // SAFETY: the stack is the heir's alone; `live` takes a `Will`, which is never freed. Flags: shared memory only, and
    // no signal when it ends. The heir has this thread's local storage, so until it says that it is ready this thread
    // does nothing that would use it.
    let heir = unsafe { libc::clone(live, top.cast(), libc::CLONE_VM, from_ref(will).cast_mut().cast()) };
    let outcome = if heir < 0 { Err(Error::last_os_error()) } else { await_ready(will) };
    if outcome.is_err() && heir > 0 {
        // SAFETY: this thread's own child, which nobody else waits for.
        unsafe {
            libc::kill(heir, libc::SIGKILL);
            libc::waitpid(heir, null_mut(), libc::__WCLONE);
        }
    }
    restore_signals(&before)?;
    outcome
}

fn await_ready(will: &Will) -> Result<()> {
    let began = Instant::now();
    loop {
        match will.outcome.load(SeqCst) {
            UNREADY if began.elapsed() < PATIENCE => thread::yield_now(),
            UNREADY => return Err(ErrorKind::TimedOut.into()),
            0 => return Ok(()),
            error => return Err(Error::from_raw_os_error(error)),
        }
    }
}

/// The heir's life. Once it has said that it is ready it must not touch what belongs to its parent's thread: it makes
/// one call then, which returns when the parent is dead, since all signals that can be are blocked.
extern "C" fn live(will: *mut c_void) -> c_int {
    // SAFETY: it is what `appoint` has passed, and shared.
    let will = unsafe { &*will.cast::<Will>() };
    // SAFETY: system calls with numbers for arguments, and a name that is never freed. Files: whoever reads what the
    // parent writes shall see its end at once. A system that refuses the first three loses nothing but what they are for.
    let (parent, outcome) = unsafe {
        libc::syscall(libc::SYS_close_range, 0, c_int::MAX, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        let parent = libc::syscall(libc::SYS_pidfd_open, will.parent, 0) as c_int;
        let outcome = if parent < 0 {
            *libc::__errno_location()
        } else if libc::getppid() != will.parent {
            // It has died meanwhile, and its number may be another one's.
            libc::ESRCH
        } else {
            0
        };
        (parent, outcome)
    };
    let mut ends = libc::pollfd { fd: parent, events: libc::POLLIN, revents: 0 };
    will.outcome.store(outcome, SeqCst);
    if outcome == 0 {
        // SAFETY: one file, no time limit and no set of signals. The bare call, because the library's own is a point
        // where threads can be cancelled, which it notes in their local storage.
        unsafe { libc::syscall(libc::SYS_ppoll, &raw mut ends, 1, null::<c_void>(), null::<c_void>(), 0) };
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
