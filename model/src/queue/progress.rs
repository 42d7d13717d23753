//! Why nothing goes on for ever: a number that every step of a process raises, as in [`mod@crate::progress`].

use super::state::{Connections, Place, Process, Server, State};

/// How far everything has come.
pub fn progress(state: &State) -> i32 {
    let State { supervisor, socket, processes, .. } = state;
    let places: i32 = supervisor.places.iter().map(|place| place_of(*place)).sum();
    let reaped = count(&supervisor.reaped) - count(&supervisor.former);
    let processes: i32 = processes.iter().map(of_process).sum();
    let queued = socket.to_worker.len() + socket.to_supervisor.len();
    let ends = i32::from(!socket.open) + i32::from(supervisor.buried);
    let unseen = i32::from(supervisor.unseen);
    places - unseen + 100 * reaped + processes - 10 * queued as i32 + 1000 * ends + 1000 * supervisor.process as i32
}

fn place_of(place: Place) -> i32 {
    match place {
        Place::UnderWay | Place::Waiting => 0,
        Place::Worker | Place::Others => 20,
    }
}

fn of_process(process: &Process) -> i32 {
    match process {
        Process::Unstarted => 0,
        Process::Follows(follower) => 100 * i32::from(follower.armed) + 20 * some(follower.peers),
        Process::Serves(server) => 400 + of_server(server),
        Process::Gone => 2000,
    }
}

fn of_server(server: &Server) -> i32 {
    let to_say = some(server.to_tell) + i32::from(server.is_untold);
    let has = 40 * some(server.peers) + some(server.heard) + 2 * i32::from(some(server.known) > 0);
    // Whoever is lost takes along what was said of it.
    let alone = 100 * i32::from(server.standby.is_none());
    has - 60 * to_say + alone + 40 * i32::from(server.told_armed) + 100 * i32::from(server.gone)
}

fn some(connections: Connections) -> i32 {
    count(&connections)
}

fn count(flags: &[bool]) -> i32 {
    flags.iter().filter(|flag| **flag).count() as i32
}
