//! Variants of moves with one fault each. The check must catch every one of them.

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// The giver looks for Accept when it waits no longer, and thaws, without ending the channel.
    ThawWithoutShutdown,
    /// It looks for Accept first, and ends the channel then.
    LookBeforeShutdown,
    /// It ends the channel, and thaws without looking for Accept.
    ThawWithoutLook,
    /// It goes on with a peer that it has frozen, since its loop goes on.
    ServesTheFrozen,
    /// It joins a peer that goes on to one that is frozen.
    JoinsTheFrozen,
    /// It sends Commit without having heard what the taker has said up to then.
    CommitUnheard,
    /// It takes an Accept for one that was said before Commit.
    AcceptAnyTime,
    /// It keeps of a batch that was accepted that Commit is in the channel.
    CommittedKept,
    /// It takes the Wait for the next batch for an Accept of this one.
    WaitIsAccept,
    /// It takes the end of the channel for Accept.
    EndIsAccept,
    /// It does not send after the freeze what has changed since the copy.
    ChangesUnsent,
    /// When a batch fails, it takes up those of the batches before it again.
    MoveIsOneBatch,
    /// When it lets go of a peer, it lets go of the same peer that has come back meanwhile, too.
    LetsGoOfWhoCameBack,
    /// It thaws, and looks at nobody.
    ThawWithoutTurn,
    /// It chooses a peer without the one that it is joined to.
    PartnerLeftBehind,
    /// It looks who is joined to whom when the batch begins, and not again.
    TiesOfBefore,
    /// It gives peers whose service is not `MOVABLE`.
    MovesTheUnmovable,
    /// It serves nobody while it waits for Accept.
    BlocksWhileFrozen,
    /// It calls shutdown(2) on the sockets of those that it has given.
    GiverHangsUp,
    /// It waits for Accept as long as it takes.
    NoDeadline,
    /// It does not notice during the copy that the taker has closed the channel.
    DeafDuringCopy,
    /// The taker reads from a peer as soon as it has adopted it, since its loop goes on.
    ReadsBeforeAccept,
    /// It serves although the sending of Accept has failed.
    EpipeIgnored,
    /// It waits for the next frame of a batch as long as it takes.
    NoPatience,
    /// It keeps its book of a batch for the next one.
    BookKept,
    /// It looks at nobody when it has accepted.
    TakenWithoutTurn,
    /// It calls shutdown(2) on the sockets of a batch that has failed.
    TakerHangsUp,
    /// When a batch fails, it drops those of the batches before it, too.
    ForgetsTheBatchesBefore,
    /// It takes a peer that comes after a round for a mistake.
    NewcomerRefused,
    /// It says Wait for the next batch before it has said Serving for this one.
    WaitBeforeServing,
    /// A successor takes over while it is not known whose a peer is.
    TakeoverAmidFreeze,
    /// A successor has to wait as long as a taker does.
    TakeoverWaitsForTheWaiting,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::ThawWithoutShutdown,
        Self::LookBeforeShutdown,
        Self::ThawWithoutLook,
        Self::ServesTheFrozen,
        Self::JoinsTheFrozen,
        Self::CommitUnheard,
        Self::AcceptAnyTime,
        Self::CommittedKept,
        Self::WaitIsAccept,
        Self::EndIsAccept,
        Self::ChangesUnsent,
        Self::MoveIsOneBatch,
        Self::LetsGoOfWhoCameBack,
        Self::ThawWithoutTurn,
        Self::PartnerLeftBehind,
        Self::TiesOfBefore,
        Self::MovesTheUnmovable,
        Self::BlocksWhileFrozen,
        Self::GiverHangsUp,
        Self::NoDeadline,
        Self::DeafDuringCopy,
        Self::ReadsBeforeAccept,
        Self::EpipeIgnored,
        Self::NoPatience,
        Self::BookKept,
        Self::TakenWithoutTurn,
        Self::TakerHangsUp,
        Self::ForgetsTheBatchesBefore,
        Self::NewcomerRefused,
        Self::WaitBeforeServing,
        Self::TakeoverAmidFreeze,
        Self::TakeoverWaitsForTheWaiting,
    ];
}
