//! Ranges, and combinations that cannot work.

use super::layers::Given;
use super::problem::{Origin, Problem};
use super::settings::Settings;
use crate::address::host_and_port;
use crate::metrics::settings::{INTERVALS, QUEUES, check_url};
use crate::units::{show_bytes, show_duration};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;
use steadfast_core::id::Address;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Shorter ones expire on a machine that has work to do.
const SESSION_TIMEOUTS: RangeInclusive<Duration> = millis(100)..=millis(600_000);
const HEARTBEATS: RangeInclusive<Duration> = millis(5)..=millis(60_000);
const SUSPICIONS: RangeInclusive<Duration> = millis(10)..=millis(600_000);
const BACKOFFS: RangeInclusive<Duration> = millis(1)..=millis(60_000);
/// A log has room for the largest record.
const LEAST_LOG: u64 = 2 << 20;
/// Below this a trim would hardly drop more than itself.
const LEAST_RETENTION: u64 = 64 << 10;
/// A file of a recording is more than what it begins with.
const LEAST_RECORDING: u64 = 2 << 20;
/// A publisher that is silent for a moment is not gone.
const SESSION_EXPIRIES: RangeInclusive<Duration> = millis(10_000)..=millis(3_650 * 86_400_000);

/// Looks at all settings together.
pub(super) fn check(settings: &Settings, made: &BTreeMap<&'static str, Given>) -> Vec<Problem> {
    let mut checks = Checks { settings, made, problems: Vec::new() };
    checks.coordination();
    checks.addresses();
    checks.recovery_ranges();
    checks.recovery();
    checks.memory();
    checks.recording();
    checks.retention();
    checks.metrics();
    checks.logging();
    checks.problems
}

struct Checks<'a> {
    settings: &'a Settings,
    made: &'a BTreeMap<&'static str, Given>,
    problems: Vec<Problem>,
}

impl Checks<'_> {
    /// Says what is wrong with the first of these keys that somebody has set.
    fn blame(&mut self, keys: &[&str], text: String) {
        let origin =
            keys.iter().find_map(|key| self.made.get(key)).map_or(&Origin::Default, |given| &given.origin);
        self.problems.push(Problem::at(origin, text));
    }

    fn is_set(&self, key: &str) -> bool {
        self.made.contains_key(key)
    }

    fn within(&mut self, key: &str, value: Duration, range: &RangeInclusive<Duration>) {
        if !range.contains(&value) {
            let shown = show_duration(value);
            let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
            self.blame(&[key], format!("{key} = \"{shown}\" is out of range; choose {least} to {most}"));
        }
    }

    fn coordination(&mut self) {
        let coordination = &self.settings.coordination;
        let named = coordination.zookeeper.as_ref().and_then(|servers| servers.chroot.as_deref());
        if let (Some(key), Some(named)) = (&coordination.chroot, named)
            && key != named
        {
            let text = format!(
                "coordination.chroot = \"{key}\" differs from the chroot \"{named}\" in coordination.zookeeper; keep one of them"
            );
            self.blame(&["coordination.chroot"], text);
        }
        self.within("coordination.session_timeout", coordination.session_timeout, &SESSION_TIMEOUTS);
        if !self.is_set("coordination.embedded") {
            return;
        }
        if self.is_set("coordination.zookeeper") {
            let text = "coordination.embedded and coordination.zookeeper are both set, but a cluster coordinates in one place; remove one of them";
            self.blame(&["coordination.embedded"], text.into());
        }
        for key in ["coordination.chroot", "coordination.credential_file", "coordination.auth_scheme"] {
            if self.is_set(key) {
                let text =
                    format!("{key} is for ZooKeeper, but coordination.embedded is set; remove one of them");
                self.blame(&[key], text);
            }
        }
    }

    fn addresses(&mut self) {
        let settings = self.settings;
        let (broker, discovery) = (&settings.broker, &settings.discovery);
        self.node("broker", &broker.listen, broker.advertise.as_ref());
        self.node("discovery", &discovery.listen, discovery.advertise.as_ref());
        let servers = settings.coordination.zookeeper.iter().flat_map(|servers| &servers.addresses);
        let dialled = servers.map(|address| ("coordination.zookeeper", address));
        let dialled =
            dialled.chain(settings.coordination.embedded.iter().map(|one| ("coordination.embedded", one)));
        let dialled = dialled.chain(settings.cluster.discovery.iter().map(|one| ("cluster.discovery", one)));
        for (key, address) in dialled {
            if port(address) == 0 {
                let text = format!(
                    "{key} = \"{}\" has port 0, which nobody can dial; name the port",
                    plain(address)
                );
                self.blame(&[key], text);
            }
        }
    }

    fn node(&mut self, section: &str, listen: &Address, advertise: Option<&Address>) {
        let (listen_key, advertise_key) = (format!("{section}.listen"), format!("{section}.advertise"));
        match advertise {
            None if is_wildcard(listen) => {
                let text = format!(
                    "{listen_key} = \"{}\" stands for every address of this machine, which nobody can dial; say where others reach this node: {advertise_key}, or --advertise HOST:PORT",
                    plain(listen)
                );
                self.blame(&[&listen_key], text);
            }
            Some(address) if is_wildcard(address) || port(address) == 0 => {
                let text = format!(
                    "{advertise_key} = \"{}\" is no address that others can dial; name this machine's address and the port",
                    plain(address)
                );
                self.blame(&[&advertise_key], text);
            }
            _ => {}
        }
    }

    fn recovery_ranges(&mut self) {
        let recovery = &self.settings.recovery;
        self.within("recovery.heartbeat", recovery.heartbeat.unwrap_or(*HEARTBEATS.start()), &HEARTBEATS);
        self.within("recovery.suspicion", recovery.suspicion, &SUSPICIONS);
        self.within("recovery.client_heartbeat", recovery.client_heartbeat, &HEARTBEATS);
        self.within("recovery.client_suspicion", recovery.client_suspicion, &SUSPICIONS);
        self.within("recovery.backoff", recovery.backoff, &BACKOFFS);
        self.within("recovery.backoff_cap", recovery.backoff_cap, &BACKOFFS);
    }

    fn recovery(&mut self) {
        let recovery = &self.settings.recovery;
        let session = self.settings.coordination.session_timeout;
        if let Some(lag) = recovery.lag.filter(|lag| *lag <= session) {
            let (lag, session) = (show_duration(lag), show_duration(session));
            let text = format!(
                "recovery.lag = \"{lag}\" is not above coordination.session_timeout ({session}): a sick primary could drop healthy backups; raise it, or remove it to have it follow the session timeout"
            );
            self.blame(&["recovery.lag"], text);
        }
        self.at_least_twice(
            ("recovery.suspicion", recovery.suspicion),
            ("recovery.heartbeat", recovery.heartbeat()),
        );
        self.at_least_twice(
            ("recovery.client_suspicion", recovery.client_suspicion),
            ("recovery.client_heartbeat", recovery.client_heartbeat),
        );
        if let Some(step_down) = recovery.step_down.filter(|time| *time < recovery.suspicion) {
            let text = format!(
                "recovery.step_down = \"{}\" is below recovery.suspicion ({}): a primary would fall silent before anybody suspects it; raise it, or remove it to have it follow recovery.lag",
                show_duration(step_down),
                show_duration(recovery.suspicion)
            );
            self.blame(&["recovery.step_down"], text);
        }
        if recovery.backoff > recovery.backoff_cap {
            let text = format!(
                "recovery.backoff = \"{}\" is above recovery.backoff_cap ({}); lower it, or raise recovery.backoff_cap",
                show_duration(recovery.backoff),
                show_duration(recovery.backoff_cap)
            );
            self.blame(&["recovery.backoff", "recovery.backoff_cap"], text);
        }
    }

    fn at_least_twice(&mut self, (long_key, long): (&str, Duration), (key, short): (&str, Duration)) {
        if long < short * 2 {
            let (long, short) = (show_duration(long), show_duration(short));
            let text = format!(
                "{long_key} = \"{long}\" is below twice {key} ({short}): one late sign of life would count as a death; raise it, or lower {key}"
            );
            self.blame(&[long_key, key], text);
        }
    }

    fn memory(&mut self) {
        let broker = &self.settings.broker;
        if broker.log_limit < LEAST_LOG {
            let (limit, least) = (show_bytes(broker.log_limit), show_bytes(LEAST_LOG));
            self.blame(
                &["broker.log_limit"],
                format!("broker.log_limit = \"{limit}\" is too small; choose {least} or more"),
            );
        } else if broker.uncommitted_limit > broker.log_limit && self.is_set("broker.uncommitted_limit") {
            let text = format!(
                "broker.uncommitted_limit = \"{}\" is above broker.log_limit ({}); lower it, or raise broker.log_limit",
                show_bytes(broker.uncommitted_limit),
                show_bytes(broker.log_limit)
            );
            self.blame(&["broker.uncommitted_limit"], text);
        }
        let most = broker.log_limit - broker.log_limit / 8;
        if let Some(bytes) = broker.retention.bytes.filter(|bytes| *bytes > most) {
            let text = format!(
                "broker.retention.bytes = \"{}\" is above seven eighths of broker.log_limit ({}): the log would be full before anything is trimmed; lower it, or raise broker.log_limit",
                show_bytes(bytes),
                show_bytes(broker.log_limit)
            );
            self.blame(&["broker.retention.bytes", "broker.log_limit"], text);
        }
    }

    fn recording(&mut self) {
        let limit = self.settings.broker.record_limit;
        if limit < LEAST_RECORDING {
            let (limit, least) = (show_bytes(limit), show_bytes(LEAST_RECORDING));
            let text =
                format!("broker.record_limit = \"{limit}\" is too little to record; choose {least} or more");
            self.blame(&["broker.record_limit"], text);
        }
    }

    fn retention(&mut self) {
        let retention = &self.settings.broker.retention;
        if let Some(bytes) = retention.bytes.filter(|bytes| *bytes < LEAST_RETENTION) {
            let (given, least) = (show_bytes(bytes), show_bytes(LEAST_RETENTION));
            let text =
                format!("broker.retention.bytes = \"{given}\" is too little to keep; choose {least} or more");
            self.blame(&["broker.retention.bytes"], text);
        }
        self.within("broker.session_expiry", self.settings.broker.session_expiry, &SESSION_EXPIRIES);
    }

    fn metrics(&mut self) {
        let metrics = &self.settings.metrics;
        self.within("metrics.interval", metrics.interval, &INTERVALS);
        if !QUEUES.contains(&metrics.queue) {
            let text = format!(
                "metrics.queue = {} is out of range; choose {} to {}",
                metrics.queue,
                QUEUES.start(),
                QUEUES.end()
            );
            self.blame(&["metrics.queue"], text);
        }
        let Some(url) = &metrics.url else {
            for key in ["metrics.org", "metrics.bucket", "metrics.token_file"] {
                if self.is_set(key) {
                    self.blame(&[key], format!("{key} is set, but metrics.url is not: nothing would be sent; set metrics.url, or remove it"));
                }
            }
            return;
        };
        if let Err(why) = check_url(url) {
            self.blame(
                &["metrics.url"],
                format!("metrics.url {why}; write for example http://127.0.0.1:8086"),
            );
        }
        for (key, value) in [("metrics.org", &metrics.org), ("metrics.bucket", &metrics.bucket)] {
            if value.is_none() {
                self.blame(
                    &["metrics.url"],
                    format!("metrics.url is set, but {key} is not; say where to write"),
                );
            }
        }
    }

    fn logging(&mut self) {
        let logging = &self.settings.logging;
        let (rotation, keep) = ("logging.rotation", "logging.keep");
        if logging.directory.is_none() {
            for key in
                [rotation, keep].into_iter().filter(|key| self.made.contains_key(key)).collect::<Vec<_>>()
            {
                let text = format!(
                    "{key} is for log files, but logging.directory is not set; set it, or remove {key}"
                );
                self.blame(&[key], text);
            }
        } else if logging.keep.is_some() && logging.rotation.is_none() {
            let text = "logging.keep is for log files that rotate, but logging.rotation is not set; set it to \"day\" or \"hour\", or remove logging.keep";
            self.blame(&[keep], text.into());
        }
    }
}

/// Whether it stands for all addresses of a machine, so that it is none to dial.
fn is_wildcard(address: &Address) -> bool {
    host_and_port(address)
        .is_ok_and(|(host, _)| host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_unspecified()))
}

fn port(address: &Address) -> u16 {
    host_and_port(address).map_or(0, |(_, port)| port)
}

fn plain(address: &Address) -> &str {
    address.as_str().trim_start_matches("tcp://")
}
