//! How much a broker keeps, as its command line says it.

use super::failure::Failure;
use super::text;
use clap::Args;
use std::time::Duration;
use steadfast_core::broker::retention::Retention;

/// What a log may hold above what is retained: a trim waits for a commit, and commits for in-sync members.
const HEADROOM: u64 = 64 << 20;
/// Below this a trim would hardly drop more than itself.
const LEAST_BYTES: u64 = 64 << 10;

/// The oldest records go when any of these is exceeded, whoever has not read them yet.
#[derive(Clone, Debug, Args)]
pub struct RetentionArgs {
    /// Memory for records that are kept [default: half of --log-limit]
    #[arg(long, value_name = "SIZE", value_parser = text::bytes)]
    pub retention_bytes: Option<u64>,
    /// How many records are kept [default: no limit]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub retention_records: Option<u64>,
    /// How long records are kept, for example 30m, 12h or 7d [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub retention_age: Option<Duration>,
}

impl RetentionArgs {
    /// What a broker with so much memory for its log keeps.
    ///
    /// # Errors
    /// When the log could not hold it.
    pub fn retention(&self, log_limit: u64) -> Result<Retention, Failure> {
        let bytes = self.retention_bytes.unwrap_or(log_limit / 2);
        if bytes < LEAST_BYTES {
            return Err(Failure::new(
                format!("--retention-bytes {bytes} is too little to keep"),
                format!("give {LEAST_BYTES} bytes or more"),
            ));
        }
        if log_limit < bytes.saturating_add(HEADROOM) {
            let (kept, limit) = (bytes >> 20, log_limit >> 20);
            return Err(Failure::new(
                format!("a log of {limit} MiB cannot hold {kept} MiB of records and what is on its way"),
                format!(
                    "set --log-limit to {}MiB or more, or lower --retention-bytes",
                    bytes.saturating_add(HEADROOM) >> 20
                ),
            ));
        }
        Ok(Retention { bytes: Some(bytes), records: self.retention_records, age: self.retention_age })
    }
}

const AGE: &str = "write for example 30m, 12h or 7d; at most 3650d";

/// A duration in days and hours, too.
fn age(value: &str) -> Result<Duration, String> {
    let hours = match (value.strip_suffix('d'), value.strip_suffix('h')) {
        (Some(days), _) => days.parse::<u32>().ok().and_then(|days| days.checked_mul(24)),
        (None, Some(hours)) => hours.parse().ok(),
        (None, None) => return text::duration(value).map_err(|_| AGE.to_owned()),
    };
    match hours {
        Some(hours @ 1..=87_600) => Ok(Duration::from_secs(u64::from(hours) * 3_600)),
        _ => Err(AGE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(bytes: Option<u64>) -> RetentionArgs {
        RetentionArgs { retention_bytes: bytes, retention_records: Some(5), retention_age: None }
    }

    #[test]
    fn half_of_the_log_is_retained_unless_the_command_line_says_otherwise() {
        let kept =
            |bytes, limit| args(bytes).retention(limit).map(|kept| kept.bytes).map_err(|e| e.to_string());
        assert_eq!(kept(None, 1 << 30), Ok(Some(512 << 20)));
        assert_eq!(kept(Some(256 << 20), 320 << 20), Ok(Some(256 << 20)));
        let error = kept(Some(256 << 20), 319 << 20).unwrap_err();
        assert!(error.contains("--log-limit to 320MiB"), "{error}");
        assert!(kept(None, 100 << 20).is_err());
        assert!(kept(Some(1), 1 << 30).unwrap_err().contains("too little"));
        assert!(kept(Some(u64::MAX), 1 << 30).is_err());
        assert_eq!(args(None).retention(1 << 30).map(|kept| kept.records).ok(), Some(Some(5)));
    }

    #[test]
    fn ages_are_read() {
        assert_eq!(age("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(age("12h"), Ok(Duration::from_secs(43_200)));
        assert_eq!(age("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["d", "0d", "-1h", "1.5d", "99999999999d", "4000d", "x"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
