//! What is declared is emitted, documented, and the only thing that the dashboard asks for.

use serde_json::Value as Yaml;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use steadfast_core::broker::figures::FollowerFigures;
use steadfast_core::filter::Topic;
use steadfast_core::id::{NodeName, PublisherId};
use steadfast_core::link::LinkId;
use steadfast_core::log::{Batch, BatchHeader, Codec, Entry, EntryKind};
use steadfast_core::node::Output;
use steadfast_core::time::Instant;
use steadfast_core::trace::{Limit, Rejection, Suspicion, Trace};
use steadfast_runtime::metrics::Progress;
use steadfast_runtime::metrics::exporter::EXPORTER;
use steadfast_runtime::metrics::failover::{Cause, FAILOVER, Failover};
use steadfast_runtime::metrics::latency::Percentiles;
use steadfast_runtime::metrics::measurements::{
    BROKER, BrokerView, DiscoveryView, all, of_broker, of_discovery, of_publisher,
};
use steadfast_runtime::metrics::point::{Point, Value};
use steadfast_runtime::metrics::schema::Origin;

type Names = BTreeSet<String>;

const PERCENTILES: Percentiles = Percentiles { count: 1, p50: 2, p95: 3, p99: 4, max: 5 };

/// A broker that has something to say on everything.
fn broker() -> BrokerView {
    let mut view = BrokerView::default();
    let header = BatchHeader {
        topic: Topic::new("orders.eu").unwrap(),
        publisher: PublisherId(1),
        incarnation: 1,
        first_sequence: 1,
        count: 1,
        raw_length: 0,
        codec: Codec::None,
        checksum: 0,
    };
    let kind = EntryKind::Batch(Batch { header, body: bytes::Bytes::new() });
    view.stats.appended(Instant::default(), &[Entry { offset: 0, epoch: 1, kind }]);
    view.figures.followers.push(FollowerFigures {
        node: NodeName::new("two").unwrap(),
        attached: true,
        in_sync: true,
        lag_records: 1,
        lag_bytes: 2,
        in_flight_bytes: 3,
        silence: Duration::from_millis(4),
    });
    view.waits = (Some(PERCENTILES), Some(PERCENTILES));
    view
}

fn failover() -> Failover {
    let phase = Some(Duration::from_millis(1));
    Failover {
        epoch: 2,
        cause: Cause::Vacancy,
        began: Instant::default(),
        commit_age: phase,
        proposed: phase,
        elected: Duration::ZERO,
        serving: phase,
        delivered: phase,
        acked: phase,
    }
}

/// One point of everything that is ever sent.
fn emitted() -> Vec<Point> {
    let origin = Origin { cluster: "main".into(), node: "one".into() };
    let mut points = of_broker(&origin, &broker(), 1);
    points.extend(of_discovery(&origin, &DiscoveryView::default(), 1));
    points.extend(of_publisher(&origin, PERCENTILES, 1));
    points.push(FAILOVER.point(&origin, ["vacancy"], &failover(), 1));
    points.push(EXPORTER.point(&origin, [], &Progress::default(), 1));
    points
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Names {
    names.map(str::to_owned).collect()
}

#[test]
fn what_is_declared_is_emitted_and_nothing_else() {
    let mut sent = BTreeMap::new();
    for point in emitted() {
        let tags = names(point.tags.iter().map(|(name, _)| *name));
        let fields = names(point.fields.iter().map(|(name, _)| *name));
        assert_eq!(fields.len(), point.fields.len(), "{} has a field twice", point.measurement);
        // Brokers and clients each have a part of one measurement.
        let (known_tags, known) =
            sent.entry(point.measurement.to_owned()).or_insert_with(|| (tags.clone(), Names::new()));
        assert_eq!(*known_tags, tags, "{} has other tags at times", point.measurement);
        known.extend(fields);
    }
    let declared: BTreeMap<_, _> = all()
        .into_iter()
        .map(|declared| {
            let own = declared.tags.iter().map(|(name, _)| *name);
            let tags = names(["cluster", "node"].into_iter().chain(own));
            (declared.name.to_owned(), (tags, names(declared.fields.iter().map(|(name, _, _)| *name))))
        })
        .collect();
    assert_eq!(declared.len(), all().len(), "a measurement is declared twice");
    assert_eq!(sent, declared);
}

/// Every cause that is counted, and a match that a new one breaks.
fn causes() -> [(&'static str, Vec<Trace>); 3] {
    use {Limit as L, Rejection as R, Suspicion as S};
    let limits = [L::LogBytes, L::UncommittedBytes, L::Learner, L::Sessions, L::Streams, L::HeadReads];
    let rejections = [R::Malformed, R::Version, R::TooLarge, R::Checksum, R::Unexpected, R::WrongHistory];
    let suspicions = [S::Silence, S::Refused, S::NotLive, S::Replaced, S::Leaving];
    let busy = limits.map(|limit| match limit {
        L::LogBytes | L::UncommittedBytes | L::Learner | L::Sessions | L::Streams | L::HeadReads => {
            Trace::Busy { limit }
        }
    });
    let link = LinkId::dialled(1);
    let rejected = rejections.map(|reason| match reason {
        R::Malformed | R::Version | R::TooLarge | R::Checksum | R::Unexpected | R::WrongHistory => {
            Trace::Rejected { link, reason }
        }
    });
    let suspected = suspicions.map(|cause| match cause {
        S::Silence | S::Refused | S::NotLive | S::Replaced | S::Leaving => {
            Trace::Suspected { node: NodeName::new("a").unwrap(), cause }
        }
    });
    [("busy_", busy.to_vec()), ("rejected_", rejected.to_vec()), ("suspected_", suspected.to_vec())]
}

/// A sum has a part for each of its causes: whatever is counted is in exactly one of them.
#[test]
fn every_cause_has_a_part_of_its_own() {
    for (prefix, traces) in causes() {
        let mut told = Names::new();
        let count = traces.len();
        for trace in traces {
            let mut view = BrokerView::default();
            view.stats.output(&Output::<()>::Trace(trace.clone()));
            let sum = format!("{prefix}total");
            let parts =
                BROKER.fields.iter().filter(|field| field.name.starts_with(prefix) && field.name != sum);
            let counted: Vec<_> =
                parts.filter(|field| (field.value)(&view) == Some(Value::Integer(1))).collect();
            let [part] = counted[..] else { panic!("{trace:?} is counted in {} parts", counted.len()) };
            told.insert(part.name.to_owned());
        }
        assert_eq!(told.len(), count, "two causes share a part: {told:?}");
    }
}

#[test]
fn every_emitted_line_is_read_by_an_independent_parser() {
    let mut lines = Vec::new();
    emitted().iter().for_each(|point| point.write_to(&mut lines));
    let text = String::from_utf8(lines).unwrap();
    let parsed: Result<Vec<_>, _> = influxdb_line_protocol::parse_lines(&text).collect();
    let parsed = parsed.unwrap();
    assert_eq!(parsed.len(), emitted().len());
    for line in &parsed {
        assert!(line.timestamp.is_some());
        for (name, value) in &line.field_set {
            let integer = matches!(value, influxdb_line_protocol::FieldValue::I64(_));
            assert!(integer || name.ends_with("_ms"), "{name} is no integer");
        }
    }
}

/// The part of the document that is written from the declarations.
fn reference() -> String {
    let mut text = String::new();
    for declared in all() {
        writeln!(text, "### {}\n\n{}\n", declared.name, declared.about).unwrap();
        for (name, about) in declared.tags {
            writeln!(text, "Tag `{name}`: {about}.\n").unwrap();
        }
        text += "| Field | Unit | What it says |\n|---|---|---|\n";
        for (name, unit, about) in declared.fields {
            writeln!(text, "| `{name}` | {unit} | {about} |").unwrap();
        }
        text.push('\n');
    }
    text
}

fn document(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "docs", name].iter().collect()
}

#[test]
fn the_document_says_what_is_declared() {
    const MARK: &str = "## Measurements\n\n";
    let path = document("metrics.md");
    let text = fs::read_to_string(&path).unwrap();
    let (prose, _) = text.split_once(MARK).expect("the heading is there");
    let expected = format!("{prose}{MARK}{}\n", reference().trim_end());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &expected).unwrap();
    } else {
        assert!(text == expected, "docs/metrics.md is out of date: run this test with UPDATE_GOLDEN=1");
    }
}

/// The quoted strings that a query compares a column with.
fn compared<'a>(query: &'a str, column: &str) -> Vec<&'a str> {
    let pattern = format!("r.{column} == \"");
    query.split(&pattern).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn the_dashboard_asks_for_what_is_emitted() {
    let text = fs::read_to_string(document("dashboards/steadfast.yml")).unwrap();
    let documents: Vec<Yaml> = serde_saphyr::from_multiple(&text).unwrap();
    let mut titles = BTreeSet::new();
    for document in &documents {
        assert_eq!(document["apiVersion"], "influxdata.com/v2alpha1");
        let name = document["metadata"]["name"].as_str().unwrap();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.chars().all(allowed) && titles.insert(name.to_owned()), "{name}");
        for association in document["spec"]["associations"].as_array().into_iter().flatten() {
            let other = documents.iter().find(|other| other["metadata"]["name"] == association["name"]);
            assert_eq!(other.unwrap()["kind"], association["kind"]);
        }
    }
    let of_kind = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap();
    assert_eq!(of_kind("Variable")["spec"]["name"], "steadfast_bucket");
    let fields: BTreeMap<_, Names> = all()
        .into_iter()
        .map(|declared| (declared.name, names(declared.fields.iter().map(|(name, _, _)| *name))))
        .collect();
    let charts = of_kind("Dashboard")["spec"]["charts"].as_array().unwrap();
    let mut asked = BTreeSet::new();
    for chart in charts {
        assert!(["Single_Stat", "Xy", "Table"].contains(&chart["kind"].as_str().unwrap()), "{chart}");
        let queries = chart["queries"].as_array().unwrap();
        assert!(!queries.is_empty(), "{chart}");
        for query in queries {
            let query = query["query"].as_str().unwrap();
            assert!(query.starts_with("from(bucket: v.steadfast_bucket)"), "{query}");
            let [measurement] = compared(query, "_measurement")[..] else {
                panic!("one measurement: {query}")
            };
            let known = fields.get(measurement).unwrap_or_else(|| panic!("{measurement} is not emitted"));
            let wanted = compared(query, "_field");
            assert!(!wanted.is_empty(), "{query}");
            for field in wanted {
                assert!(known.contains(field), "{measurement} has no field {field}");
                asked.insert((measurement, field));
            }
        }
    }
    let measurements: BTreeSet<_> = asked.iter().map(|(measurement, _)| *measurement).collect();
    assert_eq!(measurements, fields.keys().copied().collect(), "a measurement is not shown");
    assert_eq!(cells_overlap(charts), None);
}

/// Two charts that cover the same place.
fn cells_overlap(charts: &[Yaml]) -> Option<(usize, u64, u64)> {
    let mut taken = BTreeSet::new();
    let number = |chart: &Yaml, key: &str| chart[key].as_u64().unwrap();
    for (index, chart) in charts.iter().enumerate() {
        let (x, y) = (number(chart, "xPos"), number(chart, "yPos"));
        for dx in 0..number(chart, "width") {
            for dy in 0..number(chart, "height") {
                if x + dx >= 12 || !taken.insert((x + dx, y + dy)) {
                    return Some((index, x + dx, y + dy));
                }
            }
        }
    }
    None
}
