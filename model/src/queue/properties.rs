//! What must hold in every state of the queue, and what must be possible in some.

use stateright::Property;

use super::mutants::Mutant;
use super::protocol::Queue;
use super::state::{CONNECTIONS, Place, Process, State, ToSupervisor};

/// Never two who serve one connection.
pub const ONE_SERVES: &str = "at most one process serves a connection";
/// What the supervisor gives to somebody next, nobody serves.
pub const WAITS_UNSERVED: &str = "nobody serves a connection that waits";
/// Whom the worker has taken it has, or its standby has when it is dead.
pub const NOT_LOST: &str = "a death that a standby could survive costs nobody the connection";
/// The worker says of no connection what it must not say.
pub const NO_BREACH: &str = "the worker speaks of no connection that is not its own";
/// Who serves on as a worker is known to.
pub const NOT_BURIED: &str = "a worker that serves on is not taken for dead";
/// When all have done what they can, nobody waits.
pub const SERVED: &str = "each connection is served in the end";
/// Nor does the supervisor.
pub const SETTLED: &str = "the supervisor knows in the end who serves on";

/// What must hold in every state.
pub fn always() -> Vec<Property<Queue>> {
    vec![
        Property::<Queue>::always(ONE_SERVES, |_, state| {
            let others = |connection: usize| usize::from(state.supervisor.places[connection] == Place::Others);
            (0..CONNECTIONS).all(|connection| serving(state, connection) + others(connection) <= 1)
        }),
        Property::<Queue>::always(WAITS_UNSERVED, |_, state| {
            let waits = |connection: usize| state.supervisor.places[connection] == Place::Waiting;
            (0..CONNECTIONS).all(|connection| !waits(connection) || serving(state, connection) == 0)
        }),
        Property::<Queue>::always(NOT_LOST, |_, state| (0..CONNECTIONS).all(|connection| !is_lost(state, connection))),
        Property::<Queue>::always(NO_BREACH, |_, state| !state.breach),
        Property::<Queue>::always(NOT_BURIED, |_, state| {
            let mut known =
                state.servers().filter(|(pid, _)| *pid == state.supervisor.process || state.announced[*pid]);
            !state.supervisor.buried || state.ended || known.next().is_none()
        }),
        Property::<Queue>::always(SERVED, |queue, state| {
            let waits = |place: &Place| matches!(place, Place::Waiting | Place::UnderWay);
            !state.supervisor.places.iter().any(waits) || !queue.due(state).is_empty()
        }),
        Property::<Queue>::always(SETTLED, |queue, state| !state.supervisor.bereft || !queue.due(state).is_empty()),
    ]
}

/// That the states are reached which the properties above are about.
pub fn sometimes() -> Vec<Property<Queue>> {
    vec![
        Property::<Queue>::sometimes("all connections live on through two deaths", |_, state| {
            let server = state.processes[2].server();
            server.is_some_and(|server| server.peers == [true; CONNECTIONS] && !server.is_untold)
        }),
        Property::<Queue>::sometimes(
            "one that was taken is inherited, and one that was not goes to others",
            |_, state| {
                let server = state.processes[1].server();
                let has = server.is_some_and(|server| server.peers == [true, false, false] && !server.is_untold);
                has && state.supervisor.places == [Place::Worker, Place::Others, Place::Others]
                    && state.supervisor.process == 1
            },
        ),
        Property::<Queue>::sometimes("a survivor takes what was sent to it", |queue, state| {
            let server = state.processes[1].server();
            server.is_some_and(|server| server.peers == [true; CONNECTIONS]) && queue.due(state).is_empty()
        }),
        Property::<Queue>::sometimes("a survivor speaks before the supervisor knows of the death", |_, state| {
            state.socket.to_supervisor.contains(&ToSupervisor::Survived) && !state.supervisor.reaped[0]
        }),
        Property::<Queue>::sometimes("both die before the supervisor hears of the first", |queue, state| {
            let dead = state.is_gone(0) && state.is_gone(1);
            dead && state.processes[2] == Process::Unstarted && state.supervisor.buried && queue.due(state).is_empty()
        }),
        Property::<Queue>::sometimes("a connection is sent to a worker that is dead", |_, state| {
            let dead = state.is_gone(0) && !state.supervisor.reaped[0];
            dead && state.supervisor.places.contains(&Place::UnderWay) && state.processes[1].server().is_some()
        }),
        Property::<Queue>::sometimes("the worker serves on alone when its standby has died", |queue, state| {
            let alone = state.processes[0].server().is_some_and(|server| server.peers == [true; CONNECTIONS]);
            alone && state.is_gone(1) && state.supervisor.standby.is_none() && queue.due(state).is_empty()
        }),
    ]
}

/// How many processes of the worker serve it.
fn serving(state: &State, connection: usize) -> usize {
    state.servers().filter(|(_, server)| server.peers[connection]).count()
}

/// Whether the supervisor has let go of it, and no process of the worker has it, or will have it when it finds that its active is dead.
fn is_lost(state: &State, connection: usize) -> bool {
    let has = |process: &Process| match process {
        Process::Serves(server) => server.peers[connection] || server.to_tell[connection] || server.told[connection],
        Process::Follows(follower) => {
            state.is_heir(follower) && (follower.peers[connection] || follower.offered[connection])
        }
        Process::Unstarted | Process::Gone => false,
    };
    let is_taken = state.supervisor.places[connection] == Place::Worker;
    is_taken && !state.excused[connection] && !state.processes.iter().any(has)
}

impl Mutant {
    /// The property that it breaks.
    pub fn caught_by(self) -> &'static str {
        match self {
            Self::LicenceUnasked
            | Self::EpipeIgnored
            | Self::LetsInUntold
            | Self::ClosesUnheard
            | Self::HasUnheardAtTheEnd
            | Self::ResumedToAnybody => ONE_SERVES,
            Self::HasUnsaid | Self::ReturnsAtDeath => WAITS_UNSERVED,
            Self::TakesUntold
            | Self::KnownKept
            | Self::StandbyUnsaid
            | Self::OfferedForgotten
            | Self::ExitBeforeWords => NOT_LOST,
            Self::HearsTheFormer => NO_BREACH,
            Self::FormerUnknown => NOT_BURIED,
            Self::UnderWayKept | Self::ResumedUnsaid => SERVED,
            Self::EndUnheard => SETTLED,
        }
    }
}
