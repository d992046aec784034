//! Messages between the coordination service and its clients.

use super::fields::{at_most, bounded, required};
use crate::coordination::{
    Create, CreateMode, Delete, Error, MultiError, MultiOperation, Operation, Reply, Set, Stat, WatchKind,
};
use crate::trace::Rejection;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_proto as proto;
use steadfast_proto::TreeError;
use steadfast_proto::limits::{MAX_CHILDREN, MAX_MULTI_OPS, MAX_NODE_DATA_LEN, MAX_PATH_LEN};

/// Whether it is a valid path is for the tree to say.
pub(super) fn decode_path(path: String) -> Result<String, Rejection> {
    bounded(path, MAX_PATH_LEN)
}

/// Copied: a tree and its caches keep the data for long, and it would pin the whole receive buffer.
fn decode_data(data: &[u8]) -> Result<Bytes, Rejection> {
    at_most(data.len(), MAX_NODE_DATA_LEN)?;
    Ok(Bytes::copy_from_slice(data))
}

// ------------------------------------------------------------------------------------ operations

pub(super) fn encode_operation(operation: &Operation) -> proto::coordination_call::Operation {
    use proto::coordination_call::Operation as Wire;
    let read = |path: &String, watch: bool| proto::TreeRead { path: path.clone(), watch };
    match operation {
        Operation::Create(create) => Wire::Create(encode_create(create)),
        Operation::Get { path, watch } => Wire::Get(read(path, *watch)),
        Operation::Exists { path, watch } => Wire::Exists(read(path, *watch)),
        Operation::Children { path, watch } => Wire::Children(read(path, *watch)),
        Operation::Set(set) => Wire::Set(encode_set(set)),
        Operation::Delete(delete) => Wire::Delete(encode_delete(delete)),
        Operation::Sync { path } => Wire::Sync(proto::TreePath { path: path.clone() }),
        Operation::Multi(operations) => Wire::Multi(proto::TreeMulti {
            operations: operations.iter().map(encode_multi_operation).collect(),
        }),
        Operation::Watch { path, recursive } => {
            Wire::Watch(proto::TreeWatch { path: path.clone(), recursive: *recursive })
        }
    }
}

pub(super) fn decode_operation(
    operation: Option<proto::coordination_call::Operation>,
) -> Result<Operation, Rejection> {
    use proto::coordination_call::Operation as Wire;
    Ok(match required(operation)? {
        Wire::Create(create) => Operation::Create(decode_create(create)?),
        Wire::Get(read) => Operation::Get { path: decode_path(read.path)?, watch: read.watch },
        Wire::Exists(read) => Operation::Exists { path: decode_path(read.path)?, watch: read.watch },
        Wire::Children(read) => Operation::Children { path: decode_path(read.path)?, watch: read.watch },
        Wire::Set(set) => Operation::Set(decode_set(set)?),
        Wire::Delete(delete) => Operation::Delete(decode_delete(delete)?),
        Wire::Sync(sync) => Operation::Sync { path: decode_path(sync.path)? },
        Wire::Multi(multi) => {
            at_most(multi.operations.len(), MAX_MULTI_OPS)?;
            let operations = multi.operations.into_iter().map(decode_multi_operation);
            Operation::Multi(operations.collect::<Result<_, _>>()?)
        }
        Wire::Watch(watch) => Operation::Watch { path: decode_path(watch.path)?, recursive: watch.recursive },
    })
}

fn encode_multi_operation(operation: &MultiOperation) -> proto::TreeMultiOp {
    use proto::tree_multi_op::Operation as Wire;
    let operation = match operation {
        MultiOperation::Create(create) => Wire::Create(encode_create(create)),
        MultiOperation::Set(set) => Wire::Set(encode_set(set)),
        MultiOperation::Delete(delete) => Wire::Delete(encode_delete(delete)),
        MultiOperation::Check(check) => Wire::Check(encode_delete(check)),
    };
    proto::TreeMultiOp { operation: Some(operation) }
}

fn decode_multi_operation(operation: proto::TreeMultiOp) -> Result<MultiOperation, Rejection> {
    use proto::tree_multi_op::Operation as Wire;
    Ok(match required(operation.operation)? {
        Wire::Create(create) => MultiOperation::Create(decode_create(create)?),
        Wire::Set(set) => MultiOperation::Set(decode_set(set)?),
        Wire::Delete(delete) => MultiOperation::Delete(decode_delete(delete)?),
        Wire::Check(check) => MultiOperation::Check(decode_delete(check)?),
    })
}

fn encode_create(create: &Create) -> proto::TreeCreate {
    let mode = match create.mode {
        CreateMode::Persistent => proto::CreateMode::Persistent,
        CreateMode::Ephemeral => proto::CreateMode::Ephemeral,
        CreateMode::PersistentSequential => proto::CreateMode::PersistentSequential,
        CreateMode::EphemeralSequential => proto::CreateMode::EphemeralSequential,
    };
    proto::TreeCreate { path: create.path.clone(), data: create.data.clone(), mode: mode as i32 }
}

fn decode_create(create: proto::TreeCreate) -> Result<Create, Rejection> {
    let mode = match required(proto::CreateMode::try_from(create.mode).ok())? {
        proto::CreateMode::Persistent => CreateMode::Persistent,
        proto::CreateMode::Ephemeral => CreateMode::Ephemeral,
        proto::CreateMode::PersistentSequential => CreateMode::PersistentSequential,
        proto::CreateMode::EphemeralSequential => CreateMode::EphemeralSequential,
    };
    Ok(Create { path: decode_path(create.path)?, data: decode_data(&create.data)?, mode })
}

fn encode_set(set: &Set) -> proto::TreeSet {
    proto::TreeSet { path: set.path.clone(), data: set.data.clone(), version: set.version }
}

fn decode_set(set: proto::TreeSet) -> Result<Set, Rejection> {
    Ok(Set { path: decode_path(set.path)?, data: decode_data(&set.data)?, version: set.version })
}

fn encode_delete(delete: &Delete) -> proto::TreeDelete {
    proto::TreeDelete { path: delete.path.clone(), version: delete.version }
}

fn decode_delete(delete: proto::TreeDelete) -> Result<Delete, Rejection> {
    Ok(Delete { path: decode_path(delete.path)?, version: delete.version })
}

// --------------------------------------------------------------------------------------- replies

pub(super) fn encode_reply(call: u64, result: &Result<Reply, Error>) -> proto::CoordinationReply {
    let reply = proto::CoordinationReply { call, ..Default::default() };
    match result {
        Ok(Reply::Multi(replies)) => {
            proto::CoordinationReply { results: replies.iter().map(encode_result).collect(), ..reply }
        }
        Ok(one) => proto::CoordinationReply { result: Some(encode_result(one)), ..reply },
        Err(error) => {
            let (error, failed_index) = encode_error(*error);
            proto::CoordinationReply { error: error as i32, failed_index, ..reply }
        }
    }
}

pub(super) fn decode_reply(reply: proto::CoordinationReply) -> Result<Result<Reply, Error>, Rejection> {
    if reply.error != TreeError::Unspecified as i32 {
        return Ok(Err(decode_error(reply.error, reply.failed_index)));
    }
    at_most(reply.results.len(), MAX_MULTI_OPS)?;
    match (reply.result, reply.results) {
        (Some(result), results) if results.is_empty() => decode_result(result).map(Ok),
        (None, results) => {
            let replies = results.into_iter().map(decode_result).collect::<Result<Vec<_>, _>>()?;
            Ok(Ok(Reply::Multi(replies)))
        }
        (Some(_), _) => Err(Rejection::Malformed),
    }
}

fn encode_result(reply: &Reply) -> proto::TreeResult {
    use proto::tree_result::Kind;
    let kind = match reply {
        Reply::Created { path, stat } => {
            Kind::Created(proto::TreeCreated { path: path.clone(), stat: stat.as_ref().map(encode_stat) })
        }
        Reply::Data { data, stat } => {
            Kind::Data(proto::TreeData { data: data.clone(), stat: Some(encode_stat(stat)) })
        }
        Reply::Stat(stat) => Kind::Exists(proto::TreeExists { stat: stat.as_ref().map(encode_stat) }),
        Reply::Children(names) => Kind::Children(proto::TreeChildren { names: names.clone() }),
        Reply::Set(stat) => Kind::Set(encode_stat(stat)),
        Reply::Done => Kind::Done(proto::TreeDone {}),
        Reply::Multi(_) => unreachable!("an operation of a multi is no multi"),
    };
    proto::TreeResult { kind: Some(kind) }
}

fn decode_result(result: proto::TreeResult) -> Result<Reply, Rejection> {
    use proto::tree_result::Kind;
    Ok(match required(result.kind)? {
        Kind::Created(created) => {
            Reply::Created { path: decode_path(created.path)?, stat: created.stat.as_ref().map(decode_stat) }
        }
        Kind::Data(data) => {
            Reply::Data { stat: decode_stat(&required(data.stat)?), data: decode_data(&data.data)? }
        }
        Kind::Exists(exists) => Reply::Stat(exists.stat.as_ref().map(decode_stat)),
        Kind::Children(children) => Reply::Children(decode_names(children.names)?),
        Kind::Set(stat) => Reply::Set(decode_stat(&stat)),
        Kind::Done(proto::TreeDone {}) => Reply::Done,
    })
}

fn decode_names(names: Vec<String>) -> Result<Vec<String>, Rejection> {
    at_most(names.len(), MAX_CHILDREN)?;
    names.into_iter().map(decode_path).collect()
}

const fn encode_stat(stat: &Stat) -> proto::TreeStat {
    proto::TreeStat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        version: stat.version,
        cversion: stat.cversion,
        ephemeral_owner: stat.ephemeral_owner,
        data_length: stat.data_length,
        children: stat.children,
    }
}

const fn decode_stat(stat: &proto::TreeStat) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        version: stat.version,
        cversion: stat.cversion,
        ephemeral_owner: stat.ephemeral_owner,
        data_length: stat.data_length,
        children: stat.children,
    }
}

const fn encode_error(error: Error) -> (TreeError, Option<u32>) {
    let alone = match error {
        Error::NoNode => TreeError::NoNode,
        Error::NodeExists => TreeError::NodeExists,
        Error::BadVersion => TreeError::BadVersion,
        Error::NotEmpty => TreeError::NotEmpty,
        Error::NoChildrenForEphemerals => TreeError::NoChildrenForEphemerals,
        Error::Invalid => TreeError::Invalid,
        Error::SessionExpired => TreeError::SessionExpired,
        Error::Unknown => TreeError::Other,
        Error::Multi { index, error } => return (encode_multi_error(error), Some(index)),
    };
    (alone, None)
}

const fn encode_multi_error(error: MultiError) -> TreeError {
    match error {
        MultiError::NoNode => TreeError::NoNode,
        MultiError::NodeExists => TreeError::NodeExists,
        MultiError::BadVersion => TreeError::BadVersion,
        MultiError::NotEmpty => TreeError::NotEmpty,
        MultiError::Other => TreeError::Other,
    }
}

/// An error that this version does not know leaves the outcome unknown (R14), except in a multi, of
/// which nothing was done.
fn decode_error(error: i32, failed_index: Option<u32>) -> Error {
    let error = TreeError::try_from(error).unwrap_or(TreeError::Other);
    match failed_index {
        Some(index) => Error::Multi { index, error: decode_multi_error(error) },
        None => decode_single_error(error),
    }
}

const fn decode_single_error(error: TreeError) -> Error {
    match error {
        TreeError::NoNode => Error::NoNode,
        TreeError::NodeExists => Error::NodeExists,
        TreeError::BadVersion => Error::BadVersion,
        TreeError::NotEmpty => Error::NotEmpty,
        TreeError::NoChildrenForEphemerals => Error::NoChildrenForEphemerals,
        TreeError::Invalid => Error::Invalid,
        TreeError::SessionExpired => Error::SessionExpired,
        TreeError::Unspecified | TreeError::Other => Error::Unknown,
    }
}

const fn decode_multi_error(error: TreeError) -> MultiError {
    match error {
        TreeError::NoNode => MultiError::NoNode,
        TreeError::NodeExists => MultiError::NodeExists,
        TreeError::BadVersion => MultiError::BadVersion,
        TreeError::NotEmpty => MultiError::NotEmpty,
        TreeError::Unspecified
        | TreeError::NoChildrenForEphemerals
        | TreeError::Invalid
        | TreeError::SessionExpired
        | TreeError::Other => MultiError::Other,
    }
}

// --------------------------------------------------------------------------------------- watches

pub(super) const fn encode_watch_kind(kind: WatchKind) -> proto::TreeEvent {
    match kind {
        WatchKind::Created => proto::TreeEvent::Created,
        WatchKind::Deleted => proto::TreeEvent::Deleted,
        WatchKind::DataChanged => proto::TreeEvent::DataChanged,
        WatchKind::ChildrenChanged => proto::TreeEvent::ChildrenChanged,
    }
}

pub(super) fn decode_watch_kind(event: i32) -> Result<WatchKind, Rejection> {
    match required(proto::TreeEvent::try_from(event).ok())? {
        proto::TreeEvent::Created => Ok(WatchKind::Created),
        proto::TreeEvent::Deleted => Ok(WatchKind::Deleted),
        proto::TreeEvent::DataChanged => Ok(WatchKind::DataChanged),
        proto::TreeEvent::ChildrenChanged => Ok(WatchKind::ChildrenChanged),
        proto::TreeEvent::Unspecified => Err(Rejection::Malformed),
    }
}
