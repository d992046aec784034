//! The cluster that is measured does what is measured.

use steadfast_bench::case::{CASES, Case};
use steadfast_bench::pair::Pair;

#[test]
fn every_record_of_every_case_comes_to_everybody() {
    for case in &CASES {
        let delivered = Pair::start(case).publish(20);
        assert_eq!(delivered, 20 * u64::from(case.records) * case.subscribers as u64, "{}", case.name);
    }
}

#[test]
fn batches_are_full_at_the_publishers_own_size() {
    let records = CASES.map(|case| case.records);
    assert_eq!(records, [642, 3, 1, 642, 642, 1]);
    assert!(Case::find("fan-out").is_some_and(|case| case.deliveries() == 8 * 642));
    assert!(Case::find("no such").is_none());
}
