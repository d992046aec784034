//! Transactions: creates, sets and deletes that all hold or are all undone.

use super::path::{is_ephemeral, is_sequential, split};
use super::{LISTING_OVERHEAD, Tree, Znode};
use crate::coordination::{
    Create, Delete, Error, MultiError, MultiOperation, Reply, SessionId, Set, Stat, Zxid,
};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use bytes::Bytes;

/// What watchers are told once a transaction holds.
#[derive(Debug)]
pub(super) enum Change {
    Created(String),
    Set(String),
    Deleted(String),
}

impl Change {
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Created(path) | Self::Set(path) | Self::Deleted(path) => path,
        }
    }
}

/// How a change is taken back.
#[derive(Debug)]
enum Undo {
    Create { path: String, parent_pzxid: Zxid },
    Set { path: String, data: Bytes, mzxid: Zxid, version: i32 },
    Delete { path: String, node: Znode, parent_pzxid: Zxid },
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Transaction {
    session: SessionId,
    zxid: Zxid,
    undo: Vec<Undo>,
    changes: Vec<Change>,
}

impl Tree {
    /// Runs `work` as one transaction: when it fails, nothing has happened; when it succeeds, watchers
    /// are told of its changes in order.
    pub(super) fn transact(
        &mut self,
        session: SessionId,
        work: impl FnOnce(&mut Self, &mut Transaction) -> Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        let zxid = self.zxid + 1;
        let mut transaction = Transaction { session, zxid, undo: Vec::new(), changes: Vec::new() };
        let result = work(self, &mut transaction);
        if result.is_ok() {
            self.zxid = zxid;
            for change in transaction.changes {
                self.fire(change);
            }
        } else {
            for undo in transaction.undo.into_iter().rev() {
                self.take_back(undo);
            }
        }
        result
    }

    pub(super) fn multi(
        &mut self,
        transaction: &mut Transaction,
        operations: &[MultiOperation],
    ) -> Result<Reply, Error> {
        let mut replies = Vec::with_capacity(operations.len());
        for (index, operation) in (0..).zip(operations) {
            let reply = match operation {
                // ZOOKEEPER-4026: the stat of a create inside a multi is not sent.
                MultiOperation::Create(create) => {
                    self.create(transaction, create).map(|(path, _)| Reply::Created { path, stat: None })
                }
                MultiOperation::Set(set) => self.set(transaction, set).map(Reply::Set),
                MultiOperation::Delete(delete) => self.delete(transaction, delete).map(|()| Reply::Done),
                MultiOperation::Check(check) => self.check_version(check).map(|()| Reply::Done),
            };
            replies.push(reply.map_err(|error| Error::Multi { index, error: inside_multi(error) })?);
        }
        Ok(Reply::Multi(replies))
    }

    pub(super) fn create(
        &mut self,
        transaction: &mut Transaction,
        create: &Create,
    ) -> Result<(String, Stat), Error> {
        let parent_path = split(&create.path).0;
        let parent = self.nodes.get(parent_path).ok_or(Error::NoNode)?;
        let mut path = create.path.clone();
        if is_sequential(create.mode) {
            path.push_str(&alloc::format!("{:010}", parent.creates));
        }
        if self.nodes.contains_key(&path) {
            return Err(Error::NodeExists);
        }
        if parent.owner != 0 {
            return Err(Error::NoChildrenForEphemerals);
        }
        if !parent.has_room_for(split(&path).1)
            || self.nodes.len() >= self.limits.nodes
            || self.data_len + create.data.len() > self.limits.data
        {
            return Err(Error::Invalid);
        }
        let parent_pzxid = parent.pzxid;
        let zxid = transaction.zxid;
        let owner = if is_ephemeral(create.mode) { transaction.session } else { 0 };
        let data = kept(&create.data);
        let node = Znode { data, czxid: zxid, mzxid: zxid, pzxid: zxid, owner, ..Znode::default() };
        let stat = node.stat();
        self.insert(&path, node);
        let parent = self.parent_mut(&path);
        parent.creates = parent.creates.wrapping_add(1);
        parent.pzxid = zxid;
        transaction.undo.push(Undo::Create { path: path.clone(), parent_pzxid });
        transaction.changes.push(Change::Created(path.clone()));
        Ok((path, stat))
    }

    pub(super) fn set(&mut self, transaction: &mut Transaction, set: &Set) -> Result<Stat, Error> {
        let others = self.data_len - self.nodes.get(&set.path).map_or(0, |node| node.data.len());
        let node = self.nodes.get_mut(&set.path).ok_or(Error::NoNode)?;
        expect_version(node, set.version)?;
        if others + set.data.len() > self.limits.data {
            return Err(Error::Invalid);
        }
        transaction.undo.push(Undo::Set {
            path: set.path.clone(),
            data: core::mem::replace(&mut node.data, kept(&set.data)),
            mzxid: node.mzxid,
            version: node.version,
        });
        node.mzxid = transaction.zxid;
        node.version = node.version.wrapping_add(1);
        self.data_len = others + set.data.len();
        transaction.changes.push(Change::Set(set.path.clone()));
        Ok(node.stat())
    }

    pub(super) fn delete(&mut self, transaction: &mut Transaction, delete: &Delete) -> Result<(), Error> {
        let path = &delete.path;
        if path == "/" {
            return Err(Error::Invalid);
        }
        let node = self.nodes.get(path).ok_or(Error::NoNode)?;
        expect_version(node, delete.version)?;
        if !node.children.is_empty() {
            return Err(Error::NotEmpty);
        }
        let node = self.remove(path);
        let parent = self.parent_mut(path);
        let parent_pzxid = core::mem::replace(&mut parent.pzxid, transaction.zxid);
        transaction.undo.push(Undo::Delete { path: path.clone(), node, parent_pzxid });
        transaction.changes.push(Change::Deleted(path.clone()));
        Ok(())
    }

    fn check_version(&self, check: &Delete) -> Result<(), Error> {
        let node = self.nodes.get(&check.path).ok_or(Error::NoNode)?;
        expect_version(node, check.version)
    }

    fn take_back(&mut self, undo: Undo) {
        match undo {
            Undo::Create { path, parent_pzxid } => {
                self.remove(&path);
                let parent = self.parent_mut(&path);
                parent.creates = parent.creates.wrapping_sub(1);
                parent.pzxid = parent_pzxid;
            }
            Undo::Set { path, data, mzxid, version } => {
                let node = self.nodes.get_mut(&path).expect("undone in reverse: it is there again");
                self.data_len = self.data_len - node.data.len() + data.len();
                node.data = data;
                node.mzxid = mzxid;
                node.version = version;
            }
            Undo::Delete { path, node, parent_pzxid } => {
                self.insert(&path, node);
                self.parent_mut(&path).pzxid = parent_pzxid;
            }
        }
    }

    /// Puts a node in its place: in the tree, its parent's list and its owner's.
    fn insert(&mut self, path: &str, node: Znode) {
        let name = split(path).1;
        let parent = self.parent_mut(path);
        parent.children.insert(name.to_string());
        parent.listing += name.len() + LISTING_OVERHEAD;
        if let Some(ephemerals) = self.sessions.get_mut(&node.owner) {
            ephemerals.insert(path.to_string());
        }
        self.data_len += node.data.len();
        let before = self.nodes.insert(path.to_string(), node);
        assert!(before.is_none(), "{path} was there");
    }

    /// Takes a node without children out of its place.
    pub(super) fn remove(&mut self, path: &str) -> Znode {
        let node = self.nodes.remove(path).expect("callers have seen the node");
        let name = split(path).1;
        let parent = self.parent_mut(path);
        assert!(parent.children.remove(name), "{path} is not in its parent's list");
        parent.listing -= name.len() + LISTING_OVERHEAD;
        if let Some(ephemerals) = self.sessions.get_mut(&node.owner) {
            ephemerals.remove(path);
        }
        self.data_len -= node.data.len();
        node
    }

    pub(super) fn parent_mut(&mut self, path: &str) -> &mut Znode {
        self.nodes.get_mut(split(path).0).expect("every node but the root has a parent")
    }
}

/// A copy: what came in a frame would pin its receive buffer for as long as the node lives (R36).
fn kept(data: &Bytes) -> Bytes {
    Bytes::copy_from_slice(data)
}

/// As in ZooKeeper, -1 stands for any version.
fn expect_version(node: &Znode, expected: Option<i32>) -> Result<(), Error> {
    match expected {
        None | Some(-1) => Ok(()),
        Some(version) if version == node.version => Ok(()),
        Some(_) => Err(Error::BadVersion),
    }
}

const fn inside_multi(error: Error) -> MultiError {
    match error {
        Error::NoNode => MultiError::NoNode,
        Error::NodeExists => MultiError::NodeExists,
        Error::BadVersion => MultiError::BadVersion,
        Error::NotEmpty => MultiError::NotEmpty,
        _ => MultiError::Other,
    }
}
