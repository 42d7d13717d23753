//! A soak of several servers that give each other connections under load, with every byte checked.
//!
//! ```text
//! plan ──▶ what comes when, and who is killed      places ──▶ the servers: started, killed, started again
//!     ╲                                           ╱
//!      this file: one step after another ── load: the connections
//!     ╱                                           ╲
//! census ──▶ who has which connection              judgement ──▶ whether that is as it should be
//! ```
//!
//! # Who owned what
//!
//! When a server is killed, what it owned may be lost, and nothing else. No client can tell who owns its connection, and
//! to ask the servers would be to believe them. So before each move and after it a census is taken from the kernel's
//! tables, of which server has which connection; and after it, it is judged whether what has changed is what whoever is
//! alive says, and what is missing is what whoever is gone had. In the place of such connections new ones are opened.

mod census;
mod judgement;
pub(super) mod moved;
mod places;
pub(super) mod plan;
pub(super) mod told;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use fastrand::Rng;
use log::error;
use mio::Token;

use self::census::{Census, Files, Order, TAKEN, Taken};
use self::judgement::{Case, Judgement, Owners, Said};
use self::moved::{Move, Moves};
use self::places::{News, Places};
use self::plan::{Kill, Plan, Side, Step, What};
use self::told::Told;
use super::certificate::Certificate;
use super::ending::{Ending, Whereabouts};
use super::limits::{LINES_ABOUT_LOSSES, OTHER_FILES, STOP_PATIENCE};
use super::options::Options;
use super::outcome::{Fate, Outcome, Takeover};
use super::progress::{Progress, State};
use super::servers::{self, Place, Servers};
use crate::address::Ends;
use crate::connect;
use crate::error::Error;
use crate::load::{Load, STAY};
use crate::timeline::Timeline;
use crate::wakeups::{STOPS_AND_CHILDREN, Wakeups};

/// How long a step may take.
const STEP_PATIENCE: Duration = Duration::from_secs(60);

/// How long servers may take to close what is left of those that are gone.
const LEAVING_PATIENCE: Duration = Duration::from_secs(5);
const LEAVING_LOOK: Duration = Duration::from_millis(20);

/// How many connections are named when they move by name.
const NAMED_MAX: usize = 20;

/// How long a move takes, until one has been made.
const MOVE_TIME_FIRST: Duration = Duration::from_millis(10);

/// Does what the options ask for, with the program of the servers.
pub(crate) fn run(options: &Options, program: Option<&std::path::Path>) -> Result<Outcome, Error> {
    let passing = (options.demand.churn_per_second * 2.0 * STAY.as_secs_f64()).ceil() as usize;
    connect::make_room(options.demand.connections(), OTHER_FILES + passing)?;
    fastrand::seed(options.seed);
    let program = servers::find_program(program).map_err(Error::Server)?;
    let mut wakeups = Wakeups::new(&STOPS_AND_CHILDREN)?;
    let mut servers = Servers::new(program, wakeups.poll.registry().try_clone()?, options.verbose)?;
    let tls = options.tls.as_ref().map(|asked| Certificate::give(&mut servers, asked)).transpose()?;
    let places = Places::start(servers, options.servers, &mut wakeups)?;
    let census = Census::new(wakeups.poll.registry())?;
    let mut soak = Soak::new(options, places, census)?;
    let first = soak.places.listening()[0];
    let opened = {
        let other = |token| soak.hear_places(token).is_err() || soak.death.is_some();
        connect::open_all(&mut wakeups, first, tls.as_ref(), options.demand.connections(), other)
    };
    let opened = opened.map_err(|error| soak.death.take().map_or(error, Error::Server))?;
    let mut load = Load::new(wakeups, first, tls, options.demand, opened);
    load.limit_lines_about_losses(LINES_ABOUT_LOSSES);
    load.set_servers(soak.places.listening());
    soak.send(&mut load)?;
    soak.drain(&mut load)?;
    soak.into_outcome(load)
}

/// A move that is under way.
#[derive(Debug)]
struct UnderWay {
    begun: Instant,
    from: Place,
    to: Place,
    which: String,
    named: Option<HashSet<Ends>>,
    /// Who is to be killed, and when. `None` if nobody is, or was.
    kill: Option<(Side, Instant)>,
    killed: Option<Side>,
    /// The processes of either side when it began.
    pids: [u32; 2],
    /// How many peers the taker says that it was given by the giver.
    given: u64,
    told: Option<Told>,
    complaints: Vec<String>,
}

/// What the soak is doing.
#[derive(Debug)]
enum Doing {
    Nothing,
    /// A census is taken, after a move if there was one.
    Looking(Option<UnderWay>),
    Moving(UnderWay),
    TakingOver {
        begun: Instant,
    },
}

struct Soak<'a> {
    options: &'a Options,
    places: Places,
    census: Census,
    random: Rng,
    start: Instant,
    end: Instant,
    steps: VecDeque<Step>,
    doing: Doing,
    /// When what is done now is given up.
    deadline: Instant,
    /// Who has which connection, as of the last census.
    owners: Owners,
    /// How many files each server has open before there are connections.
    files_before: Vec<Files>,
    /// How long a move takes, as of the last one.
    move_time: Duration,
    moves: Vec<Move>,
    takeovers: Vec<Takeover>,
    progress: Progress,
    complaints: Vec<String>,
    death: Option<String>,
    interrupted: bool,
    /// When a step has ended, for the timeline to be told.
    step_ended: Option<Instant>,
    /// The connections that were opened since the last census.
    opened: Vec<Ends>,
}

impl<'a> Soak<'a> {
    fn new(options: &'a Options, places: Places, census: Census) -> io::Result<Self> {
        let plan = Plan::new(options.moves, options.takeovers, options.interval, options.kill_share, options.seed);
        let start = Instant::now();
        let files_before = census.take_now(Order { processes: places.processes(), ..Order::default() })?.files;
        Ok(Self {
            options,
            places,
            census,
            random: Rng::with_seed(options.seed),
            start,
            end: start + plan.end,
            steps: plan.steps.into(),
            doing: Doing::Nothing,
            deadline: start,
            owners: Owners::new(),
            files_before,
            move_time: MOVE_TIME_FIRST,
            moves: Vec::new(),
            takeovers: Vec::new(),
            progress: Progress::new(plan.end, start),
            complaints: Vec::new(),
            death: None,
            interrupted: false,
            step_ended: None,
            opened: Vec::new(),
        })
    }

    /// The load, with its moves.
    fn send(&mut self, load: &mut Load) -> io::Result<()> {
        let now = Instant::now();
        (self.end, self.start) = (self.end + (now - self.start), now);
        self.progress.begin(now);
        load.set_timeline(Timeline::new(now));
        load.begin_sending(now);
        self.opened = load.lasting();
        self.look(load, None)?;
        while !self.is_over(load) {
            self.act(load, Instant::now())?;
            self.turn(load, self.next_due())?;
        }
        load.end_sending(self.start);
        Ok(())
    }

    fn is_over(&mut self, load: &Load) -> bool {
        if load.stops() > 0 {
            self.interrupted = true;
            self.steps.clear();
            return matches!(self.doing, Doing::Nothing) || load.stops() > 1;
        }
        let all_done = self.steps.is_empty() && matches!(self.doing, Doing::Nothing) && Instant::now() >= self.end;
        all_done || !load.any_open() || self.death.is_some()
    }

    /// When there is something to do that no event will say.
    fn next_due(&self) -> Option<Instant> {
        let step = match &self.doing {
            Doing::Nothing => self.steps.front().map(|step| self.start + step.at),
            Doing::Moving(UnderWay { kill: Some((_, at)), .. }) => Some(*at),
            _ => Some(self.deadline),
        };
        let end = (self.end > Instant::now()).then_some(self.end);
        [step, Some(self.progress.due), end].into_iter().flatten().min()
    }

    /// Does what is due.
    fn act(&mut self, load: &mut Load, now: Instant) -> io::Result<()> {
        match &mut self.doing {
            Doing::Nothing => {
                if let Some(step) = self.steps.pop_front_if(|step| self.start + step.at <= now) {
                    self.deadline = now + STEP_PATIENCE;
                    self.begin(step.what, load, now)?;
                }
            }
            Doing::Moving(under_way) if under_way.kill.is_some_and(|(_, at)| at <= now) => {
                if let Some((side, _)) = under_way.kill.take_if(|_| self.places.is_moving()) {
                    under_way.killed = Some(side);
                    load.expect_ends();
                    self.places.kill(match side {
                        Side::Giver => under_way.from,
                        Side::Taker => under_way.to,
                    });
                }
            }
            _ if now >= self.deadline => self.give_up(now),
            _ => {}
        }
        if now >= self.progress.due {
            self.show_progress(load, now);
        }
        Ok(())
    }

    fn give_up(&mut self, now: Instant) {
        let seconds = STEP_PATIENCE.as_secs();
        self.complaints.push(format!("{:?} was not done after {seconds} s, and was given up", self.doing));
        self.places.give_up();
        self.deadline = now + STEP_PATIENCE;
    }

    fn begin(&mut self, what: What, load: &mut Load, now: Instant) -> io::Result<()> {
        load.timeline().expect("it was set").takeover_begins();
        match what {
            What::Move { kill } => self.begin_move(kill, now),
            What::Takeover => {
                self.places.begin_takeover(self.random.usize(..self.places.count()))?;
                self.doing = Doing::TakingOver { begun: now };
                Ok(())
            }
        }
    }

    /// From one server that has connections to another one, by number, by share or by name.
    fn begin_move(&mut self, kill: Option<Kill>, now: Instant) -> io::Result<()> {
        let having: BTreeSet<Place> = self.owners.values().copied().collect();
        let from = self.random.choice(having).unwrap_or(servers::FIRST);
        let to = (from + self.random.usize(1..self.places.count())) % self.places.count();
        let (which, named) = self.choose(from);
        self.places.begin_move(from, to, which.clone())?;
        self.doing = Doing::Moving(UnderWay {
            begun: now,
            from,
            to,
            which: which.join(" "),
            named,
            kill: kill.map(|Kill { side, after }| (side, now + self.move_time.mul_f64(after))),
            killed: None,
            pids: [self.places.pid(from), self.places.pid(to)],
            given: 0,
            told: None,
            complaints: Vec::new(),
        });
        Ok(())
    }

    /// A random set of the connections of a server, as arguments, and by name if it is by name.
    fn choose(&mut self, from: Place) -> (Vec<String>, Option<HashSet<Ends>>) {
        let mut all: Vec<Ends> =
            self.owners.iter().filter(|(_, place)| **place == from).map(|(ends, _)| *ends).collect();
        match self.random.u32(..3) {
            0 => {
                let count = self.random.usize(1..=all.len().max(1));
                (vec!["--count".to_owned(), count.to_string()], None)
            }
            1 => (vec!["--share".to_owned(), format!("{}%", self.random.u32(1..=100))], None),
            _ => {
                // Of two from the same address, either could be meant.
                all.sort_unstable();
                let mut all: Vec<Ends> = all.chunk_by(|one, next| one.client == next.client).filter_map(only).collect();
                self.random.shuffle(&mut all);
                all.truncate(self.random.usize(1..=NAMED_MAX));
                let name = |ends: &Ends| ["--peer".to_owned(), ends.client.to_string()];
                (all.iter().flat_map(name).collect(), Some(all.into_iter().collect()))
            }
        }
    }

    /// Takes in what the servers have said and done.
    fn hear_places(&mut self, token: Token) -> io::Result<()> {
        for news in self.places.hear(token)? {
            match news {
                News::Back => {}
                News::Died(death) => self.death = Some(death),
                News::TookOver(summary) => self.end_takeover(Fate::TookOver(summary)),
                News::NotTakenOver(reason) => self.end_takeover(Fate::Failed(reason)),
                News::Given { place, peers, by } => {
                    if let Doing::Moving(under_way) = &mut self.doing
                        && (place, by) == (under_way.to, under_way.pids[0])
                    {
                        under_way.given += peers;
                    }
                }
                News::Moved { told, status, words } => {
                    if let Doing::Moving(under_way) = &mut self.doing {
                        under_way.told = told;
                        let whole = told.is_some_and(|told| told.moved == told.wanted);
                        if under_way.killed.is_none() && !(status.success() && whole) {
                            under_way.complaints.push(format!("{status}; {words}"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Whoever made the move is gone, and all servers serve: who has what is looked at.
    fn end_move(&mut self, load: &mut Load) -> io::Result<()> {
        let now = Instant::now();
        self.step_ended = Some(now);
        let Doing::Moving(under_way) = std::mem::replace(&mut self.doing, Doing::Nothing) else { return Ok(()) };
        if under_way.killed.is_none() {
            self.move_time = now - under_way.begun;
        }
        load.set_servers(self.places.listening());
        self.look(load, Some(under_way))
    }

    fn end_takeover(&mut self, fate: Fate) {
        let now = Instant::now();
        let Doing::TakingOver { begun } = std::mem::replace(&mut self.doing, Doing::Nothing) else { return };
        self.step_ended = Some(now);
        let takeover = Takeover { begun: begun - self.start, ended: now - self.start, fate, spared: false };
        self.progress.say(&format!("Takeover {}: {takeover}", self.takeovers.len() + 1));
        self.takeovers.push(takeover);
    }

    /// Has a census taken.
    fn look(&mut self, load: &Load, after: Option<UnderWay>) -> io::Result<()> {
        self.deadline = Instant::now() + STEP_PATIENCE;
        let order = self.order(load);
        self.census.order(order)?;
        self.doing = Doing::Looking(after);
        Ok(())
    }

    fn order(&mut self, load: &Load) -> Order {
        let new = std::mem::take(&mut self.opened);
        // Those that have ended with a server are looked for, too.
        let before = self.owners.keys().copied();
        let open: HashSet<Ends> = load.lasting().into_iter().chain(before).collect();
        Order { processes: self.places.processes(), open: open.into_iter().collect(), new }
    }

    fn took_census(&mut self, load: &mut Load, taken: Taken) -> io::Result<()> {
        self.complaints.extend(complaints_about(&taken));
        let Doing::Looking(after) = std::mem::replace(&mut self.doing, Doing::Nothing) else { return Ok(()) };
        let before = std::mem::replace(&mut self.owners, taken.owners);
        if let Some(under_way) = after {
            let judgement = under_way.judge(&before, &self.owners, self.options.demand.churn_per_second > 0.0);
            if under_way.killed.is_some() {
                self.opened = load.judge_ended(&judgement.gone);
            }
            self.note_move(under_way, judgement);
            if !self.opened.is_empty() {
                return self.look(load, None);
            }
        }
        Ok(())
    }

    fn note_move(&mut self, under_way: UnderWay, judgement: Judgement) {
        let UnderWay { begun, from, to, which, kill, killed, told, mut complaints, .. } = under_way;
        let ended = Instant::now() - self.start;
        let Judgement { complaints: judged, gone, moved } = judgement;
        complaints.extend(judged);
        let killed = killed.map(|side| (side, gone.len()));
        let spared = kill.is_some();
        let made = Move { begun: begun - self.start, ended, from, to, which, told, moved, killed, spared, complaints };
        self.progress.say(&format!("Move {}: {made}", self.moves.len() + 1));
        self.moves.push(made);
    }

    fn show_progress(&mut self, load: &mut Load, now: Instant) {
        let state = State {
            connections: load.open_connections(),
            takeovers_done: self.takeovers.len(),
            takeovers: self.options.takeovers,
            moves_done: self.moves.len(),
            moves: self.options.moves,
            ..State::default()
        };
        let timeline = load.timeline().expect("it was set");
        self.progress.show(now, state, || timeline.take_recent());
    }

    /// Every connection is in one process, and nothing else is in any that was not there at the beginning.
    fn look_for_leftovers(&mut self, load: &Load) -> io::Result<()> {
        let deadline = Instant::now() + LEAVING_PATIENCE;
        loop {
            let order = self.order(load);
            let open = order.open.len();
            let taken = self.census.take_now(order)?;
            let passing = load.open_connections().saturating_sub(open);
            let left = leftovers(&self.files_before, &taken.files, passing);
            let looked = left.is_empty() && taken.owners.len() == open;
            if looked || Instant::now() >= deadline {
                self.complaints.extend(complaints_about(&taken));
                if taken.owners.len() != open {
                    let owned = taken.owners.len();
                    self.complaints.push(format!("{open} connections are open, and {owned} have one owner each"));
                }
                self.complaints.extend(left);
                return Ok(());
            }
            std::thread::sleep(LEAVING_LOOK);
        }
    }

    fn into_outcome(mut self, mut load: Load) -> Result<Outcome, Error> {
        self.progress.finish();
        let mut timeline = load.take_timeline().expect("it was set");
        timeline.close_slice();
        let (report, mut wakeups) = load.into_report_and_wakeups();
        if let Some(death) = &self.death {
            error!("{death}");
        }
        let left = self.places.left();
        if left != self.places.count() && self.death.is_none() {
            self.complaints.push(format!("{left} processes are left at the end, {} are expected", self.places.count()));
        }
        self.complaints.extend(self.places.stop(&mut wakeups, STOP_PATIENCE)?);
        let moves = Moves {
            wanted: self.options.moves,
            servers: self.places.count(),
            all: self.moves,
            started: self.places.started(),
            left,
        };
        Ok(Outcome {
            options: self.options.clone(),
            report,
            timeline,
            takeovers: self.takeovers,
            moves: Some(moves),
            deaths: None,
            chain: None,
            samples: Vec::new(),
            complaints: self.complaints,
            death: self.death,
            interrupted: self.interrupted,
        })
    }
}

impl Ending for Soak<'_> {
    fn whereabouts(&mut self) -> Whereabouts<'_> {
        let Self { death, progress, options, .. } = self;
        Whereabouts { is_served: death.is_none(), progress, limit: options.drain }
    }

    fn hear(&mut self, token: Token, load: &mut Load) -> io::Result<()> {
        if token != TAKEN {
            return self.hear_places(token);
        }
        self.census.take().map_or(Ok(()), |taken| self.took_census(load, taken?))
    }

    fn have_turned(&mut self, load: &mut Load) -> io::Result<()> {
        if matches!(&self.doing, Doing::Moving(_)) && !self.places.is_moving() && self.places.all_serve() {
            self.end_move(load)?;
        }
        if let Some(at) = self.step_ended.take() {
            load.timeline().expect("it was set").takeover_ends(at);
        }
        Ok(())
    }

    fn look_at_the_end(&mut self, load: &Load) -> io::Result<()> {
        self.look_for_leftovers(load)
    }
}

impl UnderWay {
    /// What has come of it, as whoever is alive says, and as it is.
    fn judge(&self, before: &Owners, after: &Owners, any_passing: bool) -> Judgement {
        let told = self.told.map_or(0, |told| told.moved);
        let said = match self.killed {
            Some(Side::Giver) => Said::AtLeast(self.given),
            _ if any_passing => Said::AtMost(told),
            _ => Said::Exactly(told),
        };
        let killed = self.killed.map(|side| match side {
            Side::Giver => self.from,
            Side::Taker => self.to,
        });
        Case { before, after, from: self.from, to: self.to, named: self.named.as_ref(), said, killed }.judge()
    }
}

/// The one that is alone.
fn only(those: &[Ends]) -> Option<Ends> {
    match those {
        [one] => Some(*one),
        _ => None,
    }
}

/// What is wrong whoever owns what.
fn complaints_about(taken: &Taken) -> Vec<String> {
    let mut complaints = Vec::new();
    if let [Ends { client, server }, rest @ ..] = taken.of_two.as_slice() {
        complaints.push(format!("two servers have {client} to {server}, and {} more connections", rest.len()));
    }
    if taken.unaccepted > 0 {
        complaints.push(format!("{} connections were never accepted", taken.unaccepted));
    }
    complaints
}

/// The files that servers have open besides connections and what they had before there were any. Passing connections,
/// whose owners are not known, are not counted.
fn leftovers(before: &[Files], now: &[Files], passing: usize) -> Vec<String> {
    let more = |(before, now): (&Files, &Files)| (now.all - now.connections).checked_signed_diff(before.all);
    let more: Vec<isize> = before.iter().zip(now).map(|pair| more(pair).unwrap_or(isize::MAX)).collect();
    if more.iter().sum::<isize>() == passing.cast_signed() && (passing > 0 || more.iter().all(|more| *more == 0)) {
        return Vec::new();
    }
    let different = more.iter().enumerate().filter(|(_, more)| **more != 0);
    different
        .map(|(place, more)| {
            let (files, connections) = (now[place].all, now[place].connections);
            let before = before[place].all;
            format!(
                "server {place} has {files} files open for {connections} connections, and had {before} without any: \
                 {more} too many"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(place: Place, all: usize, connections: usize) -> Files {
        Files { place, all, connections }
    }

    #[test]
    fn what_a_server_has_open_too_much_is_told_with_all_numbers() {
        let before = [files(0, 9, 0), files(1, 8, 0)];
        assert!(leftovers(&before, &[files(0, 19, 10), files(1, 13, 5)], 0).is_empty());
        let expected = ["server 1 has 14 files open for 5 connections, and had 8 without any: 1 too many"];
        assert_eq!(leftovers(&before, &[files(0, 19, 10), files(1, 14, 5)], 0), expected);
    }

    #[test]
    fn whoever_passes_is_with_any_server() {
        let before = [files(0, 9, 0), files(1, 8, 0)];
        assert!(leftovers(&before, &[files(0, 20, 10), files(1, 15, 5)], 3).is_empty());
        assert_eq!(leftovers(&before, &[files(0, 20, 10), files(1, 15, 5)], 2).len(), 2);
    }
}
