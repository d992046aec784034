//! Arbitrary messages that keep to every limit.

use bytes::Bytes;
use proptest::collection::{btree_map, hash_set, vec};
use proptest::option;
use proptest::prelude::*;
use std::time::Duration;
use steadfast_core::broker::sessions::Session;
use steadfast_core::broker::topics::TopicHead;
use steadfast_core::compression::Codecs;
use steadfast_core::coordination::{
    Create, CreateMode, Delete, Error, MultiError, MultiOperation, Operation, Reply, Set, Stat, WatchKind,
};
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::group::{GroupState, LiveNode, PrimaryId};
use steadfast_core::id::{
    Address, BrokerIdentity, Endpoint, Generation, GroupId, Incarnation, Member, NodeName, Nonce, PublisherId,
};
use steadfast_core::log::{Batch, BatchHeader, Codec, Entry, EntryKind, EpochEnd};
use steadfast_core::message::{
    Deliver, Head, Hello, History, LogSummary, Lookup, Message, OpenSession, OpenStream, Position, Publish,
    PublishAck, Refusal, Replicate, ReplicateAck, ReplicateNack, Route, SessionCredentials, SessionOpened,
    SnapshotAck, SnapshotFold, SnapshotPart, SnapshotRecords, Start, StreamOpened,
};
use steadfast_core::wire::records::{RecordsBuilder, checksum};
use steadfast_proto::limits::MAX_NUMBER;

/// Any number that leaves room for a frame's records.
pub fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..1_000_u64, 0..MAX_NUMBER - (1 << 32)]
}

pub fn positive() -> impl Strategy<Value = u64> {
    number().prop_map(|number| number + 1)
}

pub fn node() -> impl Strategy<Value = NodeName> {
    "[a-z0-9_-]{1,64}".prop_map(|name| NodeName::new(&name).unwrap())
}

pub fn address() -> impl Strategy<Value = Address> {
    "tcp://[!-~]{1,249}".prop_map(|address| Address::new(&address).unwrap())
}

fn topic() -> impl Strategy<Value = Topic> {
    "[a-zäß0-9]{1,5}(\\.[a-z]{1,3}){0,31}".prop_map(|topic| Topic::new(&topic).unwrap())
}

fn filter() -> impl Strategy<Value = Filter> {
    "([a-z]{1,5}|\\*)(\\.([a-z]{1,3}|\\*)){0,20}(\\.>)?".prop_map(|filter| Filter::new(&filter).unwrap())
}

fn path() -> impl Strategy<Value = String> {
    "(/[a-z0-9]{1,20}){0,20}"
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

pub fn history() -> impl Strategy<Value = History> {
    (any::<u128>(), number()).prop_map(|(id, lineage)| History { group_id: GroupId(id), lineage })
}

fn member() -> impl Strategy<Value = Member> {
    (node(), any::<u128>()).prop_map(|(node, id)| Member { node, generation: Generation(id) })
}

pub fn sender() -> impl Strategy<Value = BrokerIdentity> {
    (member(), any::<u128>(), 0..=i64::MAX).prop_map(|(member, incarnation, czxid)| BrokerIdentity {
        member,
        incarnation: Incarnation(incarnation),
        czxid,
    })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (node(), any::<u128>(), address()).prop_map(|(node, incarnation, address)| Endpoint {
        node,
        incarnation: Incarnation(incarnation),
        address,
    })
}

fn publisher() -> impl Strategy<Value = PublisherId> {
    any::<u128>().prop_map(PublisherId)
}

fn nonce() -> impl Strategy<Value = Nonce> {
    any::<u128>().prop_map(Nonce)
}

fn millis() -> impl Strategy<Value = Duration> {
    any::<u32>().prop_map(|millis| Duration::from_millis(u64::from(millis)))
}

/// A batch as this version makes it.
fn plain_batch() -> impl Strategy<Value = Batch> {
    (topic(), publisher(), positive(), positive(), vec(vec(any::<u8>(), 0..60), 1..20)).prop_map(
        |(topic, publisher, incarnation, first_sequence, payloads)| {
            let mut records = RecordsBuilder::default();
            for payload in &payloads {
                records.push(payload);
            }
            records.seal(topic, publisher, incarnation, first_sequence)
        },
    )
}

/// A batch that is compressed, perhaps as a later version might do it, or so it says.
fn foreign_batch() -> impl Strategy<Value = Batch> {
    let codec = prop_oneof![i32::MIN..0, 3..=i32::MAX].prop_map(Codec::Unknown);
    let codec = prop_oneof![codec, Just(Codec::Lz4), Just(Codec::Zstd)];
    (plain_batch(), codec, 0..=4_u32 << 20, 1..=65_536_u32, data()).prop_map(
        |(batch, codec, raw_length, count, body)| {
            let checksum = checksum(&body);
            Batch { header: BatchHeader { codec, raw_length, count, checksum, ..batch.header }, body }
        },
    )
}

fn batch() -> impl Strategy<Value = Batch> {
    prop_oneof![4 => plain_batch(), 1 => foreign_batch()]
}

fn entry_kind() -> impl Strategy<Value = EntryKind> {
    let opened = (publisher(), positive(), nonce())
        .prop_map(|(publisher, incarnation, nonce)| EntryKind::SessionOpen { publisher, incarnation, nonce });
    let expired = (publisher(), positive())
        .prop_map(|(publisher, incarnation)| EntryKind::SessionExpire { publisher, incarnation });
    // The lowest start is below every offset that the entry may get.
    let trim = Just(EntryKind::Trim { to: 0 });
    prop_oneof![
        4 => batch().prop_map(EntryKind::Batch),
        1 => Just(EntryKind::EpochStart),
        1 => opened,
        1 => expired,
        1 => trim,
    ]
}

/// Kinds as entries from `offset` on, each in a step's higher epoch and behind a hole.
fn chain(offset: u64, epoch: u64, kinds: Vec<(EntryKind, u64, u64)>) -> Vec<Entry> {
    let (mut end, mut epoch) = (offset, epoch);
    let place = |(kind, step, hole)| {
        epoch += step;
        let entry = Entry { offset: end + hole, epoch, kind };
        end = entry.end();
        entry
    };
    kinds.into_iter().map(place).collect()
}

fn summary() -> impl Strategy<Value = LogSummary> {
    (vec((1..5_u64, 1..1_000_u64), 0..50), 0..10_u64, 0..10_u64).prop_map(|(steps, start, more)| {
        let (mut epoch, mut end) = (0, start);
        let next = |(epochs, records)| {
            epoch += epochs;
            end += records;
            EpochEnd { epoch, end }
        };
        let epochs: Vec<_> = steps.into_iter().map(next).collect();
        LogSummary { start, end: end + more, epochs }
    })
}

fn replicate() -> impl Strategy<Value = Message> {
    let kinds = vec((entry_kind(), 0..3_u64, Just(0)), 0..12);
    (sender(), history(), positive(), number(), number(), 0..3_u64, kinds).prop_map(
        |(sender, history, previous_epoch, previous_offset, commit, above, kinds)| {
            let entries = chain(previous_offset, previous_epoch, kinds);
            let epoch = entries.last().map_or(previous_epoch, |last| last.epoch) + above;
            Message::Replicate(Replicate {
                sender,
                history,
                epoch,
                previous_offset,
                previous_epoch,
                commit,
                entries,
            })
        },
    )
}

fn snapshot_part() -> impl Strategy<Value = SnapshotPart> {
    (sender(), history(), positive(), positive(), number()).prop_map(
        |(sender, history, epoch, snapshot, part)| SnapshotPart { sender, history, epoch, snapshot, part },
    )
}

fn snapshot_records() -> impl Strategy<Value = Message> {
    let kinds = vec((entry_kind(), 0..3_u64, Just(0)), 0..12);
    (snapshot_part(), positive(), positive(), 0..3_u64, kinds, number()).prop_map(
        |(mut part, from, previous_epoch, above, kinds, log_bytes)| {
            let entries = chain(from, previous_epoch, kinds);
            part.epoch = entries.last().map_or(previous_epoch, |last| last.epoch) + above;
            let records = SnapshotRecords { part, from, previous_epoch, entries, log_bytes };
            Message::SnapshotRecords(Box::new(records))
        },
    )
}

fn snapshot_fold() -> impl Strategy<Value = Message> {
    let session = (positive(), nonce(), number()).prop_map(|(incarnation, nonce, last_sequence)| Session {
        incarnation,
        nonce,
        last_sequence,
    });
    let sessions = btree_map(any::<u128>(), session, 0..20);
    let topics = btree_map(topic(), (0..1_000_u64, 0..100_u64), 0..20);
    (snapshot_part(), number(), 1..1_000_u64, sessions, topics, any::<bool>()).prop_map(
        |(part, log_start, kept, sessions, topics, last)| {
            let cut = log_start + kept + 1_000;
            let head = |(below, records): (u64, u64)| {
                let end = cut - below;
                TopicHead { end, records: (records + 1).min(end) }
            };
            let sessions = sessions.into_iter().map(|(id, session)| (PublisherId(id), session)).collect();
            let topics = topics.into_iter().map(|(topic, row)| (topic, head(row))).collect();
            Message::SnapshotFold(Box::new(SnapshotFold { part, cut, log_start, sessions, topics, last }))
        },
    )
}

fn broker() -> impl Strategy<Value = Message> {
    prop_oneof![
        (sender(), history(), number(), summary())
            .prop_map(|(sender, history, epoch, log)| Message::Hello(Hello { sender, history, epoch, log })),
        replicate(),
        (sender(), history(), positive(), number()).prop_map(|(sender, history, epoch, matched)| {
            Message::ReplicateAck(ReplicateAck { sender, history, epoch, matched })
        }),
        (sender(), history(), number(), summary()).prop_map(|(sender, history, floor, log)| {
            Message::ReplicateNack(ReplicateNack { sender, history, floor, log })
        }),
        snapshot_records(),
        snapshot_fold(),
        snapshot_part().prop_map(|part| Message::SnapshotAck(SnapshotAck(part))),
        any::<u64>().prop_map(|token| Message::Ping { token }),
        any::<u64>().prop_map(|token| Message::Pong { token }),
    ]
}

fn publish() -> impl Strategy<Value = Message> {
    (history(), publisher(), positive(), positive(), vec(batch(), 1..10)).prop_map(
        |(history, publisher, incarnation, first, mut batches)| {
            let mut next = first;
            for Batch { header, .. } in &mut batches {
                (header.publisher, header.incarnation, header.first_sequence) =
                    (publisher, incarnation, next);
                next = header.last_sequence() + 1;
            }
            Message::Publish(Publish { history, batches })
        },
    )
}

fn publishing() -> impl Strategy<Value = Message> {
    let open =
        (history(), publisher(), nonce(), number()).prop_map(|(history, publisher, nonce, incarnation)| {
            OpenSession { history, publisher, nonce, incarnation }
        });
    let opened = (history(), positive(), publisher(), positive(), number(), any::<(bool, bool)>()).prop_map(
        |(history, epoch, publisher, incarnation, last_sequence, (lz4, zstd))| SessionOpened {
            history,
            epoch,
            publisher,
            incarnation,
            last_sequence,
            codecs: Codecs { lz4, zstd },
        },
    );
    let ack = (history(), positive(), publisher(), positive(), number()).prop_map(
        |(history, epoch, publisher, incarnation, last_sequence)| PublishAck {
            history,
            epoch,
            publisher,
            incarnation,
            last_sequence,
        },
    );
    prop_oneof![
        open.prop_map(Message::OpenSession),
        opened.prop_map(Message::SessionOpened),
        publish(),
        ack.prop_map(Message::PublishAck),
    ]
}

fn position() -> impl Strategy<Value = Position> {
    (number(), number(), number()).prop_map(|(lineage, epoch, offset)| Position { lineage, epoch, offset })
}

fn deliver() -> impl Strategy<Value = Message> {
    let kinds = vec((batch().prop_map(EntryKind::Batch), 0..3_u64, 0..50_u64), 0..12);
    (1..=u64::MAX, history(), positive(), number(), 0..50_u64, kinds).prop_map(
        |(stream, history, epoch, from, above, kinds)| {
            let entries = chain(from, epoch, kinds);
            let epoch = entries.last().map_or(epoch, |last| last.epoch);
            let offset = entries.last().map_or(from, Entry::end) + above;
            let upto = Position { lineage: history.lineage, epoch, offset };
            // The first batch may begin before the position that was asked for (R30).
            let from = entries.first().map_or(from, |first| first.end() - 1);
            Message::Deliver(Deliver { stream, history, epoch, from, upto, entries })
        },
    )
}

fn streaming() -> impl Strategy<Value = Message> {
    let stream = || 1..=u64::MAX;
    let start = prop_oneof![Just(Start::Earliest), Just(Start::Latest), position().prop_map(Start::At)];
    let open = (stream(), history(), vec(filter(), 1..10), start, number()).prop_map(
        |(stream, history, filters, start, credit)| OpenStream { stream, history, filters, start, credit },
    );
    let opened = (stream(), history(), positive(), number()).prop_map(|(stream, history, epoch, offset)| {
        let start = Position { lineage: history.lineage, epoch, offset };
        StreamOpened { stream, history, epoch, start }
    });
    let head = (stream(), history(), positive(), number()).prop_map(|(token, history, epoch, offset)| {
        let position = Position { lineage: history.lineage, epoch, offset };
        Head { token, history, epoch, position }
    });
    prop_oneof![
        open.prop_map(Message::OpenStream),
        head.prop_map(Message::Head),
        stream().prop_map(|token| Message::ReadHead { token }),
        opened.prop_map(Message::StreamOpened),
        deliver(),
        (stream(), number()).prop_map(|(stream, limit)| Message::Credit { stream, limit }),
        stream().prop_map(|stream| Message::CloseStream { stream }),
    ]
}

fn discovery() -> impl Strategy<Value = Message> {
    let lookup = (any::<u32>(), any::<bool>(), any::<bool>())
        .prop_map(|(group, watch, fresh)| Message::Lookup(Lookup { group, watch, fresh }));
    let group = (any::<u32>(), any::<u32>(), option::of(history()), number(), number());
    let answer = (option::of(endpoint()), millis(), any::<u64>(), any::<bool>());
    let route = (group, answer).prop_map(
        |((group, groups, history, epoch, config), (primary, retry_after, age, fresh))| Route {
            group,
            groups,
            history,
            epoch,
            config,
            primary,
            retry_after,
            age: Duration::from_millis(age),
            fresh,
        },
    );
    prop_oneof![lookup, route.prop_map(Message::Route)]
}

fn refusal() -> impl Strategy<Value = Message> {
    let reason = prop_oneof![
        (option::of(endpoint()), number())
            .prop_map(|(primary, epoch)| Refusal::NotPrimary { primary, epoch }),
        millis().prop_map(|retry_after| Refusal::Electing { retry_after }),
        publisher().prop_map(|publisher| Refusal::UnknownSession { publisher }),
        (publisher(), positive())
            .prop_map(|(publisher, incarnation)| Refusal::Fenced { publisher, incarnation }),
        (publisher(), positive()).prop_map(|(publisher, expect)| Refusal::Gap { publisher, expect }),
        (publisher(), number(), millis()).prop_map(|(publisher, expect, retry_after)| Refusal::Busy {
            publisher,
            expect,
            retry_after
        }),
        history().prop_map(|history| Refusal::LineageChanged { history }),
        number().prop_map(|common| Refusal::Diverged { common }),
        "[ -~é]{0,128}".prop_map(|detail| Refusal::Invalid { detail }),
    ];
    (any::<u64>(), reason).prop_map(|(stream, reason)| Message::Refusal { stream, reason })
}

fn create() -> impl Strategy<Value = Create> {
    let mode = prop_oneof![
        Just(CreateMode::Persistent),
        Just(CreateMode::Ephemeral),
        Just(CreateMode::PersistentSequential),
        Just(CreateMode::EphemeralSequential),
    ];
    (path(), data(), mode).prop_map(|(path, data, mode)| Create { path, data, mode })
}

fn set() -> impl Strategy<Value = Set> {
    (path(), data(), any::<Option<i32>>()).prop_map(|(path, data, version)| Set { path, data, version })
}

fn delete() -> impl Strategy<Value = Delete> {
    (path(), any::<Option<i32>>()).prop_map(|(path, version)| Delete { path, version })
}

fn operation() -> impl Strategy<Value = Operation> {
    let multi = prop_oneof![
        create().prop_map(MultiOperation::Create),
        set().prop_map(MultiOperation::Set),
        delete().prop_map(MultiOperation::Delete),
        delete().prop_map(MultiOperation::Check),
    ];
    prop_oneof![
        create().prop_map(Operation::Create),
        (path(), any::<bool>()).prop_map(|(path, watch)| Operation::Get { path, watch }),
        (path(), any::<bool>()).prop_map(|(path, watch)| Operation::Exists { path, watch }),
        (path(), any::<bool>()).prop_map(|(path, watch)| Operation::Children { path, watch }),
        set().prop_map(Operation::Set),
        delete().prop_map(Operation::Delete),
        path().prop_map(|path| Operation::Sync { path }),
        vec(multi, 0..=64).prop_map(Operation::Multi),
        (path(), any::<bool>()).prop_map(|(path, recursive)| Operation::Watch { path, recursive }),
    ]
}

fn stat() -> impl Strategy<Value = Stat> {
    let ids = any::<(i64, i64, i64, i32, i32)>();
    (ids, any::<(u64, u32, u32)>()).prop_map(|(ids, (ephemeral_owner, data_length, children))| {
        let (czxid, mzxid, pzxid, version, cversion) = ids;
        Stat { czxid, mzxid, pzxid, version, cversion, ephemeral_owner, data_length, children }
    })
}

fn single_reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        (path(), option::of(stat())).prop_map(|(path, stat)| Reply::Created { path, stat }),
        (data(), stat()).prop_map(|(data, stat)| Reply::Data { data, stat }),
        option::of(stat()).prop_map(Reply::Stat),
        vec(path(), 0..20).prop_map(Reply::Children),
        stat().prop_map(Reply::Set),
        Just(Reply::Done),
    ]
}

fn error() -> impl Strategy<Value = Error> {
    let multi = prop_oneof![
        Just(MultiError::NoNode),
        Just(MultiError::NodeExists),
        Just(MultiError::BadVersion),
        Just(MultiError::NotEmpty),
        Just(MultiError::Other),
    ];
    prop_oneof![
        Just(Error::NoNode),
        Just(Error::NodeExists),
        Just(Error::BadVersion),
        Just(Error::NotEmpty),
        Just(Error::NoChildrenForEphemerals),
        Just(Error::Invalid),
        Just(Error::SessionExpired),
        Just(Error::Unknown),
        (any::<u32>(), multi).prop_map(|(index, error)| Error::Multi { index, error }),
    ]
}

fn coordination() -> impl Strategy<Value = Message> {
    let session = || (1..=u64::MAX, nonce()).prop_map(|(id, password)| SessionCredentials { id, password });
    let open = (option::of(session()), millis())
        .prop_map(|(session, timeout)| Message::CoordinationOpen { session, timeout });
    let opened =
        option::of((session(), millis())).prop_map(|session| Message::CoordinationOpened { session });
    let call = (any::<u64>(), operation())
        .prop_map(|(call, operation)| Message::CoordinationCall { call, operation });
    let result = prop_oneof![
        single_reply().prop_map(Ok),
        vec(single_reply(), 0..=64).prop_map(|replies| Ok(Reply::Multi(replies))),
        error().prop_map(Err),
    ];
    let reply = (any::<u64>(), result).prop_map(|(call, result)| Message::CoordinationReply { call, result });
    let kind = prop_oneof![
        Just(WatchKind::Created),
        Just(WatchKind::Deleted),
        Just(WatchKind::DataChanged),
        Just(WatchKind::ChildrenChanged),
    ];
    let watch = (path(), kind).prop_map(|(path, kind)| Message::CoordinationWatch { path, kind });
    prop_oneof![open, opened, call, reply, watch, Just(Message::CoordinationClose)]
}

/// Any message. Boxed, as the value trees of all kinds together overflow a test's stack.
pub fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        2 => broker().boxed(),
        2 => publishing().boxed(),
        2 => streaming().boxed(),
        1 => discovery().boxed(),
        1 => refusal().boxed(),
        2 => coordination().boxed(),
        1 => crate::operating::message().boxed(),
        1 => crate::status::any_message().boxed(),
    ]
}

fn primary() -> impl Strategy<Value = PrimaryId> {
    (member(), any::<u128>()).prop_map(|(member, id)| PrimaryId { member, incarnation: Incarnation(id) })
}

/// Any data of a group's state node.
pub fn group_state() -> impl Strategy<Value = GroupState> {
    let numbers = (number(), number(), number(), any::<u32>());
    let members = hash_set(member(), 0..6).prop_map(|members| members.into_iter().collect());
    (history(), numbers, option::of(primary()), members, nonce()).prop_map(
        |(history, (epoch, config, lost_epoch, min_in_sync), primary, in_sync, nonce)| GroupState {
            history,
            epoch,
            config,
            primary,
            in_sync,
            min_in_sync,
            nonce,
            lost_epoch,
        },
    )
}

/// Any data of a live node.
pub fn live_node() -> impl Strategy<Value = LiveNode> {
    (primary(), address()).prop_map(|(id, address)| LiveNode { id, address })
}

/// Changes of bytes: where (as a fraction of the length) and to what.
pub fn damage() -> impl Strategy<Value = Vec<(f64, u8)>> {
    btree_map(0..1_000_u32, any::<u8>(), 1..6)
        .prop_map(|changes| changes.into_iter().map(|(at, to)| (f64::from(at) / 1_000.0, to)).collect())
}
