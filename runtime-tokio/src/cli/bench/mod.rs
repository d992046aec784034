//! `steadfast bench`: figures, and a curve, of a cluster on this machine or of one that is named,
//! measured from the outside by workers in processes of their own.

pub mod args;
mod chart;
mod compare;
mod crowd;
mod failover;
mod fanout;
mod fit;
mod growth;
mod lab;
mod machine;
pub mod memory;
mod promotion;
mod role;
mod scale;
mod steady;
mod table;
mod usage;

use super::failure::Failure;
use args::{Bench, BenchArgs, Measurement};
use chart::{Chart, check_writable};
use compare::Earlier;
use lab::Lab;
use machine::Machine;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use steadfast_runtime::configuration::Configuration;

/// Brokers of a cluster of its own, unless their number is what is measured: a primary and a backup.
const BROKERS: usize = 2;

/// What a benchmark has found.
#[derive(Debug)]
struct Outcome {
    /// Numbers by their names, with their units.
    figures: Value,
    /// The same as a curve, where it is one.
    chart: Option<Chart>,
}

/// Runs one benchmark.
///
/// # Errors
/// When something does not start, records are lost, or an earlier result is not comparable.
pub async fn run(args: BenchArgs, configuration: &Configuration) -> Result<(), Failure> {
    match &args.what {
        Bench::Own(what) => measure(what, configuration).await,
        Bench::Role(args) => role::run(args, configuration).await,
    }
}

async fn measure(what: &Measurement, configuration: &Configuration) -> Result<(), Failure> {
    let lab = Lab::new(what, configuration);
    let machine = Machine::this();
    let mut result = json!({
        "benchmark": what.name(),
        "version": env!("CARGO_PKG_VERSION"),
        "machine": machine,
        "settings": settings(what, &lab),
    });
    // What is wrong with the command line is said before it takes minutes.
    let earlier = what.options().compare.as_deref().map(Earlier::read).transpose()?;
    earlier.iter().try_for_each(|earlier| earlier.check(&result))?;
    let plot = what.plot_options().and_then(|options| options.plot.as_deref());
    plot.map_or(Ok(()), check_writable)?;
    let Outcome { figures, chart } = outcome(what, &lab, configuration).await?;
    if let (Some(path), Some(chart)) = (plot, &chart) {
        chart.write(path)?;
    }
    let ratios = earlier.map(|earlier| earlier.ratios(&figures));
    if !what.options().json {
        return super::print(&text(&machine, &lab, &figures, ratios.as_ref()));
    }
    result["figures"] = figures;
    result["chart"] = json!(chart);
    result["ratios"] = json!(ratios);
    super::print(&result.to_string())
}

async fn outcome(what: &Measurement, lab: &Lab, configuration: &Configuration) -> Result<Outcome, Failure> {
    match what {
        Measurement::Throughput(args) => steady::throughput(lab, args).await,
        Measurement::Latency(args) => steady::latency(lab, args).await,
        Measurement::Fanout(args) => fanout::fanout(lab, args).await,
        Measurement::Failover(args) => failover::failover(lab, args, configuration).await,
        Measurement::Growth(args) => growth::growth(lab, args).await,
        Measurement::Memory(args) => {
            memory::measure(lab, args).await.map(|figures| Outcome { figures, chart: None })
        }
    }
}

/// Everything that was chosen.
fn settings(what: &Measurement, lab: &Lab) -> Value {
    let mut settings = what.settings();
    settings["record_bytes"] = what.options().size.into();
    settings["transport"] = lab.transport.to_string().into();
    settings["metrics"] = what.options().metrics.metrics_url.is_some().into();
    settings["cluster"] = lab.named.clone().unwrap_or_else(|| "its own".to_owned()).into();
    settings
}

/// What people see: where it was measured, the figures, and how they compare.
fn text(machine: &Machine, lab: &Lab, figures: &Value, ratios: Option<&BTreeMap<String, f64>>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut parts =
        vec![format!("steadfast {version} on {machine}, transport {}", lab.transport), table::table(figures)];
    if let Some(ratios) = ratios {
        parts.push("now ÷ earlier".to_owned());
        parts.push(table::table(&json!(ratios)));
    }
    parts.join("\n")
}

/// To a thousandth.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}
