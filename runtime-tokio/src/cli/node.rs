//! `steadfast broker`, `discovery` and `coordination`: one node each.

use super::args::{BrokerArgs, CoordinationArgs, DiscoveryArgs, ListenArgs, TotalLoss};
use super::failure::Failure;
use super::process::READY;
use super::service::Service;
use super::signals::asked_to_leave;
use steadfast_core::broker::{self, OnTotalLoss};
use steadfast_core::coordination::service;
use steadfast_core::id::Address;
use steadfast_core::{discovery, trace};
use steadfast_tokio::nodes::{
    BrokerOptions, DiscoveryOptions, RunningBroker, RunningDiscovery, RunningService, start_broker,
    start_discovery, start_service,
};

/// Runs a broker until it is asked to leave.
///
/// # Errors
/// When it cannot start, or halts.
pub async fn broker(args: BrokerArgs) -> Result<(), Failure> {
    let service = Service::from(&args.service);
    check_dialable(&args.listen)?;
    let retention = args.retention.retention(args.log_limit)?;
    service.probe(args.service.connect_timeout).await?;
    let config = broker::Config {
        timing: args.service.timing(args.suspicion),
        retention,
        log_bytes: args.log_limit,
        on_total_loss: match args.on_total_loss {
            TotalLoss::Reset => OnTotalLoss::Reset,
            TotalLoss::Wait => OnTotalLoss::Wait,
        },
        ..broker::Config::default()
    };
    let options = BrokerOptions {
        node: args.name,
        group: 0,
        listen: args.listen.listen,
        advertise: args.listen.advertise,
        coordination: service.coordination(args.service.session_timeout),
        root: args.service.root(),
        config,
    };
    let running = start_broker(options).await.map_err(Failure::complete)?;
    super::print(&format!("{READY}{}", running.address()))?;
    run_broker(running, asked_to_leave()).await
}

/// Waits for the broker's end, which may be asked for.
///
/// # Errors
/// When it halts.
pub async fn run_broker(mut running: RunningBroker, leave: impl Future<Output = ()>) -> Result<(), Failure> {
    let ended = tokio::select! {
        ended = running.ended() => ended,
        () = leave => {
            running.stop();
            running.ended().await
        }
    };
    match ended {
        Some(broker::Event::Stopped) => Ok(()),
        Some(broker::Event::Halted(reason)) => Err(halted(reason)),
        None => Err(crashed("broker")),
    }
}

/// Runs a discovery replica until it is asked to leave.
///
/// # Errors
/// When it cannot start.
pub async fn discovery(args: DiscoveryArgs) -> Result<(), Failure> {
    let service = Service::from(&args.service);
    check_dialable(&args.listen)?;
    service.probe(args.service.connect_timeout).await?;
    let timing = args.service.timing(steadfast_core::limits::Timing::default().suspicion);
    let options = DiscoveryOptions {
        listen: args.listen.listen,
        coordination: service.coordination(args.service.session_timeout),
        root: args.service.root(),
        config: discovery::Config { timing, ..discovery::Config::default() },
    };
    let running = start_discovery(options).await.map_err(Failure::complete)?;
    // Clients are told of discovery by people and scripts, who read it here.
    super::print(&format!("{READY}{}", args.listen.advertise.as_ref().unwrap_or(running.address())))?;
    run_discovery(running, asked_to_leave()).await
}

/// Waits for the replica's end, which may be asked for.
///
/// # Errors
/// When it fails.
pub async fn run_discovery(
    mut running: RunningDiscovery,
    leave: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let ended = tokio::select! {
        ended = running.ended() => ended,
        () = leave => {
            running.stop();
            running.ended().await
        }
    };
    ended.map(|discovery::Event::Stopped| ()).ok_or_else(|| crashed("discovery replica"))
}

/// Runs an embedded coordination service until it is asked to leave.
///
/// # Errors
/// When it cannot start.
pub async fn coordination(args: CoordinationArgs) -> Result<(), Failure> {
    let started = start_service(&args.listen.listen, service::Config::default()).await;
    let running = started.map_err(Failure::complete)?;
    super::print(&format!("{READY}{}", running.address()))?;
    run_service(running, asked_to_leave()).await
}

/// Waits until the service is asked to end.
///
/// # Errors
/// When it fails before.
pub async fn run_service(
    mut running: RunningService,
    leave: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tokio::select! {
        _ = running.ended() => Err(crashed("coordination service")),
        () = leave => Ok(()),
    }
}

/// An address that stands for all of the machine's is none to dial: another must be told to others.
fn check_dialable(args: &ListenArgs) -> Result<(), Failure> {
    if args.advertise.is_some() || !listens_everywhere(&args.listen) {
        return Ok(());
    }
    Err(Failure::new(
        format!("nobody can dial {}", args.listen),
        "say where others reach this node: --advertise HOST:PORT",
    ))
}

/// Whether the address stands for all of the machine's, so that it is no address to dial.
fn listens_everywhere(address: &Address) -> bool {
    address.as_str().starts_with("tcp://0.0.0.0:") || address.as_str().starts_with("tcp://[::]:")
}

fn halted(reason: trace::Halt) -> Failure {
    match reason {
        trace::Halt::TreeWentBack => Failure::new(
            "the coordination service holds an older state than this broker's log: it was restored from a backup",
            "decide which of the two is right before you start this broker again",
        ),
        trace::Halt::OtherGroup => Failure::new(
            "the coordination service holds another cluster under this name",
            "check the addresses and --cluster",
        ),
        trace::Halt::CommittedConflict => Failure::new(
            "the primary's log contradicts what this broker knows to be committed",
            "keep this broker's log output and report it; a broker started anew copies the primary's log",
        ),
    }
}

fn crashed(node: &str) -> Failure {
    Failure::new(format!("the {node} failed"), "report what it said on standard error, and start it again")
}
