//! What a broker has put out, as one number.

use crate::checksum::crc32c_append;
use crate::node::Output;
use crate::storage::Operation;
use core::fmt::{self, Debug};
use core::hash::{Hash as _, Hasher};
use core::mem::discriminant;
use serde::{Deserialize, Serialize};

/// A checksum of everything that a node has put out, in order. Of the bodies of frames only the lengths
/// count: a broker passes them on as they are, and their own checksums are in the envelopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs(u32);

impl Outputs {
    /// Adds an output.
    pub fn add<E: Debug>(&mut self, output: &Output<E>) {
        match output {
            Output::Transmit { link, frame } => {
                link.hash(self);
                let mut parts = frame.parts.iter();
                if let Some(envelope) = parts.next() {
                    self.write(envelope);
                }
                parts.for_each(|body| self.write_u64(body.len() as u64));
            }
            // Its entries were in frames, or come from what was in them.
            Output::Store(request) => {
                self.write_u64(request.ticket);
                match &request.operation {
                    Operation::Append(entries) => self.write_u64(entries.len() as u64),
                    Operation::Truncate(to) | Operation::Trim(to) => self.write_u64(*to),
                    other => self.text(&discriminant(other)),
                }
            }
            Output::Link(command) => self.text(command),
            Output::Coordinate(request) => self.text(request),
            Output::Event(event) => self.text(event),
            Output::Trace(trace) => self.text(trace),
        }
    }

    fn text(&mut self, value: &impl Debug) {
        fmt::write(self, format_args!("{value:?}")).expect("a checksum takes everything");
    }
}

impl Hasher for Outputs {
    fn finish(&self) -> u64 {
        self.0.into()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = crc32c_append(self.0, bytes);
    }

    /// The same on every machine.
    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }
}

impl fmt::Write for Outputs {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

impl fmt::Display for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}
