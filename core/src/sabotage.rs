//! Planted bugs, to prove that the simulator would notice. They exist only with the feature `bugs`,
//! which nothing but the simulator's own examination turns on. Each is one small change of a rule,
//! made at the line that obeys the rule: `sabotage!(Name)` is the constant `false` in every other build.

use core::sync::atomic::{AtomicUsize, Ordering};

/// The planted bugs' places in [`Bug::ALL`], from 1; 0: none. Of rules that stand twice both have to go
/// before it shows: a pair can be planted.
static PLANTED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident $rule:literal $(and $twin:ident)?,)+) => {
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

            /// The rule that it breaks; empty: none, but another bug may make a difference only with it.
            pub const fn rule(self) -> &'static str {
                match self {
                    $(Self::$name => $rule,)+
                }
            }

            /// Another rule that stands for the same: this bug makes a difference only with that one.
            pub fn stands_twice_with(self) -> Option<Self> {
                let twin: &[Self] = match self {
                    $(Self::$name => &[$(Self::$twin)?],)+
                };
                twin.first().copied()
            }
        }
    };
}

bugs! {
    /// The group's state is written whatever version it has.
    WritesUnconditionally "R1",
    /// Any broker may be promoted, in sync or not.
    OutsidersPromote "R2",
    /// A promotion does not raise the epoch.
    EpochNotRaised "R2",
    /// A promotion leaves the primary before in the set though enough others are there.
    KeepsTheDeposed "R2",
    /// A broker is promoted whose live node is not its session's.
    PromotesUnregistered "R2",
    /// A broker is promoted on what it read before it had a reason.
    PromotesUnread "R2",
    /// The sync comes after the reads: they may be of a server that lags.
    ReadsUnsynced "R2",
    /// A process leads where the tree names its node, though it is another process.
    AnyProcessOfNodeLeads "R3",
    /// A process that has stepped down leads in the same epoch again.
    ResumesItsEpoch "R3" and KeepsOldLinks,
    /// A primary answers before the first record of its epoch is committed.
    ServesBeforeEpochStart "R4",
    /// Streams are opened before the first record of the epoch is committed.
    StreamsBeforeEpochStart "R4",
    /// Sessions are opened before the first record of the epoch is committed.
    SessionsBeforeEpochStart "R4",
    /// A new primary drops what it does not know to be committed.
    WinnersTruncate "R4",
    /// A backup takes entries of a lower epoch than it knows of.
    LowerEpochsAccepted "R5" and KeepsOldLinks,
    /// A backup does not note the epochs that it reads in the tree.
    FloorForgotten "R5",
    /// A backup appends wherever its log reaches, whatever stands there.
    PreviousEpochUnchecked "R5" and LengthsDecide,
    /// Harmless: a backup stays connected with a primary that it follows no more.
    KeepsOldLinks "",
    /// A backup drops what it does not know to be committed before it attaches.
    TruncatesToCommit "R6",
    /// An entry of another epoch at the same offset counts as the same entry.
    SameOffsetIsSameEntry "R6",
    /// The sessions keep what a truncation has dropped.
    TruncationKeepsSessions "R6",
    /// A backup acknowledges its log's end instead of what it has verified.
    AcksLogEnd "R7",
    /// A backup acknowledges what is not durable.
    AcksUndurable "R7",
    /// What was verified in an earlier epoch counts in the next one.
    KeepsVerified "R7",
    /// A primary counts acknowledgements of earlier epochs.
    AcksOfAnyEpoch "R8",
    /// A primary counts acknowledgements of a node's earlier storage.
    AcksOfAnyStorage "R8",
    /// Commits do not wait for members that are not connected.
    DetachedNotAwaited "R9",
    /// The fastest follower decides what is committed, not the slowest.
    FastestDecides "R9",
    /// A primary counts what is not durable at itself.
    CountsItselfUndurable "R9",
    /// A backup believes a commit offset beyond what it has verified.
    CommitsUnverified "R9",
    /// Publishers are acknowledged what is appended.
    AcksUncommitted "R10",
    /// Publishers are acknowledged repeated batches that are not committed.
    DuplicatesAcknowledged "R10",
    /// A session is answered before it is committed.
    OpensUncommitted "R10",
    /// Subscribers are sent what is appended.
    DeliversUncommitted "R10",
    /// A primary goes on when the tree names another one.
    IgnoresItsSuccessor "R11",
    /// A member does not count any more once its removal is proposed.
    ShrinkCountsAtOnce "R12",
    /// A member is dropped that was silent for the suspicion time only.
    ShrinksImpatiently "R12",
    /// A primary that leaves drops members for their silence.
    LeaversDropTheSilent "R12",
    /// A backup that leaves does not wait until it is dropped.
    LeavesCounted "R12",
    /// A member does not count while it is being taken in.
    PendingNotCounted "R13",
    /// A member is taken in that has not reached the epoch's first record.
    ExpandsBeforeEpochStart "R13",
    /// A member is taken in that is behind the commit offset.
    ExpandsBehindCommit "R13",
    /// A member is taken in that was not heard lately.
    ExpandsUnheard "R13",
    /// A member is taken in whose process is not live in the tree.
    ExpandsUnlive "R13",
    /// What a follower says when it attaches counts as acknowledged.
    HelloCountsAsAck "R13",
    /// A write whose outcome is unknown counts as not made.
    UnknownMeansNever "R14",
    /// A write that meets another version was never made, though it may be an earlier attempt's.
    ConflictMeansNever "R14",
    /// A change is proposed while another one is under way.
    TwoChangesAtOnce "R14",
    /// Logs are compared by their lengths, not by their epochs.
    LengthsDecide "R16",
    /// A snapshot brings no sessions.
    SnapshotWithoutSessions "R16",
    /// A snapshot brings no topics.
    SnapshotWithoutTopics "R16",
    /// A snapshot brings the sessions of what is not committed.
    SnapshotFoldsUncommitted "R16",
    /// After a snapshot ordinary replication does not go on by itself.
    SnapshotsNeverEnd "R16" and LostPartsUnnoticed,
    /// Harmless: a backup does not notice that parts of a snapshot were lost.
    LostPartsUnnoticed "",
    /// The head is answered without a proof that the primary still is one.
    HeadsWithoutProof "R19",
    /// The head is proved by a read that began before the question.
    HeadProofTooOld "R19",
    /// A primary that is cut off goes on talking to its clients.
    NeverSilent "R20",
    /// A primary falls silent that only the tree is cut off from.
    SilentInCompany "R20",
    /// Who has slept takes that for the silence of the others.
    SleepUnnoticed "R21",
    /// A process takes its storage for that of the one before.
    GenerationKept "R22",
    /// Any storage of a node that is in sync may lead.
    AnyStorageLeads "R24",
    /// A broker halts at the first sight of an older state.
    HaltsUnproved "R25",
    /// A sync stands for a barrier, which it is not on the coordination leader itself.
    BarriersAreSyncs "R19",
    /// A broker never halts.
    NeverHalts "R25",
    /// A primary goes on committing while the tree seems to have gone back.
    DoubtersCommit "R25",
    /// A client believes a route that is older than its own.
    RoutesGoBack "R26",
    /// Who leaves gives the data up though others alive hold it.
    GivesUpWhileHeld "R27",
    /// Who leaves gives the data up before everything is settled.
    GivesUpUnsettled "R27",
    /// Who leaves gives the data up though somebody is copying it.
    GivesUpBeforeLearners "R27",
    /// The data is given up by a reset though somebody alive holds it.
    ResetsWhileHeld "R27",
    /// The data is given up by a reset at the first sight of its loss.
    ResetsAtOnce "R27",
    /// The lineage stays when the data is given up.
    LineageKept "R27",
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
    /// The same request for a session opens another one.
    OpensAgain "R28",
    /// A request that names an earlier session continues the one that is there.
    LateRequestsContinue "R28",
    /// A publisher takes what a primary expects next for an acknowledgement of what is below.
    GapsAcknowledge "R28",
    /// A publisher sends only its last record again.
    ResendsTheLast "R28",
    /// The outbox drops batches when they are sent.
    OutboxForgetsUnacknowledged "R28",
    /// Batches are sent before the outbox has stored them.
    SendsUnstored "R28",
    /// A session is asked for before the outbox has stored the request.
    AttemptsUnstored "R28",
    /// The session of a publisher that says nothing but is there expires.
    LivePublishersExpire "R29",
    /// No session expires.
    SessionsNeverExpire "R29",
    /// What is unknown is reported as acknowledged.
    UnknownAcknowledged "R29",
    /// An outbox forgets what is unknown.
    NothingSetAside "R29",
    /// A stream says that everything committed was looked at when it was not.
    UptoAheadOfScan "R30",
    /// A broker sends whatever the credit.
    CreditIgnored "R30",
    /// Streams on which there is nothing to say are silent.
    StreamsFallSilent "R30",
    /// A stream from the earliest record begins with the next one.
    EarliestIsLatest "R30",
    /// A stream from the next record begins with the earliest.
    LatestIsEarliest "R30",
    /// A subscriber resumes at the log's end.
    ResumesAtTheEnd "R30",
    /// A subscriber delivers a batch again of which it has a part.
    WholeBatchesAgain "R30",
    /// A subscriber's position stays where nothing matched.
    PositionsStick "R30",
    /// A subscriber takes the answer to an earlier question for that to the latest.
    AnyHeadAnswers "R19",
    /// A subscriber never gives back what was consumed.
    CreditNeverFreed "R30",
    /// A primary listens to a process that another one of its node has followed.
    StaleProcessesHeard "R32",
    /// Of two processes of a node the earlier one counts.
    EarlierSupersedes "R32",
    /// One refused connection proves a death.
    OneRefusalProves "R32",
    /// A primary that hands over goes on taking batches.
    AcceptsWhileLeaving "R34",
    /// A backup is asked to take over that lacks something.
    AsksUnreadyTargets "R34",
    /// A primary leaves as soon as it has asked another one to take over.
    LeavesUnreplaced "R34",
    /// Commits go on while there are too few members in sync.
    NeverFrozen "R35",
    /// A promotion leaves fewer members than the least number.
    PromotesBelowMinimum "R35",
    /// A removal leaves fewer members than the least number.
    ShrinksBelowMinimum "R35",
    /// Members are taken in only once the epoch's first record is committed.
    JoinersWaitForTheEpoch "R35",
    /// Entries are dropped when the decision is appended.
    TrimsUncommitted "R36",
    /// Nothing is ever dropped.
    NeverTrims "R36",
    /// Batches are taken whatever the memory.
    NeverBusy "R36",
    /// A stream that retention has overtaken goes on without a word.
    OvertakesSilently "R36",
    /// A subscriber does not report what it has missed.
    LossUnreported "R36",
    /// A candidate for discovery's lead counts though an earlier session owns it.
    AnyOwnerStands "Section 4",
    /// Every candidate for discovery's lead leads.
    AllCandidatesLead "Section 4",
    /// A candidate does not watch the one before it.
    PredecessorUnwatched "Section 4",
    /// The group is created whoever leads discovery.
    CreatesUnfenced "Section 4",
    /// A live node counts though an earlier session owns it.
    AdoptsEphemerals "Section 4",
    /// After a reconnect the tree is not read again.
    ReconnectsUnread "Section 4",
    /// A new session does not watch the tree.
    WatchNotRenewed "Section 4",
    /// What a watch says is ignored.
    EventsIgnored "Section 4",
    /// Clients are not told of changes.
    WatchersNotTold "Section 4",
    /// A publisher gives what is under way up as unknown when its primary is not ready.
    UnknownAtOnce "R29",
    /// A publisher ends when it is told of a gap.
    GapsEnd "R28",
    /// A publisher with anything in flight turns records away.
    TurnsAway "R28",
    /// Of the batches that wait the youngest is sent first.
    YoungestFirst "R28",
    /// The decision to drop reaches beyond the commit offset.
    TrimsBeyondCommit "R36",
    /// A primary that hands over appends decisions to drop entries.
    TrimsWhileLeaving "R34",
    /// A primary that hands over ends sessions.
    ExpiresWhileLeaving "R34",
    /// The time before a primary serves counts against publishers.
    ExpiryCountsFromPromotion "R29",
    /// The primary's own sleep counts as silence of its publishers.
    SleepCountsForExpiry "R29",
    /// A primary that is cut off goes on where the member that it misses may have been taken in.
    PendingNotMissed "R20",
    /// A primary that is cut off answers pings.
    SilentAnswersPings "R20",
    /// A primary that is cut off opens streams.
    SilentOpensStreams "R20",
    /// A primary that is cut off takes batches.
    SilentTakesBatches "R20",
    /// A backup that counts leaves though it does not hear its primary.
    LeavesUnheard "R34",
    /// A head counts as reached one record early.
    ReachedOneEarly "R19",
    /// A head of a history that was given up is waited for.
    HeadOutlivesHistory "R19",
    /// A subscriber grants credit whatever is unread.
    CreditForgetsUnread "R30",
    /// Who is told to leave does not read the tree first.
    LeavesUnread "R27",
    /// A member leaves that the epoch's first record still needs.
    AwaitedLeaves "R35",
    /// A member that is being replaced counts no more.
    ReplacedNotCounted "R35",
    /// A subscriber grants credit once, whether its broker hears it or not.
    GrantsOnce "R30",
    /// A frame that does not continue the last one of its stream is taken.
    MissingFramesUnnoticed "R30",
    /// Of a batch of which a subscriber has a part it leaves out the rest.
    RestOfBatchSkipped "R30",
    /// A publisher sends nothing again on a link that lives.
    NeverOverdue "R28",
    /// Who gets a frame that cannot be read says nothing of it.
    DamageUnsaid "R31",
    /// What is cut still counts as memory that waits for members.
    TruncationKeepsBytes "R36",
    /// The session that an unanswered request gave is taken as one's own.
    UnansweredTaken "R28",
    /// A broker that holds more than was ever stored is believed.
    MoreThanStoredAccepted "R28",
    /// A publisher that was fenced continues the session that fenced it.
    FencedContinues "R28",
    /// A publisher continues a session that was in its way in one history in the next one.
    ContinuesAnotherHistory "R28",
    /// A publisher that hears of a later session of its own goes on in the one before.
    LaterSessionsUnheeded "",
    /// Who asked for a session that has expired before it was committed is told that it has it.
    ExpiredAnswered "R28" and LaterSessionsUnheeded,
    /// A primary that has been silent lets the sessions expire whose publishers it has sent away.
    SilenceCountsForExpiry "R29",
    /// A stream begins beyond what its primary has committed.
    StreamsBeyondCommit "R11",
    /// A primary says that a session is over though it is, or its end is, beyond what is committed.
    MissesUncommitted "R29",
    /// A replica of discovery is believed as long as what it names accepts links.
    LinksAreService "R26",
    /// A publisher that was not running sends before it has asked for its session.
    SleepersSend "R29",
    /// A client believes the route of another cluster unproved.
    StrangersBelieved "R26",
    /// A client stays with its primary though discovery names a later one.
    RoutesUnheeded "R26",
    /// A stream on which nothing comes is waited for for ever.
    SilentStreamsKept "R30",
    /// A broker sends what nobody wants.
    FiltersIgnored "R30",
    /// A stream that was closed is served on.
    ClosedStreamsServed "R30",
    /// Streams of a link that is gone are served on.
    LostLinksServed "R30",
    /// Discovery's epoch is raised whatever version it has.
    EpochUnguarded "Section 4",
    /// A replica of discovery leads on when its session is lost.
    LeadsUnconnected "Section 4",
    /// A group is created for the broker that registered last.
    LastComesFirst "R26",
    /// A group is created for a broker that may be gone.
    CreatesForTheAbsent "R26",
    /// A broker whose reigns commit nothing stands again at once.
    NeverLeavesItToOthers "R2",
    /// The same, when somebody follows it or it hears another primary.
    FollowedIsCommitted "R2",
    /// Candidates do not wait for those before them.
    NoTurns "R2",
    /// A session that is not committed fences another one.
    FencesUncommitted "R10",
    /// Commits wait for a follower on its way for ever.
    WaitsForJoinersForEver "R13",
    /// A member is taken in that would be dropped again at once.
    TakesInTheDoubtful "R13",
    /// A primary that was cut off speaks again before it has read the tree.
    SpeaksUnread "R20",
    /// A backup that leaves does not come back when its primary dies.
    StaysGone "R34",
    /// A handover that does not come about is not given up.
    HandoverNeverAbandoned "R34",
    /// A round that is under way counts for what is asked now.
    RoundsUnderWayCount "R19",
    /// A round that is no linearizable one takes the known state back.
    StaleRoundsBelieved "R25",
    /// A backup takes a frame of a higher epoch than the tree has named.
    EntriesRaiseFloor "R5",
    /// After a snapshot what was there before counts as memory that waits for members.
    InstallKeepsBytes "R36",
    /// Beyond the limit of records half of it is dropped besides.
    TrimsTooMuch "R36",
    /// Publishers get no turn between two handovers.
    NeverRests "R34",
    /// A primary that is cut off sends its streams heartbeats.
    SilentBeats "R20",
    /// A look-up that is not answered is waited for for ever.
    LookupsWaitForEver "R26",
    /// Discovery calls what it knows fresh.
    StaleIsFresh "R19",
    /// A publisher compresses whatever its primary allows.
    CompressesUnasked "R37",
    /// A publisher compresses as the primary has allowed that opened its session.
    CodecsStick "R37",
    /// A member that acknowledges is not dropped, whether it moves or not.
    AcksAreProgress "R12",
    /// A member whose live node is gone is dropped only for its silence.
    VanishedStay "R12",
    /// Who leaves drops nobody while one that is silent, and stays, stands before it.
    SilentHideTheGone "R12",
    /// What a primary still sends stands against what the tree says of it.
    FramesAcquit "R2",
    /// No batch grows old while others come.
    BatchesStayYoung "R36",
    /// Publishers are held back for a follower that is gone.
    HeldBackForNobody "R17",
    /// Who leaves stays whatever time has passed.
    StaysBeyondItsTerm "R34",
    /// Who leaves and alone holds the data waits for followers that do not come.
    WaitsForNobody "R27",
    /// Who has failed to take over is asked again before others.
    AsksTheFailedAgain "R34",
    /// A primary that doubts the tree changes the in-sync set.
    DoubtersChange "R25",
    /// A primary that is cut off serves grants of credit.
    SilentServesGrants "R20",
    /// A stream with more to send than one step allows goes on only when something else happens.
    BacklogForgotten "R30",
}

/// From now on every node of this process has these bugs, and no others.
///
/// # Panics
/// When they are more than a pair.
pub fn plant(bugs: impl IntoIterator<Item = Bug>) {
    let mut bugs = bugs.into_iter();
    for place in &PLANTED {
        place.store(bugs.next().map_or(0, |bug| bug as usize + 1), Ordering::Relaxed);
    }
    assert_eq!(bugs.next(), None, "at most two bugs are planted at a time");
}

/// Whether this bug is planted.
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.iter().any(|planted| planted.load(Ordering::Relaxed) == bug as usize + 1)
}
