//! `steadfast drain`: a broker leaves its group, by its name. Discovery says where it is.

use super::args::{ClientArgs, FileArgs};
use super::failure::Failure;
use super::status::no_discovery;
use super::text;
use clap::Args;
use std::time::{Duration, Instant};
use steadfast_core::id::NodeName;
use steadfast_core::message::Departure;
use steadfast_core::status::BrokerAt;
use steadfast_runtime::configuration::Configuration;
use steadfast_tokio::client::{DrainError, drain, survey_discovery};
use tokio::time::{MissedTickBehavior, interval};

pub const HELP: &str = "\
The broker does what it does on SIGTERM: if it is primary it hands over to a backup that has every
record, and clients move there within milliseconds. Its process ends, and nothing starts it again.

Discovery says where the broker is; 'steadfast status' shows the names. Only that very process is
asked: not another one at its address, and not one that has taken its name since. A broker that
listens on loopback can be drained from its own machine only.

Exit status: 0 if it has left and nothing was lost by it; 1 if not, or if nobody could take over;
2 wrong usage.

Examples:
  steadfast drain broker-2
  steadfast drain two --discovery 10.0.0.21:7401,10.0.0.22:7401";

/// Progress is shown from this moment on, and so often.
const QUIET: Duration = Duration::from_secs(2);
/// How long discovery may take to say where the broker is.
const PATIENCE: Duration = Duration::from_secs(2);

/// `steadfast drain`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DrainArgs {
    /// The broker's name
    #[arg(value_name = "NAME", value_parser = text::node_name)]
    pub name: NodeName,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub file: FileArgs,
}

/// Asks the broker to leave and waits until it has.
///
/// # Errors
/// When there is no such broker, when it is not known how it has left, and when nobody has taken over
/// what it held.
pub async fn run(args: DrainArgs, configuration: &Configuration) -> Result<(), Failure> {
    let broker = find(&args.name, configuration).await?;
    let start = Instant::now();
    let mut beat = interval(QUIET);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat.tick().await;
    let mut draining = std::pin::pin!(drain(configuration.settings.transport.kind, &broker));
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
async fn find(name: &NodeName, configuration: &Configuration) -> Result<BrokerAt, Failure> {
    let settings = &configuration.settings;
    let discovery = &settings.cluster.discovery;
    let seen = survey_discovery(settings.transport.kind, discovery, PATIENCE).await;
    if seen.discovery.iter().all(|(_, answer)| answer.is_err()) {
        return Err(no_discovery(discovery));
    }
    let named = seen.brokers_to_ask().into_iter().filter(|broker| broker.identity.member.node == *name);
    named.max_by_key(|broker| broker.identity.czxid).ok_or_else(|| {
        Failure::new(
            format!("discovery knows no broker {name}"),
            "look at 'steadfast status' for the names and addresses of those that run",
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
            Err(DrainError::Other),
            Err(DrainError::Refused),
            Err(DrainError::Silent),
        ] {
            assert!(told(outcome).unwrap_err().contains("one"));
        }
    }
}
