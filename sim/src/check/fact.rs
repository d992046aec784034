//! What can be seen of a cluster.

use super::duty::Duty;
use super::election::{Accession, Creation};
use super::handover::Handover;
use super::leaving::Leaving;
use super::loss::Loss;
use super::proposal::Proposal;
use bytes::Bytes;
use std::ops::Range;
use std::time::Duration;
use steadfast_core::broker::sessions::SessionTable;
use steadfast_core::broker::topics::Topics;
use steadfast_core::compression::Codecs;
use steadfast_core::coordination::Zxid;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::group::{GroupState, PrimaryId};
use steadfast_core::id::{Epoch, Lineage, Member, NodeName, Offset, PublisherId, Sequence};
use steadfast_core::log::{Codec, Entry};
use steadfast_core::message::{History, Start};
use steadfast_core::publisher;
use strum::{EnumCount, EnumDiscriminants};

/// Number of a client in its run.
pub type ClientId = u32;

/// Something that was seen.
#[derive(Clone, Copy, Debug, EnumDiscriminants)]
#[strum_discriminants(name(Kind), derive(EnumCount), doc = "Which sort of fact it is.")]
pub enum Fact<'a> {
    /// The group's state in the coordination tree has changed.
    State(&'a GroupState),
    /// The group's state was deleted from the tree.
    StateDeleted,
    /// A member's storage is gone.
    StorageLost(&'a Member),
    /// A broker appended an entry.
    Appended {
        /// Whose log.
        member: &'a Member,
        /// Of which history.
        history: History,
        /// What.
        entry: &'a Entry,
    },
    /// A broker cut its log.
    Truncated {
        /// Whose log.
        member: &'a Member,
        /// The end now.
        to: Offset,
    },
    /// A broker dropped the front of its log.
    Trimmed {
        /// Whose log.
        member: &'a Member,
        /// The start now.
        to: Offset,
    },
    /// A snapshot took the place of a broker's log.
    Installed {
        /// Whose log.
        member: &'a Member,
        /// Of which history.
        history: History,
        /// Where the log starts.
        start: Offset,
        /// What it holds; the first may lie below the start.
        entries: &'a [Entry],
    },
    /// What a broker has folded from its log.
    Folded {
        /// Whose log.
        member: &'a Member,
        /// Of which history.
        history: History,
        /// The commit offset.
        commit: Offset,
        /// The fold of the committed prefix.
        base: &'a SessionTable,
        /// The fold of the whole log.
        overlay: &'a SessionTable,
        /// The heads of topics of the committed prefix.
        topics: &'a Topics,
    },
    /// A broker dropped its log.
    Wiped(&'a Member),
    /// Storage completed everything below this offset.
    Durable {
        /// Whose log.
        member: &'a Member,
        /// The end of what is durable.
        end: Offset,
    },
    /// A broker takes everything below this offset for committed.
    Committed {
        /// Which process.
        process: &'a PrimaryId,
        /// Of which history.
        history: History,
        /// The commit offset.
        commit: Offset,
    },
    /// A process acts as primary.
    Acts {
        /// Which process.
        process: &'a PrimaryId,
        /// Of which history.
        history: History,
        /// In which epoch.
        epoch: Epoch,
    },
    /// A primary's commits wait for these members from now on.
    Counts {
        /// Which process.
        process: &'a PrimaryId,
        /// In which epoch.
        epoch: Epoch,
        /// Whom.
        members: &'a [Member],
    },
    /// A primary counts so much for a member from now on.
    Matched {
        /// Which process.
        process: &'a PrimaryId,
        /// In which epoch.
        epoch: Epoch,
        /// For whom.
        member: &'a Member,
        /// Up to where.
        matched: Offset,
    },
    /// A primary, running, has not committed for so long what everybody has verified whom it counts.
    Behind {
        /// Which process.
        process: &'a PrimaryId,
        /// For how long.
        time: Duration,
    },
    /// A primary has decided where the log is to start.
    Decided {
        /// Which process.
        process: &'a PrimaryId,
        /// Where.
        to: Offset,
        /// Its commit offset.
        commit: Offset,
    },
    /// A primary takes more for committed than before.
    Advanced {
        /// Which process.
        process: &'a PrimaryId,
        /// In which epoch.
        epoch: Epoch,
        /// The commit offset.
        commit: Offset,
    },
    /// A primary said something to a client that believes in it.
    Spoke {
        /// Which process.
        process: &'a PrimaryId,
        /// In which epoch.
        epoch: Epoch,
        /// When, in nanoseconds of the world's time.
        at: u64,
        /// Since when the process runs without a break and has not heard somebody whom it counts. It matters only
        /// where the tree has another primary.
        since: u64,
        /// Whether that answers the client at once: what commits lead to does not.
        answers: bool,
    },
    /// A primary has stopped talking to clients.
    FellSilent {
        /// Which process.
        process: &'a PrimaryId,
        /// In which epoch.
        epoch: Epoch,
        /// For how long, while it was running, it has not heard of some other in-sync member; `None`: there is none.
        unheard: Option<Duration>,
    },
    /// It talks to them again.
    SpokeAgain(&'a PrimaryId),
    /// Why it does.
    InTouch {
        /// Which process.
        process: &'a PrimaryId,
        /// How long ago, while running, the other member was heard of that was longest; `None`: there is none.
        unheard: Option<Duration>,
        /// Whether a read of the tree is complete that began since its session was last in doubt.
        read: bool,
    },
    /// A broker takes an earlier state of the group for true than before.
    TookBack {
        /// Which process.
        process: &'a PrimaryId,
        /// The version that it knew, and the one that it has read.
        versions: (i32, i32),
        /// Whether a linearizable round has shown that, which began after its own latest change was known to hold.
        proved: bool,
    },
    /// A primary has answered a read of the head.
    AnsweredHead {
        /// Which process.
        process: &'a PrimaryId,
        /// When that was asked for, in nanoseconds of the world's time.
        asked: u64,
        /// When the latest linearizable round began that its view rests on.
        read: Option<u64>,
    },
    /// A replica of discovery has given a fresh answer. Times are the world's, in nanoseconds.
    AnsweredFresh {
        /// Number of its process.
        replica: u32,
        /// When the earliest look-up was sent that waits for one on the connection.
        asked: Option<u64>,
        /// When the latest linearizable round began that its view rests on.
        read: Option<u64>,
    },
    /// A primary has heard of a publisher, on the link of its session.
    SessionHeard {
        /// Which process.
        process: &'a PrimaryId,
        /// Of whom.
        publisher: PublisherId,
        /// When, in nanoseconds of the world's time.
        at: u64,
    },
    /// A primary has decided that a session expires.
    SessionExpired {
        /// Which process.
        process: &'a PrimaryId,
        /// Whose session.
        publisher: PublisherId,
        /// When, in nanoseconds of the world's time.
        at: u64,
        /// Since when it has been serving without a break, and not been silent, if that is known.
        since: Option<u64>,
    },
    /// A broker's clock has jumped.
    ClockJumped(&'a PrimaryId),
    /// A broker asks for a change of the group's state.
    Proposed(&'a Proposal<'a>),
    /// A backup took what a frame held.
    Took {
        /// Which process.
        process: &'a PrimaryId,
        /// Whose frame.
        from: &'a NodeName,
        /// The epoch of the last entry that it appended, if any.
        newest: Option<Epoch>,
        /// The group's state as it knew it.
        known: &'a GroupState,
    },
    /// A primary let a process attach.
    Attached {
        /// Which primary.
        process: &'a PrimaryId,
        /// Whose process.
        member: &'a Member,
        /// The live nodes as the primary knew them, each with the transaction that made it.
        live: &'a [(PrimaryId, Zxid)],
    },
    /// A primary took batches from a publisher.
    Accepted {
        /// Which process.
        process: &'a PrimaryId,
        /// What its log took before, in bytes, and what of that was not committed.
        held: (u64, u64),
    },
    /// A broker has cut its log.
    Weighed {
        /// Which process.
        process: &'a PrimaryId,
        /// What is not committed takes so much memory, as it reckons, in bytes.
        uncommitted: u64,
        /// It takes so much.
        is: u64,
    },
    /// A broker, awake and able to, has not done so far what it is to do.
    Owes(&'a PrimaryId, Duty<'a>),
    /// A primary that leaves has begun to hand over.
    HandoverBegan(&'a Handover<'a>),
    /// It does so no more.
    HandoverEnded(&'a PrimaryId),
    /// It has kept publishers waiting for so long, while it was running.
    HandoverTook {
        /// Which process.
        process: &'a PrimaryId,
        /// How long.
        time: Duration,
    },
    /// A primary asked a backup to take over.
    AskedToTakeOver {
        /// Which primary.
        process: &'a PrimaryId,
        /// Its commit offset and the end of its log.
        log: (Offset, Offset),
    },
    /// A broker that was asked to leave has ended.
    Left(&'a Leaving<'a>),
    /// A subscriber allows so many body bytes in all on a stream.
    Granted {
        /// The connection, and the stream's number on it.
        stream: (u64, u64),
        /// So many.
        limit: u64,
    },
    /// A broker sent batches on a stream.
    Sent {
        /// The connection, and the stream's number on it.
        stream: (u64, u64),
        /// Their bodies, in bytes.
        bytes: u64,
        /// The body of the last.
        last: u64,
        /// What they are.
        entries: &'a [Entry],
    },
    /// A subscriber has asked for a stream.
    Wanted {
        /// The connection, and the stream's number on it.
        stream: (u64, u64),
        /// What it wants.
        filters: &'a [Filter],
    },
    /// A broker has read that a stream is closed, or was told that its connection is over.
    Closed {
        /// The connection, and the stream's number on it.
        stream: (u64, u64),
    },
    /// A replica of discovery has learned of another epoch, or of where the primary is.
    Learned {
        /// Which one.
        replica: ClientId,
        /// So many clients wait to be told.
        watchers: usize,
        /// So many frames it sends.
        told: usize,
    },
    /// A replica of discovery creates the group.
    CreatesGroup(Creation),
    /// A replica of discovery that is about to lead raises the epoch.
    CountsReigns {
        /// Which one.
        replica: ClientId,
        /// Only if nobody else has.
        guarded: bool,
    },
    /// A replica of discovery leads though it has no session.
    LeadsAlone {
        /// Which one.
        replica: ClientId,
    },
    /// A replica of discovery leads from now on.
    LeadsDiscovery(Accession<'a>),
    /// A backup acknowledged entries.
    Verified {
        /// Which member.
        member: &'a Member,
        /// Of which history.
        history: History,
        /// In which epoch.
        epoch: Epoch,
        /// Up to where.
        matched: Offset,
    },
    /// A primary told a publisher that everything up to a sequence number is committed.
    AckSent {
        /// Which process.
        process: &'a PrimaryId,
        /// Of which history.
        history: History,
        /// In which epoch.
        epoch: Epoch,
        /// Whose records.
        publisher: PublisherId,
        /// Of which incarnation of its session.
        incarnation: u64,
        /// Up to which.
        last_sequence: Sequence,
    },
    /// A primary sent a subscriber entries, or a position.
    Shown {
        /// Which process.
        process: &'a PrimaryId,
        /// Of which history.
        history: History,
        /// In which epoch.
        epoch: Epoch,
        /// The end of what it showed.
        upto: Offset,
    },
    /// A primary told a publisher that another session has followed.
    Fenced {
        /// Which process.
        process: &'a PrimaryId,
        /// Of which history.
        history: History,
        /// Whose sessions.
        publisher: PublisherId,
        /// The one that has followed.
        incarnation: u64,
    },
    /// A client that has learned of a primary keeps its link to another process, which leads, too.
    StaysWith {
        /// Which client.
        client: ClientId,
        /// The reign of the process that it stays with.
        with: Epoch,
        /// The reign that it was told of.
        named: Epoch,
    },
    /// A publisher that slept for a while, with its session open and nothing in flight, sends its first word.
    SentAfterSleep {
        /// Which publisher.
        client: ClientId,
        /// Whether that asks for its session; otherwise it is a batch.
        asked: bool,
    },
    /// Another process begins with a copy of this publisher's outbox.
    Copied {
        /// Whose identity both have from now on.
        publisher: PublisherId,
    },
    /// A publisher was asked to publish a record.
    Published {
        /// Which process.
        client: ClientId,
        /// Whose record.
        publisher: PublisherId,
        /// On which topic.
        topic: &'a Topic,
        /// The record. A run's payloads are unique.
        payload: &'a Bytes,
    },
    /// A publisher's application has given it a record.
    Asked {
        /// Which publisher.
        client: ClientId,
        /// Its number for the record.
        ticket: u64,
        /// The payload, in bytes.
        bytes: usize,
    },
    /// A client was told to close.
    ToldToClose(ClientId),
    /// A client has closed.
    ClientClosed(ClientId),
    /// A publisher has numbered a batch.
    Numbered {
        /// Which publisher.
        client: ClientId,
        /// How it is compressed.
        codec: Codec,
        /// What its primary has named; `None`: no primary has opened its session on its link.
        named: Option<Codecs>,
    },
    /// A publisher told its application what became of records.
    Told {
        /// Which publisher.
        client: ClientId,
        /// Its identity.
        publisher: PublisherId,
        /// The application's numbers of the records; those that an earlier process has left have none.
        tickets: &'a Range<u64>,
        /// Why they are not acknowledged, if they are not.
        result: Option<publisher::Error>,
    },
    /// A publisher told its application that a record is acknowledged.
    Acknowledged {
        /// Whose record.
        publisher: PublisherId,
        /// The record. A run's payloads are unique.
        payload: &'a Bytes,
    },
    /// A subscriber begins.
    Subscribed {
        /// Which one.
        subscriber: ClientId,
        /// What it wants.
        filters: &'a [Filter],
        /// From where.
        start: Start,
    },
    /// A subscriber has gone for good.
    Unsubscribed {
        /// Which one.
        subscriber: ClientId,
    },
    /// A subscriber delivered records of one batch to its application.
    Delivered {
        /// Which one.
        subscriber: ClientId,
        /// Of which history.
        history: History,
        /// Offset of the first of them.
        offset: Offset,
        /// Their topic.
        topic: &'a Topic,
        /// Whose records.
        publisher: PublisherId,
        /// Sequence number of the first of them.
        first_sequence: Sequence,
        /// The records.
        payloads: &'a [Bytes],
    },
    /// What was delivered is in the hands of a subscriber's application.
    Unread {
        /// Which one.
        subscriber: ClientId,
        /// The body, in bytes.
        bytes: u64,
    },
    /// A subscriber's application is done with what was delivered, or will be.
    Consumed {
        /// Which one.
        subscriber: ClientId,
        /// Bodies, in bytes.
        bytes: u64,
    },
    /// A subscriber that had no position yet was told where it begins.
    Began {
        /// Which one.
        subscriber: ClientId,
        /// In which history.
        history: History,
        /// In which epoch it is served there; for one that named its place, of which epoch what lies below is.
        epoch: Epoch,
        /// Where.
        at: Offset,
    },
    /// A subscriber told its application that it does not get these records.
    Missed {
        /// Which one.
        subscriber: ClientId,
        /// From here.
        from: Offset,
        /// To here, exclusive.
        to: Offset,
        /// Why, as it says.
        because: Loss,
    },
    /// A frame that was damaged on its way has come.
    Damaged {
        /// To whom.
        receiver: ClientId,
        /// Whether that one says so.
        said: bool,
    },
    /// A subscriber told its application that the group's data is another generation's.
    LineageChanged {
        /// Which one.
        subscriber: ClientId,
        /// The history now.
        to: History,
    },
    /// A client asked a primary how far the group is.
    HeadAsked {
        /// Which one.
        client: ClientId,
    },
    /// A client was told how far the group is.
    HeadTold {
        /// Which one.
        client: ClientId,
        /// Of which history.
        history: History,
        /// This far.
        head: Offset,
    },
    /// A subscriber told its application that it has come to the head.
    HeadReached {
        /// Which one.
        subscriber: ClientId,
        /// The head that it had told last, if it has not come to that before.
        head: Option<(History, Offset)>,
    },
    /// A client's process has started, and knows nothing of the one before, if there was any.
    ClientStarted {
        /// Which one.
        client: ClientId,
    },
    /// A publisher that was not put right publishes on, when all else is calm.
    GoesOn,
    /// Nothing is wrong any more, every record's fate is settled and every subscriber has come to the end.
    Settled,
    /// A client took a route.
    Routed {
        /// Which one.
        client: ClientId,
        /// The lineage.
        lineage: Lineage,
        /// The epoch.
        epoch: Epoch,
    },
}
