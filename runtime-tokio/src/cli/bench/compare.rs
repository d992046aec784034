//! Comparing a result with an earlier one of the same work on the same machine.

use super::super::failure::Failure;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What must be the same.
const SAME: [&str; 3] = ["benchmark", "machine", "settings"];

/// An earlier result.
#[derive(Debug)]
pub struct Earlier(Value);

impl Earlier {
    /// Reads what `--json` has printed.
    ///
    /// # Errors
    /// When it cannot be read, or is no result.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!(
                "cannot read {name}: {error}; name a file that 'steadfast bench … --json' was written to"
            ))
        })?;
        let result: Option<Value> = serde_json::from_str(&text).ok();
        let result = result.filter(|result| result["figures"].is_object());
        result.map(Self).ok_or_else(|| {
            Failure::usage(format!("{name} is no result of a benchmark; name a file that 'steadfast bench … --json' was written to"))
        })
    }

    /// Refuses to be compared with what was measured otherwise or elsewhere.
    ///
    /// # Errors
    /// With everything that differs.
    pub fn check(&self, now: &Value) -> Result<(), Failure> {
        let different: Vec<_> =
            SAME.iter().flat_map(|part| different(part, &self.0[*part], &now[*part])).collect();
        match different.is_empty() {
            true => Ok(()),
            false => Err(Failure::usage(format!(
                "the results cannot be compared: {}; measure both on one machine, with one build profile and the same options",
                different.join(", ")
            ))),
        }
    }

    /// How many times as much each figure is now.
    pub fn ratios(&self, figures: &Value) -> BTreeMap<String, f64> {
        let before = flat("", &self.0["figures"]);
        let number = |value: &Value| value.as_f64();
        let ratio = |(name, now): (String, Value)| {
            let before = number(before.get(&name)?).filter(|before| *before != 0.0)?;
            Some((name, (number(&now)? / before * 1_000.0).round() / 1_000.0))
        };
        flat("", figures).into_iter().filter_map(ratio).collect()
    }
}

fn different(part: &str, before: &Value, now: &Value) -> Vec<String> {
    let (before, now) = (flat(part, before), flat(part, now));
    let mut names: Vec<_> = before.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let shown = |value: Option<&Value>| value.map_or_else(|| "not there".to_owned(), Value::to_string);
    names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name))
        .map(|name| format!("{name} was {} and is {}", shown(before.get(name)), shown(now.get(name))))
        .collect()
}

/// Every value by the names and numbers on the way to it.
fn flat(name: &str, value: &Value) -> BTreeMap<String, Value> {
    let below = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    match value {
        Value::Object(parts) => parts.iter().flat_map(|(part, value)| flat(&below(part), value)).collect(),
        Value::Array(parts) => {
            let parts = parts.iter().enumerate();
            parts.flat_map(|(index, value)| flat(&below(&index.to_string()), value)).collect()
        }
        value => BTreeMap::from([(name.to_owned(), value.clone())]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn result(cpu: &str, rate: u32, p50: f64) -> Value {
        json!({
            "benchmark": "latency",
            "version": "0.1.0",
            "machine": { "cpu": cpu, "profile": "release" },
            "settings": { "records_per_second": rate },
            "figures": { "latency_us": { "p50": p50 }, "points": [{ "cost": p50 }, { "cost": 0.0 }] },
        })
    }

    #[test]
    fn unlike_runs_are_refused_by_what_differs() {
        let earlier = Earlier(result("one", 5_000, 200.0));
        assert!(earlier.check(&result("one", 5_000, 100.0)).is_ok());
        let mut newer = result("one", 5_000, 100.0);
        newer["version"] = json!("0.2.0");
        assert!(earlier.check(&newer).is_ok(), "versions are what is compared");
        let failure = earlier.check(&result("two", 1_000, 100.0)).unwrap_err();
        let text = failure.to_string();
        for part in
            ["machine.cpu was \"one\" and is \"two\"", "settings.records_per_second was 5000 and is 1000"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("machine.profile"), "{text}");
        let mut more = result("one", 5_000, 1.0);
        more["settings"]["seconds"] = json!(3);
        assert!(earlier.check(&more).unwrap_err().to_string().contains("seconds was not there and is 3"));
    }

    #[test]
    fn ratios_are_of_figures_that_both_have() {
        let ratios = Earlier(result("one", 1, 200.0)).ratios(&result("one", 1, 50.0)["figures"]);
        let expected = [("latency_us.p50".to_owned(), 0.25), ("points.0.cost".to_owned(), 0.25)];
        assert_eq!(ratios, BTreeMap::from(expected));
    }
}
