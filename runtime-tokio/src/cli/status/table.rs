//! The report as tables.

use super::report::{Broker, Group, Replica, Report};
use crate::cli::display::grouped;
use std::time::Duration;

/// Between columns.
const GAP: &str = "  ";
/// For what is not known.
const UNKNOWN: &str = "-";

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut lines = replicas(&report.discovery);
    for group in &report.groups {
        lines.push(String::new());
        lines.extend(headline(group));
        lines.extend(brokers(&group.brokers));
        if group.unlisted > 0 {
            lines.push(format!("and {} more", group.unlisted));
        }
    }
    lines.push(String::new());
    lines.push(match report.healthy {
        true => "healthy".into(),
        false => format!("not healthy: {}", report.missing.join(", ")),
    });
    lines.join("\n")
}

fn replicas(replicas: &[Replica]) -> Vec<String> {
    let mut rows = vec![cells(["discovery", "standing", "epoch", "coordination", ""])];
    rows.extend(replicas.iter().map(|replica| {
        let age = Duration::from_millis(replica.age_ms.unwrap_or(0));
        let view = match (&replica.error, replica.connected) {
            (Some(error), _) => error.clone(),
            (None, Some(false)) => format!("its view is {} s old", age.as_secs()),
            (None, _) => String::new(),
        };
        vec![
            replica.address.clone(),
            replica.standing.unwrap_or(UNKNOWN).into(),
            number(replica.epoch.and_then(|epoch| u64::try_from(epoch).ok())),
            connection(replica.connected),
            view,
        ]
    }));
    columns(&rows)
}

fn headline(group: &Group) -> Vec<String> {
    let Some(epoch) = group.epoch else { return vec![format!("group {} does not exist", group.group)] };
    let primary = group.primary.as_deref().unwrap_or("none");
    let in_sync = group.in_sync.join(" ");
    let lineage = group.lineage.unwrap_or_default();
    vec![
        format!("group {}: primary {primary}, in sync {in_sync}", group.group),
        format!(
            "epoch {epoch}, lineage {lineage}, commit {}, sessions {}, streams {}",
            number(group.commit),
            number(group.sessions),
            number(group.streams)
        ),
    ]
}

fn brokers(brokers: &[Broker]) -> Vec<String> {
    let heads =
        ["broker", "address", "role", "in sync", "epoch", "commit", "end", "lag", "log", "coordination", ""];
    let mut rows = vec![cells(heads)];
    rows.extend(brokers.iter().map(|broker| {
        vec![
            broker.name.clone(),
            broker.address.clone().unwrap_or_else(|| UNKNOWN.into()),
            broker.role.unwrap_or(UNKNOWN).into(),
            (if broker.in_sync { "yes" } else { "no" }).into(),
            number(broker.epoch),
            number(broker.commit),
            number(broker.log_end),
            number(broker.lag),
            size(broker.log_bytes),
            connection(broker.connected),
            remarks(broker),
        ]
    }));
    columns(&rows)
}

/// What is out of the ordinary.
fn remarks(broker: &Broker) -> String {
    let silent = (broker.silent == Some(true)).then(|| "cut off, sends clients away".to_owned());
    let electing = (broker.serving == Some(false)).then(|| "does not serve yet".to_owned());
    let leaving = (broker.leaving == Some(true)).then(|| "leaving".to_owned());
    broker
        .error
        .clone()
        .into_iter()
        .chain(silent)
        .chain(electing)
        .chain(leaving)
        .collect::<Vec<_>>()
        .join(", ")
}

fn connection(connected: Option<bool>) -> String {
    match connected {
        Some(true) => "connected".into(),
        Some(false) => "lost".into(),
        None => UNKNOWN.into(),
    }
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| UNKNOWN.into(), grouped)
}

/// Bytes in the largest unit of which there is at least one.
fn size(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return UNKNOWN.into() };
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

fn cells<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

/// Rows of the same number of cells, each column as wide as its widest cell.
fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [cells(["a", "long", ""]), cells(["wider", "b", "c"])];
        assert_eq!(columns(&rows), ["a      long", "wider  b     c"]);
    }

    #[test]
    fn sizes_are_in_a_unit_that_fits() {
        let cases = [
            (None, "-"),
            (Some(7), "7 B"),
            (Some(1_536), "1.5 KiB"),
            (Some(3 << 20), "3.0 MiB"),
            (Some(5 << 30), "5.0 GiB"),
        ];
        cases.into_iter().for_each(|(bytes, text)| assert_eq!(size(bytes), text));
    }

    /// Who does not answer has a line all the same, and the last line gives the verdict.
    #[test]
    fn a_silent_broker_is_shown_with_the_reason() {
        let report = Report {
            healthy: false,
            missing: vec!["two is not in sync".into()],
            discovery: vec![Replica {
                address: "127.0.0.1:7401".into(),
                answers: true,
                error: None,
                replica: None,
                standing: Some("leads"),
                epoch: Some(3),
                connected: Some(false),
                age_ms: Some(4_200),
            }],
            groups: vec![Group {
                group: 0,
                group_id: None,
                lineage: Some(1),
                epoch: Some(2),
                config: Some(5),
                primary: Some("one".into()),
                in_sync: vec!["one".into()],
                min_in_sync: Some(1),
                lost_epoch: Some(0),
                commit: Some(12_345),
                log_end: Some(12_345),
                sessions: Some(1),
                streams: None,
                unlisted: 2,
                brokers: vec![Broker {
                    name: "two".into(),
                    address: Some("127.0.0.1:7412".into()),
                    error: Some("nobody listens there".into()),
                    ..Broker::default()
                }],
            }],
        };
        let text = text(&report);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "127.0.0.1:7401  leads     3      lost          its view is 4 s old");
        assert_eq!(lines[3], "group 0: primary one, in sync one");
        assert_eq!(lines[4], "epoch 2, lineage 1, commit 12,345, sessions 1, streams -");
        assert!(lines[6].starts_with("two     127.0.0.1:7412  -     no"), "{text}");
        assert!(lines[6].ends_with("nobody listens there"), "{text}");
        assert_eq!(lines[7..], ["and 2 more", "", "not healthy: two is not in sync"]);
    }
}
