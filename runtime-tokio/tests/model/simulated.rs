//! The simulated ensemble as a side.

use crate::play::{Side, Stuck};
use crate::script::SESSIONS;
use std::collections::VecDeque;
use std::time::Duration;
use steadfast_core::coordination::{Event, Request};
use steadfast_core::rng::Rng;
use steadfast_sim::coordination::{Config, Effects, Ensemble, Happening};
use steadfast_sim::network::ProcessId;
use steadfast_sim::queue::Queue;
use steadfast_sim::random::Draws;

/// Virtual time after which what did not come will not come.
const PATIENCE: u64 = Duration::from_secs(60).as_nanos() as u64;
/// When a leader dies, the session with calls under way loses its connection within this.
const STRUCK_AT_ONCE: u64 = Duration::from_millis(6).as_nanos() as u64;
/// And the others within this.
const STRUCK_LATER: u64 = Duration::from_millis(30).as_nanos() as u64;

enum Due {
    Happening(Happening),
    Drop(ProcessId),
}

/// An ensemble on virtual time, with one process per session.
pub struct Simulated {
    ensemble: Ensemble,
    queue: Queue<Due>,
    told: [VecDeque<Event>; SESSIONS],
    rng: Rng,
}

const fn process(session: usize) -> ProcessId {
    ProcessId(session as u32)
}

impl Simulated {
    /// An ensemble whose every choice comes from this seed.
    pub fn new(seed: u64) -> Self {
        let mut ensemble = Ensemble::new(Config::default(), Draws::new(seed));
        (0..SESSIONS).for_each(|session| ensemble.start(process(session)));
        Self { ensemble, queue: Queue::default(), told: Default::default(), rng: Rng::new(seed) }
    }

    fn absorb(&mut self, effects: Effects) {
        for (at, happening) in effects.later {
            self.queue.push(at, Due::Happening(happening));
        }
        for (process, event) in effects.events {
            self.told[process.0 as usize].push_back(event);
        }
    }

    fn lose_connection(&mut self, process: ProcessId) {
        let effects = self.ensemble.drop_connection(self.queue.now(), process);
        self.absorb(effects);
    }
}

impl Side for Simulated {
    fn ask(&mut self, session: usize, request: Request) {
        let effects = self.ensemble.request(self.queue.now(), process(session), request);
        self.absorb(effects);
    }

    async fn event(&mut self, session: usize, wait: &str) -> Result<Event, Stuck> {
        let limit = self.queue.now() + PATIENCE;
        loop {
            if let Some(event) = self.told[session].pop_front() {
                return Ok(event);
            }
            match self.queue.pop() {
                Some(Due::Happening(happening)) => {
                    let effects = self.ensemble.happen(self.queue.now(), happening);
                    self.absorb(effects);
                }
                Some(Due::Drop(process)) => self.lose_connection(process),
                None => return Err(Stuck(format!("model: session {session} waits for {wait}"))),
            }
            if self.queue.now() > limit {
                return Err(Stuck(format!("model: session {session} waits too long for {wait}")));
            }
        }
    }

    fn cut(&mut self, session: usize) {
        for cut in [Ensemble::cut_to, Ensemble::cut_from] {
            let effects = cut(&mut self.ensemble, self.queue.now(), process(session));
            self.absorb(effects);
        }
    }

    fn heal(&mut self, session: usize) {
        let effects = self.ensemble.heal(self.queue.now(), process(session));
        self.absorb(effects);
    }

    async fn strike(&mut self, session: usize) {
        for other in 0..SESSIONS {
            let within = if other == session { STRUCK_AT_ONCE } else { STRUCK_LATER };
            let at = self.queue.now() + self.rng.below(within);
            if self.rng.below(8) == 0 {
                self.lose_connection(process(other));
            } else {
                self.queue.push(at, Due::Drop(process(other)));
            }
        }
    }
}
