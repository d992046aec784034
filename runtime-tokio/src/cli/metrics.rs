//! Where a node's metrics go.

use super::failure::Failure;
use super::text;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use steadfast_runtime::metrics::{Exporter, Prepared, Settings, Token};

/// Holds the token, where no file does.
const TOKEN: &str = "STEADFAST_METRICS_TOKEN";

/// Metrics into InfluxDB.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsArgs {
    /// Write metrics to this InfluxDB 2 server, for example http://127.0.0.1:8086
    #[arg(long, value_name = "URL", requires_all = ["metrics_org", "metrics_bucket"])]
    pub metrics_url: Option<String>,
    /// The server's organisation
    #[arg(long, value_name = "ORG", requires = "metrics_url")]
    pub metrics_org: Option<String>,
    /// The server's bucket
    #[arg(long, value_name = "BUCKET", requires = "metrics_url")]
    pub metrics_bucket: Option<String>,
    /// Read the server's token from this file [default: the variable STEADFAST_METRICS_TOKEN]
    #[arg(long, value_name = "FILE", requires = "metrics_url")]
    pub metrics_token_file: Option<PathBuf>,
    /// How often
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = text::duration)]
    pub metrics_interval: Duration,
}

impl MetricsArgs {
    /// What sends the metrics, if they are wanted.
    ///
    /// # Errors
    /// When a setting makes no sense, or the token cannot be read.
    pub fn prepare(&self, cluster: &str) -> Result<Option<Prepared>, Failure> {
        let (Some(url), Some(org), Some(bucket)) =
            (&self.metrics_url, &self.metrics_org, &self.metrics_bucket)
        else {
            return Ok(None);
        };
        let token = match (&self.metrics_token_file, std::env::var(TOKEN)) {
            (Some(path), _) => Some(Token::from_file(path)),
            (None, Ok(text)) => Some(Token::new(&text)),
            (None, Err(_)) => None,
        };
        let settings = Settings {
            token: token.transpose().map_err(Failure::complete)?,
            cluster: cluster.to_owned(),
            interval: self.metrics_interval,
            ..Settings::new(url, org, bucket)
        };
        Prepared::new(settings).map(Some).map_err(Failure::complete)
    }
}

/// Begins to send, in the name of a node.
///
/// # Errors
/// When the thread cannot start.
pub fn start_exporter(prepared: Option<Prepared>, node: &str) -> Result<Option<Exporter>, Failure> {
    prepared.map(|prepared| prepared.start(node)).transpose().map_err(Failure::complete)
}
