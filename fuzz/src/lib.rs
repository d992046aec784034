//! What fuzz targets do with their bytes, and seeds: real encodings to begin with. The targets themselves,
//! in `fuzz_targets/`, only call this.

pub mod life;
pub mod nodes;
pub mod parts;
pub mod plan;
pub mod recording;
pub mod records;
pub mod samples;
#[path = "../../core/tests/wire/sound.rs"]
mod sound;
pub mod text;
pub mod tree;
pub mod wire;
pub mod zmtp;

/// A fuzz target.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Panics when something is wrong.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "zmtp", run: zmtp::run, seeds: zmtp::seeds },
    Target { name: "wire", run: wire::run, seeds: wire::seeds },
    Target { name: "records", run: records::run, seeds: records::seeds },
    Target { name: "nodes", run: nodes::run, seeds: nodes::seeds },
    Target { name: "tree", run: tree::run, seeds: tree::seeds },
    Target { name: "text", run: text::run, seeds: text::seeds },
    Target { name: "plan", run: plan::run, seeds: plan::seeds },
    Target { name: "recording", run: recording::run, seeds: recording::seeds },
];
