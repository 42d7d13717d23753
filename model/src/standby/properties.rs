//! What must hold in every state of a server with a standby, and what must be possible in some.

use stateright::Property;

use super::mutants::Mutant;
use super::protocol::Standby;
use super::state::{
    Answer, At, CLIENTS, Client, FROM, GREETING, Intent, Licence, Life, Mark, PROCESSES, Process, Role, Server, State,
    Successor, TO, Verdict,
};
use crate::channel::Pid;

/// Never two processes who read from peers and write to them, be it that one of them is stopped.
pub const ONE_ACTS: &str = "at most one process acts on the peers";
/// Who acts is the owner: nobody is, once the server was told to stop.
pub const ONLY_THE_OWNER_ACTS: &str = "only the owner acts";
/// A client gets what is said to it once and in order, whoever says it.
pub const EACH_ONCE: &str = "what a client gets is each answer once, in order";
/// What was sealed may have been seen when it was written.
pub const SEALED_ONCE: &str = "no sequence number is sealed twice";
/// Between two of its turns, who serves has handled, or put aside, what was read, and has pending what was not written.
pub const KNOWS_ALL: &str = "who serves knows what was read and written";
/// What all share is what was handled.
pub const SHARED_ONCE: &str = "what all share has each message once";
/// Nobody is reset because of a doubt, or because of one death.
pub const RESET_FOR_A_REASON: &str = "only who was read from before two deaths is reset";
/// A message that has killed once is not handled while its next death would be the last.
pub const POISON_WAITS: &str = "what has killed waits for an armed standby";
/// And who has said it is reset then.
pub const POISON_ENDS: &str = "who has killed twice is not served on";
/// Whoever kills an active serves on then.
pub const KILLS_LICENSED: &str = "only a standby that has the licence kills an active that hangs";
/// After a death that a standby could survive, somebody serves in the end.
pub const SERVES_ON: &str = "when an active has died, its armed standby serves in the end";
/// And has handled and answered all that was said.
pub const ANSWERED: &str = "what a client says is answered in the end";
/// As long as somebody can be started, a server that runs is followed, and its standby armed.
pub const ARMED: &str = "the next standby is armed in the end";
/// Nobody goes on telling a process what happens that is dead or stopped.
pub const FOLLOWED_BY_WHO_RUNS: &str = "who is followed in the end is followed by a process that runs";
/// A death is the end of all only where no standby is armed: neither before a takeover nor up to its end, nor behind one that has failed
/// where it might have come through.
pub const SURVIVED: &str = "a death is survived if a standby is armed, or was when somebody began to take over";
/// Where the licence has been taken back, nobody relies on it.
pub const LICENSED: &str = "whoever a server takes for its standby may serve on";
/// Nobody follows a process that does not know of it.
pub const LEAVES: &str = "who is not followed any more leaves in the end";
/// While nobody is stopped, and no channel breaks, no wait is ended by nothing but its deadline.
pub const NO_DEADLOCK: &str = "nobody waits for what never comes";

/// What must hold in every state.
pub fn always() -> Vec<Property<Standby>> {
    [in_every_state(), in_the_end()].concat()
}

fn in_every_state() -> Vec<Property<Standby>> {
    vec![
        Property::<Standby>::always(ONE_ACTS, |standby, state| acting(standby, state).count() <= 1),
        Property::<Standby>::always(ONLY_THE_OWNER_ACTS, |standby, state| {
            acting(standby, state).all(|pid| state.owner == Some(pid) && !has_stopped(state))
        }),
        Property::<Standby>::always(EACH_ONCE, |_, state| {
            state.clients.iter().all(|client| (0..=GREETING).all(|about| comes_in_order(client, about)))
        }),
        Property::<Standby>::always(SEALED_ONCE, |_, state| state.clients.iter().all(is_sealed_once)),
        Property::<Standby>::always(KNOWS_ALL, |_, state| at_rest(state).all(|server| knows_all(state, server))),
        Property::<Standby>::always(SHARED_ONCE, |_, state| {
            at_rest(state)
                .all(|server| server.book.shared == server.book.peers.iter().map(|peer| peer.handled).sum::<u8>())
        }),
        Property::<Standby>::always(RESET_FOR_A_REASON, |_, state| state.clients.iter().all(is_reset_for_a_reason)),
        Property::<Standby>::always(POISON_WAITS, |_, state| !state.poison_kills_unarmed),
        Property::<Standby>::always(POISON_ENDS, |_, state| {
            let ended = state.clients[FROM].reset.is_some();
            state.poison_kills < 2 || state.owner.is_none() || ended
        }),
        Property::<Standby>::always(KILLS_LICENSED, |_, state| !state.fenced_unlicensed),
        Property::<Standby>::always(SURVIVED, |_, state| !state.lost_though_armed),
        Property::<Standby>::always(LICENSED, |_, state| {
            let polls = |pid: Pid| state.processes[pid].server().is_some_and(|server| server.at == At::Polls);
            (0..PROCESSES).all(|pid| !polls(pid) || state.licence_of(pid).is_none_or(Licence::is_the_standbys))
        }),
    ]
}

fn in_the_end() -> Vec<Property<Standby>> {
    vec![
        Property::<Standby>::always(SERVES_ON, |standby, state| {
            let served = state.owner.is_some() || state.over || state.lost;
            served || any(state, Life::Stopped) || !standby.due(state).is_empty()
        }),
        Property::<Standby>::always(ANSWERED, |standby, state| {
            is_answered(state) || owner_stands_still(state) || !standby.due(state).is_empty()
        }),
        Property::<Standby>::always(ARMED, |standby, state| {
            let unarmed = state.owner.is_some_and(|pid| !state.is_sheltered(pid)) && state.unstarted().is_some();
            !unarmed || any(state, Life::Stopped) || !standby.due(state).is_empty()
        }),
        Property::<Standby>::always(FOLLOWED_BY_WHO_RUNS, |standby, state| {
            let nobody = state.owner.is_some_and(|pid| follows_nobody(state, pid));
            !nobody || owner_stands_still(state) || !standby.due(state).is_empty()
        }),
        Property::<Standby>::always(LEAVES, |standby, state| {
            let left_behind = |pid: Pid| state.processes[pid].follower().is_some() && !state.link(pid).followed;
            let waits = (0..PROCESSES).any(left_behind) && !any(state, Life::Stopped);
            !waits || !standby.due(state).is_empty()
        }),
        Property::<Standby>::always(NO_DEADLOCK, |standby, state| {
            let due = standby.due(state);
            let only_time = !due.is_empty() && due.iter().all(|action| action.is_deadline());
            let excused = any(state, Life::Stopped) || state.broke || waits_for_a_standby(state);
            !only_time || excused
        }),
    ]
}

/// That the states are reached which the properties above are about.
pub fn sometimes() -> Vec<Property<Standby>> {
    [of_deaths(), of_poison(), of_ownership(), of_takeovers()].concat()
}

fn of_deaths() -> Vec<Property<Standby>> {
    vec![
        Property::<Standby>::sometimes("a death in the middle of a read that has brought something", |_, state| {
            let brought = |(peer, before): (usize, u8)| state.clients[peer].read > before;
            heir_reads(state).any(brought)
        }),
        Property::<Standby>::sometimes("a death in the middle of a read that has brought nothing", |_, state| {
            let nothing = |(peer, before): (usize, u8)| state.clients[peer].read == before;
            heir_reads(state).any(nothing)
        }),
        Property::<Standby>::sometimes("a death between the commit and what it lets out", |_, state| {
            heirs(state).any(|pid| written(state, pid, |written, pending| written == 0 && pending == 2))
        }),
        Property::<Standby>::sometimes("a death when a part is written", |_, state| {
            heirs(state).any(|pid| written(state, pid, |written, pending| written == 1 && pending == 2))
        }),
        Property::<Standby>::sometimes("a death between the two stores of a commit", |_, state| {
            heirs(state).any(|pid| state.link(pid).intake.iter().any(|read| read.obsolete))
        }),
        Property::<Standby>::sometimes("a death with two reads in the intake", |_, state| {
            heirs(state).any(|pid| state.link(pid).intake.iter().filter(|read| !read.obsolete).count() == 2)
        }),
        Property::<Standby>::sometimes(
            "a death when bytes are written to one and not taken off the other",
            |_, state| {
                let on_its_way = |pid: Pid| {
                    let conveyed = state.link(pid).conveyed;
                    conveyed.is_some_and(|before| {
                        state.clients[TO].written() > before.written && state.clients[FROM].read == before.read
                    })
                };
                heirs(state).any(on_its_way)
            },
        ),
        Property::<Standby>::sometimes("two deaths, and all is answered", |standby, state| {
            let all_said = state.clients.iter().all(|client| client.said > 0 && client.reset.is_none());
            let survivor = state.owner == Some(2) && !state.takeover_asked && !state.joined;
            survivor && all_said && is_answered(state) && standby.due(state).is_empty()
        }),
    ]
}

fn of_poison() -> Vec<Property<Standby>> {
    vec![
        Property::<Standby>::sometimes("what has killed twice is reset, and the other one served", |_, state| {
            let [poisonous, other] = &state.clients;
            let told = other.received.len() == 1 && state.owner == Some(2);
            state.poison_kills == 2 && poisonous.reset == Some(Verdict::Poison) && told
        }),
        Property::<Standby>::sometimes("what was put aside is handled, and harmless", |_, state| {
            let aside = state.owner == Some(1) && state.is_sheltered(1) && state.clients[FROM].unhandled_deaths == 1;
            aside && state.clients[FROM].received.iter().any(|answer| answer.by == 1)
        }),
        Property::<Standby>::sometimes("another is answered while something is put aside", |_, state| {
            let aside = |server: &Server| server.book.peers[FROM].aside > 0;
            at_rest(state).any(aside) && !state.clients[TO].received.is_empty()
        }),
    ]
}

fn of_ownership() -> Vec<Property<Standby>> {
    vec![
        Property::<Standby>::sometimes(
            "the licence is taken back, and the standby does not know it yet",
            |_, state| {
                let believes = |pid: Pid| {
                    let marked = state.processes[pid].follower().is_some_and(|follower| follower.marked);
                    marked && is_taken_back(state, pid) && !state.link(pid).refused
                };
                (0..PROCESSES).any(believes)
            },
        ),
        Property::<Standby>::sometimes("a standby without its licence outlives the active", |_, state| {
            let dead = |pid: Pid| {
                let active = state.processes[pid].follower().map(|follower| follower.active);
                active.is_some_and(|active| state.processes[active].life == Life::Dead && is_taken_back(state, pid))
            };
            (0..PROCESSES).any(dead) && state.owner == Some(2)
        }),
        Property::<Standby>::sometimes(
            "one follows, and one that was stopped still believes that it does",
            |_, state| {
                let follows = (0..PROCESSES).filter(|&pid| state.processes[pid].follower().is_some()).count();
                follows == 2 && any(state, Life::Stopped) && state.owner.is_some_and(|pid| state.is_sheltered(pid))
            },
        ),
        Property::<Standby>::sometimes(
            "a channel has broken, and the active dies before the standby has left",
            |_, state| heirs(state).any(|_| state.broke),
        ),
        Property::<Standby>::sometimes(
            "an active goes on before it is killed, and finds that it is to be",
            |_, state| yielding(state).any(|pid| state.standby_of(pid).is_some_and(|pid| is_to_kill(state, pid))),
        ),
        Property::<Standby>::sometimes("it finds that, and who was to kill it is gone", |_, state| {
            state.heir_gone && yielding(state).next().is_some()
        }),
        Property::<Standby>::sometimes("a takeover, and the standby is gone", |_, state| {
            let successor = state.owner == Some(2) && state.takeover_asked;
            successor && state.processes[1].role == Role::Gone && state.processes[0].role == Role::Gone
        }),
        Property::<Standby>::sometimes("the standby is killed, and the next one armed", |_, state| {
            state.owner == Some(0) && state.processes[1].role == Role::Gone && state.is_sheltered(0)
        }),
        Property::<Standby>::sometimes("an active dies before it has heard that its standby is armed", |_, state| {
            heirs(state).any(|pid| state.link(pid).mark == Mark::Applied)
        }),
    ]
}

fn of_takeovers() -> Vec<Property<Standby>> {
    vec![
        Property::<Standby>::sometimes("a death in a takeover, and the standby goes on", |_, state| {
            heirs(state).any(|_| state.processes.iter().any(|process| process.successor().is_some()))
        }),
        Property::<Standby>::sometimes("a freeze when something is handled and not committed", |_, state| {
            let committed = |pid: Pid| state.link_of(pid).and_then(|link| link.committed.as_ref());
            let frozen = |pid: Pid| state.processes[pid].server().filter(|server| server.at == At::Freezes);
            let mut both = (0..PROCESSES).filter_map(|pid| committed(pid).zip(frozen(pid)));
            both.any(|(committed, server)| committed.shared > 0 && committed.shared < server.book.shared)
        }),
        Property::<Standby>::sometimes("a takeover fails, and the standby has stayed armed", |_, state| {
            let failed = state.takeover_asked && state.processes[2].role == Role::Gone;
            failed && state.owner == Some(0) && state.is_sheltered(0) && at_rest(state).count() == 1
        }),
        Property::<Standby>::sometimes("it fails, and the licence is taken back", |_, state| {
            let left = state.processes[2].successor().is_some_and(|successor| successor.ended);
            left && state.processes[0].server().is_some_and(|server| server.at == At::TakesBack { stops: false })
        }),
        Property::<Standby>::sometimes(
            "Accept comes between the end of the licence and that of the channel",
            |_, state| predecessors(state).any(|server| server.at == At::Recalls { accepted: true }),
        ),
        Property::<Standby>::sometimes("Accept is found after the end of the channel", |_, state| {
            predecessors(state).any(|server| server.at == At::Looks { accepted: true })
        }),
        Property::<Standby>::sometimes("a predecessor dies before Accept, and its licence is passed on", |_, state| {
            (0..PROCESSES).any(|pid| state.may_inherit(pid) && has_passed_on(state, pid)) && armed_of(state, 0)
        }),
        Property::<Standby>::sometimes("a successor with Commit comes later than the standby", |_, state| {
            let has_commit = |successor: &Successor| successor.committed.is_some() && !successor.passed_on;
            let comes = state.processes.iter().filter_map(Process::successor).any(has_commit);
            comes && heirs(state).any(|pid| state.licences[pid] == Some(Licence::Claimed))
        }),
        Property::<Standby>::sometimes(
            "one that is to be killed is in its freeze, and somebody has Commit",
            |_, state| {
                let waits = |server: &Server| matches!(server.at, At::Waits { .. });
                predecessors(state).any(waits) && (0..PROCESSES).any(|pid| is_to_kill(state, pid))
            },
        ),
        Property::<Standby>::sometimes("its predecessor takes it back from a successor", |_, state| {
            let was_passed_on = |pid: Pid| {
                let taken_back = |standby: Option<Pid>| standby.is_some_and(|standby| is_taken_back(state, standby));
                has_passed_on(state, pid)
                    && state.processes[pid].successor().is_some_and(|successor| taken_back(successor.licence_of))
            };
            (0..PROCESSES).any(was_passed_on)
        }),
        Property::<Standby>::sometimes("the standby outlives the licence and the predecessor", |_, state| {
            state.owner == Some(2) && state.licences[1] == Some(Licence::PassedOn) && armed_of(state, 0)
        }),
        Property::<Standby>::sometimes("all is lost, since the takeover had just failed", |_, state| {
            let nothing_else = state.stops == 0 && !state.broke && !state.heir_gone;
            state.lost && nothing_else && armed_of(state, 0) && is_taken_back(state, 1)
        }),
    ]
}

/// Whether a standby has what its active has taken back.
fn is_taken_back(state: &State, standby: Pid) -> bool {
    state.licences[standby] == Some(Licence::TakenBack)
}

fn has_passed_on(state: &State, pid: Pid) -> bool {
    state.processes[pid].successor().is_some_and(|successor| successor.passed_on)
}

fn is_to_kill(state: &State, pid: Pid) -> bool {
    state.processes[pid].follower().is_some_and(|follower| follower.intent == Intent::Kill)
}

/// Whether process 1 is armed, and has followed this one, which is dead.
fn armed_of(state: &State, active: Pid) -> bool {
    let follower = state.processes[1].follower();
    follower.is_some_and(|follower| follower.marked && follower.active == active)
        && state.processes[active].life == Life::Dead
}

/// Those who have found that they are to end.
fn yielding(state: &State) -> impl Iterator<Item = Pid> {
    (0..PROCESSES).filter(|&pid| state.processes[pid].has_to_end())
}

/// Whoever is in its freeze.
fn predecessors(state: &State) -> impl Iterator<Item = &Server> {
    state.processes.iter().filter_map(Process::server).filter(|server| server.at.is_frozen())
}

fn any(state: &State, life: Life) -> bool {
    state.processes.iter().any(|process| process.life == life)
}

fn acting(standby: &Standby, state: &State) -> impl Iterator<Item = Pid> {
    (0..PROCESSES).filter(move |&pid| standby.acts(state, pid))
}

/// Whether the server was told to stop, and has exited.
fn has_stopped(state: &State) -> bool {
    let stops = |server: &Server| matches!(server.at, At::Stops | At::TakesBack { stops: true });
    state.over && !state.processes.iter().any(|process| process.server().is_some_and(stops))
}

/// The owner, between two turns.
fn at_rest(state: &State) -> impl Iterator<Item = &Server> {
    let servers = state.processes.iter().filter_map(|process| process.server());
    servers.filter(|server| server.at == At::Polls && !state.over && !state.lost)
}

/// What a client is told about this one, or by the service itself.
fn comes_in_order(client: &Client, about: u8) -> bool {
    let numbers = client.received.iter().filter(|answer| answer.about == about).map(|answer| answer.number);
    numbers.zip(1..).all(|(number, expected)| number == expected)
}

fn is_sealed_once(client: &Client) -> bool {
    let differ = |one: &Answer, other: &Answer| one.sequence == other.sequence && one != other;
    client.received.iter().all(|one| !client.received.iter().any(|other| differ(one, other)))
}

fn knows_all(state: &State, server: &Server) -> bool {
    (0..CLIENTS).filter(|&peer| state.clients[peer].reset.is_none()).all(|peer| {
        let (client, known) = (&state.clients[peer], &server.book.peers[peer]);
        if !state.joined {
            return client.read == known.handled + known.aside && client.written() == known.start;
        }
        let conveyed = if peer == TO { state.clients[FROM].read } else { 0 };
        client.written() == known.start + conveyed
    })
}

fn is_reset_for_a_reason(client: &Client) -> bool {
    match client.reset {
        None => true,
        Some(verdict) => verdict == Verdict::Poison && client.unhandled_deaths >= 2,
    }
}

/// Whether an owner that runs has answered all that was said by those who were not reset.
fn is_answered(state: &State) -> bool {
    if state.owner.is_none() || state.over || state.lost {
        return true;
    }
    let [from, to] = &state.clients;
    let told = |client: &Client, about: usize| {
        client.received.iter().filter(|answer| usize::from(answer.about) == about).count()
    };
    if state.joined {
        return to.reset.is_some() || (told(to, FROM) == usize::from(from.said) && told(to, CLIENTS) == 1);
    }
    let answered = |(peer, client): (usize, &Client)| told(client, peer) == usize::from(client.said);
    let served = state.clients.iter().enumerate().filter(|(_, client)| client.reset.is_none());
    let all_answered = served.into_iter().all(answered);
    // Who is reset may have said something that its partner was told of, and the other way about.
    let all_told = from.reset.is_some() || to.reset.is_some() || told(from, TO) == usize::from(to.said);
    all_answered && all_told
}

fn owner_stands_still(state: &State) -> bool {
    any(state, Life::Stopped) && state.owner.is_none_or(|pid| !state.processes[pid].runs())
}

/// Whether the owner writes a journal that nobody reads.
fn follows_nobody(state: &State, pid: Pid) -> bool {
    state.standby_of(pid).is_some_and(|standby| !state.processes[standby].runs())
}

/// What was put aside waits, and nobody is left who could be armed.
fn waits_for_a_standby(state: &State) -> bool {
    let aside = |server: &Server| server.book.peers.iter().any(|peer| peer.aside > 0);
    state.owner.and_then(|pid| state.processes[pid].server()).is_some_and(aside)
}

/// Those who serve on next.
fn heirs(state: &State) -> impl Iterator<Item = Pid> {
    (0..PROCESSES).filter(|&pid| {
        let follower = state.processes[pid].follower();
        let dead = follower.filter(|follower| state.processes[follower.active].life == Life::Dead);
        dead.is_some_and(|follower| state.heir_of(follower.active) == Some(pid)) && state.owner.is_none()
    })
}

/// The reads that were under way, with the kernel's count before.
fn heir_reads(state: &State) -> impl Iterator<Item = (usize, u8)> {
    let reads = heirs(state).flat_map(|pid| state.link(pid).intake.clone());
    reads.filter(|read| read.came.is_none()).map(|read| (read.peer, read.before))
}

/// Whether this holds of what was written of what was pending for one of the peers.
fn written(state: &State, heir: Pid, holds: impl Fn(u8, usize) -> bool) -> bool {
    let committed = state.link(heir).committed.clone().unwrap_or_default();
    let pending = committed.peers.iter().zip(&state.clients);
    pending
        .into_iter()
        .any(|(peer, client)| holds(client.written().saturating_sub(peer.offset + peer.start), peer.pending.len()))
}

impl Mutant {
    /// The property that it breaks.
    pub fn caught_by(self) -> &'static str {
        match self {
            Self::WritesBeforeCommit => SEALED_ONCE,
            Self::BlindForWrites | Self::BlindForConveys => EACH_ONCE,
            Self::BlindForReads | Self::BelievesReads | Self::TakesOffFirst | Self::IntakeKept => KNOWS_ALL,
            Self::CommitsInTwo | Self::AsideForEver => ANSWERED,
            Self::SharedAtOnce => SHARED_ONCE,
            Self::LicenceKept | Self::ServesOnAtEnd | Self::ServesOnClaimed => ONE_ACTS,
            Self::HandsOverFollowed | Self::NeverPassesOn | Self::PassesOnByStore | Self::OwnsAtEnd => ONE_ACTS,
            Self::ShutsDownFirst | Self::ThawsLicensed | Self::ThawsBlind => ONE_ACTS,
            Self::ClaimsByStore | Self::ServesPassedOn => ONE_ACTS,
            Self::TakesBackAtOnce | Self::PassesOnAfterAccept => SURVIVED,
            Self::TakesBackClaimed | Self::ClaimKept | Self::LeavesAtEnd => SURVIVED,
            Self::UnlicensedKept => LICENSED,
            Self::ToldOnce | Self::SendsTold => KNOWS_ALL,
            Self::TakenUpAtTakeover => POISON_WAITS,
            Self::StopsFollowed => ONLY_THE_OWNER_ACTS,
            Self::WaitsForLastWord => SERVES_ON,
            Self::NoPatience => LEAVES,
            Self::LastWordUnsaid => NO_DEADLOCK,
            Self::KillsBeforeClaim => KILLS_LICENSED,
            Self::StartsNoOther => ARMED,
            Self::DeafToEnd | Self::WaitsForSilent => FOLLOWED_BY_WHO_RUNS,
            Self::PoisonTakenUp | Self::TakenUpUnarmed => POISON_WAITS,
            Self::AsideUntold => POISON_ENDS,
            Self::ConveysBehindUntold | Self::ResetsAtOnce => RESET_FOR_A_REASON,
        }
    }
}
