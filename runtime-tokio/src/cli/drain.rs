//! `steadfast drain`: a broker leaves its group, by its name.

use super::args::{FileArgs, ServiceArgs};
use super::failure::Failure;
use super::service::Service;
use super::text;
use clap::Args;
use std::time::{Duration, Instant};
use steadfast_core::group::LiveNode;
use steadfast_core::id::{Group, NodeName};
use steadfast_core::message::Departure;
use steadfast_runtime::configuration::Configuration;
use steadfast_tokio::client::{DrainError, drain};
use tokio::time::{MissedTickBehavior, interval, timeout};

pub const HELP: &str = "\
The broker does what it does on SIGTERM: if it is primary it hands over to a backup that has every
record, and clients move there within milliseconds. Its process ends. Its address is read from the
coordination service, so a broker that listens on loopback can be drained from its own machine only.

Exit status: 0 if it has left and nothing was lost by it; 1 if not, or if nobody could take over;
2 wrong usage.

Examples:
  steadfast drain one --zookeeper zk1:2181,zk2:2181,zk3:2181
  steadfast drain two --coordination 127.0.0.1:7400";

/// Progress is shown from this moment on, and so often.
const QUIET: Duration = Duration::from_secs(2);
/// How long the coordination service may take to say where the broker is.
const PATIENCE: Duration = Duration::from_secs(10);
/// The only group.
const GROUP: Group = 0;

/// `steadfast drain`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DrainArgs {
    /// The broker's name
    #[arg(value_name = "NAME", value_parser = text::node_name)]
    pub name: NodeName,
    #[command(flatten)]
    pub service: ServiceArgs,
    #[command(flatten)]
    pub file: FileArgs,
}

/// Asks the broker to leave and waits until it has.
///
/// # Errors
/// When there is no such broker, when it is not known how it has left, and when nobody has taken over
/// what it held.
pub async fn run(args: DrainArgs, configuration: &Configuration) -> Result<(), Failure> {
    let live = find(&args, configuration).await?;
    let start = Instant::now();
    let mut beat = interval(QUIET);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat.tick().await;
    let mut draining = std::pin::pin!(drain(&live.address));
    let outcome = loop {
        tokio::select! {
            outcome = &mut draining => break outcome,
            _ = beat.tick() => super::tell(&format_args!("{} is leaving: {} s", args.name, start.elapsed().as_secs())),
        }
    };
    let text = describe(&args.name, outcome)?;
    super::print(&format!("{text}, in {:.1} s", start.elapsed().as_secs_f64()))
}

/// The process that runs under this name; of two, the later one (R32).
async fn find(args: &DrainArgs, configuration: &Configuration) -> Result<LiveNode, Failure> {
    let settings = &configuration.settings;
    let service = Service::of(configuration)?;
    let mut tree = service.open(settings.coordination.connect_timeout).await?;
    let group = timeout(PATIENCE, tree.group(&settings.root(), GROUP)).await;
    tree.close().await;
    let Ok(Ok(group)) = group else {
        return Err(Failure::new(
            "the coordination service does not say where the broker is",
            "check that it is well and that the address is right",
        ));
    };
    let mut found = group.live.into_iter().filter(|live| live.id.member.node == args.name);
    found.next_back().ok_or_else(|| {
        Failure::new(
            format!("no broker {} runs in the cluster {}", args.name, settings.cluster.name),
            "check the name and --cluster",
        )
    })
}

fn describe(name: &NodeName, outcome: Result<Departure, DrainError>) -> Result<String, Failure> {
    match outcome {
        Ok(Departure::HandedOver { successor }) => {
            Ok(format!("{name} has handed over to {successor} and has left"))
        }
        Ok(Departure::Left | Departure::Begun) => Ok(format!("{name} was not primary and has left")),
        Ok(Departure::GaveUp) => Err(Failure::new(
            format!("{name} was the last broker in sync: it has left, and the data is given up"),
            "next time start another broker first and wait until it is in sync",
        )),
        Ok(Departure::TimedOut) => Err(Failure::new(
            format!("{name} has left, and nobody had taken its place in time"),
            "look at the logs of the other brokers for who is in sync",
        )),
        Err(error) => Err(Failure::new(
            format!("cannot drain {name}: {error}"),
            "look at its log, or end its process with SIGTERM on its machine",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_departure_without_loss_is_a_success() {
        let name = |name| NodeName::new(name).unwrap();
        let told = |outcome| describe(&name("one"), outcome).map_err(|failure| failure.to_string());
        let text = told(Ok(Departure::HandedOver { successor: name("two") })).unwrap();
        assert!(text.contains("one") && text.contains("two"), "{text}");
        assert!(told(Ok(Departure::Left)).is_ok());
        for outcome in [
            Ok(Departure::GaveUp),
            Ok(Departure::TimedOut),
            Err(DrainError::Unreachable),
            Err(DrainError::Ended),
            Err(DrainError::Refused),
            Err(DrainError::Silent),
        ] {
            assert!(told(outcome).unwrap_err().contains("one"));
        }
    }
}
