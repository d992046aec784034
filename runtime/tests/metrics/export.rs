//! Points on their way: they arrive, or they are counted, and nobody waits.

use crate::server::{Stub, VictoriaMetrics, free_address};
use influxdb_line_protocol::parse_lines;
use std::thread;
use std::time::{Duration, Instant};
use steadfast_runtime::metrics::point::{Point, Value};
use steadfast_runtime::metrics::{Exporter, Prepared, Progress, Settings};
use steadfast_runtime::secret::Secret;

const PATIENCE: Duration = Duration::from_secs(60);
const NOW: i64 = 1_000_000;

fn settings(url: &str) -> Settings {
    Settings {
        interval: Duration::from_millis(100),
        queue: 100,
        request_timeout: Duration::from_millis(300),
        retry_for: Duration::from_millis(700),
        flush_timeout: Duration::from_millis(500),
        ..Settings::new(url, "acme", "steadfast")
    }
}

fn start(settings: Settings) -> Exporter {
    Prepared::new(settings).unwrap().start("one").unwrap()
}

fn point(n: i64) -> Point {
    let tags = vec![("topic", format!("t{n}"))];
    Point { measurement: "steadfast_test", tags, fields: vec![("n_total", Value::Integer(n))], at: NOW + n }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The lines of one measurement, as an independent parser reads them.
fn values(body: &str, measurement: &str) -> Vec<i64> {
    let lines = parse_lines(body).map(|line| line.unwrap_or_else(|error| panic!("{error}: {body}")));
    let mine = lines.filter(|line| line.series.measurement.as_str() == measurement);
    mine.map(|line| match line.field_value("n_total") {
        Some(influxdb_line_protocol::FieldValue::I64(number)) => *number,
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn points_are_read_back_from_a_real_server() {
    let server = VictoriaMetrics::start();
    let exporter = start(Settings { queue: 1_000, ..settings(&server.url()) });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = i64::try_from(now.as_millis()).unwrap() * 1_000_000;
    let hostile = "a b,c=d\"e\n\\";
    let fields =
        vec![("n_total", Value::Integer(7)), ("x_ms", Value::Real(1.25)), ("no", Value::Real(f64::NAN))];
    let tags = vec![("cluster", "main".to_owned()), ("topic", hostile.to_owned()), ("empty", String::new())];
    exporter.sink().push([Point { measurement: "steadfast_test", tags, fields, at }]);
    let done = exporter.close().expect("it ends in time");
    assert!(done.sent >= 2 && done.rejected == 0 && done.failed == 0 && done.dropped == 0, "{done:?}");

    let test = server.series("steadfast_test_n_total");
    assert_eq!(test["metric"]["topic"], "a b,c=d\"e__");
    assert_eq!(test["metric"]["cluster"], "main");
    assert!(test["metric"].get("empty").is_none());
    assert_eq!((&test["values"][0], &test["timestamps"][0]), (&7.into(), &(at / 1_000_000).into()));
    assert_eq!(server.series("steadfast_test_x_ms")["values"][0], 1.25);
    assert_eq!(server.series("steadfast_exporter_sent_total")["metric"]["node"], "one");
}

#[test]
fn the_token_the_names_and_the_lines_are_as_the_server_wants_them() {
    let server = Stub::start(|_| Some(204));
    let token = Some(Secret::new("s3cret==".into()));
    let exporter = start(Settings { token, ..settings(&server.url) });
    exporter.sink().push((0..10).map(point));
    exporter.close().expect("it ends in time");
    let requests = server.requests.lock().unwrap();
    assert!(requests.iter().all(|request| request.authorization.as_deref() == Some("Token s3cret==")));
    let head = &requests[0].head;
    for part in ["POST /api/v2/write?", "org=acme", "bucket=steadfast", "precision=ns"] {
        assert!(head.contains(part), "{head}");
    }
    let all: Vec<_> = requests.iter().flat_map(|request| values(&request.body, "steadfast_test")).collect();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
}

/// What a node's thread would do, for longer than the queue is: it is through, whatever the server does.
fn push_far_too_much(exporter: &Exporter) -> i64 {
    let pushed = 20_000;
    for n in 0..pushed {
        exporter.sink().push([point(n)]);
        assert!(exporter.sink().backlog().0 <= 100, "the queue is bounded");
    }
    pushed
}

/// Every point is accounted for. The exporter's own points come on top.
fn account(pushed: i64, done: Progress) {
    let known = done.sent + done.failed + done.rejected + done.dropped + done.queued as u64;
    assert!(known >= u64::try_from(pushed).unwrap(), "{done:?}");
}

fn without_a_useful_server(url: &str) -> Progress {
    let exporter = start(settings(url));
    let pushed = push_far_too_much(&exporter);
    let done = exporter.close().expect("it ends within its bound");
    account(pushed, done);
    assert!(done.dropped > 0 && done.sent == 0 && done.failed > 0 && done.errors > 0, "{done:?}");
    done
}

#[test]
fn nobody_at_the_address_costs_points_only() {
    let done = without_a_useful_server(&format!("http://{}", free_address()));
    assert_eq!(done.rejected, 0);
}

#[test]
fn a_server_that_never_answers_costs_points_only() {
    let server = Stub::start(|_| None);
    let done = without_a_useful_server(&server.url);
    assert!(server.count() > 0, "it was asked");
    assert_eq!(done.rejected, 0);
}

#[test]
fn a_server_that_fails_costs_points_only() {
    for status in [500, 503, 429] {
        let server = Stub::start(move |_| Some(status));
        let done = without_a_useful_server(&server.url);
        assert_eq!(done.rejected, 0, "{status}");
        assert!(server.count() > 1, "{status} is tried again, whatever pause the server asks for");
    }
}

#[test]
fn what_a_server_refuses_is_not_tried_again() {
    for status in [400, 401, 404, 413, 302, 200] {
        let server = Stub::start(move |_| Some(status));
        let exporter = start(settings(&server.url));
        exporter.sink().push([point(1)]);
        wait_until("the point was sent", || {
            let requests = server.requests.lock().unwrap();
            requests.iter().any(|request| request.body.contains("steadfast_test"))
        });
        let done = exporter.close().expect("it ends in time");
        assert!(done.rejected >= 1 && done.failed == 0 && done.sent == 0, "{status}: {done:?}");
        let requests = server.requests.lock().unwrap();
        let again = requests.iter().filter(|request| request.body.contains("steadfast_test")).count();
        assert_eq!(again, 1, "{status}");
    }
}

#[test]
fn a_slow_server_gets_what_it_can_take() {
    let server = Stub::start(|_| {
        thread::sleep(Duration::from_millis(100));
        Some(204)
    });
    let exporter = start(settings(&server.url));
    let pushed = push_far_too_much(&exporter);
    wait_until("it took something", || server.count() > 2);
    let done = exporter.close().expect("it ends within its bound");
    account(pushed, done);
    assert!(done.sent > 0 && done.dropped > 0 && done.rejected == 0, "{done:?}");
}

#[test]
fn a_server_that_comes_back_gets_what_waited_once_and_in_order() {
    let server = Stub::start(|n| Some(if n < 3 { 503 } else { 204 }));
    let exporter = start(Settings { retry_for: PATIENCE, flush_timeout: PATIENCE, ..settings(&server.url) });
    exporter.sink().push((0..50).map(point));
    wait_until("it was refused three times", || server.count() > 3);
    exporter.sink().push((50..60).map(point));
    let done = exporter.close().expect("it ends in time");
    assert_eq!((done.failed, done.rejected, done.dropped, done.queued, done.errors), (0, 0, 0, 0, 3));
    let requests = server.requests.lock().unwrap();
    let taken = requests[3..].iter().flat_map(|request| values(&request.body, "steadfast_test"));
    assert_eq!(taken.collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    assert_eq!(requests[0].body, requests[3].body, "the same points again");
}

#[test]
fn bad_settings_are_refused_before_anything_starts() {
    for url in ["/3242/23", "https://a", "http://me:pw@a"] {
        assert!(Prepared::new(settings(url)).is_err(), "{url}");
    }
}
