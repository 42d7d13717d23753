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
    /// It takes the Hello for the next batch for an Accept of this one.
    HelloIsAccept,
    /// It takes the end of the channel for Accept.
    EndIsAccept,
    /// It does not send after the freeze what has changed since the copy.
    ChangesUnsent,
    /// When a batch fails, it takes up those of the batches before it again.
    MoveIsOneBatch,
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
    /// It says Hello for the next batch before it has said Serving for this one.
    HelloBeforeServing,
    /// It takes a batch while it gives one.
    TakesWhileGiving,
    /// A process that gives a batch, and is to take one, leaves that unheard and says nothing.
    BusyIsSilent,
    /// A successor takes over in the middle of a batch.
    TakeoverAmidBatch,
    /// A successor that calls puts an end to the batch that is under way.
    TakeoverEndsTheBatch,
    /// A successor has to wait as long as a taker does.
    TakeoverWaitsForTheWaiting,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::ThawWithoutShutdown,
        Self::LookBeforeShutdown,
        Self::ThawWithoutLook,
        Self::ServesTheFrozen,
        Self::JoinsTheFrozen,
        Self::CommitUnheard,
        Self::AcceptAnyTime,
        Self::CommittedKept,
        Self::HelloIsAccept,
        Self::EndIsAccept,
        Self::ChangesUnsent,
        Self::MoveIsOneBatch,
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
        Self::HelloBeforeServing,
        Self::TakesWhileGiving,
        Self::BusyIsSilent,
        Self::TakeoverAmidBatch,
        Self::TakeoverEndsTheBatch,
        Self::TakeoverWaitsForTheWaiting,
    ];

    /// The mutant with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name)
    }
}
