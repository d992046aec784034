//! The core's operations, replies and errors in the terms of `zookeeper-client`, and back.

use bytes::Bytes;
use steadfast_core::coordination::{
    Create, CreateMode, Error, MultiError, MultiOperation, Reply, SessionId, Stat, WatchKind,
};
use tracing::warn;
use zookeeper_client as zk;

/// An operation in flight, with the watcher that it leaves.
pub(super) type Outcome = Result<(Reply, Option<Watcher>), Error>;

/// What tells of a watched change.
pub(super) enum Watcher {
    OneShot(zk::OneshotWatcher),
    Persistent(zk::PersistentWatcher),
}

/// Who may do what with the nodes of a session.
pub(super) type Acls = zk::Acls<'static>;

pub(super) fn options(mode: CreateMode, acls: Acls) -> zk::CreateOptions<'static> {
    let mode = match mode {
        CreateMode::Persistent => zk::CreateMode::Persistent,
        CreateMode::Ephemeral => zk::CreateMode::Ephemeral,
        CreateMode::PersistentSequential => zk::CreateMode::PersistentSequential,
        CreateMode::EphemeralSequential => zk::CreateMode::EphemeralSequential,
    };
    mode.with_acls(acls)
}

const fn is_sequential(mode: CreateMode) -> bool {
    matches!(mode, CreateMode::PersistentSequential | CreateMode::EphemeralSequential)
}

pub(super) async fn create(client: &zk::Client, acls: Acls, create: &Create) -> Outcome {
    let options = options(create.mode, acls);
    let (made, sequence) =
        client.create(&create.path, &create.data, &options).await.map_err(|e| error(&e))?;
    let path = match is_sequential(create.mode) {
        true => format!("{}{sequence}", create.path),
        false => create.path.clone(),
    };
    Ok((Reply::Created { path, stat: valid(&made) }, None))
}

pub(super) async fn get(client: &zk::Client, path: &str, watch: bool) -> Outcome {
    let (data, found, watcher) = if watch {
        let (data, found, watcher) = client.get_and_watch_data(path).await.map_err(|e| error(&e))?;
        (data, found, Some(Watcher::OneShot(watcher)))
    } else {
        let (data, found) = client.get_data(path).await.map_err(|e| error(&e))?;
        (data, found, None)
    };
    Ok((Reply::Data { data: Bytes::from(data), stat: stat(&found) }, watcher))
}

pub(super) async fn exists(client: &zk::Client, path: &str, watch: bool) -> Outcome {
    let (found, watcher) = if watch {
        let (found, watcher) = client.check_and_watch_stat(path).await.map_err(|e| error(&e))?;
        (found, Some(Watcher::OneShot(watcher)))
    } else {
        (client.check_stat(path).await.map_err(|e| error(&e))?, None)
    };
    Ok((Reply::Stat(found.as_ref().map(stat)), watcher))
}

pub(super) async fn children(client: &zk::Client, path: &str, watch: bool) -> Outcome {
    if watch {
        let (names, _, watcher) = client.get_and_watch_children(path).await.map_err(|e| error(&e))?;
        return Ok((Reply::Children(names), Some(Watcher::OneShot(watcher))));
    }
    let (names, _) = client.get_children(path).await.map_err(|e| error(&e))?;
    Ok((Reply::Children(names), None))
}

pub(super) async fn persistent_watch(client: &zk::Client, path: &str, recursive: bool) -> Outcome {
    let mode = match recursive {
        true => zk::AddWatchMode::PersistentRecursive,
        false => zk::AddWatchMode::Persistent,
    };
    let watcher = client.watch(path, mode).await.map_err(|e| error(&e))?;
    Ok((Reply::Done, Some(Watcher::Persistent(watcher))))
}

pub(super) async fn multi(client: &zk::Client, acls: Acls, operations: &[MultiOperation]) -> Outcome {
    let mut writer = client.new_multi_writer();
    for (index, operation) in operations.iter().enumerate() {
        // The client looks at the paths itself, and names no index.
        add(&mut writer, acls, operation).map_err(|e| multi_failure(index, &e))?;
    }
    let results = writer.commit().await.map_err(|failed| match failed {
        zk::MultiWriteError::RequestFailed { source } => error(&source),
        zk::MultiWriteError::OperationFailed { index, source } => multi_failure(index, &source),
    })?;
    let replies = results.into_iter().map(|result| match result {
        zk::MultiWriteResult::Create { path, stat } => Reply::Created { path, stat: valid(&stat) },
        zk::MultiWriteResult::SetData { stat: set } => Reply::Set(stat(&set)),
        _ => Reply::Done,
    });
    Ok((Reply::Multi(replies.collect()), None))
}

fn add(writer: &mut zk::MultiWriter<'_>, acls: Acls, operation: &MultiOperation) -> Result<(), zk::Error> {
    /// Any version.
    const ANY: i32 = -1;
    match operation {
        MultiOperation::Create(create) => {
            writer.add_create(&create.path, &create.data, &options(create.mode, acls))
        }
        MultiOperation::Set(set) => writer.add_set_data(&set.path, &set.data, set.version),
        MultiOperation::Delete(delete) => writer.add_delete(&delete.path, delete.version),
        MultiOperation::Check(check) => writer.add_check_version(&check.path, check.version.unwrap_or(ANY)),
    }
}

fn multi_failure(index: usize, source: &zk::Error) -> Error {
    let error = match source {
        zk::Error::NoNode => MultiError::NoNode,
        zk::Error::NodeExists => MultiError::NodeExists,
        zk::Error::BadVersion => MultiError::BadVersion,
        zk::Error::NotEmpty => MultiError::NotEmpty,
        _ => MultiError::Other,
    };
    Error::Multi { index: u32::try_from(index).unwrap_or(u32::MAX), error }
}

/// What an error says of the operation's fate. Only what the server has answered is known to have
/// failed; whatever else went wrong, the operation may have been done, or may be done yet (R14).
pub(super) fn error(error: &zk::Error) -> Error {
    match error {
        zk::Error::NoNode => Error::NoNode,
        zk::Error::NodeExists => Error::NodeExists,
        zk::Error::BadVersion => Error::BadVersion,
        zk::Error::NotEmpty => Error::NotEmpty,
        zk::Error::NoChildrenForEphemerals => Error::NoChildrenForEphemerals,
        zk::Error::SessionExpired => Error::SessionExpired,
        zk::Error::BadArguments(_)
        | zk::Error::InvalidAcl
        | zk::Error::NoAuth
        | zk::Error::QuotaExceeded
        | zk::Error::MarshallingError
        | zk::Error::Unimplemented => {
            warn!(%error, "ZooKeeper refused a request");
            Error::Invalid
        }
        _ => Error::Unknown,
    }
}

pub(super) const fn stat(stat: &zk::Stat) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        version: stat.version,
        cversion: stat.cversion,
        ephemeral_owner: stat.ephemeral_owner.cast_unsigned(),
        data_length: stat.data_length.cast_unsigned(),
        children: stat.num_children.cast_unsigned(),
    }
}

/// The stat, unless the server left it out (ZOOKEEPER-4026).
fn valid(made: &zk::Stat) -> Option<Stat> {
    (!made.is_invalid()).then(|| stat(made))
}

pub(super) const fn session_id(id: zk::SessionId) -> SessionId {
    id.0.cast_unsigned()
}

/// What a watch saw; `None` for news of the session, which comes another way.
pub(super) const fn watch_kind(event: zk::EventType) -> Option<WatchKind> {
    match event {
        zk::EventType::Session => None,
        zk::EventType::NodeCreated => Some(WatchKind::Created),
        zk::EventType::NodeDeleted => Some(WatchKind::Deleted),
        zk::EventType::NodeDataChanged => Some(WatchKind::DataChanged),
        zk::EventType::NodeChildrenChanged => Some(WatchKind::ChildrenChanged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_has_not_answered_is_unknown() {
        let unknown = [
            zk::Error::ConnectionLoss,
            zk::Error::Timeout,
            zk::Error::SessionMoved,
            zk::Error::ClientClosed,
            zk::Error::UnexpectedError("no response".into()),
            zk::Error::UnexpectedErrorCode(-99),
        ];
        for one in unknown {
            assert_eq!(error(&one), Error::Unknown, "{one}");
        }
        assert_eq!(error(&zk::Error::BadVersion), Error::BadVersion);
        assert_eq!(error(&zk::Error::NoAuth), Error::Invalid);
    }
}
