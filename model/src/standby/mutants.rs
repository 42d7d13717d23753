//! Variants with one fault each. The check must catch every one of them.

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// What a service says is written at once, and committed later.
    WritesBeforeCommit,
    /// The standby takes nothing of what was let out for written.
    BlindForWrites,
    /// It takes a read that was under way for one that has brought nothing.
    BlindForReads,
    /// It takes it for one that has brought all that had come.
    BelievesReads,
    /// It takes what was on its way from one peer to the other for passed on by nobody.
    BlindForConveys,
    /// What is passed on is taken off first, and written then.
    TakesOffFirst,
    /// It is passed on to whom something was written of which no commit tells.
    ConveysBehindUntold,
    /// What is in the intake is taken up although a commit has made it obsolete.
    IntakeKept,
    /// A commit is two stores: sessions count from the first one, what is pending from the second.
    CommitsInTwo,
    /// What all share is in the memory as soon as it has changed.
    SharedAtOnce,
    /// An active that is followed no more says so, and leaves the licence where it is.
    LicenceKept,
    /// It takes the licence back, and closes the channel without a word.
    LastWordUnsaid,
    /// It takes the licence back although its standby has claimed it, and ends.
    TakesBackClaimed,
    /// It leaves a licence that is claimed where it is, and serves on.
    ServesOnClaimed,
    /// A predecessor gives its successor no licence.
    HandsOverFollowed,
    /// A successor leaves the licence where it is when it accepts.
    NeverPassesOn,
    /// It passes the licence on when Accept is in the channel.
    PassesOnAfterAccept,
    /// It passes it on whoever has it.
    PassesOnByStore,
    /// It owns the peers where the channel has ended, without a look at the licence.
    OwnsAtEnd,
    /// A predecessor takes the licence back when the takeover begins, and is followed no more.
    TakesBackAtOnce,
    /// When a takeover has failed, it ends the channel before it takes the licence back.
    ShutsDownFirst,
    /// It does not take it back.
    ThawsLicensed,
    /// It ends the channel to its successor, and thaws without looking for Accept.
    ThawsBlind,
    /// When a takeover has failed, it takes whoever has the licence no more for its standby.
    UnlicensedKept,
    /// What has changed while somebody takes over is told to the successor, and not to the standby any more.
    ToldOnce,
    /// A successor is sent what the standby was told, and not what has changed since.
    SendsTold,
    /// What was put aside is handled when a takeover begins.
    TakenUpAtTakeover,
    /// A server that is told to stop does.
    StopsFollowed,
    /// The standby serves on when the channel ends.
    ServesOnAtEnd,
    /// The standby leaves when the channel ends, whatever has become of the active.
    LeavesAtEnd,
    /// It waits for the last word of an active that is dead.
    WaitsForLastWord,
    /// It waits for the death of an active whose channel has ended as long as it takes.
    NoPatience,
    /// It kills an active that hangs after a look at its licence, and claims that when the active is dead.
    KillsBeforeClaim,
    /// It keeps the licence of an active that it cannot kill.
    ClaimKept,
    /// It claims in two steps: a look, and a store.
    ClaimsByStore,
    /// It serves on although the licence was passed on.
    ServesPassedOn,
    /// A server whose standby has ended starts no other.
    StartsNoOther,
    /// An active does not notice that its standby is gone.
    DeafToEnd,
    /// It waits for a standby that is stopped as long as it takes.
    WaitsForSilent,
    /// Whoever serves on handles at once what was read last.
    PoisonTakenUp,
    /// What was put aside is handled when somebody follows, who may not be armed yet.
    TakenUpUnarmed,
    /// The next standby is not told that something was put aside.
    AsideUntold,
    /// It is never handled.
    AsideForEver,
    /// Whoever has said what was read last is reset at once.
    ResetsAtOnce,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 44] = [
        Self::WritesBeforeCommit,
        Self::BlindForWrites,
        Self::BlindForReads,
        Self::BelievesReads,
        Self::BlindForConveys,
        Self::TakesOffFirst,
        Self::ConveysBehindUntold,
        Self::IntakeKept,
        Self::CommitsInTwo,
        Self::SharedAtOnce,
        Self::LicenceKept,
        Self::LastWordUnsaid,
        Self::TakesBackClaimed,
        Self::ServesOnClaimed,
        Self::HandsOverFollowed,
        Self::NeverPassesOn,
        Self::PassesOnAfterAccept,
        Self::PassesOnByStore,
        Self::OwnsAtEnd,
        Self::TakesBackAtOnce,
        Self::ShutsDownFirst,
        Self::ThawsLicensed,
        Self::ThawsBlind,
        Self::UnlicensedKept,
        Self::ToldOnce,
        Self::SendsTold,
        Self::TakenUpAtTakeover,
        Self::StopsFollowed,
        Self::ServesOnAtEnd,
        Self::LeavesAtEnd,
        Self::WaitsForLastWord,
        Self::NoPatience,
        Self::KillsBeforeClaim,
        Self::ClaimKept,
        Self::ClaimsByStore,
        Self::ServesPassedOn,
        Self::StartsNoOther,
        Self::DeafToEnd,
        Self::WaitsForSilent,
        Self::PoisonTakenUp,
        Self::TakenUpUnarmed,
        Self::AsideUntold,
        Self::AsideForEver,
        Self::ResetsAtOnce,
    ];
}
