//! What must hold in every state, and what must be possible in some.

use stateright::Property;

use crate::mutants::Mutant;
use crate::protocol::Protocol;
use crate::state::{CopyingStep, Exit, Handover, Life, Outcome, Process, Receiving, State, Step, Verdict};

/// Never two processes who act on the peers, be it that one of them is stopped and acts when it is continued.
pub const ONE_ACTS: &str = "at most one process acts";
/// Who acts is the one whose ownership the messages establish.
pub const ONLY_THE_OWNER_ACTS: &str = "only the owner acts";
/// Who acts knows all that has happened to the peer, so no byte is lost or repeated.
pub const NOTHING_LOST: &str = "who acts knows what has happened to the peer";
/// Of a peer that speaks TLS, no two processes seal a record with the same number: its key would be lost.
pub const SEALED_ONCE: &str = "no sequence number is sealed by two processes";
/// When all who run have done what they can, an owner that runs acts, whoever else is stopped.
pub const OWNER_SERVES: &str = "an owner that runs serves in the end";
/// The same without the notion of an owner: unless somebody was killed, ended by a signal, failed after the commit
/// point, or is stopped, somebody acts in the end.
pub const SOMEBODY_SERVES: &str = "somebody serves in the end unless a server died";
/// While nobody is stopped, no wait is ended by nothing but its deadline.
pub const NO_DEADLOCK: &str = "nobody waits for what never comes";
/// Both sides come to the same conclusion about a takeover: failed, then Accept was not sent and never will be.
pub const SIDES_AGREE: &str = "a takeover that the predecessor takes for failed is not accepted";
/// A predecessor that says that it has handed over has found Accept.
pub const RETIRES_ON_ACCEPT: &str = "a predecessor retires only on Accept";
/// Who exits with code 3 has never owned nor acted, who exits with another has acted or owned.
pub const EXIT_CODES: &str = "the exit code says whether the process has owned";

/// As long as nothing befalls anybody, be it that the server is told to stop, a takeover that has begun comes through.
pub const FAILS_FOR_A_REASON: &str = "a takeover fails only if something befalls somebody";
/// A successor that leaves because its predecessor has ended the takeover knows why.
pub const TOLD_WHY: &str = "a successor whose predecessor serves on is told why";
/// A server that gets SIGTERM exits, or hands over and exits.
pub const STOPS: &str = "who is told to stop stops in the end";

/// What comes once, a connect's end or that a deadline is reached, is not told twice.
pub const TOLD_ONCE: &str = "the service is told of an outcome once";
/// And when all who run have done what they can, an owner that runs has told of it.
pub const OUTCOME_TOLD: &str = "an outcome that has come is told in the end";

/// What must hold in every state.
pub fn always() -> Vec<Property<Protocol>> {
    vec![
        Property::<Protocol>::always(ONE_ACTS, |protocol, state| acting(protocol, state).count() <= 1),
        Property::<Protocol>::always(ONLY_THE_OWNER_ACTS, |protocol, state| {
            acting(protocol, state).all(|pid| pid == state.owner)
        }),
        Property::<Protocol>::always(NOTHING_LOST, |protocol, state| {
            acting(protocol, state).all(|pid| state.processes[pid].record == state.peer)
        }),
        Property::<Protocol>::always(SEALED_ONCE, |_, state| !state.sealed.twice),
        Property::<Protocol>::always(OWNER_SERVES, |protocol, state| {
            let owner = &state.processes[state.owner];
            owner.life != Life::Running || protocol.acts(owner) || !protocol.due(state).is_empty()
        }),
        Property::<Protocol>::always(SOMEBODY_SERVES, |protocol, state| {
            let server_died = state.processes.iter().any(|process| {
                matches!(process.life, Life::Stopped | Life::Killed | Life::Exited(Exit::Stopped | Exit::Loop))
            });
            server_died || acting(protocol, state).count() == 1 || !protocol.due(state).is_empty()
        }),
        Property::<Protocol>::always(NO_DEADLOCK, |protocol, state| {
            let stopped = state.processes.iter().any(|process| process.life == Life::Stopped);
            let due = || protocol.due(state).iter().any(|action| !action.is_deadline());
            let waiting = state
                .processes
                .iter()
                .any(|process| process.life == Life::Running && process.step != Step::Polling(None));
            stopped || !waiting || due()
        }),
        Property::<Protocol>::always(SIDES_AGREE, |_, state| {
            state.takeovers.iter().all(|takeover| !(takeover.verdict == Some(Verdict::Failed) && takeover.accept_sent))
        }),
        Property::<Protocol>::always(RETIRES_ON_ACCEPT, |_, state| {
            let found = state
                .takeovers
                .iter()
                .all(|takeover| takeover.verdict != Some(Verdict::HandedOver) || takeover.accept_sent);
            found && state.processes[state.owner].life != Life::Exited(Exit::HandedOver)
        }),
        Property::<Protocol>::always(EXIT_CODES, |_, state| {
            state.processes.iter().enumerate().all(|(pid, process)| {
                let owned = pid == 0 || state.takeovers[pid].accept_sent;
                process.exit_code().is_none_or(|code| if code == 3 { !owned && !process.acted } else { owned })
            })
        }),
        Property::<Protocol>::always(FAILS_FOR_A_REASON, |_, state| {
            state.disturbed || state.takeovers.iter().all(|takeover| takeover.verdict != Some(Verdict::Failed))
        }),
        Property::<Protocol>::always(TOLD_WHY, |_, state| {
            let unexplained = |pid: usize| state.processes[pid].life == Life::Exited(Exit::Unexplained);
            state
                .takeovers
                .iter()
                .enumerate()
                .all(|(pid, takeover)| takeover.verdict != Some(Verdict::Failed) || !unexplained(pid))
        }),
        Property::<Protocol>::always(TOLD_ONCE, |_, state| state.peer.learnt() <= 1),
        Property::<Protocol>::always(OUTCOME_TOLD, |protocol, state| {
            let owner = &state.processes[state.owner];
            let serves = owner.life == Life::Running && protocol.acts(owner) && protocol.due(state).is_empty();
            !serves || state.outcome == Outcome::NotYet || owner.record.learnt() == 1
        }),
        Property::<Protocol>::always(STOPS, |protocol, state| {
            let told = |process: &Process| process.last_call && process.life == Life::Running;
            !state.processes.iter().any(told) || !protocol.due(state).is_empty()
        }),
    ]
}

/// That the states are reached which the properties above are about.
pub fn sometimes() -> Vec<Property<Protocol>> {
    vec![
        Property::<Protocol>::sometimes("a takeover succeeds", |protocol, state| {
            state.processes[0].life == Life::Exited(Exit::HandedOver) && protocol.acts(&state.processes[1])
        }),
        Property::<Protocol>::sometimes("a second takeover succeeds after one that failed", |protocol, state| {
            let failed = state.takeovers[1].verdict == Some(Verdict::Failed);
            failed && state.processes[0].life == Life::Exited(Exit::HandedOver) && protocol.acts(&state.processes[2])
        }),
        Property::<Protocol>::sometimes("a successor is taken over from in turn", |protocol, state| {
            let [first, second, third] = &state.processes;
            let handed_over = Life::Exited(Exit::HandedOver);
            first.life == handed_over && second.life == handed_over && protocol.acts(third)
        }),
        Property::<Protocol>::sometimes(
            "the third process serves before the first has read Accept",
            |protocol, state| {
                let frozen = matches!(state.processes[0].step, Step::Frozen(_));
                frozen && state.takeovers[1].accept_sent && protocol.acts(&state.processes[2])
            },
        ),
        Property::<Protocol>::sometimes("Accept is found after the shutdown", |_, state| {
            let found = matches!(state.processes[0].step, Step::HandedOver { .. });
            found && state.takeovers[1].channel.is_shut()
        }),
        Property::<Protocol>::sometimes("Accept fails with EPIPE, and the predecessor serves on", |protocol, state| {
            state.processes[1].life == Life::Exited(Exit::TooLate) && protocol.acts(&state.processes[0])
        }),
        Property::<Protocol>::sometimes("a successor dies after Accept, and the predecessor retires", |_, state| {
            let killed = state.processes[1].life == Life::Killed && !state.processes[1].acted;
            killed && state.processes[0].life == Life::Exited(Exit::HandedOver)
        }),
        Property::<Protocol>::sometimes(
            "a predecessor thaws after the deadline, with Commit sent",
            |protocol, state| {
                let shut = state.takeovers[1].channel.is_shut() && state.processes[1].step == Step::Accept;
                shut && protocol.acts(&state.processes[0])
            },
        ),
        Property::<Protocol>::sometimes("the copy goes on although the successor is ready", |_, state| {
            let copies = matches!(state.processes[0].step, Step::Polling(Some(Handover { step, .. })) if step == CopyingStep::Sending);
            let ready = matches!(state.processes[1].step, Step::Receiving(Receiving { last_round: true, .. }));
            copies && ready && state.takeovers[1].verdict.is_none()
        }),
        Property::<Protocol>::sometimes("a server that was told to stop hands over to who calls then", |_, state| {
            let first = &state.processes[0];
            first.last_call && matches!(first.step, Step::HandedOver { .. })
        }),
        Property::<Protocol>::sometimes(
            "an outcome comes while nobody serves, and the successor tells",
            |protocol, state| {
                let served = state.processes[1].life == Life::Running && protocol.acts(&state.processes[1]);
                served && state.outcome == Outcome::Come && state.takeovers[1].verdict.is_none()
            },
        ),
        Property::<Protocol>::sometimes("a second caller is turned away while a takeover is under way", |_, state| {
            let copying = matches!(state.processes[0].step, Step::Polling(Some(_)));
            copying && state.processes[2].life == Life::Exited(Exit::Takeover)
        }),
    ]
}

fn acting(protocol: &Protocol, state: &State) -> impl Iterator<Item = usize> {
    let acts = |(pid, process)| protocol.acts(process).then_some(pid);
    state.processes.iter().enumerate().filter_map(acts)
}

impl Mutant {
    /// The property that it breaks.
    pub fn caught_by(self) -> &'static str {
        match self {
            Self::ThawWithoutShutdown
            | Self::DrainBeforeShutdown
            | Self::ThawWithoutDrain
            | Self::ShutdownOfOneDirection
            | Self::PollWhileFrozen
            | Self::ThawWithoutServing
            | Self::ReadWhileSifting
            | Self::PollBeforeAccept
            | Self::IgnoreEpipe => ONE_ACTS,
            Self::AcceptOnlyBeforeDeadline => SIDES_AGREE,
            Self::AcceptBeforeCommit => ONLY_THE_OWNER_ACTS,
            Self::LastChangesUnsent | Self::DigestUnverified | Self::DigestWithoutOrder => NOTHING_LOST,
            Self::NoDeadline => OWNER_SERVES,
            Self::RetireOnCommit => SOMEBODY_SERVES,
            Self::RetireAtEndOfFile | Self::CommitUnheard | Self::AcceptAnyTime => RETIRES_ON_ACCEPT,
            Self::DeafDuringCopy | Self::RoundUnanswered | Self::ReadyOnce => NO_DEADLOCK,
            Self::ReadyIsFinal | Self::AnotherRoundUncounted | Self::StopAbandons => FAILS_FOR_A_REASON,
            Self::LastWordAfterShutdown => TOLD_WHY,
            Self::LastCallForever => STOPS,
            Self::OutcomeUnsent => TOLD_ONCE,
            Self::OutcomeReadWhileSifting | Self::AdoptedForReadingAlone => OUTCOME_TOLD,
            Self::ServingMustArrive => EXIT_CODES,
            Self::SealBeforeAccept | Self::SealAtRetirement => SEALED_ONCE,
        }
    }
}
