//! Planted bugs, to prove that the simulator would notice. They exist only with the feature `bugs`,
//! which nothing but the simulator's own examination turns on. Each is one small change of a rule,
//! made at the line that obeys the rule: `sabotage!(Name)` is the constant `false` in every other build.

use core::sync::atomic::{AtomicUsize, Ordering};

/// The planted bug's place in [`Bug::ALL`], from 1; 0: none.
static PLANTED: AtomicUsize = AtomicUsize::new(0);

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident $rule:literal,)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[$doc])* $name,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The rule that it breaks.
            pub const fn rule(self) -> &'static str {
                match self {
                    $(Self::$name => $rule,)+
                }
            }
        }
    };
}

bugs! {
    /// The group's state is written whatever version it has.
    WritesUnconditionally "R1",
    /// Any broker may be promoted, in sync or not.
    OutsidersPromote "R2",
    /// A process leads where the tree names its node, though it is another process.
    AnyProcessOfNodeLeads "R3",
    /// A primary answers before the first record of its epoch is committed.
    ServesBeforeEpochStart "R4",
    /// A backup takes entries of a lower epoch than it knows of.
    LowerEpochsAccepted "R5",
    /// A backup appends wherever its log reaches, whatever stands there.
    PreviousEpochUnchecked "R5",
    /// A backup drops what it does not know to be committed before it attaches.
    TruncatesToCommit "R6",
    /// An entry of another epoch at the same offset counts as the same entry.
    SameOffsetIsSameEntry "R6",
    /// The sessions keep what a truncation has dropped.
    TruncationKeepsSessions "R6",
    /// A backup acknowledges its log's end instead of what it has verified.
    AcksLogEnd "R7",
    /// A primary counts acknowledgements of earlier epochs.
    AcksOfAnyEpoch "R8",
    /// A primary counts acknowledgements of a member's earlier process.
    AcksOfAnyProcess "R8",
    /// Commits do not wait for members that are not connected.
    DetachedNotAwaited "R9",
    /// The fastest follower decides what is committed, not the slowest.
    FastestDecides "R9",
    /// A backup believes a commit offset beyond what it has verified.
    CommitsUnverified "R9",
    /// Publishers are acknowledged what is appended.
    AcksUncommitted "R10",
    /// A session is answered before it is committed.
    OpensUncommitted "R10",
    /// Subscribers are sent what is appended.
    DeliversUncommitted "R10",
    /// A member does not count any more once its removal is proposed.
    ShrinkCountsAtOnce "R12",
    /// A member does not count while it is being taken in.
    PendingNotCounted "R13",
    /// A member is taken in that has not reached the epoch's first record.
    ExpandsBeforeEpochStart "R13",
    /// A member is taken in that is behind the commit offset.
    ExpandsBehindCommit "R13",
    /// What a follower says when it attaches counts as acknowledged.
    HelloCountsAsAck "R13",
    /// A write whose outcome is unknown counts as not made.
    UnknownMeansNever "R14",
    /// A write that meets another version was never made, though it may be an earlier attempt's.
    ConflictMeansNever "R14",
    /// A snapshot brings no sessions.
    SnapshotWithoutSessions "R16",
    /// A snapshot brings the sessions of what is not committed.
    SnapshotFoldsUncommitted "R16",
    /// After a snapshot ordinary replication does not go on.
    SnapshotsNeverEnd "R16",
    /// The head is answered without a proof that the primary still is one.
    HeadsWithoutProof "R19",
    /// The head is proved by a read that began before the question.
    HeadProofTooOld "R19",
    /// A primary that is cut off goes on talking to its clients.
    NeverSilent "R20",
    /// A broker halts at the first sight of an older state.
    HaltsUnproved "R25",
    /// The tree is read without a sync: from a server that may lag.
    ReadsUnsynced "R2",
    /// A sync stands for a barrier, which it is not on the coordination leader itself.
    BarriersAreSyncs "R19",
    /// Who leaves gives the data up though others alive hold it.
    GivesUpWhileHeld "R27",
    /// The data is given up by a reset though somebody alive holds it.
    ResetsWhileHeld "R27",
    /// Sessions survive the loss of the data.
    WipeKeepsSessions "R27",
    /// A subscriber is not told that the data was given up.
    LineageUnreported "R27",
    /// Batches are appended that do not continue their session.
    GapsAccepted "R28",
    /// Batches that were appended before are appended again.
    DuplicatesAppended "R28",
    /// A session that continues another begins its numbers anew.
    NumbersBeginAnew "R28",
    /// Batches of a session that another one has followed are taken.
    NobodyFenced "R28",
    /// A publisher takes what a primary expects next for an acknowledgement of what is below.
    GapsAcknowledge "R28",
    /// The outbox drops batches when they are sent.
    OutboxForgetsUnacknowledged "R28",
    /// Batches are sent before the outbox has stored them.
    SendsUnstored "R28",
    /// The session of a publisher that says nothing but is there expires.
    LivePublishersExpire "R29",
    /// A stream says that everything committed was looked at when it was not.
    UptoAheadOfScan "R30",
    /// A primary listens to a process that another one of its node has followed.
    StaleProcessesHeard "R32",
    /// Commits go on while there are too few members in sync.
    NeverFrozen "R35",
    /// A promotion leaves fewer members than the least number.
    PromotesBelowMinimum "R35",
    /// A removal leaves fewer members than the least number.
    ShrinksBelowMinimum "R35",
    /// Entries are dropped when the decision is appended.
    TrimsUncommitted "R36",
    /// A stream that retention has overtaken goes on without a word.
    OvertakesSilently "R36",
    /// A subscriber does not report what it has missed.
    LossUnreported "R36",
    /// A client believes a route that is older than its own.
    RoutesGoBack "R26",
    /// A candidate for discovery's lead counts though an earlier session owns it.
    AnyOwnerStands "Section 4",
    /// After a reconnect the tree is not read again.
    ReconnectsUnread "Section 4",
}

/// From now on every node of this process has this bug, and no other.
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as usize + 1), Ordering::Relaxed);
}

/// Whether this bug is planted.
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as usize + 1
}
