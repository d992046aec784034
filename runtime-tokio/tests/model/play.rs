//! Plays a script on either side and writes down what its sessions are told.

use crate::script::{SESSIONS, Script, Step};
use bytes::Bytes;
use std::collections::BTreeSet;
use steadfast_core::coordination::{
    Create, CreateMode, Delete, Error, Event, Operation, Reply, Request, SessionState, WatchKind,
};

/// A session waits for something that does not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck(pub String);

/// A coordination service with the clients of a script's sessions.
pub trait Side {
    /// A session's user asks something of its client.
    fn ask(&mut self, session: usize, request: Request);
    /// What a session's user is told next; it was waiting for this.
    async fn event(&mut self, session: usize, wait: &str) -> Result<Event, Stuck>;
    /// From now on nothing passes between a session's client and the service.
    fn cut(&mut self, session: usize);
    /// It does again. Every connection from before is gone.
    fn heal(&mut self, session: usize);
    /// The service is about to lose its leader, while this session makes calls.
    async fn strike(&mut self, session: usize);
}

/// How exactly a record tells what happens everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// In this order.
    Ordered,
    /// Watch events between two replies come in any order.
    Shuffled,
    /// The session's connection broke: nothing is ordered but its states, some replies are lost, and
    /// whether a call of an expired session was sent does not matter.
    Disturbed,
}

/// What one session was told in one phase of a step.
#[derive(Clone, Debug)]
pub struct Record {
    pub step: usize,
    pub session: usize,
    pub manner: Manner,
    /// The calls that it has made since its record before.
    pub calls: Vec<(u64, Operation)>,
    pub events: Vec<Event>,
}

/// Plays the script.
pub async fn play(script: &Script, side: &mut impl Side) -> Result<Vec<Record>, Stuck> {
    let mut play = Play { side, calls: 0, step: 0, records: Vec::new(), made: Default::default() };
    for session in 0..SESSIONS {
        play.open(session, Manner::Ordered).await?;
    }
    play.settle(Manner::Ordered).await?;
    for (number, step) in (1..).zip(&script.steps) {
        play.step = number;
        play.run(step).await?;
    }
    Ok(play.records)
}

struct Play<'a, S> {
    side: &'a mut S,
    calls: u64,
    step: usize,
    records: Vec<Record>,
    /// Calls of each session that no record has yet.
    made: [Vec<(u64, Operation)>; SESSIONS],
}

impl<S: Side> Play<'_, S> {
    async fn run(&mut self, step: &Step) -> Result<(), Stuck> {
        match step {
            Step::Calls { session, operations } => {
                let calls = self.call_all(*session, operations);
                let events = self.replies(*session, calls).await?;
                self.record(*session, Manner::Ordered, events);
                self.settle(Manner::Ordered).await
            }
            Step::Close { session } => {
                self.side.ask(*session, Request::CloseSession);
                self.open(*session, Manner::Ordered).await?;
                self.settle(Manner::Shuffled).await
            }
            Step::Expire { session, operations, early } => self.expire(*session, operations, *early).await,
            Step::Strike { session, operations } => self.strike(*session, operations).await,
        }
    }

    fn record(&mut self, session: usize, manner: Manner, events: Vec<Event>) {
        let calls = std::mem::take(&mut self.made[session]);
        self.records.push(Record { step: self.step, session, manner, calls, events });
    }

    fn call(&mut self, session: usize, operation: Operation) -> u64 {
        self.calls += 1;
        self.made[session].push((self.calls, operation.clone()));
        self.side.ask(session, Request::Call { call: self.calls, operation });
        self.calls
    }

    fn call_all(&mut self, session: usize, operations: &[Operation]) -> BTreeSet<u64> {
        operations.iter().map(|operation| self.call(session, operation.clone())).collect()
    }

    /// Waits for all these replies.
    async fn replies(&mut self, session: usize, mut calls: BTreeSet<u64>) -> Result<Vec<Event>, Stuck> {
        let mut events = Vec::new();
        while !calls.is_empty() {
            let event = self.side.event(session, "a reply").await?;
            if let Event::Reply { call, .. } = &event {
                calls.remove(call);
            }
            events.push(event);
        }
        Ok(events)
    }

    async fn open(&mut self, session: usize, manner: Manner) -> Result<(), Stuck> {
        self.side.ask(session, Request::OpenSession);
        let mut events = Vec::new();
        while !matches!(events.last(), Some(Event::Session(SessionState::Connected(_)))) {
            events.push(self.side.event(session, "a session").await?);
        }
        self.record(session, manner, events);
        Ok(())
    }

    /// Every session catches up with everything done so far: what it has to be told, it is told before
    /// the reply to a write of its own, though that fails. A sync would not do: on the leader it does not
    /// wait for what is committed and not applied yet.
    async fn settle(&mut self, manner: Manner) -> Result<(), Stuck> {
        for session in 0..SESSIONS {
            let mut events = Vec::new();
            loop {
                let nothing = Delete { path: "/never-made".to_owned(), version: None };
                let write = self.call(session, Operation::Delete(nothing));
                events.append(&mut self.replies(session, BTreeSet::from([write])).await?);
                match events.last() {
                    Some(Event::Reply { result: Err(Error::Unknown), .. }) if manner == Manner::Disturbed => {
                        events.pop();
                    }
                    _ => break,
                }
            }
            self.record(session, manner, events);
        }
        Ok(())
    }

    /// The victim leaves a mark behind, whose end another session sees.
    async fn expire(&mut self, victim: usize, operations: &[Operation], early: bool) -> Result<(), Stuck> {
        let observer = (victim + 1) % SESSIONS;
        let path = format!("/mark-{}", self.step);
        let mark = Create { path: path.clone(), data: Bytes::new(), mode: CreateMode::Ephemeral };
        self.run_one(victim, Operation::Create(mark)).await?;
        self.settle(Manner::Ordered).await?;
        self.run_one(observer, Operation::Exists { path: path.clone(), watch: true }).await?;

        self.side.cut(victim);
        let calls = self.call_all(victim, operations);
        let mut seen = Vec::new();
        let gone = Event::Watch { path, kind: WatchKind::Deleted };
        while seen.last() != Some(&gone) {
            seen.push(self.side.event(observer, "the expiry of a session").await?);
        }
        if early {
            self.side.heal(victim);
        }
        let mut told = self.replies(victim, calls).await?;
        let expired = Event::Session(SessionState::Expired);
        while !told.contains(&expired) {
            told.push(self.side.event(victim, "the end of its session").await?);
        }
        if !early {
            self.side.heal(victim);
        }
        self.record(victim, Manner::Disturbed, told);
        self.open(victim, Manner::Ordered).await?;
        // What the observer was told comes before its next reply: one record with it.
        let before = self.records.len();
        self.settle(Manner::Shuffled).await?;
        let settled = &mut self.records[before + observer].events;
        settled.splice(0..0, seen);
        Ok(())
    }

    async fn run_one(&mut self, session: usize, operation: Operation) -> Result<(), Stuck> {
        let call = self.call(session, operation);
        let events = self.replies(session, BTreeSet::from([call])).await?;
        self.record(session, Manner::Ordered, events);
        Ok(())
    }

    async fn strike(&mut self, session: usize, operations: &[Operation]) -> Result<(), Stuck> {
        self.side.strike(session).await;
        let calls = self.call_all(session, operations);
        let mut told: Vec<Vec<Event>> = vec![Vec::new(); SESSIONS];
        told[session] = self.replies(session, calls).await?;
        for (session, told) in told.iter_mut().enumerate() {
            let back = |event: &Event| matches!(event, Event::Session(SessionState::Connected(_)));
            while !told.iter().any(back) {
                told.push(self.side.event(session, "its connection").await?);
            }
        }
        let before = self.records.len();
        self.settle(Manner::Disturbed).await?;
        for (record, told) in self.records[before..].iter_mut().zip(told) {
            record.events.splice(0..0, told);
        }
        Ok(())
    }
}

/// How a script went, for whoever has to find out why two sides differ.
pub fn describe(records: &[Record]) -> String {
    let mut text = String::new();
    for record in records {
        text += &format!("step {} session {} {:?}\n", record.step, record.session, record.manner);
        record.calls.iter().for_each(|(call, operation)| text += &format!("  {call}: {operation:?}\n"));
        record.events.iter().for_each(|event| text += &format!("    {event:?}\n"));
    }
    text
}

/// Whether this is the outcome of a call that the server has answered.
pub fn is_answer(result: &Result<Reply, Error>) -> bool {
    !matches!(result, Err(Error::Unknown | Error::SessionExpired))
}
