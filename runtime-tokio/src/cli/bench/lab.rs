//! Where a benchmark is measured: clusters of its own, each for as long as it is needed, or one that
//! somebody else has started.

use super::super::cluster::{Cluster, Plan};
use super::super::display::Display;
use super::super::failure::Failure;
use super::super::signals;
use super::args::Measurement;
use std::path::PathBuf;
use steadfast_runtime::configuration::Configuration;
use steadfast_runtime::identity;
use steadfast_tokio::transport::Kind;

/// What all clusters of a benchmark have in common.
#[derive(Clone, Debug)]
pub struct Lab {
    /// What all connections are made of.
    pub transport: Kind,
    /// Discovery of somebody else's cluster.
    pub named: Option<String>,
    logs: Option<PathBuf>,
    metrics: Vec<String>,
    /// Whether somebody wants to see progress.
    watched: bool,
}

impl Lab {
    /// As the command line says.
    pub fn new(what: &Measurement, configuration: &Configuration) -> Self {
        let options = what.options();
        let named = what.plot_options().map_or(&[][..], |options| &options.discovery);
        let named: Vec<_> =
            named.iter().map(|address| address.as_str().trim_start_matches("tcp://")).collect();
        Self {
            transport: configuration.settings.transport.kind,
            named: (!named.is_empty()).then(|| named.join(",")),
            logs: options.logs.clone(),
            metrics: options.metrics.flags(),
            watched: !options.json,
        }
    }

    /// Progress, if somebody wants to see it.
    pub fn display(&self) -> Display {
        Display::on_terminal(self.watched)
    }

    /// Measures on a cluster of so many brokers with these options, or on the one that is named.
    ///
    /// # Errors
    /// When something does not start, what is measured fails, or somebody interrupts it.
    pub async fn on_cluster<T>(
        &self,
        brokers: usize,
        broker_options: Vec<String>,
        measure: impl AsyncFnOnce(&mut Cluster) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut cluster = Cluster::new(Plan {
            transport: self.transport,
            service: None,
            cluster: format!("bench-{:016x}", identity::seed()),
            named: self.named.clone(),
            discovery: 1,
            brokers,
            broker_options,
            logs: self.logs.clone(),
            metrics: self.metrics.clone(),
        });
        let measured = async {
            cluster.connect().await?;
            cluster.start().await?;
            measure(&mut cluster).await
        };
        let result = tokio::select! {
            result = measured => result,
            failure = signals::interrupted() => Err(failure),
        };
        cluster.stop().await?;
        result
    }

    /// Refuses what cannot be done to somebody else's cluster.
    ///
    /// # Errors
    /// When there is one.
    pub fn refuse_named(&self, what: &str) -> Result<(), Failure> {
        match &self.named {
            None => Ok(()),
            Some(_) => Err(Failure::usage(format!(
                "{what}, which is not done to a cluster that somebody else has started; do without --discovery"
            ))),
        }
    }
}

/// Options of brokers that keep so many bytes of records, and have room for as many again.
pub fn retaining(bytes: u64) -> Vec<String> {
    /// Memory for the log, unless twice what is retained is more.
    const LOG_LIMIT: u64 = 1 << 30;
    let limit = LOG_LIMIT.max(bytes.saturating_mul(2));
    let options = [("--retention-bytes", bytes), ("--log-limit", limit)];
    options.into_iter().flat_map(|(option, bytes)| [option.to_owned(), bytes.to_string()]).collect()
}
