//! Generated plans come to everything that can happen: each transition of a node, each named situation, and
//! nearly each cell of the table of which fault strikes whom and how that one's session stands. (More seeds
//! fill all of it: `steadfast-sim coverage`.)

use std::collections::BTreeSet;
use std::thread;
use steadfast_sim::coverage::{Coverage, marks, unreachable};
use steadfast_sim::matrix::Cell;
use steadfast_sim::plan::generate::generate;
use steadfast_sim::plan::run;

const SEEDS: std::ops::Range<u64> = 10_000..11_200;
const THREADS: usize = 2;

#[test]
fn plans_come_to_everything_that_can_happen() {
    let share = |thread| {
        let (mut reached, mut struck) = (Coverage::default(), BTreeSet::new());
        for seed in SEEDS.skip(thread).step_by(THREADS) {
            let outcome = run::run(&generate(seed));
            assert_eq!(outcome.result, Ok(()), "seed {seed}");
            reached.add(&outcome.coverage);
            struck.extend(outcome.strikes.into_keys());
        }
        (reached, struck)
    };
    let (mut reached, mut struck) = (Coverage::default(), BTreeSet::new());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || share(thread))).collect();
        for thread in threads {
            let (marks, cells) = thread.join().expect("no run fails");
            reached.add(&marks);
            struck.extend(cells);
        }
    });
    let all = marks();
    let missing: Vec<_> =
        all.iter().filter(|mark| reached.count(mark) == 0 && unreachable(mark).is_none()).collect();
    let odd: Vec<_> =
        all.iter().filter(|mark| reached.count(mark) > 0 && unreachable(mark).is_some()).collect();
    assert!(missing.is_empty() && odd.is_empty(), "never reached: {missing:?}; reached after all: {odd:?}");
    let cells: Vec<_> = Cell::all().filter(|cell| cell.unreachable().is_none()).collect();
    let empty: Vec<_> = cells.iter().filter(|cell| !struck.contains(cell)).map(Cell::to_string).collect();
    assert!(empty.len() * 50 < cells.len(), "{} of {} cells are empty: {empty:?}", empty.len(), cells.len());
}
