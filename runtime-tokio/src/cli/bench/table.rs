//! Figures for people.

use super::super::display::grouped;
use serde_json::{Map, Value};

/// A row for each figure; a list of points is a table of its own.
pub fn table(figures: &Value) -> String {
    rows("", figures).join("\n")
}

fn rows(name: &str, figure: &Value) -> Vec<String> {
    match figure {
        Value::Object(parts) => {
            parts.iter().flat_map(|(part, value)| rows(&format!("{name} {part}"), value)).collect()
        }
        Value::Array(points) => columns(&points.iter().filter_map(Value::as_object).collect::<Vec<_>>()),
        figure => vec![format!("{:52} {}", words(name), number(figure))],
    }
}

/// A column for each figure of the points, with its name above.
fn columns(points: &[&Map<String, Value>]) -> Vec<String> {
    let Some(first) = points.first() else { return Vec::new() };
    let cells = |name: &String| {
        let values = points.iter().map(|point| point.get(name).map_or_else(String::new, number));
        [words(name)].into_iter().chain(values).collect::<Vec<_>>()
    };
    // What was chosen is a whole number, and stands before what was measured.
    let (chosen, measured): (Vec<_>, Vec<_>) = first.keys().partition(|name| first[*name].is_u64());
    let columns: Vec<_> = chosen.into_iter().chain(measured).map(cells).collect();
    let width = |column: &[String]| column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
    let row = |index: usize| {
        let cells = columns.iter().map(|column| format!("{:>1$}", column[index], width(column)));
        cells.collect::<Vec<_>>().join("  ")
    };
    (0..=points.len()).map(row).collect()
}

fn words(name: &str) -> String {
    name.trim_start().replace('_', " ")
}

fn number(figure: &Value) -> String {
    match (figure.as_u64(), figure.as_f64()) {
        (Some(whole), _) => grouped(whole),
        (None, Some(large)) if large >= 1_000.0 => grouped(large.round() as u64),
        _ => figure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_a_row_for_each_figure() {
        let figures = json!({ "clients": 1_000, "alone_mib": { "primary": 4.5, "backup": 4.1 } });
        let rows = table(&figures);
        let rows: Vec<_> =
            rows.lines().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(rows, ["alone mib backup 4.1", "alone mib primary 4.5", "clients 1,000"]);
    }

    #[test]
    fn points_have_columns() {
        let figures = json!({ "points": [{ "what": 1, "a_b": 0.25 }, { "what": 10_000, "a_b": 1234.5 }] });
        assert_eq!(table(&figures), "  what    a b\n     1   0.25\n10,000  1,235");
    }
}
