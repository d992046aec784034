//! The wire schema of Steadfast.
//!
//! A frame on the wire is a ZeroMQ multipart message: part 1 is an [`Envelope`], parts 2..n are
//! batch bodies (each an encoded [`Records`]). This crate holds the generated messages and the
//! [`limits`] that every frame obeys, and no logic: decoding into checked types is `steadfast-core`'s.
#![no_std]

extern crate alloc;

pub mod limits;

#[allow(missing_docs, reason = "generated from steadfast.proto, which documents every field")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/steadfast.v1.rs"));
}

pub use generated::*;

/// The version that every [`Envelope`] carries. A frame of another version is rejected.
pub const WIRE_VERSION: u32 = 1;
