//! Random faults for a cluster, and operators who restart its processes. Each strikes at a drawn time,
//! chooses by drawn numbers what and whom, and is put right after a drawn time. The last process that
//! holds all committed data is spared.

use crate::cluster::{Cluster, Failure};
use crate::fault::Fault;
use crate::network::ProcessId;
use crate::random::{Purpose, Span};
use std::collections::BTreeSet;
use std::time::Duration;
use steadfast_core::id::Incarnation;

/// Time between two faults.
const PAUSE: Span = Span::new(Duration::from_millis(1), Duration::from_millis(1_500));
/// How long a fault lasts: from a hiccup to past every timeout.
const SHORT: Span = Span::new(Duration::from_millis(1), Duration::from_millis(600));
const LONG: Span = Span::new(Duration::from_millis(600), Duration::from_millis(8_000));

/// Draws faults.
#[derive(Debug, Default)]
pub struct Nemesis {
    drawn: u64,
    /// Brokers that were told to leave.
    leaving: BTreeSet<Incarnation>,
}

impl Nemesis {
    fn below(&mut self, cluster: &Cluster, bound: u64) -> u64 {
        self.drawn += 1;
        cluster.draw(Purpose::Fault, 0, self.drawn, bound)
    }

    fn within(&mut self, cluster: &Cluster, span: Span) -> u64 {
        self.drawn += 1;
        cluster.world().draws().within(Purpose::Fault, 1, self.drawn, span)
    }

    /// Lets a number of faults strike, one after the other.
    ///
    /// # Errors
    /// When a property does not hold on the way.
    pub fn rage(&mut self, cluster: &mut Cluster, faults: u32) -> Result<(), Failure> {
        for _ in 0..faults {
            let pause = self.within(cluster, PAUSE);
            cluster.run_for(Duration::from_nanos(pause))?;
            self.strike(cluster)?;
        }
        Ok(())
    }

    fn strike(&mut self, cluster: &mut Cluster) -> Result<(), Failure> {
        let victim = self.victim(cluster);
        let span = if self.below(cluster, 3) == 0 { LONG } else { SHORT };
        let until = cluster.world().now() + self.within(cluster, span);
        let (faults, cures) = match self.below(cluster, 10) {
            8 | 9 if self.is_expendable(cluster, victim) => {
                let pause = Duration::from_nanos(self.within(cluster, SHORT));
                self.leaving.extend(cluster.broker(victim).map(|broker| broker.id().incarnation));
                cluster.shut_down(victim, Some(pause));
                (Vec::new(), Vec::new())
            }
            0 | 1 if self.is_expendable(cluster, victim) => {
                (vec![Fault::Crash(victim)], vec![Fault::Restart(victim)])
            }
            2 if self.is_expendable(cluster, victim) => {
                (vec![Fault::PowerLoss(victim)], vec![Fault::Restart(victim)])
            }
            3 => (vec![Fault::Pause(victim)], vec![Fault::Resume(victim)]),
            4 => self.partition(cluster, victim),
            5 => {
                let to = vec![Fault::CutToCoordination(victim)];
                let from = vec![Fault::CutFromCoordination(victim)];
                let both = vec![to[0], from[0]];
                let choice = vec![to, from, both].swap_remove(self.below(cluster, 3) as usize);
                (choice, vec![Fault::HealCoordination(victim)])
            }
            6 => (vec![Fault::DropCoordination(victim)], Vec::new()),
            _ => {
                let others: Vec<_> = cluster.world().processes().collect();
                let other = others[self.below(cluster, others.len() as u64) as usize];
                (vec![Fault::Reset(victim, other)], Vec::new())
            }
        };
        for fault in faults {
            cluster.strike(fault)?;
        }
        for cure in cures {
            cluster.world_mut().schedule(until, cure);
        }
        Ok(())
    }

    /// A primary half of the time, otherwise any broker or discovery replica.
    fn victim(&mut self, cluster: &Cluster) -> ProcessId {
        let all: Vec<_> = cluster.brokers().iter().chain(cluster.discoveries()).copied().collect();
        let any = all[self.below(cluster, all.len() as u64) as usize];
        if self.below(cluster, 2) == 0 { cluster.primary().unwrap_or(any) } else { any }
    }

    /// Cuts some ways between the victim and the others, one or both directions.
    fn partition(&mut self, cluster: &Cluster, victim: ProcessId) -> (Vec<Fault>, Vec<Fault>) {
        let (mut faults, mut cures) = (Vec::new(), Vec::new());
        let all_ways = self.below(cluster, 2) == 0;
        let others: Vec<_> = cluster.world().processes().filter(|&other| other != victim).collect();
        for other in others {
            for (from, to) in [(victim, other), (other, victim)] {
                if all_ways || self.below(cluster, 2) == 0 {
                    faults.push(Fault::Cut(from, to));
                    cures.push(Fault::Heal(from, to));
                }
            }
        }
        (faults, cures)
    }

    /// Whether another process holds all committed data and stays, so that this one may go.
    fn is_expendable(&self, cluster: &Cluster, victim: ProcessId) -> bool {
        let Some(state) = cluster.state() else { return true };
        let others = cluster.brokers().iter().filter(|&&process| process != victim);
        others.filter_map(|&process| cluster.broker(process)).any(|broker| {
            state.in_sync.contains(&broker.id().member) && !self.leaving.contains(&broker.id().incarnation)
        })
    }
}
