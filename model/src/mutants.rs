//! Variants of the protocol with one fault each. The check must catch every one of them, or it proves nothing.

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// The predecessor looks for Accept at the deadline, and thaws, without ending the channel.
    ThawWithoutShutdown,
    /// It looks for Accept first, and ends the channel then.
    DrainBeforeShutdown,
    /// It ends the channel, and thaws without looking for Accept.
    ThawWithoutDrain,
    /// An Accept that is found after the deadline is taken for too late.
    AcceptOnlyBeforeDeadline,
    /// It ends only its own direction (`SHUT_WR`).
    ShutdownOfOneDirection,
    /// It serves while it waits for Accept.
    PollWhileFrozen,
    /// It waits for Accept as long as it takes.
    NoDeadline,
    /// It takes the end of the channel for Accept.
    RetireAtEndOfFile,
    /// It takes it for granted that Accept follows Commit.
    RetireOnCommit,
    /// It thaws when it has Accept but does not hear Serving.
    ThawWithoutServing,
    /// It does not send after the freeze what has changed since the last round.
    LastChangesUnsent,
    /// It does not count a round that it begins because too much was pending when the successor was ready.
    AnotherRoundUncounted,
    /// It sends Commit without having heard what the successor has said up to then.
    CommitUnheard,
    /// It takes an Accept for one that was said before Commit.
    AcceptAnyTime,
    /// It says why the takeover has failed after it has ended the channel.
    LastWordAfterShutdown,
    /// It drops the takeover that is under way as soon as it is told to stop.
    StopAbandons,
    /// Told to stop, it waits as long as it takes for a successor to call.
    LastCallForever,
    /// It does not notice during the copy that the successor has closed the channel.
    DeafDuringCopy,
    /// The successor reads from the peers when it sifts its epoll set after the last round.
    ReadWhileSifting,
    /// It polls when it has verified Commit, and sends Accept then.
    PollBeforeAccept,
    /// It sends Accept right after Ready, without waiting for Commit.
    AcceptBeforeCommit,
    /// It accepts what has come without comparing it with what was sent.
    DigestUnverified,
    /// It compares a digest in which the order of changes does not show.
    DigestWithoutOrder,
    /// It reads `SO_ERROR` of a connect that is under way when it sifts.
    OutcomeReadWhileSifting,
    /// It registers a peer that connects for reading alone, so that no event tells of the connect's end.
    AdoptedForReadingAlone,
    /// It is not told that the service knows of the outcome already.
    OutcomeUnsent,
    /// It takes a round after Ready for a mistake.
    ReadyIsFinal,
    /// It says Ready to the first last round alone.
    ReadyOnce,
    /// It serves although the sending of Accept has failed.
    IgnoreEpipe,
    /// It does not answer a round with Copied.
    RoundUnanswered,
    /// It takes the takeover for failed when Serving cannot be sent.
    ServingMustArrive,
    /// It seals an alert for a peer whose bytes it finds broken when all has come, and does not write it before Accept.
    SealBeforeAccept,
    /// A predecessor that retires seals a close_notify for those who have gone.
    SealAtRetirement,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::ThawWithoutShutdown,
        Self::DrainBeforeShutdown,
        Self::ThawWithoutDrain,
        Self::AcceptOnlyBeforeDeadline,
        Self::ShutdownOfOneDirection,
        Self::PollWhileFrozen,
        Self::NoDeadline,
        Self::RetireAtEndOfFile,
        Self::RetireOnCommit,
        Self::ThawWithoutServing,
        Self::LastChangesUnsent,
        Self::AnotherRoundUncounted,
        Self::CommitUnheard,
        Self::AcceptAnyTime,
        Self::LastWordAfterShutdown,
        Self::StopAbandons,
        Self::LastCallForever,
        Self::DeafDuringCopy,
        Self::ReadWhileSifting,
        Self::PollBeforeAccept,
        Self::AcceptBeforeCommit,
        Self::DigestUnverified,
        Self::DigestWithoutOrder,
        Self::OutcomeReadWhileSifting,
        Self::AdoptedForReadingAlone,
        Self::OutcomeUnsent,
        Self::ReadyIsFinal,
        Self::ReadyOnce,
        Self::IgnoreEpipe,
        Self::RoundUnanswered,
        Self::ServingMustArrive,
        Self::SealBeforeAccept,
        Self::SealAtRetirement,
    ];
}
