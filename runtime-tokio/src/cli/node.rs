//! `steadfast broker`, `discovery` and `coordination`: one node each.

use super::args::CoordinationArgs;
use super::failure::Failure;
use super::metrics::{prepare, start_exporter};
use super::process::READY;
use super::service::Service;
use super::signals::asked_to_leave;
use super::text;
use steadfast_core::broker;
use steadfast_core::coordination::service;
use steadfast_core::limits::Timing;
use steadfast_core::{discovery, trace};
use steadfast_runtime::configuration::Configuration;
use steadfast_runtime::metrics::Exporter;
use steadfast_runtime::recorder::Tape;
use steadfast_tokio::coordination::Coordination;
use steadfast_tokio::nodes::{
    BrokerOptions, DiscoveryOptions, RunningBroker, RunningDiscovery, RunningService, host_and_port,
    start_measured_discovery, start_recorded_broker, start_service,
};
use tracing::info;

/// Runs a broker until it is asked to leave.
///
/// # Errors
/// When it cannot start, or halts.
pub async fn broker(configuration: &Configuration) -> Result<(), Failure> {
    let settings = &configuration.settings;
    let Some(node) = settings.broker.name.clone() else {
        return Err(Failure::usage(
            "this broker has no name; give --name NAME, or set name in [broker] of the configuration file",
        ));
    };
    let name = node.to_string();
    let metrics = prepare(configuration, &settings.cluster.name)?;
    let tape = settings.broker.record.as_ref().map(|file| Tape::open(file, settings.broker.record_limit));
    let tape = tape.transpose().map_err(Failure::complete)?;
    let (coordination, timing) = coordinate(configuration).await?;
    let config = broker::Config {
        timing,
        log_bytes: settings.broker.log_limit,
        uncommitted_bytes: settings.broker.uncommitted_limit,
        retention: settings.retention(),
        on_total_loss: settings.broker.on_total_loss,
        session_expiry: settings.broker.session_expiry,
        compression: settings.broker.compression.unwrap_or_default(),
    };
    let options = BrokerOptions {
        node,
        group: 0,
        transport: settings.transport.kind,
        busy_poll: settings.transport.busy_poll,
        listen: settings.broker.listen.clone(),
        advertise: settings.broker.advertise.clone(),
        coordination,
        root: settings.root(),
        config,
    };
    let sink = metrics.as_ref().map(|metrics| metrics.sink().clone());
    let running = start_recorded_broker(options, sink, tape).await.map_err(Failure::complete)?;
    let exporter = start_exporter(metrics, &name)?;
    super::print(&format!("{READY}{}", running.address()))?;
    let ended = run_broker(running, asked_to_leave()).await;
    exporter.map(Exporter::close);
    ended
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
pub async fn discovery(configuration: &Configuration) -> Result<(), Failure> {
    let settings = &configuration.settings;
    let metrics = prepare(configuration, &settings.cluster.name)?;
    let (coordination, timing) = coordinate(configuration).await?;
    let options = DiscoveryOptions {
        transport: settings.transport.kind,
        listen: settings.discovery.listen.clone(),
        coordination,
        root: settings.root(),
        config: discovery::Config { timing, min_in_sync: settings.discovery.min_in_sync },
    };
    let sink = metrics.as_ref().map(|metrics| metrics.sink().clone());
    let running = start_measured_discovery(options, sink).await.map_err(Failure::complete)?;
    let exporter = start_exporter(metrics, host_and_port(running.address()))?;
    // Clients are told of discovery by people and scripts, who read it here.
    super::print(&format!("{READY}{}", settings.discovery.advertise.as_ref().unwrap_or(running.address())))?;
    let ended = run_discovery(running, asked_to_leave()).await;
    exporter.map(Exporter::close);
    ended
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
pub async fn coordination(args: CoordinationArgs, configuration: &Configuration) -> Result<(), Failure> {
    let listen = args.listen.listen.as_deref().unwrap_or("127.0.0.1:0");
    let listen = text::address(listen).map_err(Failure::usage)?;
    let started =
        start_service(configuration.settings.transport.kind, &listen, service::Config::default()).await;
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

/// Finds the coordination service, and what it means for the timings: ZooKeeper has the last word on
/// the session timeout, and the thresholds follow it (R12).
async fn coordinate(configuration: &Configuration) -> Result<(Coordination, Timing), Failure> {
    let settings = &configuration.settings;
    let (asked, patience) = (settings.coordination.session_timeout, settings.coordination.connect_timeout);
    let service = Service::of(configuration)?;
    let granted = service.probe(settings.transport.kind, &settings.root(), patience).await?.unwrap_or(asked);
    configuration.check_granted(granted).map_err(Failure::usage)?;
    if granted != asked {
        info!(target: "steadfast", ?asked, ?granted, "ZooKeeper grants another session timeout than asked for");
    }
    Ok((service.coordination(granted), settings.timing(granted)))
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
