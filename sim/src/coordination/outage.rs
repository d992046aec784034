//! What happens to the servers: elections, outages, and a follower without its leader.

use super::{ConnectionId, Effects, Ensemble, Happening};
use crate::random::Purpose;
use steadfast_core::coordination::{Create, CreateMode, Delete, MultiOperation, Operation, Set};

/// Whether the ensemble serves anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outage {
    /// It does.
    #[default]
    None,
    /// Not until this election is over.
    Election(u64),
    /// All servers are down.
    Stopped,
}

/// Entity of draws that concern the servers, not a process.
const SERVERS: u64 = u64::MAX;

impl Ensemble {
    /// Somebody who is no process here gives a node other data.
    pub fn overwrite(&mut self, now: u64, path: &str, data: bytes::Bytes) -> Effects {
        self.intervene(now, &Operation::Set(Set { path: path.to_owned(), data, version: None }))
    }

    /// Somebody who is no process here makes a node anew, with other data: its version begins anew, too.
    pub fn restore(&mut self, now: u64, path: &str, data: bytes::Bytes) -> Effects {
        let delete = Delete { path: path.to_owned(), version: None };
        let create = Create { path: path.to_owned(), data, mode: CreateMode::Persistent };
        let both = vec![MultiOperation::Delete(delete), MultiOperation::Create(create)];
        self.intervene(now, &Operation::Multi(both))
    }

    fn intervene(&mut self, now: u64, operation: &Operation) -> Effects {
        let mut effects = Effects::default();
        let session = self.server.open(now, ConnectionId::MAX);
        // A node that is not there stays away.
        let _ = self.server.execute(now, session, operation);
        self.server.close(now, session);
        self.spread(now, &mut effects);
        effects
    }

    /// The leader dies; another one is elected after a while. `None`: there is none.
    pub fn elect(&mut self, now: u64) -> Option<Effects> {
        if self.outage != Outage::None {
            return None;
        }
        self.elections += 1;
        let (number, span) = (self.elections, self.config.election);
        let takes = self.draws.within(Purpose::Election, SERVERS, number, span);
        let mut effects = self.fall_silent(now, Outage::Election(number));
        effects.later.push((now + takes, Happening::Elected(number)));
        Some(effects)
    }

    /// All servers stop. `None`: they have already.
    pub fn stop_servers(&mut self, now: u64) -> Option<Effects> {
        (self.outage != Outage::Stopped).then(|| self.fall_silent(now, Outage::Stopped))
    }

    /// All servers start. `None`: they run.
    pub fn start_servers(&mut self, now: u64) -> Option<Effects> {
        if self.outage != Outage::Stopped {
            return None;
        }
        let mut effects = Effects::default();
        self.begin_term(now, &mut effects);
        Some(effects)
    }

    /// An election is over, unless something came in between.
    pub(super) fn elected(&mut self, now: u64, number: u64, effects: &mut Effects) {
        if self.outage == Outage::Election(number) {
            self.begin_term(now, effects);
        }
    }

    /// Every connection is as good as gone. Its client notices soon; some replies that are under way
    /// reach it first.
    fn fall_silent(&mut self, now: u64, outage: Outage) -> Effects {
        let mut effects = Effects::default();
        self.outage = outage;
        self.server.forget_orphans();
        let all: Vec<_> = self.connections.keys().copied().collect();
        for id in all {
            // Requests that have come this far may be carried out by the next leader.
            let survive = self.draws.below(Purpose::Election, id, 0, 2) == 0;
            self.abandon(now, id, survive, &mut effects);
        }
        effects
    }

    /// A server gives a connection up, with or without the requests that are under way on it. Its
    /// replies may be lost.
    fn abandon(&mut self, now: u64, id: ConnectionId, requests_survive: bool, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !requests_survive {
            connection.up.lose_after(0);
        }
        if self.draws.below(Purpose::Election, id, 1, 2) == 0 {
            connection.down.lose_after(0);
        }
        if !std::mem::replace(&mut connection.gone, true) && !connection.dropped {
            let process = connection.process;
            let notices = self.draw(Purpose::Election, process, self.config.notice);
            effects.later.push((now + notices, Happening::Abandoned(id)));
        }
        self.tidy(id);
    }

    /// A client notices that its server has given it up: nothing comes from there any more, also not
    /// what was held back.
    pub(super) fn abandoned(&mut self, now: u64, id: ConnectionId, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.down.lose_after(0);
        let process = connection.process;
        let client = self.clients.entry(process).or_default();
        if client.connection != Some(id) || !client.connected {
            return;
        }
        if client.running {
            self.disconnect(now, process, now, effects);
        } else {
            client.abandoned = true;
        }
    }

    /// There is a leader again: it has everything that was answered, and grants every session a full
    /// timeout.
    fn begin_term(&mut self, now: u64, effects: &mut Effects) {
        self.outage = Outage::None;
        self.server.catch_up(u64::MAX);
        for (session, version) in self.server.renew() {
            self.schedule_expiry(now, session, version, effects);
        }
        for (&id, connection) in self.connections.iter_mut().filter(|(_, connection)| !connection.stuck) {
            effects.later.extend(connection.up.release(now).map(|at| (at, Happening::Up(id))));
        }
        self.spread(now, effects);
    }

    /// The follower hears nothing of its leader any more. `None`: it does not already.
    pub fn cut_follower(&mut self, now: u64) -> Option<Effects> {
        if std::mem::replace(&mut self.server.follower_cut, true) {
            return None;
        }
        self.isolations += 1;
        let mut effects = Effects::default();
        for session in self.server.on_follower() {
            if let Some(version) = self.server.touch(session, false) {
                self.schedule_expiry(now, session, version, &mut effects);
            }
        }
        let gives_up = now + self.config.sync_limit.as_nanos() as u64;
        effects.later.push((gives_up, Happening::Isolated(self.isolations)));
        Some(effects)
    }

    /// The follower has been without its leader for too long: it serves nobody any more.
    pub(super) fn isolated(&mut self, now: u64, number: u64, effects: &mut Effects) {
        if self.server.follower_cut && self.isolations == number {
            for id in self.server.follower_connections() {
                self.abandon(now, id, false, effects);
            }
            self.server.forget_orphans();
        }
    }

    /// The follower hears its leader again. `None`: it did already.
    pub fn heal_follower(&mut self, now: u64) -> Option<Effects> {
        if !std::mem::replace(&mut self.server.follower_cut, false) {
            return None;
        }
        let mut effects = Effects::default();
        for id in self.server.follower_connections() {
            let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.gone) else {
                continue;
            };
            let process = connection.process;
            effects.later.extend(connection.up.release(now).map(|at| (at, Happening::Up(id))));
            if self.is_pinging(process) {
                self.touch(now, process, &mut effects);
            }
        }
        for id in self.server.forget_orphans() {
            self.down(now, id, super::Down::Closed, &mut effects);
        }
        self.spread(now, &mut effects);
        Some(effects)
    }
}
