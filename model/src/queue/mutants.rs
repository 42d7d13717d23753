//! Variants of the queue with one fault each. The check must catch every one of them.

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// The worker takes a connection of which its standby does not know.
    TakesUntold,
    /// It takes one of whom the standby knew in the turn before, and does not any more.
    KnownKept,
    /// It does not say that its standby is armed.
    StandbyUnsaid,
    /// It serves a connection although the sending of Took, or of Has, has failed.
    EpipeIgnored,
    /// A survivor serves those alone of whom it knows as peers.
    OfferedForgotten,
    /// It does not say whom it has.
    HasUnsaid,
    /// It serves them before it has said so.
    LetsInUntold,
    /// It takes what was sent to the process before it.
    HearsTheFormer,
    /// It takes for its own what was said to a survivor before it, which has died, too.
    ResumedToAnybody,
    /// A standby that was given up serves on.
    LicenceUnasked,
    /// The supervisor gives what is under way to others as soon as the worker's process is dead.
    ReturnsAtDeath,
    /// It hears of a death before it hears what was said up to then.
    ExitBeforeWords,
    /// It takes the end of a process whose standby serves on for that of the worker.
    FormerUnknown,
    /// It keeps for the survivor what that one does not have.
    UnderWayKept,
    /// It does not say from where on the survivor is to hear it.
    ResumedUnsaid,
    /// It ends the queue without hearing what was said up to then.
    ClosesUnheard,
    /// It hears then of whom it has taken, and not of whom a survivor has.
    HasUnheardAtTheEnd,
    /// It waits for a survivor although nobody has the queue any more.
    EndUnheard,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::TakesUntold,
        Self::KnownKept,
        Self::StandbyUnsaid,
        Self::EpipeIgnored,
        Self::OfferedForgotten,
        Self::HasUnsaid,
        Self::LetsInUntold,
        Self::HearsTheFormer,
        Self::ResumedToAnybody,
        Self::LicenceUnasked,
        Self::ReturnsAtDeath,
        Self::ExitBeforeWords,
        Self::FormerUnknown,
        Self::UnderWayKept,
        Self::ResumedUnsaid,
        Self::ClosesUnheard,
        Self::HasUnheardAtTheEnd,
        Self::EndUnheard,
    ];
}
