//! What a result was measured on.

use serde::Serialize;
use std::fmt;
use std::fs::read_to_string;
use std::thread::available_parallelism;

/// A machine and a build. Results of different ones say nothing about each other.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    profile: &'static str,
}

impl Machine {
    /// This one. What it does not say is `unknown`.
    pub fn this() -> Self {
        let read = |path| read_to_string(path).unwrap_or_default();
        let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        let kib = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
        Self {
            cpu: known(field(&read("/proc/cpuinfo"), "model name")),
            cores: available_parallelism().map_or(0, usize::from),
            memory_gib: tenths(kib / f64::from(1 << 20)),
            kernel: known(read("/proc/sys/kernel/osrelease").trim()),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, memory_gib, kernel, profile } = self;
        write!(f, "{cpu}, {cores} cores, {memory_gib} GiB, kernel {kernel}, {profile} build")
    }
}

/// The value of the first line with this key.
fn field<'a>(text: &'a str, key: &str) -> &'a str {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim()).next().unwrap_or("")
}

/// To a tenth.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names() {
        let text =
            "processor\t: 0\nmodel name\t: A CPU: fast\nMemTotal:       1024 kB\nmodel name : another\n";
        assert_eq!((field(text, "model name"), field(text, "MemTotal")), ("A CPU: fast", "1024 kB"));
        assert_eq!(field(text, "model"), "");
    }

    #[test]
    fn this_machine_says_what_it_is() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && !machine.cpu.is_empty());
        if cfg!(target_os = "linux") {
            assert!(machine.memory_gib > 0.0 && machine.kernel != "unknown");
        }
    }
}
