//! A broker's state as bytes. The entries of its log are apart: there may be millions of them, and they
//! are taken down a few at a time, while the broker goes on.

use super::{Damage, Decoder, Flaw, Head, Outputs, Record, State, encode};
use crate::broker::Broker;
use crate::log::{Entry, EntryKind};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;

/// Of a body only its length. What is read back is as many zeros: a broker that has taken a body in does
/// not look at it again.
pub(crate) mod length {
    use bytes::Bytes;
    use serde::de::{Deserialize as _, Error as _};
    use serde::{Deserializer, Serializer};
    use steadfast_proto::limits::MAX_BATCH_LEN;

    static ZEROS: [u8; MAX_BATCH_LEN] = [0; MAX_BATCH_LEN];

    pub(crate) fn serialize<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(body.len() as u64)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let length = u64::deserialize(deserializer)?;
        let zeros = usize::try_from(length).ok().and_then(|length| ZEROS.get(..length));
        zeros.map(Bytes::from_static).ok_or_else(|| D::Error::custom("a body beyond its limit"))
    }
}

/// The record of a broker's state between two inputs, when all its outputs are handed out, encoded. Takes
/// time with the number of its sessions, topics, followers and streams.
pub fn state(broker: &mut Broker, inputs: u64, outputs: Outputs) -> Vec<u8> {
    let mut entries = VecDeque::new();
    broker.replica_mut().log_mut().swap_entries(&mut entries);
    let state = State { inputs, outputs, broker: &*broker };
    let bytes = encode(&Record::State(Box::new(state)), Vec::new());
    broker.replica_mut().log_mut().swap_entries(&mut entries);
    bytes
}

/// The record of entries that are not committed.
pub fn tail(entries: Vec<Entry>) -> Record {
    let body = |entry: &Entry| match &entry.kind {
        EntryKind::Batch(batch) => batch.body.clone(),
        _ => Default::default(),
    };
    Record::Tail { bodies: entries.iter().map(body).collect(), entries }
}

/// How a recording begins: a broker, between two inputs.
#[derive(Debug)]
pub struct Beginning {
    /// What is known of the process.
    pub head: Head,
    /// The broker. One that has just booted has outputs that nobody has taken yet.
    pub broker: Broker,
    /// Inputs that it has handled since it booted.
    pub inputs: u64,
    /// What it has put out since.
    pub outputs: Outputs,
}

/// Reads what stands before the inputs.
///
/// # Errors
/// When it cannot be read, or does not fit together.
pub fn begin(decoder: &mut Decoder<'_>) -> Result<Beginning, Damage> {
    let place = decoder.damage(Flaw::Misplaced);
    let head = match decoder.next_record()? {
        Some(Record::Head(head)) => *head,
        Some(_) => return Err(place),
        None => return Err(decoder.damage(Flaw::Ends)),
    };
    if head.booted {
        let broker = Broker::new(head.now, head.boot.clone());
        return Ok(Beginning { head, broker, inputs: 0, outputs: Outputs::default() });
    }
    let mut log = Vec::new();
    loop {
        let place = decoder.damage(Flaw::Misplaced);
        match decoder.next_record()? {
            Some(Record::Entries(entries)) => log.extend(entries),
            Some(Record::Tail { entries, bodies }) => log.extend(join(entries, bodies)),
            Some(Record::State(state)) => {
                let State { inputs, outputs, broker } = *state;
                let broker = restore(broker, log).ok_or(Damage { flaw: Flaw::Unfit, ..place })?;
                return Ok(Beginning { head, broker, inputs, outputs });
            }
            None => return Err(decoder.damage(Flaw::Ends)),
            Some(_) => return Err(place),
        }
    }
}

fn join(mut entries: Vec<Entry>, bodies: Vec<Bytes>) -> Vec<Entry> {
    for (entry, body) in entries.iter_mut().zip(bodies) {
        if let EntryKind::Batch(batch) = &mut entry.kind {
            batch.body = body;
        }
    }
    entries
}

/// The broker with the entries of its log, if they fit. Those that were trimmed after they had been taken
/// down are left out.
fn restore(mut broker: Broker, entries: Vec<Entry>) -> Option<Broker> {
    let log = broker.replica_mut().log_mut();
    let (mut end, mut weight) = (log.start(), 0);
    let mut kept: VecDeque<_> = entries.into_iter().skip_while(|entry| entry.end() <= end).collect();
    for entry in &kept {
        if entry.offset != end {
            return None;
        }
        (end, weight) = (entry.end(), weight + entry.weight());
    }
    (weight == log.bytes()).then(|| log.swap_entries(&mut kept))?;
    Some(broker)
}
