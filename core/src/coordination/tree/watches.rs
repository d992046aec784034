//! Watches: the tables of the tree, and the book in which a client keeps its own.

use crate::coordination::{Operation, Reply, SessionId, WatchKind};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

/// How long a watch lasts, and how far it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Goes when it fires.
    Once,
    /// Stays.
    Persistent,
    /// Stays, and sees everything below.
    Recursive,
}

/// Which events a watch is for, as ZooKeeper keeps them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// Left by get and exists: the node and its data.
    Data,
    /// Left by children: the list of children.
    Children,
}

/// All watches of a tree. A session has at most one on a path and subject: a later one replaces the
/// mode of the earlier, as in ZooKeeper 3.8 (a one-shot watch thus ends a persistent one,
/// ZOOKEEPER-4466).
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    by_path: BTreeMap<(Subject, String), BTreeMap<SessionId, Mode>>,
    counts: BTreeMap<SessionId, usize>,
}

impl Tables {
    /// How many watches a session has.
    pub(super) fn count(&self, session: SessionId) -> usize {
        self.counts.get(&session).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, session: SessionId, subject: Subject, path: &str, mode: Mode) {
        let watchers = self.by_path.entry((subject, path.to_string())).or_default();
        if watchers.insert(session, mode).is_none() {
            *self.counts.entry(session).or_default() += 1;
        }
    }

    /// Forgets all watches of a session.
    pub(super) fn remove_session(&mut self, session: SessionId) {
        if self.counts.remove(&session).is_some() {
            self.by_path.retain(|_, watchers| {
                watchers.remove(&session);
                !watchers.is_empty()
            });
        }
    }

    /// Who is told of a change: each session once, however many of its watches see it. One-shot
    /// watches that fire are gone afterwards.
    pub(super) fn trigger(&mut self, subject: Subject, path: &str, kind: WatchKind) -> BTreeSet<SessionId> {
        let mut told = BTreeSet::new();
        for place in ancestors(path) {
            let key = (subject, place.to_string());
            let Some(watchers) = self.by_path.get_mut(&key) else { continue };
            let here = place.len() == path.len();
            let counts = &mut self.counts;
            watchers.retain(|&session, mode| match mode {
                Mode::Recursive => {
                    // It sees the children themselves come and go.
                    if kind != WatchKind::ChildrenChanged {
                        told.insert(session);
                    }
                    true
                }
                Mode::Persistent | Mode::Once if !here => true,
                Mode::Persistent => {
                    told.insert(session);
                    true
                }
                Mode::Once => {
                    told.insert(session);
                    decrement(counts, session);
                    false
                }
            });
            if watchers.is_empty() {
                self.by_path.remove(&key);
            }
        }
        told
    }
}

fn decrement(counts: &mut BTreeMap<SessionId, usize>, session: SessionId) {
    if let Some(count) = counts.get_mut(&session) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&session);
        }
    }
}

/// The path and everything above it, up to the root.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    core::iter::successors(Some(path), |path| match path.rsplit_once('/') {
        Some(("", "")) | None => None,
        Some(("", _)) => Some("/"),
        Some((parent, _)) => Some(parent),
    })
}

/// The watches that a client believes to have. A server keeps watches per connection; the client
/// writes down what its replies have left and its events have taken, and asks for the rest again
/// after it has reconnected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchBook {
    /// One-shot, on the data of nodes that existed.
    pub(super) data: BTreeSet<String>,
    /// One-shot, on nodes that did not exist.
    pub(super) exists: BTreeSet<String>,
    /// One-shot, on lists of children.
    pub(super) children: BTreeSet<String>,
    /// Persistent, and whether recursive. A client has both kinds on one path; its server keeps the one
    /// that was left last.
    pub(super) persistent: BTreeSet<(String, bool)>,
}

impl WatchBook {
    /// A call succeeded: writes down the watch that it left, if any.
    pub fn note(&mut self, operation: &Operation, reply: &Reply) {
        match (operation, reply) {
            (Operation::Get { path, watch: true }, _)
            | (Operation::Exists { path, watch: true }, Reply::Stat(Some(_))) => {
                self.data.insert(path.clone());
            }
            (Operation::Exists { path, watch: true }, _) => {
                self.exists.insert(path.clone());
            }
            (Operation::Children { path, watch: true }, _) => {
                self.children.insert(path.clone());
            }
            (Operation::Watch { path, recursive }, _) => {
                self.persistent.insert((path.clone(), *recursive));
            }
            _ => {}
        }
    }

    /// How many of the watches see this event. A client that serves each watch by itself tells its
    /// user of the event so many times, though the server sends it once.
    pub fn watching(&self, path: &str, kind: WatchKind) -> usize {
        let of_children = matches!(kind, WatchKind::ChildrenChanged);
        let data = !of_children && (self.data.contains(path) || self.exists.contains(path));
        let children = (of_children || kind == WatchKind::Deleted) && self.children.contains(path);
        let persistent = self.persistent.iter().filter(|(place, recursive)| match recursive {
            true => !of_children && ancestors(path).any(|above| above == place),
            false => place == path,
        });
        usize::from(data) + usize::from(children) + persistent.count()
    }

    /// An event has arrived: strikes out the one-shot watches that it ends.
    pub fn strike(&mut self, path: &str, kind: WatchKind) {
        if kind != WatchKind::ChildrenChanged {
            self.data.remove(path);
            self.exists.remove(path);
        }
        if matches!(kind, WatchKind::ChildrenChanged | WatchKind::Deleted) {
            self.children.remove(path);
        }
    }

    /// Takes all one-shot watches out, each as the event that it would most likely send.
    pub fn take_one_shots(&mut self) -> Vec<(String, WatchKind)> {
        let data = core::mem::take(&mut self.data).into_iter().map(|path| (path, WatchKind::DataChanged));
        let exists = core::mem::take(&mut self.exists).into_iter().map(|path| (path, WatchKind::Created));
        let children = core::mem::take(&mut self.children);
        let children = children.into_iter().map(|path| (path, WatchKind::ChildrenChanged));
        data.chain(exists).chain(children).collect()
    }

    /// How many watches there are.
    pub fn len(&self) -> usize {
        self.data.len() + self.exists.len() + self.children.len() + self.persistent.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_watch_that_sees_an_event_counts() {
        let path = |path: &str| path.to_string();
        let book = WatchBook {
            data: BTreeSet::from([path("/a/x")]),
            exists: BTreeSet::from([path("/b")]),
            children: BTreeSet::from([path("/a/x")]),
            persistent: BTreeSet::from([
                (path("/"), true),
                (path("/a"), false),
                (path("/a/x"), false),
                (path("/a/x"), true),
            ]),
        };
        let watching = [
            ("/a/x", WatchKind::DataChanged, 4),
            ("/a/x", WatchKind::Deleted, 5),
            ("/a/x", WatchKind::ChildrenChanged, 2),
            ("/a/x/y", WatchKind::Created, 2),
            ("/a", WatchKind::ChildrenChanged, 1),
            ("/b", WatchKind::Created, 2),
            ("/b", WatchKind::ChildrenChanged, 0),
        ];
        for (path, kind, watches) in watching {
            assert_eq!(book.watching(path, kind), watches, "{path} {kind:?}");
        }
    }
}
