//! Every target takes its seeds, and some changes of them: on every compiler, without libFuzzer.

use steadfast_core::rng::Rng;
use steadfast_fuzz::{TARGETS, parts};

/// Changed inputs of each target.
const CHANGES: usize = 2_000;

#[test]
fn seeds_are_taken() {
    for target in &TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        seeds.iter().for_each(|seed| (target.run)(seed));
    }
}

#[test]
fn changed_seeds_are_taken() {
    let mut rng = Rng::new(5);
    let mut below = |bound: usize| rng.below(bound as u64) as usize;
    for target in &TARGETS {
        let seeds = (target.seeds)();
        for _ in 0..CHANGES {
            let mut bytes = seeds[below(seeds.len())].clone();
            for _ in 0..=below(3) {
                let (place, byte) = (below(bytes.len() + 1), below(256) as u8);
                match below(4) {
                    0 => bytes.insert(place, byte),
                    1 => bytes.truncate(place),
                    _ => bytes.iter_mut().skip(place).take(1).for_each(|old| *old = byte),
                }
            }
            (target.run)(&bytes);
        }
    }
}

#[test]
fn parts_are_taken_apart_as_they_were_joined() {
    let all: [&[u8]; 3] = [b"one", b"", b"three"];
    assert_eq!(parts::split(&parts::join(&all), 3), all);
    assert_eq!(parts::split(b"\xff", 3), [b"\xff"]);
    assert_eq!(parts::split(b"\xff\xffa", 3), [&b"a"[..], b""]);
}
