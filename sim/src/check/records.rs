//! Every record that was published, acknowledged, committed or delivered, with a number: payloads are compared once, and
//! whatever a checker keeps of a record stands in a table.

use bytes::Bytes;
use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;
use std::hash::{Hash, Hasher};
use steadfast_core::id::PublisherId;

/// Number of a record: of a payload of a publisher. They count from 0, in the order of their first mention.
pub type RecordId = usize;

/// A record. All that tells a run's payloads apart stands in their first bytes: those are enough for the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub publisher: PublisherId,
    /// What was published.
    pub payload: Bytes,
}

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.publisher.hash(state);
        self.payload[..self.payload.len().min(32)].hash(state);
    }
}

/// All records.
#[derive(Clone, Debug, Default)]
pub struct Register(IndexSet<Record, FxBuildHasher>);

impl Register {
    /// The number of a record; a new one where it was not mentioned before.
    pub fn number(&mut self, publisher: PublisherId, payload: &Bytes) -> RecordId {
        self.0.insert_full(Record { publisher, payload: payload.clone() }).0
    }

    /// The record that has a number.
    ///
    /// # Panics
    /// When none has it.
    pub fn record(&self, id: RecordId) -> &Record {
        &self.0[id]
    }
}

/// What is known of each record.
#[derive(Clone, Debug)]
pub struct Table<T>(Vec<T>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Default> Table<T> {
    /// What is known of a record, to change it.
    pub fn of_mut(&mut self, id: RecordId) -> &mut T {
        if self.0.len() <= id {
            self.0.resize_with(id + 1, T::default);
        }
        &mut self.0[id]
    }

    /// What is known of a record; `None`: nothing, like the default.
    pub fn of(&self, id: RecordId) -> Option<&T> {
        self.0.get(id)
    }

    /// Everything, by number.
    pub fn iter(&self) -> impl Iterator<Item = (RecordId, &T)> {
        self.0.iter().enumerate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{PUBLISHER, payload};

    #[test]
    fn a_record_has_one_number() {
        let mut register = Register::default();
        let numbers = [1, 2, 1].map(|sequence| register.number(PUBLISHER, &payload(sequence)));
        let other = register.number(PublisherId(PUBLISHER.0 + 1), &payload(1));
        assert_eq!((numbers, other), ([0, 1, 0], 2));
        assert_eq!(register.record(1), &Record { publisher: PUBLISHER, payload: payload(2) });
    }

    #[test]
    fn a_table_grows_as_far_as_it_is_written() {
        let mut table = Table::default();
        *table.of_mut(1) = 'b';
        assert_eq!((table.of(0), table.of(1), table.of(2)), (Some(&char::default()), Some(&'b'), None));
    }
}
