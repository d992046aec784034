//! Drives one node: inputs in, outputs to the ports, deadlines kept.
//!
//! The loop owns the node, its sockets and its clock, and runs as one task. Production gives each
//! process a current-thread runtime: with the sockets' tasks on the same thread a frame costs no
//! wake-up of another core.

use crate::transport::Transport;
use std::future::{Future as _, poll_fn};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;
use steadfast_core::driver::{Ports, pump};
use steadfast_core::link::{Frame, LinkCommand, LinkId};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::time::{Instant, earliest, is_due};
use steadfast_core::trace::Trace;
use steadfast_core::{coordination, storage};
use steadfast_runtime::batch::Batch;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::coordination::Port;
use steadfast_runtime::inbox::Receiver;
use steadfast_runtime::observer::Observer;
use steadfast_runtime::{outbox, telemetry};
use tokio::time::{Sleep, sleep};

/// Most commands handled in one turn.
const COMMANDS: usize = 1_024;
/// Most coordination events handled in one turn.
const COORDINATION_EVENTS: usize = 64;
/// Most storage events handled in one turn.
const STORAGE_EVENTS: usize = 64;
/// Looking for more takes no longer than this where nothing else runs.
const UNDISTURBED: Duration = Duration::from_micros(20);
/// How long a stopping node's last frames may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(250);

/// What a node is connected to. Commands are never lost or refused here: who sends them bounds them
/// (see [`steadfast_runtime::inbox`]).
pub struct NodePorts<C, F> {
    /// For log lines.
    pub name: String,
    /// Its links.
    pub transport: Transport,
    /// From the application.
    pub commands: Receiver<C>,
    /// The coordination service, for a node that uses one.
    pub coordination: Option<Port>,
    /// The storage, for a node that has one on a disk. Without, storage is memory: complete at once.
    pub storage: Option<outbox::Port>,
    /// For so long after each turn the thread stays awake and looks for more.
    pub busy_poll: Duration,
    /// Takes the node's events. `Break` ends the drive.
    pub on_event: F,
}

/// Drives the node until its event handler breaks or nobody is left to command it, then gives its last
/// frames a moment to leave.
pub async fn drive<N, F>(node: N, clock: Clock, ports: NodePorts<N::Command, F>)
where
    N: Node,
    F: FnMut(N::Event) -> ControlFlow<()>,
{
    drive_observed(node, clock, ports, ()).await;
}

/// As [`drive`], while somebody looks at the node.
pub async fn drive_observed<N, F, O>(mut node: N, clock: Clock, ports: NodePorts<N::Command, F>, observer: O)
where
    N: Node,
    F: FnMut(N::Event) -> ControlFlow<()>,
    O: Observer<N>,
{
    let mut turn = Turn {
        ports,
        observer,
        now: clock.now(),
        stored: None,
        storage_is_gone: false,
        closed: Vec::new(),
        told: false,
        stopped: false,
    };
    let mut alarm = Alarm::new(clock);
    let mut batch = Batch::default();
    loop {
        let deadline = pump(&mut node, &mut turn);
        if turn.stopped {
            break;
        }
        turn.observer.turned(turn.now, &mut node);
        let deadline = earliest(deadline, turn.observer.deadline());
        // The sockets' own tasks write what was queued before more is read, and a node that always has
        // something to do does not keep its thread to itself.
        yield_now().await;
        let mut watch = Watch::new(turn.now + turn.ports.busy_poll, std::mem::take(&mut turn.told));
        poll_fn(|cx| {
            let now = clock.now();
            if turn.poll_inputs(cx, now, &mut batch).is_ready() {
                return Poll::Ready(());
            }
            watch.stay_awake(cx, now);
            alarm.poll(cx, earliest(deadline, turn.ports.transport.deadline()))
        })
        .await;
        let now = clock.now();
        turn.now = now;
        turn.closed.clear();
        for input in batch.drain() {
            if turn.is_late(&input) {
                continue;
            }
            let of_link = matches!(input, Input::Received { .. } | Input::Link { .. });
            turn.observer.handles(now, &input);
            node.handle_input(now, input);
            if of_link {
                // At once: when the node closes the link, the rest of its frames must not come.
                pump(&mut node, &mut turn);
            }
        }
        // Also after a full batch: a busy node's timers never starve.
        if is_due(node.poll_timeout(), now) {
            turn.observer.handles(now, &Input::Timeout);
            node.handle_input(now, Input::Timeout);
        }
    }
    turn.observer.ended(turn.now, &mut node);
    turn.ports.transport.flush(FLUSH_TIMEOUT).await;
}

/// The ports in use.
struct Turn<N: Node, F, O> {
    ports: NodePorts<N::Command, F>,
    observer: O,
    /// The clock's reading for this turn.
    now: Instant,
    /// The memory storage's last completion: it completes at once, and one says that all before
    /// it are complete too.
    stored: Option<storage::Ticket>,
    storage_is_gone: bool,
    /// What the node has closed in this turn.
    closed: Vec<LinkId>,
    /// Whether the application was told something in this turn.
    told: bool,
    stopped: bool,
}

impl<N: Node, F, O> Turn<N, F, O> {
    /// Gathers what has come. `Pending` when there is nothing: every source then wakes the task.
    fn poll_inputs(&mut self, cx: &mut Context<'_>, now: Instant, batch: &mut Batch<N::Command>) -> Poll<()> {
        if let Some(ticket) = self.stored.take() {
            batch.push(Input::Storage(storage::Event::Done(ticket)));
        }
        if let Some(port) = self.ports.storage.as_mut().filter(|_| !self.storage_is_gone) {
            let take = |event| batch.push(Input::Storage(event));
            if port.events.poll_drain(cx, STORAGE_EVENTS, take) == Poll::Ready(0) {
                // Its thread has ended, and will complete nothing more.
                self.storage_is_gone = true;
                batch.push(Input::Storage(storage::Event::Failed));
            }
        }
        if let Some(port) = &mut self.ports.coordination {
            let take = |event| batch.push(Input::Coordination(event));
            let _ = port.events.poll_drain(cx, COORDINATION_EVENTS, take);
        }
        self.ports.transport.poll(cx, now, batch);
        let take = |command| batch.push(Input::Command(command));
        if self.ports.commands.poll_drain(cx, COMMANDS, take) == Poll::Ready(0) {
            self.stopped = true;
        }
        if batch.is_empty() && !self.stopped { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Whether the input is of a link that the node has closed since the input was gathered.
    fn is_late(&self, input: &Input<N::Command>) -> bool {
        match input {
            Input::Received { link, .. } | Input::Link { link, .. } => self.closed.contains(link),
            _ => false,
        }
    }
}

impl<N, F, O> Ports<N::Event> for Turn<N, F, O>
where
    N: Node,
    F: FnMut(N::Event) -> ControlFlow<()>,
    O: Observer<N>,
{
    fn transmit(&mut self, link: LinkId, frame: Frame) {
        self.ports.transport.transmit(link, frame);
    }

    fn link(&mut self, command: LinkCommand) {
        if let LinkCommand::Close { link } = command {
            self.closed.push(link);
        }
        self.ports.transport.command(command);
    }

    fn coordinate(&mut self, request: coordination::Request) {
        let port = self.ports.coordination.as_ref().expect("a node that coordinates is given a port");
        // A backend that is gone answers nothing: its session is suspended for good.
        let _ = port.requests.send(request);
    }

    fn store(&mut self, request: storage::Request) {
        match &self.ports.storage {
            // A storage that is gone has said so.
            Some(port) => drop(port.requests.send(request)),
            None => self.stored = Some(request.ticket),
        }
    }

    fn event(&mut self, event: N::Event) {
        self.told = true;
        self.stopped |= (self.ports.on_event)(event).is_break();
    }

    fn trace(&mut self, trace: Trace) {
        telemetry::log(&self.ports.name, &trace);
        self.observer.traced(self.now, &trace);
    }

    fn look(&mut self, output: &Output<N::Event>) {
        self.observer.puts_out(output);
    }
}

/// Lets the other tasks of this thread run once. Unlike the runtime's own yield it does not wait for
/// the next poll of the operating system.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Keeps a thread awake for a moment. A processor that falls asleep takes longer to wake than a frame over the
/// network.
struct Watch {
    /// The end.
    until: Instant,
    /// When it was looked last.
    last: Option<Instant>,
    /// Whether the application, on the same thread, has something to do first.
    told: bool,
}

impl Watch {
    const fn new(until: Instant, told: bool) -> Self {
        Self { until, last: None, told }
    }

    /// Has the task polled again once the operating system was asked what has come. Whatever else is to run, on
    /// this thread or on this processor, comes first, and ends the watch: who waits for nothing should not make
    /// others wait. The processor is not offered to others, though, while the application does not know yet what it
    /// was told. Whether the processor was offered.
    fn stay_awake(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let shared = self.last.replace(now).is_some_and(|last| now > last + UNDISTURBED);
        if now >= self.until || shared {
            self.until = now;
            return false;
        }
        let offers = !std::mem::take(&mut self.told);
        if offers {
            thread::yield_now();
        }
        let _ = pin!(tokio::task::yield_now()).poll(cx);
        offers
    }
}

/// One timer for all deadlines. It is moved only when it would ring too late: a deadline that keeps
/// moving away, as heartbeats do, costs nothing.
pub(crate) struct Alarm {
    clock: Clock,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, sleep: Box::pin(sleep(Duration::ZERO)), armed: None }
    }

    /// Ready at the deadline.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        loop {
            if self.clock.now() >= deadline {
                return Poll::Ready(());
            }
            if self.armed.is_none_or(|armed| armed > deadline) {
                let Some(at) = self.clock.system(deadline) else { return Poll::Pending };
                self.sleep.as_mut().reset(at.into());
                self.armed = Some(deadline);
            }
            match self.sleep.as_mut().poll(cx) {
                Poll::Ready(()) => self.armed = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a watch of 100 µs has the task polled again that is looked at in these microseconds.
    fn looks(micros: &[u64]) -> usize {
        let at = |micros: u64| Instant::from_nanos(micros * 1_000);
        let mut watch = Watch::new(at(100), false);
        let wakes = Arc::new(Wakes::default());
        let waker = Arc::clone(&wakes).into();
        for now in micros {
            watch.stay_awake(&mut Context::from_waker(&waker), at(*now));
        }
        wakes.0.load(Ordering::Relaxed)
    }

    #[test]
    fn the_processor_is_offered_once_the_application_has_had_its_turn() {
        for told in [false, true] {
            let mut watch = Watch::new(Instant::from_nanos(100_000), told);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let offers = [1_000, 2_000].map(|now| watch.stay_awake(&mut cx, Instant::from_nanos(now)));
            assert_eq!(offers, [!told, true]);
        }
    }

    #[test]
    fn a_thread_stays_awake_until_the_end_or_until_others_run() {
        assert_eq!(looks(&[60, 70, 80, 90, 99]), 5);
        assert_eq!(looks(&[60, 80, 100, 110]), 2, "it sleeps at the end");
        assert_eq!(looks(&[0, 10, 31, 35]), 2, "somebody else has run, and it sleeps from then on");
        assert_eq!(looks(&[100]), 0);
    }
}
