//! Records per second through the core alone, by wall clock: see `docs/performance.md`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use steadfast_bench::case::CASES;
use steadfast_bench::pair::Pair;

fn core(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    for case in &CASES {
        let mut pair = Pair::start(case);
        group.throughput(Throughput::Elements(case.deliveries()));
        group.bench_function(case.name, |bencher| bencher.iter(|| pair.publish(1)));
    }
    group.finish();
}

criterion_group!(benches, core);
criterion_main!(benches);
