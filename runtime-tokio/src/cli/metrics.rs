//! Where a node's metrics go.

use super::failure::Failure;
use super::text::{self, kept};
use clap::Args;
use steadfast_runtime::configuration::Configuration;
use steadfast_runtime::metrics::{Exporter, Prepared, Settings, Token};

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

/// What sends the metrics, if they are wanted.
///
/// # Errors
/// When a setting makes no sense, or the token cannot be read.
pub fn prepare(configuration: &Configuration) -> Result<Option<Prepared>, Failure> {
    let settings = &configuration.settings;
    let metrics = &settings.metrics;
    let (Some(url), Some(org), Some(bucket)) = (&metrics.url, &metrics.org, &metrics.bucket) else {
        return Ok(None);
    };
    let token = configuration.token().map_err(Failure::usage)?;
    let token = token.map(|token| Token::new(token.expose())).transpose().map_err(Failure::usage)?;
    let settings = Settings {
        token,
        cluster: settings.cluster.name.clone(),
        interval: metrics.interval,
        queue: usize::try_from(metrics.queue).unwrap_or(usize::MAX),
        request_timeout: metrics.request_timeout,
        retry_for: metrics.retry_for,
        flush_timeout: metrics.flush_timeout,
        ..Settings::new(url, org, bucket)
    };
    Prepared::new(settings).map(Some).map_err(Failure::usage)
}

/// Begins to send, in the name of a node.
///
/// # Errors
/// When the thread cannot start.
pub fn start_exporter(prepared: Option<Prepared>, node: &str) -> Result<Option<Exporter>, Failure> {
    prepared.map(|prepared| prepared.start(node)).transpose().map_err(Failure::complete)
}
