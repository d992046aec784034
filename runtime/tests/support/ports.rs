//! Ports for what is stopped and comes back to where it was.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below them are other people's services.
const FIRST: u32 = 20_000;
/// Where the system's own choice begins, on a system that does not say.
const USUAL_FIRST_OF_SYSTEM: u32 = 32_768;

/// Ports that are free now, all different, below those that the system chooses itself: it would give one
/// to anybody's connection while its owner is away. Where there are none below, some of the system's.
pub fn lasting_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok());
    let span = first.unwrap_or(USUAL_FIRST_OF_SYSTEM).saturating_sub(FIRST);
    let Some(of_process) = (std::process::id() % 10_007 * 97).checked_rem(span) else {
        let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        return listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    };
    // Processes that run at the same time begin at different ones.
    let tried = (0..span).map(|_| FIRST + (of_process + NEXT.fetch_add(1, Ordering::Relaxed)) % span);
    let tried = tried.map(|port| u16::try_from(port).expect("a port"));
    let free: Vec<_> =
        tried.filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).take(count).collect();
    assert_eq!(free.len(), count, "free ports");
    free
}
