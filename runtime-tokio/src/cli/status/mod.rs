//! `steadfast status`: how every discovery replica and every broker stands.

mod report;
mod table;

use super::args::{ClientArgs, FileArgs};
use super::failure::Failure;
use super::signals::asked_to_leave;
use super::text;
use clap::Args;
use report::Report;
use std::io::{IsTerminal as _, stdout};
use std::time::{Duration, Instant};
use steadfast_core::id::Address;
use steadfast_core::status::{Missing, Survey};
use steadfast_runtime::configuration::Configuration;
use steadfast_tokio::client::survey;
use steadfast_tokio::transport::Kind;
use tokio::time::sleep;

/// How long a replica or a broker may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two looks while waiting.
const POLL: Duration = Duration::from_millis(200);
/// After this time, and then as often, waiting says what it waits for.
const PROGRESS: Duration = Duration::from_secs(2);
/// Moves to the terminal's first line and clears it from there.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub const HELP: &str = "\
Asks each given discovery replica, and every broker that these name. Who does not answer within 2 s is
shown as such. A broker that was stopped, or whose session has ended, is not named any more: --brokers N
says how many there should be.

Without --discovery it looks where 'steadfast serve' has its replicas.

Healthy means: a discovery replica answers, discovery has a leader, each group has a primary that serves
clients, and every registered broker answers and is in sync. Give --discovery one address to wait for
that replica.

With --json, one object: healthy, missing (what it lacks, as text), discovery (address, answers, error,
replica, standing, epoch, connected, age_ms) and groups (group, group_id, lineage, epoch, config,
primary, in_sync, min_in_sync, lost_epoch, commit, log_end, sessions, streams, unlisted, brokers). Each
broker has name, address, process, answers, error, role, in_sync, serving, silent, leaving, connected,
epoch, lineage, log_start, log_end, commit, log_bytes, log_limit, match and lag. Unknown is null.

Exit status: 0 when a discovery replica answers, with --wait-healthy when the cluster is healthy;
1 otherwise (one line on standard error says what is missing); 2 wrong usage.

Examples:
  steadfast status
  steadfast status --discovery 127.0.0.1:7401,127.0.0.1:7402 --watch
  steadfast status --watch 5s --json
  steadfast status --wait-healthy --brokers 3 --timeout 30s";

/// `steadfast status`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct StatusArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub config: FileArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Look again and again, every so often, until Ctrl-C
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        default_missing_value = "1s",
        value_parser = text::duration,
        conflicts_with = "wait_healthy"
    )]
    pub watch: Option<Duration>,
    /// Wait until the cluster is healthy
    #[arg(long)]
    pub wait_healthy: bool,
    /// With --wait-healthy: this many brokers must be in sync at least
    #[arg(long, value_name = "N", default_value_t = 1, requires = "wait_healthy")]
    pub brokers: usize,
    /// With --wait-healthy: give up after this time, when the last answers have come
    #[arg(
        long,
        value_name = "TIME",
        default_value = "60s",
        value_parser = text::duration,
        requires = "wait_healthy"
    )]
    pub timeout: Duration,
}

/// Runs it.
///
/// # Errors
/// When no discovery replica answers, or the cluster is not healthy in time.
pub async fn run(args: StatusArgs, configuration: &Configuration) -> Result<(), Failure> {
    let (transport, discovery) =
        (configuration.settings.transport.kind, &configuration.settings.cluster.discovery);
    if let Some(period) = args.watch {
        return tokio::select! {
            result = watch(&args, transport, discovery, period) => result,
            () = asked_to_leave() => Ok(()),
        };
    }
    if args.wait_healthy {
        let waited = wait_healthy(transport, discovery, args.brokers, args.timeout).await;
        // Who reads the object learns the details also where one line must do.
        return match waited {
            Ok(seen) => show(&args, &seen),
            Err((failure, seen)) if args.json => show(&args, &seen).and(Err(failure)),
            Err((failure, _)) => Err(failure),
        };
    }
    let seen = survey(transport, discovery, ANSWER).await;
    show(&args, &seen)?;
    match seen.missing(0).as_slice() {
        [Missing::Discovery] => Err(no_discovery(discovery)),
        _ => Ok(()),
    }
}

fn show(args: &StatusArgs, seen: &Survey) -> Result<(), Failure> {
    super::print(&render(args, seen)?)
}

fn render(args: &StatusArgs, seen: &Survey) -> Result<String, Failure> {
    let report = Report::new(seen, if args.wait_healthy { args.brokers } else { 0 });
    if args.json {
        serde_json::to_string(&report).map_err(Failure::complete)
    } else {
        Ok(table::text(&report))
    }
}

/// Ends only by an error.
async fn watch(
    args: &StatusArgs,
    transport: Kind,
    discovery: &[Address],
    period: Duration,
) -> Result<(), Failure> {
    let redraw = !args.json && stdout().is_terminal();
    loop {
        let text = render(args, &survey(transport, discovery, ANSWER).await)?;
        let (before, after) = match (redraw, args.json) {
            (true, _) => (CLEAR, ""),
            (false, true) => ("", ""),
            (false, false) => ("", "\n"),
        };
        super::print(&format!("{before}{text}{after}"))?;
        sleep(period).await;
    }
}

/// Says what is waited for, when it takes long.
struct Progress {
    start: Instant,
    next: Duration,
}

impl Progress {
    fn say(&mut self, missing: &str) {
        let elapsed = self.start.elapsed();
        if elapsed >= self.next {
            self.next = elapsed + PROGRESS;
            super::tell(&format_args!("waiting ({} s): {missing}", elapsed.as_secs()));
        }
    }
}

/// Waits until the cluster is healthy, with at least this many brokers. Returns the last look at it.
///
/// # Errors
/// When it takes too long, with what is missing.
pub async fn wait_healthy(
    transport: Kind,
    discovery: &[Address],
    brokers: usize,
    limit: Duration,
) -> Result<Survey, (Failure, Survey)> {
    let start = Instant::now();
    let (end, mut progress) = (start + limit, Progress { start, next: PROGRESS });
    loop {
        // In full also at the end: the answers decide what is said to be missing.
        let seen = survey(transport, discovery, ANSWER).await;
        let missing = seen.missing(brokers);
        if missing.is_empty() {
            return Ok(seen);
        }
        let list = list(&missing);
        if Instant::now() + POLL >= end {
            let failure = match missing.as_slice() {
                [Missing::Discovery] => no_discovery(discovery),
                _ => Failure::new(
                    format!("the cluster is not healthy after {} s: {list}", limit.as_secs_f64()),
                    "look at 'steadfast status' and at the logs of what is named here",
                ),
            };
            return Err((failure, seen));
        }
        progress.say(&list);
        sleep(POLL).await;
    }
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(Missing::to_string).collect::<Vec<_>>().join(", ")
}

/// Nobody could be asked.
pub fn no_discovery(discovery: &[Address]) -> Failure {
    let missing = Missing::Discovery;
    let addresses: Vec<_> = discovery.iter().map(report::plain).collect();
    Failure::new(
        format!("{missing} at {}", addresses.join(", ")),
        "check that discovery runs there and that --discovery is right",
    )
}
