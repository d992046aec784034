//! Ports for what is stopped and comes back to where it was.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below them are other people's services.
const FIRST: u16 = 20_000;
/// Where the system's own choice begins, on a system that does not say.
const USUAL_FIRST_OF_SYSTEM: u16 = 32_768;

/// Ports that are free now, all different, below those that the system chooses itself: it would give one
/// to anybody's connection while its owner is away.
pub fn lasting_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok());
    let span =
        first.unwrap_or(USUAL_FIRST_OF_SYSTEM).checked_sub(FIRST).expect("room below the system's ports");
    // Processes that run at the same time begin at different ones.
    let of_process = (std::process::id() * 97 % u32::from(span)) as u16;
    let tried =
        (0..span).map(|_| FIRST + of_process.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span);
    let free: Vec<_> =
        tried.filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).take(count).collect();
    assert_eq!(free.len(), count, "free ports");
    free
}
