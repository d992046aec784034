//! Memory and processor time of other processes, as the system counts them.

use super::super::failure::Failure;

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What it has now.
    pub resident: u64,
    /// The most that it has had.
    pub peak: u64,
}

impl Usage {
    /// Of this process.
    ///
    /// # Errors
    /// When it has ended, or the system does not say.
    pub fn of(pid: i32) -> Result<Self, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        Self::parse(&status).ok_or_else(|| {
            Failure::new(
                format!("the memory of process {pid} cannot be read from /proc"),
                "measure on Linux, and see with --logs DIR whether the process has ended",
            )
        })
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
        };
        Some(Self { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
    }
}

/// Processor time that a process has used, in seconds, to a hundredth.
///
/// # Errors
/// When it has ended, or the system does not say.
pub fn processor_seconds(pid: i32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks = ticks(&stat).ok_or_else(|| {
        Failure::new(
            format!("the processor time of process {pid} cannot be read from /proc"),
            "measure on Linux, and see with --logs DIR whether the process has ended",
        )
    })?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// In user and in system mode. The name before may hold blanks and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// Bytes as MiB, to a tenth.
pub fn mib(bytes: u64) -> f64 {
    (bytes as f64 * 10.0 / f64::from(1 << 20)).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_lines_are_read() {
        let status = "Name:\tsteadfast\nVmHWM:\t    2048 kB\nVmRSS:\t    1536 kB\nThreads:\t1\n";
        let usage = Usage::parse(status).unwrap();
        assert_eq!(usage, Usage { resident: 1536 << 10, peak: 2048 << 10 });
        assert_eq!((mib(usage.resident), mib(usage.peak)), (1.5, 2.0));
        assert_eq!(Usage::parse("Name:\tzombie\n"), None, "a process that has ended has no memory");
    }

    #[test]
    fn the_two_times_are_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0\n";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks(""), None, "a process that has ended has no time");
    }

    #[test]
    fn this_process_has_memory() {
        if cfg!(target_os = "linux") {
            let usage = Usage::of(std::process::id() as i32).unwrap();
            assert!(usage.peak >= usage.resident && usage.resident > 0);
        }
    }
}
