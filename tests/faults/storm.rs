//! Storms: one process after the other dies under load, at a moment or at a fault point that a seed decides, and its standby serves on;
//! or the standby dies; or somebody takes over, and one of the two dies meanwhile.
//!
//! No connection that has been answered is lost by that, unless who owns it dies before a standby is armed: a successor that has just taken
//! over, or a survivor on whom one has called, and who dies in that takeover. That loss is expected then, and it is counted. So is that of a
//! client that had only just come, and had no answer.

use std::path::PathBuf;

use fastrand::Rng;
use reactord::Status;

use crate::harness::{Exit, Place, Server, caller_sees_pid, figure};
use crate::load::{Load, Mix};
use crate::plan::{Fault, Planned, Point, PredecessorStep as P, StandbyStep as S, SuccessorStep, VARIABLE};
use crate::standby::{after, serving};
use crate::standbys::standby_of;
use crate::tally::{LOADS, Tally};

/// How many things happen in one schedule.
const EVENTS: usize = 8;

/// How many standbys may leave before one is armed.
const OTHERS_MAX: usize = 10;

/// How many clients there are, unless it is said.
const CLIENTS: usize = 60;

/// In one schedule out of so many there are so many.
const MANY_EVERY: u64 = 16;
const MANY: usize = 600;

/// How many have full outputs, at most, each of which has megabytes under way; and how many publish, since all others hear it.
const SLOW_MAX: usize = 6;
const PUBLISHERS: usize = 3;

/// There are always some who come and go.
const PASSING_MIN: usize = 2;

/// The steps at which an active dies, and by which of their passes at the latest.
const POINTS: [(S, u32); 15] = [
    (S::Commit, 150),
    (S::Committing, 100),
    (S::Committed, 150),
    (S::LetOut, 100),
    (S::Mark, 6),
    (S::Marked, 6),
    (S::Read, 300),
    (S::HaveRead, 300),
    (S::Handle, 300),
    (S::HaveWritten, 300),
    (S::Convey, 40),
    (S::TakeOff, 40),
    (S::HaveConveyed, 40),
    (S::Came, 10),
    (S::Retire, 10),
];

/// The same in a takeover, of the steps of which it has passed so many when it was followed.
const POINTS_OF_TAKEOVER: [(P, u32); 7] = [
    (P::Hello, 2),
    (P::Welcome, 2),
    (P::Freeze, 1),
    (P::Commit, 1),
    (P::Committed, 1),
    (P::Retire, 1),
    (P::Disband, 1),
];

/// The same of a successor, before it owns anything.
const POINTS_OF_SUCCESSOR: [SuccessorStep; 6] = [
    SuccessorStep::Hello,
    SuccessorStep::Welcome,
    SuccessorStep::Adopt,
    SuccessorStep::Copied,
    SuccessorStep::Ready,
    SuccessorStep::Accept,
];

/// Runs the schedule of a seed, with so many clients if it is said.
///
/// # Panics
/// If a connection or a byte is lost, repeated or torn, if what all share is not what was sent, if not exactly one process owns the
/// peers, or if something is left over.
pub(crate) fn run(seed: u64, clients: Option<usize>) -> Tally {
    match Storm::run(seed, clients, false) {
        Ok(tally) => tally,
        Err(what) => panic!("{what}"),
    }
}

/// With standbys that do not ask how far connections have come, something is wrong within a few schedules.
///
/// # Errors
/// If not.
pub(crate) fn run_control() -> Result<(), String> {
    let seen = (1..=CONTROLS).find_map(|seed| Storm::run(seed, None, true).err());
    match seen {
        Some(what) => {
            println!("standbys that are blind are found out: {}", what.lines().next().unwrap_or_default());
            Ok(())
        }
        None => Err(format!("{CONTROLS} storms with standbys that are blind were good")),
    }
}

const CONTROLS: u64 = 5;

/// How an active ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is killed at any moment.
    AtRandom,
    /// It dies at a step that it passes while it is followed.
    At(Planned),
    /// Somebody takes over, and it dies at a step of that, or whoever is to be killed is at any moment.
    TakenOver(Option<Planned>),
}

impl Fate {
    fn drawn(random: &mut Rng) -> Self {
        match random.u32(0..100) {
            0..45 => Self::AtRandom,
            45..78 => {
                let (step, pass_max) = POINTS[random.usize(0..POINTS.len())];
                let fault = if random.u32(0..8) == 0 { Fault::Panic } else { Fault::Kill };
                Self::At(Planned { point: step.into(), pass: random.u32(1..=pass_max), fault })
            }
            78..84 => {
                let (step, pass) = POINTS_OF_TAKEOVER[random.usize(0..POINTS_OF_TAKEOVER.len())];
                Self::TakenOver(Some(Planned { point: step.into(), pass, fault: Fault::Kill }))
            }
            _ => Self::TakenOver(None),
        }
    }

    fn planned(self) -> Option<Planned> {
        match self {
            Self::AtRandom => None,
            Self::At(planned) => Some(planned),
            Self::TakenOver(planned) => planned,
        }
    }
}

/// A process that serves, or may come to.
struct Process {
    server: Server,
    fate: Fate,
}

/// Who serves when a takeover has come to its end.
enum Owner {
    Active,
    Successor,
    Standby,
    Nobody,
}

struct Storm {
    place: Place,
    random: Rng,
    load: Load,
    active: Process,
    /// It has followed the active through a takeover that has failed.
    standby: Option<Process>,
    tally: Tally,
    mix: (usize, Mix),
    /// Standbys do not ask how far connections have come.
    are_blind: bool,
    files_without_peers: usize,
}

impl Storm {
    fn run(seed: u64, clients: Option<usize>, are_blind: bool) -> Result<Tally, String> {
        let mut random = Rng::with_seed(seed);
        let clients = clients.unwrap_or(if seed.is_multiple_of(MANY_EVERY) { MANY } else { CLIENTS });
        let number = usize::try_from(seed % LOADS.len() as u64).expect("it is small");
        let mix = (number, mix(clients, number));
        let place = Place::new();
        let (active, files_without_peers) = serve(&place, &mut random);
        let load = Load::gather(&active.server, mix.1, seed);
        let tally = Tally { connections_max: load.peers() as u64, ..Tally::default() };
        let mut storm = Self { place, random, load, active, standby: None, tally, mix, are_blind, files_without_peers };
        for _ in 0..EVENTS {
            let (kills, pid) = (storm.tally.kills(), storm.active.server.pid());
            let fate = storm.active.fate;
            storm.happen().map_err(|what| format!("{fate:?} of pid {pid}: {what}\n{}", storm.active.server.log()))?;
            storm.tally.by_load[number] += storm.tally.kills() - kills;
        }
        storm.finish()
    }

    /// Starts a process that takes over or follows, and that has its own fate when it serves.
    fn start(&mut self, how: &str, besides: Option<Planned>) -> Process {
        let fate = Fate::drawn(&mut self.random);
        let blind = Planned { point: S::Judge.into(), pass: 1, fault: Fault::Error };
        let planned = fate.planned().into_iter().chain(besides).chain(self.are_blind.then_some(blind));
        let planned: Vec<String> = planned.map(|planned| planned.to_string()).collect();
        let mut command = after(how, &self.place);
        Process { server: Server::spawn(&self.place.path(), command.env(VARIABLE, planned.join(","))), fate }
    }

    /// Starts a standby, which could serve on when this returns, unless the active has died meanwhile. One that does not keep up leaves,
    /// and there is another.
    fn follow(&mut self) -> Process {
        if let Some(standby) = self.standby.take().filter(|standby| standby.server.is_running()) {
            return standby;
        }
        let mut others = 0..OTHERS_MAX;
        loop {
            let standby = self.start("--follow", None);
            let (active, pid) = (&self.active.server, standby.server.pid());
            let is_armed =
                || active.lines_with(" is armed, with ").iter().any(|line| line.contains(&format!("pid {pid}")));
            let is_over = || !active.is_running() || !standby.server.is_running();
            self.load.talk_until("the standby is armed", || is_armed() || is_over());
            if is_armed() || !active.is_running() || others.next().is_none() {
                return standby;
            }
        }
    }

    /// The active was to die when a successor calls, and has taken for that call the one of a standby that came after another had left:
    /// nobody followed it.
    fn has_died_unfollowed(&self) -> bool {
        let Process { server, fate: Fate::TakenOver(Some(planned)) } = &self.active else { return false };
        let is_at_a_call = [P::Hello, P::Welcome].map(Point::from).contains(&planned.point);
        is_at_a_call && !server.is_running() && server.last_words().contains(&format!("Fault point {}", planned.point))
    }

    /// The active dies while this one or another follows it. One that does not keep up is followed no more, which is no death.
    fn follow_until_the_end(&mut self, mut standby: Process) -> Process {
        loop {
            let active = &self.active.server;
            let is_over = || !active.is_running() || !standby.server.is_running();
            self.load.talk_until("one of the two comes to its end", is_over);
            if standby.server.is_running() || !self.active.server.is_running() {
                return standby;
            }
            standby = self.follow();
        }
    }

    /// How many messages there are before something happens.
    fn meanwhile(&mut self) -> u64 {
        let few = self.random.u64(0..20);
        let more = self.random.u64(0..4 * self.tally.connections_max);
        if self.random.bool() { few } else { more }
    }

    fn happen(&mut self) -> Result<(), String> {
        if self.active.fate == Fate::AtRandom && self.random.u32(0..4) == 0 {
            self.lose_standby()?;
        }
        let standby = self.follow();
        if self.has_died_unfollowed() {
            self.tally.lost += 1;
            drop(standby);
            self.begin_anew()?;
            return self.load.check();
        }
        let messages = self.meanwhile();
        match self.active.fate {
            Fate::AtRandom => {
                self.load.talk(messages);
                // One that is stopped serves on when it is continued.
                let is_stopped = self.random.u32(0..8) == 0 && standby.server.suspend();
                if is_stopped {
                    let messages = self.meanwhile();
                    self.load.talk(messages);
                }
                self.active.server.kill();
                if is_stopped {
                    standby.server.resume();
                }
                self.tally.at_random += 1;
                self.survive(standby)?;
            }
            Fate::At(_) => {
                let standby = self.follow_until_the_end(standby);
                self.tally.injected += 1;
                self.survive(standby)?;
            }
            Fate::TakenOver(planned) => self.take_over(standby, planned, messages)?,
        }
        if self.random.u32(0..3) == 0 {
            self.load.talk_to_all();
        }
        self.load.check()
    }

    /// A standby is killed, at a step or at any moment, and nobody notices.
    fn lose_standby(&mut self) -> Result<(), String> {
        if self.standby.is_none() && self.random.bool() {
            let pass = self.random.u32(1..=4);
            let standby = self.start("--follow", Some(Planned { point: S::Apply.into(), pass, fault: Fault::Kill }));
            self.load.talk_until("the standby comes to its end", || !standby.server.is_running());
        } else {
            let standby = self.follow();
            let messages = self.meanwhile();
            self.load.talk(messages);
            standby.server.kill();
        }
        self.tally.of_standby += 1;
        self.miss_standby();
        self.load.check()
    }

    fn miss_standby(&mut self) {
        let place = &self.place;
        let is_missed = || Status::of(&place.path()).is_ok_and(|status| status.standby.is_none());
        self.load.talk_until("the standby is missed", is_missed);
    }

    /// The active is dead: its standby serves all of them on.
    fn survive(&mut self, standby: Process) -> Result<(), String> {
        let line = self.unless_gone(&standby, "nobody served for ");
        let line = line.ok_or_else(|| format!("nobody serves on\n{}", standby.server.log()))?;
        self.tally.survived += 1;
        self.active = standby;
        let [served_on, reset] = [" peers are served on", " are reset"].map(|words| figure(&line, words));
        let [peers, resets_max] = [self.load.peers(), self.load.resets_max()].map(|peers| peers as u64);
        self.load.see_death();
        if served_on < peers || reset > resets_max {
            return Err(format!("{peers} peers are to be served on, and {resets_max} may be reset: {line}"));
        }
        self.load.check()
    }

    /// Clients talk until a process says something. `None` if it ends before.
    fn unless_gone(&mut self, process: &Process, part: &str) -> Option<String> {
        let server = &process.server;
        self.load.talk_until(part, || !server.lines_with(part).is_empty() || !server.is_running());
        let said = if server.is_running() { server.log() } else { server.last_words() };
        said.lines().find(|line| line.contains(part)).map(str::to_owned)
    }

    // ── A takeover ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn take_over(&mut self, standby: Process, planned: Option<Planned>, messages: u64) -> Result<(), String> {
        self.load.talk(messages);
        // One side dies at a step, or one at any moment, and sometimes neither.
        let choice = self.random.u32(0..16);
        let at_step = planned.is_none() && choice < 9;
        let step = POINTS_OF_SUCCESSOR[self.random.usize(0..POINTS_OF_SUCCESSOR.len())];
        let besides = at_step.then_some(Planned { point: Point::from(step), pass: 1, fault: Fault::Kill });
        let successor = self.start("-T", besides);
        if planned.is_none() && !at_step {
            let messages = self.meanwhile();
            self.load.talk(messages);
            match choice {
                9..12 => successor.server.kill(),
                12..15 => self.active.server.kill(),
                _ => {}
            }
        }
        let owner = self.settle(&standby, &successor);
        let is_killed = |exit: Exit| exit.is_err();
        self.tally.of_predecessor +=
            u64::from(!self.active.server.is_running() && is_killed(self.active.server.ended()));
        self.tally.of_successor += u64::from(!successor.server.is_running() && is_killed(successor.server.ended()));
        match owner {
            Owner::Active => {
                // What it had planned has not come about, and comes about in no other takeover.
                self.active.fate = if planned.is_none() { Fate::AtRandom } else { self.active.fate };
                // It is followed all the time, unless the takeover has failed in the last moment.
                let follows = || standby_of(&self.place).is_some_and(|seen| seen.pid == standby.server.pid());
                self.load.talk_until("it is known who follows", || follows() || !standby.server.is_running());
                self.standby = Some(standby);
            }
            Owner::Successor => {
                self.tally.takeovers += 1;
                // It may have called on the survivor.
                if self.unless_gone(&standby, "nobody served for ").is_some() {
                    self.tally.survived += 1;
                    self.load.see_death();
                }
                self.active = successor;
            }
            Owner::Standby => self.survive(standby)?,
            Owner::Nobody => {
                let logs =
                    || format!("{}\n{}\n{}", self.active.server.log(), successor.server.log(), standby.server.log());
                let was_handed_over = self.active.server.last_words().contains("Handed over ");
                if !was_handed_over && !standby.server.last_words().contains("nobody served for ") {
                    return Err(format!("nobody serves on\n{}", logs()));
                }
                self.tally.lost += 1;
                drop((standby, successor));
                self.begin_anew()?;
            }
        }
        Ok(())
    }

    /// Waits until somebody owns the peers for good, or nobody does.
    fn settle(&mut self, standby: &Process, successor: &Process) -> Owner {
        let took_over = self.unless_gone(successor, "Took over ").is_some();
        if took_over && successor.server.is_running() {
            let active = &self.active.server;
            self.load.talk_until("the predecessor leaves", || !active.is_running());
            return Owner::Successor;
        }
        let (active, place) = (&self.active.server, &self.place);
        // One that is dead may have called before, which is heard of before whoever asks how things are.
        let serves = || {
            let status = Status::of(&place.path());
            status.is_ok_and(|status| status.pid == active.pid() && status.successor_pid.is_none())
        };
        let mut is_owner = false;
        self.load.talk_until("it is known who serves", || {
            is_owner = serves();
            is_owner || !active.is_running()
        });
        if is_owner && active.is_running() {
            return Owner::Active;
        }
        // Whoever was to take over may have called on the survivor, which has died of its own fate then: nobody followed it yet.
        let has_survived = self.unless_gone(standby, "nobody served for ").is_some();
        if has_survived && standby.server.is_running() { Owner::Standby } else { Owner::Nobody }
    }

    fn begin_anew(&mut self) -> Result<(), String> {
        let (active, files_without_peers) = serve(&self.place, &mut self.random);
        let load = Load::gather(&active.server, self.mix.1, self.random.u64(..));
        (self.active, self.files_without_peers) = (active, files_without_peers);
        self.tally.hear(std::mem::replace(&mut self.load, load).expect_loss()?);
        Ok(())
    }

    // ── The end ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn finish(mut self) -> Result<Tally, String> {
        if let Some(standby) = self.standby.take() {
            standby.server.kill();
            self.miss_standby();
        }
        let Self { place, active: Process { server, .. }, mut load, mut tally, files_without_peers, .. } = self;
        // Whoever answers has long put its name there.
        Status::of(&place.path()).map_err(|error| format!("in the end: {error}\n{}", server.log()))?;
        let seen_pid = caller_sees_pid(&place.path());
        if seen_pid != server.pid() {
            return Err(format!("the path leads to pid {seen_pid}\n{}", server.log()));
        }
        load.talk_to_all();
        tally.hear(load.finish().map_err(|what| format!("in the end: {what}\n{}", server.log()))?);
        // The clients are gone, and so is whatever was open for them.
        let files = files_without_peers + files_of_pipe(&server);
        if !server.comes_down_to_open_files(files) {
            return Err(format!("{} files are open, {files} are expected\n{}", server.open_files(), server.log()));
        }
        server.stop_serving([]);
        match std::fs::read_dir(place.directory()).expect("the test's own").count() {
            0 => Ok(tally),
            count => Err(format!("{count} files are left over")),
        }
    }
}

/// A server, and how many files it has open.
fn serve(place: &Place, random: &mut Rng) -> (Process, usize) {
    let fate = Fate::drawn(random);
    let plan = fate.planned().map(|planned| planned.to_string()).unwrap_or_default();
    let server = Server::spawn(&place.path(), serving(place).env(VARIABLE, plan)).started();
    let files = server.open_files();
    (Process { server, fate }, files)
}

/// How many of the files of a server are the pipe through which what joined peers say may have gone when nobody followed: it is kept, and has
/// both its ends there.
fn files_of_pipe(server: &Server) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("it runs");
    let files: Vec<PathBuf> = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok()).collect();
    let has_both_ends = |file: &&PathBuf| files.iter().filter(|other| other == file).count() == 2;
    files.iter().filter(|file| file.to_string_lossy().starts_with("pipe:")).filter(has_both_ends).count()
}

/// So many clients, most of them of one kind unless that is the first.
fn mix(clients: usize, number: usize) -> Mix {
    let share =
        |kind: usize| if number == kind { clients * 6 / 10 } else { clients / if number == 0 { 5 } else { 10 } };
    Mix {
        echo: share(1),
        fragments: share(2),
        slow: share(3).clamp(2, SLOW_MAX),
        publishers: PUBLISHERS,
        subscribers: share(4).max(2),
        pairs: share(5),
        passing: share(6).max(PASSING_MIN),
    }
}
