//! What tests of standbys stand on: processes that follow, and what is known of them.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reactord::{StandbyStatus, Status};

use crate::harness::{PATIENCE, Peer, Place, Server, daemon};

/// Who follows the server at this path, if somebody does.
pub(crate) fn standby_of(place: &Place) -> Option<StandbyStatus> {
    Status::of(&place.path()).ok()?.standby
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Starts a process that follows whoever serves.
pub(crate) fn spawn_standby(place: &Place, arguments: &str) -> Server {
    let mut command = daemon();
    command.arg("--follow").arg(place.path()).args(arguments.split_whitespace());
    Server::spawn(&place.path(), &mut command)
}

/// The same, which could serve on when this returns.
#[track_caller]
pub(crate) fn follow(place: &Place, arguments: &str) -> Server {
    let standby = spawn_standby(place, arguments);
    let deadline = Instant::now() + PATIENCE;
    let is_armed = |seen: StandbyStatus| seen.pid == standby.pid() && seen.armed_since_unix_ms.is_some();
    while !standby_of(place).is_some_and(is_armed) {
        let has_failed = Instant::now() > deadline || !standby.is_running();
        assert!(!has_failed, "it is armed: {:?}\n{}", Status::of(&place.path()), standby.log());
        std::thread::yield_now();
    }
    standby
}

/// Waits until the standby knows how far all of these have come.
#[track_caller]
pub(crate) fn rest(place: &Place, peers: usize) {
    wait_until("the standby knows all peers", || {
        standby_of(place).is_some_and(|seen| seen.peers == peers as u64 && seen.in_doubt == 0)
    });
}

/// What a survivor says of the death of the process that it has followed.
#[track_caller]
pub(crate) fn survived(standby: &Server, active: u32) -> (usize, usize) {
    let named = format!("(pid {active}, ");
    let line = standby.wait_for_line(|line| line.contains(&named) && line.contains("nobody served for "));
    assert!(line.contains("WARN"), "{line}");
    (figure(&line, " peers are served on"), figure(&line, " are reset"))
}

/// The figure before these words.
#[track_caller]
fn figure(line: &str, words: &str) -> usize {
    let (before, _) = line.split_once(words).expect("the line has the words");
    before.rsplit(' ').next().and_then(|figure| figure.parse().ok()).expect("a figure is a number")
}

/// Stops a standby, and has something done again and again until it is told nothing more of it: who does not answer is told nothing
/// after the next mark.
#[track_caller]
pub(crate) fn while_deaf(standby: &Server, mut act: impl FnMut()) {
    assert!(standby.suspend());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        act();
    }
}

/// A client that says one half of a message, which the active reads and its standby is not told of, and the other half to the standby
/// when the active is dead.
pub(crate) struct TornMessage {
    _place: Place,
    active: Server,
    standby: Server,
    peer: Peer,
}

impl TornMessage {
    /// The first half is read, and the active is killed. The standby has this in its environment.
    #[track_caller]
    pub(crate) fn begin(environment: &[(&str, String)]) -> Self {
        let place = Place::new();
        let active = Server::serve(&place.path(), "--service line");
        let peer = Peer::connect(active.address());
        let mut command = daemon();
        command.arg("--follow").arg(place.path()).envs(environment.iter().map(|(name, value)| (name, value)));
        let standby = Server::spawn(&place.path(), &mut command);
        rest(&place, 1);
        while_deaf(&standby, || {
            peer.send(b"whole\n");
            peer.expect(b"whole\n");
        });
        peer.send(b"he");
        wait_until("the first half is read", || peer.server_end().is_some_and(|end| end.rx_queue == 0));
        // Whoever answers has done all that came before.
        Status::of(&place.path()).expect("it serves");
        active.kill();
        standby.resume();
        Self { _place: place, active, standby, peer }
    }

    /// What the standby says.
    #[track_caller]
    pub(crate) fn survived(&self) -> (usize, usize) {
        survived(&self.standby, self.active.pid())
    }

    /// What comes in answer to the whole message; nothing if the connection is lost.
    #[track_caller]
    pub(crate) fn end(self) -> Option<Vec<u8>> {
        self.peer.try_send(b"llo\n").ok()?;
        self.peer.end_sending();
        self.peer.try_receive(4).ok()
    }
}

/// The processes that servers have started as their standbys. Whoever serves in the end is stopped with the test, before these servers:
/// all of them hold the standard error of one.
pub(crate) struct Kept<'p> {
    place: &'p Place,
    known: Vec<u32>,
    /// Those that were started here, of whom the last one serves, or has.
    pub(crate) servers: Vec<Server>,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(status) = Status::of(&self.place.path()) {
            // It may have ended by itself just now.
            let _ = kill(Pid::from_raw(status.pid.cast_signed()), Signal::SIGTERM);
            if Instant::now() > deadline {
                return;
            }
        }
    }
}

impl<'p> Kept<'p> {
    /// Those of whoever serves at this place, the first of whom is this one.
    pub(crate) fn of(server: Server, place: &'p Place) -> Self {
        Self { place, known: Vec::new(), servers: vec![server] }
    }

    /// The next one of whoever serves, when it could serve on.
    #[track_caller]
    pub(crate) fn next(&mut self) -> u32 {
        let armed = || standby_of(self.place).filter(|standby| standby.armed_since_unix_ms.is_some());
        wait_until("there is another one", || {
            let new = armed().map(|standby| standby.pid).filter(|pid| !self.known.contains(pid));
            self.known.extend(new);
            new.is_some()
        });
        *self.known.last().expect("there is one")
    }
}
