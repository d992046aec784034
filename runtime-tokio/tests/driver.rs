//! What the driver owes a node: its deadlines, its completions, and no word of a link that it closed.

#[path = "../../runtime/tests/transport/end.rs"]
#[allow(dead_code, reason = "every test file uses its part")]
mod end;

use bytes::Bytes;
use end::{End, PATIENCE, frame};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use steadfast_core::link::{LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::storage;
use steadfast_core::time::Instant;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::inbox::{Sender, inbox};
use steadfast_tokio::driver::{NodePorts, drive};
use steadfast_tokio::transport::{Kind, Transport};
use tokio::time::timeout;

/// Records its inputs as events; does what its commands say.
#[derive(Default)]
struct Recorder {
    outputs: VecDeque<Output<Seen>>,
    deadline: Option<Instant>,
    close_on_frame: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Command { at: Instant },
    Frame(LinkId, Bytes),
    Link(LinkId, LinkStatus),
    Stored(u64),
    Timeout { at: Instant, due: Instant },
    Stopped,
}

enum Order {
    Note,
    RingAt(Instant),
    Store(u64),
    CloseOnFrame,
    Stop,
}

impl Node for Recorder {
    type Command = Order;
    type Event = Seen;

    fn handle_input(&mut self, now: Instant, input: Input<Order>) {
        let seen = match input {
            Input::Command(Order::RingAt(at)) => {
                self.deadline = Some(at);
                return;
            }
            Input::Command(Order::CloseOnFrame) => {
                self.close_on_frame = true;
                return;
            }
            Input::Storage(storage::Event::Failed) => return,
            Input::Command(Order::Store(ticket)) => {
                let operation = storage::Operation::Truncate(0);
                self.outputs.push_back(Output::Store(storage::Request { ticket, operation }));
                return;
            }
            Input::Command(Order::Note) => Seen::Command { at: now },
            Input::Command(Order::Stop) => Seen::Stopped,
            Input::Received { link, frame } => {
                if self.close_on_frame {
                    self.outputs.push_back(Output::Link(LinkCommand::Close { link }));
                }
                Seen::Frame(link, frame.parts[0].clone())
            }
            Input::Link { link, status } => Seen::Link(link, status),
            Input::Storage(storage::Event::Done(ticket)) => Seen::Stored(ticket),
            Input::Timeout => match self.deadline.take() {
                Some(due) => Seen::Timeout { at: now, due },
                None => return,
            },
            Input::Coordination(event) => panic!("nobody was asked for {event:?}"),
        };
        self.outputs.push_back(Output::Event(seen));
    }

    fn poll_output(&mut self) -> Option<Output<Seen>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }
}

struct Drive {
    clock: Clock,
    orders: Sender<Order>,
    seen: tokio::sync::mpsc::UnboundedReceiver<Seen>,
    task: tokio::task::JoinHandle<()>,
}

fn start(transport: Transport) -> Drive {
    let clock = Clock::start();
    let (orders, commands) = inbox();
    let (events, seen) = tokio::sync::mpsc::unbounded_channel();
    let on_event = move |event: Seen| {
        let stop = event == Seen::Stopped;
        events.send(event).ok();
        if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let ports = NodePorts {
        name: "recorder".into(),
        transport,
        commands,
        coordination: None,
        storage: None,
        busy_poll: Duration::from_micros(50),
        on_event,
    };
    let task = tokio::spawn(drive(Recorder::default(), clock, ports));
    Drive { clock, orders, seen, task }
}

impl Drive {
    fn order(&self, order: Order) {
        assert!(self.orders.send(order).is_ok(), "the driver runs");
    }

    async fn next(&mut self) -> Seen {
        timeout(PATIENCE, self.seen.recv()).await.expect("in time").expect("an event")
    }
}

#[tokio::test]
async fn a_timeout_comes_when_it_is_due_and_not_before() {
    let mut drive = start(Transport::dial_only(Kind::default()));
    for delay in [30, 5, 0, 60] {
        drive.order(Order::RingAt(drive.clock.now() + Duration::from_millis(delay)));
        let Seen::Timeout { at, due } = drive.next().await else { panic!("a timeout was due") };
        assert!(at >= due);
        assert!(at - due < Duration::from_millis(500), "{:?} late", at - due);
    }
}

#[tokio::test]
async fn an_earlier_deadline_moves_the_timer() {
    let mut drive = start(Transport::dial_only(Kind::default()));
    drive.order(Order::RingAt(drive.clock.now() + Duration::from_secs(3_600)));
    tokio::task::yield_now().await;
    drive.order(Order::RingAt(drive.clock.now() + Duration::from_millis(10)));
    assert!(matches!(drive.next().await, Seen::Timeout { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_inbox_does_not_starve_the_timer() {
    let mut drive = start(Transport::dial_only(Kind::default()));
    drive.order(Order::RingAt(drive.clock.now() + Duration::from_millis(20)));
    let orders = drive.orders.clone();
    let seen = Arc::new(AtomicUsize::new(0));
    let handled = Arc::clone(&seen);
    let busy = std::thread::spawn(move || {
        for sent in 0_usize.. {
            // Always ahead of the driver, but within bounds.
            while sent > handled.load(Ordering::Relaxed) + 4_096 && !orders.is_closed() {
                std::thread::yield_now();
            }
            if orders.send(Order::Note).is_err() {
                return;
            }
        }
    });
    let late = loop {
        match drive.next().await {
            Seen::Command { .. } => seen.fetch_add(1, Ordering::Relaxed),
            Seen::Timeout { at, due } => break at - due,
            other => panic!("{other:?}"),
        };
    };
    assert!(seen.load(Ordering::Relaxed) > 0, "the inbox was busy");
    assert!(late < Duration::from_millis(500), "{late:?}");
    drive.task.abort();
    busy.join().unwrap();
}

#[tokio::test]
async fn memory_storage_completes_and_a_stop_ends_the_drive() {
    let mut drive = start(Transport::dial_only(Kind::default()));
    drive.order(Order::Store(1));
    drive.order(Order::Store(2));
    assert_eq!(drive.next().await, Seen::Stored(2), "the last completion stands for both");
    drive.order(Order::Stop);
    assert_eq!(drive.next().await, Seen::Stopped);
    timeout(PATIENCE, drive.task).await.unwrap().unwrap();
    assert!(drive.orders.send(Order::Note).is_err(), "nobody takes orders any more");
}

#[tokio::test]
async fn nothing_comes_of_a_link_after_the_node_has_closed_it() {
    for kind in Kind::ALL {
        let transport = End::listening(kind).await.transport;
        let address = transport.address().unwrap().clone();
        let mut drive = start(transport);
        drive.order(Order::CloseOnFrame);
        let mut client = End::dialling(kind);
        let link = client.connect(1, &address).await;
        // One burst: the driver gathers all of it in one turn.
        for n in 0..20_u8 {
            client.transport.transmit(link, frame(&[&[n]]));
        }
        client.poll().await;
        assert!(matches!(drive.next().await, Seen::Frame(_, first) if first[..] == [0]));
        assert_eq!(client.status().await, (link, LinkStatus::Lost));
        drive.order(Order::Stop);
        assert_eq!(drive.next().await, Seen::Stopped, "and nothing in between");
    }
}
