//! The thread that writes an outbox, and its connection to the driver.

use super::{Outbox, OutboxError};
use crate::inbox::{Receiver, Sender, inbox};
use futures::channel::oneshot;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use steadfast_core::publisher::outbox::Change;
use steadfast_core::storage::{Event, Operation, Request};

/// Most requests that become durable together. The publisher's window bounds their bytes.
const GROUP: usize = 1_024;

/// The driver's end.
#[derive(Debug)]
pub struct Port {
    /// Takes the node's requests.
    pub requests: mpsc::Sender<Request>,
    /// Says what became of them.
    pub events: Receiver<Event>,
}

/// Tells how the outbox fares.
#[derive(Debug)]
pub struct Keeper {
    error: Arc<OnceLock<OutboxError>>,
    closed: oneshot::Receiver<()>,
}

impl Keeper {
    /// Why nothing more is stored, if that is so.
    pub fn error(&self) -> Option<&OutboxError> {
        self.error.get()
    }

    /// Waits until the file is closed: the driver's end must be gone.
    pub async fn closed(&mut self) {
        let _ = (&mut self.closed).await;
    }
}

/// Hands the outbox over to a thread of its own, which closes it when the port is dropped.
///
/// # Errors
/// When the system gives no thread.
pub fn keep(outbox: Outbox) -> std::io::Result<(Port, Keeper)> {
    let (requests, taken) = mpsc::channel();
    let (said, events) = inbox();
    let error = Arc::new(OnceLock::new());
    let (closing, closed) = oneshot::channel();
    let failed = Arc::clone(&error);
    thread::Builder::new().name("outbox".to_owned()).spawn(move || {
        if let Err(error) = run(&outbox, &taken, &said) {
            // Whoever publishes is told, and the keeper says why: this is for those who follow the log.
            tracing::info!("{error}");
            let _ = failed.set(error);
            let _ = said.send(Event::Failed);
        }
        drop(outbox);
        let _ = closing.send(());
    })?;
    Ok((Port { requests, events }, Keeper { error, closed }))
}

fn run(
    outbox: &Outbox,
    requests: &mpsc::Receiver<Request>,
    events: &Sender<Event>,
) -> Result<(), OutboxError> {
    while let Ok(first) = requests.recv() {
        let mut last = first.ticket;
        let mut changes: Vec<Change> = change(first).into_iter().collect();
        // What came while the disk was busy becomes durable together.
        for request in requests.try_iter().take(GROUP) {
            last = request.ticket;
            changes.extend(change(request));
        }
        outbox.apply(&changes)?;
        let _ = events.send(Event::Done(last));
    }
    Ok(())
}

fn change(request: Request) -> Option<Change> {
    match request.operation {
        Operation::Outbox(change) => Some(change),
        // A broker's log is not kept here.
        Operation::Append(_)
        | Operation::Truncate(_)
        | Operation::Trim(_)
        | Operation::Stage { .. }
        | Operation::Install(_)
        | Operation::Wipe => None,
    }
}
