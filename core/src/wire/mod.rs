//! The wire codec: [`Message`] to [`Frame`] and back, and the data of nodes in the coordination tree.
//!
//! Decoding checks everything that needs no state: version, limits, presence, lengths, checksums.

pub mod records;

use crate::link::Frame;
use crate::message::Message;
use crate::trace::Rejection;

/// Encodes a message. Bodies are not copied.
pub fn encode(_message: &Message) -> Frame {
    Frame::default()
}

/// Decodes and checks a frame. Bodies are not copied.
///
/// # Errors
/// With the first check that fails.
pub fn decode(_frame: Frame) -> Result<Message, Rejection> {
    Err(Rejection::Malformed)
}
