//! Where a node's metrics go.

use super::failure::Failure;
use super::text::{self, kept};
use clap::Args;
use steadfast_runtime::configuration::Configuration;
use steadfast_runtime::metrics::{Exporter, Prepared, Settings};
use steadfast_tokio::client::Measured;

/// Metrics into InfluxDB.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsArgs {
    /// Write metrics to this InfluxDB 2 server, for example http://127.0.0.1:8086
    #[arg(long, value_name = "URL")]
    pub metrics_url: Option<String>,
    /// The server's organisation
    #[arg(long, value_name = "ORG")]
    pub metrics_org: Option<String>,
    /// The server's bucket
    #[arg(long, value_name = "BUCKET")]
    pub metrics_bucket: Option<String>,
    /// Read the server's token from this file [default: the variable STEADFAST_METRICS_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub metrics_token_file: Option<String>,
    /// How often [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = kept(text::duration))]
    pub metrics_interval: Option<String>,
}

impl MetricsArgs {
    /// The flags again, for another process.
    pub fn flags(&self) -> Vec<String> {
        let flags = [
            ("--metrics-url", &self.metrics_url),
            ("--metrics-org", &self.metrics_org),
            ("--metrics-bucket", &self.metrics_bucket),
            ("--metrics-token-file", &self.metrics_token_file),
            ("--metrics-interval", &self.metrics_interval),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value.clone()?]));
        given.flatten().collect()
    }
}

/// What sends the metrics of this cluster, if they are wanted.
///
/// # Errors
/// When a setting makes no sense, or the token cannot be read.
pub fn prepare(configuration: &Configuration, cluster: &str) -> Result<Option<Prepared>, Failure> {
    let metrics = &configuration.settings.metrics;
    let (Some(url), Some(org), Some(bucket)) = (&metrics.url, &metrics.org, &metrics.bucket) else {
        return Ok(None);
    };
    let settings = Settings {
        token: configuration.token().map_err(Failure::usage)?,
        cluster: cluster.to_owned(),
        interval: metrics.interval,
        queue: usize::try_from(metrics.queue).unwrap_or(usize::MAX),
        request_timeout: metrics.request_timeout,
        retry_for: metrics.retry_for,
        flush_timeout: metrics.flush_timeout,
        ..Settings::new(url, org, bucket)
    };
    Prepared::new(settings).map(Some).map_err(Failure::usage)
}

/// Sends a client's metrics from now on, where it is told to: what is configured for the brokers of
/// this machine may not be meant for whoever publishes from it.
///
/// # Errors
/// When it is told to and nothing says where to.
pub fn start_client(
    configuration: &Configuration,
    wanted: bool,
    name: &str,
) -> Result<Option<Exporter>, Failure> {
    if !wanted {
        return Ok(None);
    }
    let prepared = prepare(configuration, &configuration.settings.cluster.name)?;
    if prepared.is_none() {
        return Err(Failure::usage(
            "--metrics is given, but nothing says where to; set url, org and bucket in [metrics] of the configuration file, or STEADFAST_METRICS_URL, _ORG and _BUCKET",
        ));
    }
    start_exporter(prepared, name)
}

/// Where a client's metrics go, if they are wanted.
pub fn measured(exporter: Option<&Exporter>, name: &str) -> Option<Measured> {
    exporter.map(|exporter| Measured { name: name.to_owned(), sink: exporter.sink().clone() })
}

/// Begins to send, in the name of a node.
///
/// # Errors
/// When the thread cannot start.
pub fn start_exporter(prepared: Option<Prepared>, node: &str) -> Result<Option<Exporter>, Failure> {
    prepared.map(|prepared| prepared.start(node)).transpose().map_err(Failure::complete)
}
