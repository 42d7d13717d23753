//! A soak of a server that is killed again and again and has a standby, with every byte checked.
//!
//! ```text
//! vigil ──▶ who serves, and whose death would be survived      servers ──▶ the processes: started, adopted, killed
//!      ╲                                                      ╱
//!       this file: one death after another ── load: the connections
//!      ╱                                                      ╲
//! told ──▶ what the survivor says                             death ──▶ whether the load has seen the same
//! ```
//!
//! # A death
//!
//! The server is asked how it stands until its standby is armed and knows all connections. A random moment later it is killed. The
//! standby, which the kernel makes a child of this process then, says in its log what has become of the connections; it is asked
//! whether it serves, and again until the next standby is armed.
//!
//! # Who may end
//!
//! Nobody. If some do, they are to be as many as the survivor says, to the last one, and all others have every byte: the soak goes on
//! with new connections in their place, and fails in the end.

pub(super) mod death;
mod surviving;
pub(super) mod told;
mod vigil;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use log::error;
use mio::Token;

use self::death::{Death, Deaths, Ended};
use self::surviving::Surviving;
use self::told::Told;
use self::vigil::{Turn, Vigil, due, heir};
use super::certificate::Certificate;
use super::chain::Chain;
use super::ending::{Ending, Whereabouts};
use super::first;
use super::limits::{LINES_ABOUT_LOSSES, OTHER_FILES, STOP_PATIENCE};
use super::options::Options;
use super::outcome::Outcome;
use super::plan::Plan;
use super::progress::{Progress, State};
use super::question::{About, Question};
use super::servers::{self, FIRST, Heard, Servers};
use super::succession::Number;
use super::summary::Standing;
use super::watch::Watch;
use crate::connect;
use crate::error::Error;
use crate::load::Load;
use crate::timeline::Timeline;
use crate::wakeups::{STOPS_AND_CHILDREN, Wakeups};

/// How long it may take until another standby is armed, or all connections are known to it.
const ARMED_PATIENCE: Duration = Duration::from_secs(60);

/// How soon a server is asked again that has not said yet what it is to.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A server is killed within this time after it was asked: at no particular instant.
const KILLED_WITHIN: Duration = Duration::from_millis(20);

/// Does what the options ask for, with the program of the server.
pub(crate) fn run(options: &Options, program: Option<&Path>) -> Result<Outcome, Error> {
    connect::make_room(options.demand.connections(), OTHER_FILES)?;
    fastrand::seed(options.seed);
    let program = servers::find_program(program).map_err(Error::Server)?;
    let mut wakeups = Wakeups::new(&STOPS_AND_CHILDREN)?;
    let mut servers = Servers::new(program, wakeups.poll.registry().try_clone()?, options.verbose)?;
    servers.tell_listening(["--standby".into()]);
    let tls = options.tls.as_ref().map(|asked| Certificate::give(&mut servers, asked)).transpose()?;
    let address = first::start(&mut servers, &mut wakeups)?;
    let mut soak = Soak::new(options, servers);
    let opened = {
        let other = |token| {
            soak.hear_servers(token);
            soak.death.is_some()
        };
        connect::open_all(&mut wakeups, address, tls.as_ref(), options.demand.connections(), other)
    };
    let opened = opened.map_err(|error| soak.death.take().map_or(error, Error::Server))?;
    let mut load = Load::new(wakeups, address, tls, options.demand, opened);
    load.limit_lines_about_losses(LINES_ABOUT_LOSSES);
    soak.send(&mut load)?;
    soak.drain(&mut load)?;
    soak.into_outcome(load)
}

/// Who is to be killed next, as far as that is known.
#[derive(Clone, Copy, Debug)]
struct Doomed {
    at: Instant,
    heir_pid: u32,
    deaths_survived: u64,
}

/// What the soak is doing.
#[derive(Debug)]
enum Doing {
    /// The next kill is not due.
    Nothing,
    /// The server is asked until it may be killed.
    Asking,
    Waiting(Doomed),
    Surviving(Surviving),
}

struct Soak<'a> {
    options: &'a Options,
    servers: Servers,
    vigil: Vigil,
    random: Rng,
    start: Instant,
    end: Instant,
    /// When servers are to be killed, from the beginning of the load.
    kills: VecDeque<Duration>,
    doing: Doing,
    /// When what is done now is given up.
    deadline: Instant,
    question: Option<Question>,
    /// When the server is asked next, if it is to be.
    ask_at: Option<Instant>,
    last_over: Option<Instant>,
    /// What it has answered, until there is the load to compare that with.
    standing: Option<Result<Standing, String>>,
    deaths: Vec<Death>,
    watch: Watch,
    chain: Option<Chain>,
    progress: Progress,
    complaints: Vec<String>,
    death: Option<String>,
    interrupted: bool,
}

impl<'a> Soak<'a> {
    fn new(options: &'a Options, servers: Servers) -> Self {
        let plan = Plan::new(options.kill_active, options.interval, 0.0, options.seed);
        let start = Instant::now();
        Self {
            options,
            servers,
            vigil: Vigil::Serving { active: 0 },
            random: Rng::with_seed(options.seed),
            start,
            end: start + plan.end,
            kills: plan.attempts.iter().map(|attempt| attempt.at).collect(),
            doing: Doing::Nothing,
            deadline: start,
            question: None,
            ask_at: None,
            last_over: None,
            standing: None,
            deaths: Vec::new(),
            watch: Watch::new(start),
            chain: None,
            progress: Progress::new(plan.end, start),
            complaints: Vec::new(),
            death: None,
            interrupted: false,
        }
    }

    /// The load, with its deaths.
    fn send(&mut self, load: &mut Load) -> io::Result<()> {
        let now = Instant::now();
        (self.end, self.start) = (self.end + (now - self.start), now);
        self.watch.begin(now);
        self.progress.begin(now);
        load.set_timeline(Timeline::new(now));
        load.begin_sending(now);
        while !self.is_over(load) {
            self.act(load, Instant::now());
            self.turn(load, self.next_due())?;
        }
        load.end_sending(self.start);
        Ok(())
    }

    /// Compares the last process with the first, both with all connections and a standby.
    fn look_at_last(&mut self, load: &Load) {
        let (Vigil::Serving { active }, false) = (self.vigil, self.deaths.is_empty()) else { return };
        let slow_readers = self.options.demand.slow_readers;
        self.chain = self.watch.look_at_last(&self.servers, active, load.open_connections(), slow_readers);
        self.complaints.extend(self.chain.iter().flat_map(Chain::complaints));
    }

    fn is_over(&mut self, load: &Load) -> bool {
        let is_surviving = matches!(self.doing, Doing::Surviving(_));
        if load.stops() > 0 {
            self.interrupted = true;
            self.kills.clear();
            return !is_surviving || load.stops() > 1;
        }
        // A question that is under way would be one process too many at the end.
        let is_quiet = matches!(self.doing, Doing::Nothing) && self.question.is_none();
        let all_done = self.kills.is_empty() && is_quiet && Instant::now() >= self.end;
        all_done || !(load.any_open() || is_surviving) || self.death.is_some()
    }

    /// When there is something to do that no event will say.
    fn next_due(&self) -> Option<Instant> {
        let doing = match &self.doing {
            Doing::Nothing => self.kills.front().map(|at| due(self.start + *at, self.last_over)),
            Doing::Waiting(doomed) => Some(doomed.at),
            Doing::Asking => Some(self.deadline),
            Doing::Surviving(surviving) => {
                Some(surviving.due(Instant::now()).unwrap_or(self.deadline).min(self.deadline))
            }
        };
        let ask = self.ask_at.filter(|_| self.question.is_none());
        let end = (self.end > Instant::now()).then_some(self.end);
        [doing, ask, end, Some(self.watch.due), Some(self.progress.due)].into_iter().flatten().min()
    }

    /// Does what is due.
    fn act(&mut self, load: &mut Load, now: Instant) {
        match &self.doing {
            Doing::Nothing => {
                let (start, last_over) = (self.start, self.last_over);
                if self.kills.pop_front_if(|at| due(start + *at, last_over) <= now).is_some() {
                    self.deadline = now + ARMED_PATIENCE;
                    self.ask_at = Some(now);
                    self.doing = Doing::Asking;
                }
            }
            Doing::Waiting(doomed) if doomed.at <= now => self.kill(*doomed, load, now),
            Doing::Asking | Doing::Surviving(_) if now >= self.deadline => self.give_up(),
            _ => {}
        }
        if self.question.is_none() && self.ask_at.take_if(|at| *at <= now).is_some() {
            self.ask();
        }
        if now >= self.watch.due {
            self.watch.sample(&self.servers, self.vigil.owner(), now);
            self.watch.wait(now, matches!(self.doing, Doing::Surviving(_)));
        }
        if now >= self.progress.due {
            self.show_progress(load, now);
        }
    }

    fn give_up(&mut self) {
        let seconds = ARMED_PATIENCE.as_secs();
        self.death = Some(format!("after {seconds} s nobody could be killed, or was armed again: {:?}", self.doing));
    }

    // ── A death ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn kill(&mut self, doomed: Doomed, load: &mut Load, now: Instant) {
        let Vigil::Serving { active } = self.vigil else { return };
        let Doomed { heir_pid, deaths_survived, .. } = doomed;
        if self.deaths.is_empty() {
            self.watch.look_at_first_with(&self.servers, active, load.open_connections());
        }
        let heir = match self.servers.adopt(heir_pid, active) {
            Ok(heir) => heir,
            Err(error) => {
                self.death = Some(format!("pid {heir_pid} cannot be looked after: {error}"));
                return;
            }
        };
        load.timeline().expect("it was set").takeover_begins();
        load.expect_ends();
        self.vigil.kill(heir);
        let begun_unix_ms = unix_ms();
        self.servers.kill(active);
        let begun = Instant::now();
        load.timeline().expect("it was set").await_answer(begun);
        self.deadline = now + ARMED_PATIENCE;
        self.doing = Doing::Surviving(Surviving {
            begun,
            begun_unix_ms,
            active_pid: self.servers.pid(active),
            heir_pid,
            open: load.open_connections(),
            deaths_survived,
            told: None,
            answers: false,
            reset: None,
            armed_since_unix_ms: None,
            complaints: Vec::new(),
        });
        self.watch.wait(now, true);
    }

    /// If whoever was reset has been seen, and another standby is armed, that was it.
    fn look_whether_overcome(&mut self, load: &mut Load, now: Instant) {
        let Doing::Surviving(surviving) = &mut self.doing else { return };
        if surviving.is_to_be_judged(load.ended(), now) {
            let mut ended = Ended::default();
            load.excuse_ended().into_iter().for_each(|kind| ended.note(kind));
            surviving.judge(ended);
        }
        let answered_at = load.timeline().expect("it was set").answered_at();
        let is_overcome = surviving.is_overcome(answered_at.is_some(), now);
        if !is_overcome || !matches!(self.vigil, Vigil::Serving { .. }) {
            return;
        }
        let Doing::Surviving(surviving) = std::mem::replace(&mut self.doing, Doing::Nothing) else { return };
        load.timeline().expect("it was set").takeover_ends(now);
        self.last_over = Some(now);
        self.ask_at = None;
        self.end = self.end.max(now + self.options.interval / 2);
        let death = surviving.into_death(self.start, now, answered_at);
        self.progress.say(&format!("Death {}: {death}", self.deaths.len() + 1));
        self.deaths.push(death);
    }

    // ── Hearing ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes in what the servers have said and done.
    fn hear_servers(&mut self, token: Token) {
        for heard in self.servers.hear(token) {
            match heard {
                Heard::Line(number, line) => self.hear_line(number, line),
                Heard::Ended(number, status) => match self.question.take_if(|question| question.asker == number) {
                    Some(question) => self.standing = Some(question.standing(status)),
                    None => self.ended(number, &status.to_string()),
                },
            }
        }
    }

    fn hear_line(&mut self, number: Number, line: String) {
        if let Some(question) = self.question.as_mut().filter(|question| question.asker == number) {
            return question.hear(line);
        }
        let Doing::Surviving(surviving) = &mut self.doing else { return };
        let now = Instant::now();
        if let Some(told) = Told::of_line(&line).filter(|told| told.pid == surviving.active_pid) {
            surviving.told = Some((told, now));
            self.ask_at = Some(now);
        } else if line.contains(" is armed, with ") && surviving.told.is_some() {
            self.ask_at = Some(now);
        }
    }

    fn ask(&mut self) {
        match self.servers.start_question(FIRST) {
            Ok(asker) => self.question = Some(Question::new(asker, About::Standing)),
            Err(error) => self.death = Some(format!("the server cannot be asked: {error}")),
        }
    }

    /// The server has said how it stands, or it cannot be asked.
    fn hear_standing(&mut self, standing: Result<Standing, String>, load: &Load) {
        let now = Instant::now();
        let Ok(standing) = standing.inspect_err(|why| self.note_silence(why)) else { return };
        match &mut self.doing {
            Doing::Asking => {
                let heir = heir(&standing, load.open_connections()).filter(|_| !load.is_connecting());
                if let Some(heir_pid) = heir {
                    let at = now + KILLED_WITHIN.mul_f64(self.random.f64());
                    let deaths_survived = standing.deaths_survived;
                    self.doing = Doing::Waiting(Doomed { at, heir_pid, deaths_survived });
                } else {
                    self.ask_at = Some(now + ASK_AGAIN);
                }
            }
            Doing::Surviving(surviving) => {
                surviving.hear(&standing);
                if standing.pid == surviving.heir_pid {
                    self.vigil.serves_on();
                }
                self.ask_at = surviving.armed_since_unix_ms.is_none().then_some(now + ASK_AGAIN);
            }
            Doing::Nothing | Doing::Waiting(_) => {}
        }
    }

    /// While nobody serves, nobody may answer.
    fn note_silence(&mut self, why: &str) {
        if matches!(self.doing, Doing::Surviving(_)) {
            self.ask_at = Some(Instant::now() + ASK_AGAIN);
        } else {
            self.death = Some(why.to_owned());
        }
    }

    fn ended(&mut self, number: Number, status: &str) {
        if self.vigil.ended(number) == Turn::Died {
            let (pid, words) = (self.servers.pid(number), self.servers.last_words(number));
            self.death = Some(format!("the server (pid {pid}) died: {status}; {words}"));
        }
    }

    fn show_progress(&mut self, load: &mut Load, now: Instant) {
        let state = State {
            connections: load.open_connections(),
            deaths_done: self.deaths.len(),
            deaths: self.options.kill_active,
            ..State::default()
        };
        let timeline = load.timeline().expect("it was set");
        self.progress.show(now, state, || timeline.take_recent());
    }

    fn into_outcome(mut self, mut load: Load) -> Result<Outcome, Error> {
        self.progress.finish();
        let mut timeline = load.take_timeline().expect("it was set");
        timeline.close_slice();
        let (report, mut wakeups) = load.into_report_and_wakeups();
        if let Some(death) = &self.death {
            error!("{death}");
        }
        self.complaints.extend(self.servers.stop(&mut wakeups, STOP_PATIENCE)?);
        Ok(Outcome {
            options: self.options.clone(),
            report,
            timeline,
            takeovers: Vec::new(),
            moves: None,
            deaths: Some(Deaths { wanted: self.options.kill_active, all: self.deaths }),
            chain: self.chain,
            samples: self.watch.samples,
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

    fn hear(&mut self, token: Token, _: &mut Load) -> io::Result<()> {
        self.hear_servers(token);
        Ok(())
    }

    fn have_turned(&mut self, load: &mut Load) -> io::Result<()> {
        if let Some(standing) = self.standing.take() {
            self.hear_standing(standing, load);
        }
        self.look_whether_overcome(load, Instant::now());
        Ok(())
    }

    fn look_at_the_end(&mut self, load: &Load) -> io::Result<()> {
        self.look_at_last(load);
        Ok(())
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
