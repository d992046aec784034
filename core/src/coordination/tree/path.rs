//! What a path may look like, and the checks of an operation that need no tree. They are those of
//! ZooKeeper's own client and server, so that a path that is good here is good there.

use crate::coordination::{Create, CreateMode, Error, MultiError, MultiOperation, Operation};
use crate::limits::{MAX_MULTI_OPS, MAX_NODE_DATA_LEN, MAX_PATH_LEN};
use bytes::Bytes;

/// Digits of a sequence number.
const SEQUENCE_DIGITS: usize = 10;

/// Checks everything about an operation that needs no tree: paths, data lengths, the size of a
/// multi.
///
/// # Errors
/// [`Error::Invalid`], or [`Error::Multi`] that names the first operation at fault.
pub fn check(operation: &Operation) -> Result<(), Error> {
    match operation {
        Operation::Create(create) => check_create(create),
        Operation::Get { path, .. }
        | Operation::Exists { path, .. }
        | Operation::Children { path, .. }
        | Operation::Sync { path }
        | Operation::Watch { path, .. } => check_path(path),
        Operation::Set(set) => check_path(&set.path).and_then(|()| check_data(&set.data)),
        Operation::Delete(delete) => check_path(&delete.path),
        Operation::Multi(operations) => check_multi(operations),
    }
}

fn check_multi(operations: &[MultiOperation]) -> Result<(), Error> {
    if operations.len() > MAX_MULTI_OPS {
        return Err(Error::Invalid);
    }
    for (index, operation) in (0..).zip(operations) {
        let checked = match operation {
            MultiOperation::Create(create) => check_create(create),
            MultiOperation::Set(set) => check_path(&set.path).and_then(|()| check_data(&set.data)),
            MultiOperation::Delete(delete) | MultiOperation::Check(delete) => check_path(&delete.path),
        };
        checked.map_err(|_| Error::Multi { index, error: MultiError::Other })?;
    }
    Ok(())
}

fn check_data(data: &Bytes) -> Result<(), Error> {
    if data.len() <= MAX_NODE_DATA_LEN { Ok(()) } else { Err(Error::Invalid) }
}

fn check_create(create: &Create) -> Result<(), Error> {
    check_data(&create.data)?;
    if !is_sequential(create.mode) {
        // The root is always there; ZooKeeper's client does not even ask.
        return if create.path == "/" { Err(Error::Invalid) } else { check_path(&create.path) };
    }
    // The number completes the last name, so that name may still be empty, "." or "..".
    let room = MAX_PATH_LEN.checked_sub(SEQUENCE_DIGITS).ok_or(Error::Invalid)?;
    match create.path.rsplit_once('/') {
        Some((parent, name)) if create.path.len() <= room && name.chars().all(is_allowed) => match parent {
            "" => Ok(()),
            "/" => Err(Error::Invalid),
            _ => check_path(parent),
        },
        _ => Err(Error::Invalid),
    }
}

/// Checks the path of a node.
fn check_path(path: &str) -> Result<(), Error> {
    if path.len() > MAX_PATH_LEN {
        return Err(Error::Invalid);
    }
    match path.strip_prefix('/') {
        Some("") => Ok(()),
        Some(names) if names.split('/').all(is_name) => Ok(()),
        _ => Err(Error::Invalid),
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.chars().all(is_allowed)
}

/// ZooKeeper compares UTF-16 units: what lies beyond the first plane is made of surrogates, which
/// it forbids.
const fn is_allowed(c: char) -> bool {
    !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{10ffff}')
}

/// Whether the mode appends a sequence number.
pub(super) const fn is_sequential(mode: CreateMode) -> bool {
    matches!(mode, CreateMode::PersistentSequential | CreateMode::EphemeralSequential)
}

/// Whether the mode ties the node to its session.
pub(super) const fn is_ephemeral(mode: CreateMode) -> bool {
    matches!(mode, CreateMode::Ephemeral | CreateMode::EphemeralSequential)
}

/// Path of the parent and the node's own name. The root has itself as parent, and no name.
pub(super) fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => ("/", ""),
    }
}
