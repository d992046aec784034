//! The core without I/O: a primary, a backup and their clients in one thread, with or without the codec of the
//! transport between them. What they spend is the ceiling of what any runtime can reach with them, and can be counted in
//! instructions.

pub mod case;
pub mod counts;
pub mod pair;
mod wire;
