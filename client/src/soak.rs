//! The soak: a server of our own under load, replaced again and again, with every byte checked.
//!
//! ```text
//! plan ──▶ which successor when, and which are killed      servers ──▶ the processes: started, heard, ended
//!     ╲                                                   ╱
//!      this file: one turn after another ── load: the connections ── timeline: their round trips
//!     ╱                                                   ╲
//! succession ──▶ who serves, and who died             watch ──▶ what processes use ── chain: first and last
//!                                                     outcome ──▶ table; files: JSON, page
//! ```
//!
//! It is the loop of a plain load: the logs of the servers, their ends, and all that is due at some instant wake the
//! same poll, and the load does what it always does.
//!
//! # Killed successors
//!
//! A successor that dies before the commit point must disturb nobody; one that dies after it takes its peers with it,
//! as any crash of a server does. So a kill has to hit the copy, whose end nobody can see from outside. It comes at a
//! random moment within the time that the copy is known to take, and is carried out in two steps: the successor is
//! stopped, and killed only if it has fewer files open than there are peers, so that it cannot have all of them.
//! Otherwise it goes on, and is spared.
//!
//! # Upgrades
//!
//! With `--upgrade` the server starts its successors itself, at the bidding of the command `upgrade`, whose answer is
//! judged: its exit code and its reason. Some of the successors cannot take over, each in another way. A successor is
//! then no child of this process until its predecessor has ended, and is known by what the server says of itself.
//!
//! What a takeover took is what the server says of it when it is asked, as anybody would ask; no log line is read for that.
//!
//! Where connections move between several servers, it is another loop: `moving`. So it is where a server is killed that has a
//! standby: `killing`.

mod certificate;
mod chain;
mod ending;
pub(crate) mod files;
mod first;
mod html;
mod json;
mod killing;
mod launcher;
mod limits;
#[cfg(test)]
mod made_up;
mod moving;
pub(crate) mod options;
mod outcome;
mod picture;
mod plan;
mod progress;
mod question;
mod servers;
mod succession;
mod summary;
mod table;
mod unfit;
mod usage;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use log::error;
use mio::{Events, Token};

use crate::connect;
use crate::error::Error;
use crate::load::{Load, STAY};
use crate::report::Report;
use crate::timeline::Timeline;
use crate::tls::Tls;
use crate::wakeups::{STOPS_AND_CHILDREN, Wakeups};

use self::certificate::Certificate;
use self::chain::Chain;
use self::ending::{Ending, Whereabouts};
use self::limits::{LINES_ABOUT_LOSSES, OTHER_FILES, STOP_PATIENCE};
use self::options::{Options, Target};
pub(crate) use self::outcome::Outcome;
use self::outcome::{Fate, Takeover};
use self::plan::{Attempt, Plan, copy_time_min};
use self::progress::{Progress, State};
use self::question::{About, Question};
use self::servers::{FIRST, Heard, Servers, kill_while_copying};
use self::succession::{Number, Succession, Turn};
use self::summary::{Standing, Summary};
use self::unfit::Unfit;
use self::watch::Watch;

/// How long a server may take to be seen dead when a connection says so first.
const DEATH_PATIENCE: Duration = Duration::from_secs(1);

/// How long a takeover may take.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(60);

/// How much longer, for each connection: a takeover of a million took 58 s where the processor was emulated.
const PATIENCE_PER_CONNECTION: Duration = Duration::from_micros(100);

/// What passes before a successor gets its first peer, about.
const SUCCESSOR_STARTS: Duration = Duration::from_millis(1);

/// Does what the options ask for.
pub(crate) fn run(options: &Options) -> Result<Outcome, Error> {
    match &options.target {
        Target::Start { program } if options.moves > 0 => return moving::run(options, program.as_deref()),
        Target::Start { program } if options.kill_active > 0 => return killing::run(options, program.as_deref()),
        _ => {}
    }
    let passing = (options.demand.churn_per_second * 2.0 * STAY.as_secs_f64()).ceil() as usize;
    connect::make_room(options.demand.connections(), OTHER_FILES + passing)?;
    fastrand::seed(options.seed);
    let (address, servers, tls, mut wakeups) = match &options.target {
        Target::Attach(address) => {
            let tls = options.tls.as_ref().map(|asked| Tls::new(asked, address.ip())).transpose()?;
            (*address, None, tls, Wakeups::new(&STOPS_AND_CHILDREN)?)
        }
        Target::Start { program } => {
            // Before the signals are ours: a build that takes too long is ended as anything else.
            let program = servers::find_program(program.as_deref()).map_err(Error::Server)?;
            let mut wakeups = Wakeups::new(&STOPS_AND_CHILDREN)?;
            let mut servers = Servers::new(program, wakeups.poll.registry().try_clone()?, options.verbose)?;
            Unfit::write_all(servers.directory())?;
            let tls = options.tls.as_ref().map(|asked| Certificate::give(&mut servers, asked)).transpose()?;
            (first::start(&mut servers, &mut wakeups)?, Some(servers), tls, wakeups)
        }
    };
    let mut soak = Soak::new(options, servers);
    if let (Some(servers), Succession::Serving { owner }) = (&soak.servers, soak.succession) {
        soak.watch.look_at_first(servers, owner);
    }
    let opened = {
        let other = |token| {
            soak.hear_servers(token);
            soak.death.is_some()
        };
        connect::open_all(&mut wakeups, address, tls.as_ref(), options.demand.connections(), other)
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            soak.await_death(&mut wakeups)?;
            return Err(soak.death.map_or(error, Error::Server));
        }
    };
    let mut load = Load::new(wakeups, address, tls, options.demand, opened);
    load.limit_lines_about_losses(LINES_ABOUT_LOSSES);
    soak.send(&mut load)?;
    soak.drain(&mut load)?;
    soak.into_outcome(load)
}

/// How often it is looked whether a server has started its successor by now.
const LOOK_FOR_SUCCESSOR: Duration = Duration::from_micros(500);

/// The takeover that is under way.
#[derive(Debug)]
struct UnderWay {
    begun: Instant,
    /// When the successor is to be killed. `None` if it is not, or was.
    kill_at: Option<Instant>,
    /// How long after its start a successor that the server starts is to be killed, and its process id when that is known.
    kill_after: Option<Duration>,
    victim: Option<u32>,
    /// The successor cannot take over.
    unfit: Option<Unfit>,
    /// That was answered, and the answer is as it should be.
    declined: bool,
    spared: bool,
    deadline: Instant,
    summary: Option<Summary>,
}

struct Soak<'a> {
    options: &'a Options,
    servers: Option<Servers>,
    succession: Succession,
    /// When the load began.
    start: Instant,
    end: Instant,
    attempts: VecDeque<Attempt>,
    under_way: Option<UnderWay>,
    /// What the server is being asked.
    question: Option<Question>,
    /// The shortest copy so far.
    copy_time: Option<Duration>,
    takeovers: Vec<Takeover>,
    watch: Watch,
    /// The two ends of the chain, when it has come to its last process.
    chain: Option<Chain>,
    progress: Progress,
    complaints: Vec<String>,
    /// Why nobody serves any more.
    death: Option<String>,
    interrupted: bool,
    /// When a takeover has ended, for the timeline to be told.
    takeover_ended: Option<Instant>,
}

impl<'a> Soak<'a> {
    fn new(options: &'a Options, servers: Option<Servers>) -> Self {
        let plan = match options.takeovers {
            0 => Plan::lasting(options.duration),
            takeovers => Plan::new(takeovers, options.interval, options.kill_share, options.seed)
                .with_unfit(options.unfit, options.seed),
        };
        let start = Instant::now();
        Self {
            options,
            succession: if servers.is_some() { Succession::Serving { owner: 0 } } else { Succession::Over },
            servers,
            start,
            end: start + plan.end,
            progress: Progress::new(plan.end, start),
            attempts: plan.attempts.into(),
            under_way: None,
            question: None,
            copy_time: None,
            takeovers: Vec::new(),
            watch: Watch::new(start),
            chain: None,
            complaints: Vec::new(),
            death: None,
            interrupted: false,
            takeover_ended: None,
        }
    }

    /// The load, with its takeovers.
    fn send(&mut self, load: &mut Load) -> io::Result<()> {
        // What the plan says counts from now.
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
        self.sample(Instant::now());
        Ok(())
    }

    /// The process that serves, while there is one of our own and nobody takes over from it.
    fn serving(&self) -> Option<(&Servers, Number)> {
        match (&self.servers, self.succession) {
            (Some(servers), Succession::Serving { owner }) => Some((servers, owner)),
            _ => None,
        }
    }

    /// Compares the last process of the chain with the first.
    fn look_at_last(&mut self, load: &Load) {
        let slow_readers = self.options.demand.slow_readers;
        if self.takeovers.is_empty() {
            return;
        }
        let looked = |(servers, last)| self.watch.look_at_last(servers, last, load.open_connections(), slow_readers);
        self.chain = self.serving().and_then(looked);
        self.complaints.extend(self.chain.iter().flat_map(Chain::complaints));
    }

    fn is_over(&mut self, load: &Load) -> bool {
        if load.stops() > 0 {
            self.interrupted = true;
            self.attempts.clear();
            // What is under way comes to its end, unless there is a second signal.
            return !self.is_under_way() || load.stops() > 1;
        }
        let all_done = self.attempts.is_empty() && !self.is_under_way() && Instant::now() >= self.end;
        // Connections that were lost all at once are the first sign of a server that died, which is worth its name.
        let all_lost = !load.any_open() && (self.servers.is_none() || Instant::now() >= self.end);
        all_done || all_lost || self.death.is_some()
    }

    /// Whether a takeover has not come to its end, or its figures are not told yet.
    fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// When there is something to do that no event will say.
    fn next_due(&self) -> Option<Instant> {
        let attempt = self.attempts.front().filter(|_| !self.is_under_way()).map(|a| self.start + a.at);
        let kill = self.under_way.as_ref().map(|under_way| match under_way.kill_at {
            Some(at) if matches!(self.succession, Succession::Arriving { .. } | Succession::Asked { .. }) => at,
            _ => under_way.deadline,
        });
        let end = (self.end > Instant::now()).then_some(self.end);
        [attempt, kill, Some(self.watch.due), Some(self.progress.due), end].into_iter().flatten().min()
    }

    /// Does what is due.
    fn act(&mut self, load: &mut Load, now: Instant) {
        if let Some(attempt) = self.attempts.front().copied()
            && !self.is_under_way()
            && self.start + attempt.at <= now
        {
            self.attempts.pop_front();
            load.timeline().expect("it was set").takeover_begins();
            self.begin_takeover(attempt, now);
        }
        self.kill_if_due(load, now);
        if now >= self.watch.due {
            self.sample(now);
            self.watch.wait(now, self.is_under_way());
        }
        if now >= self.progress.due {
            self.show_progress(load, now);
        }
    }

    fn begin_takeover(&mut self, attempt: Attempt, now: Instant) {
        if let (Some(servers), Succession::Serving { owner }, true) =
            (&self.servers, self.succession, self.takeovers.is_empty())
        {
            self.watch.weigh_first(servers, owner);
        }
        match self.start_successor(attempt.unfit) {
            Ok(()) => {
                let copy_time = self.copy_time.unwrap_or(copy_time_min(self.options.demand.connections()));
                let kill_after = attempt.kill_after.map(|share| (SUCCESSOR_STARTS + copy_time).mul_f64(share));
                // What the server starts, it starts later.
                let kill_at = kill_after.map(|after| if self.options.upgrade { now } else { now + after });
                self.under_way = Some(UnderWay {
                    begun: now,
                    kill_at,
                    kill_after,
                    victim: None,
                    unfit: attempt.unfit,
                    declined: false,
                    spared: false,
                    deadline: now + self.patience(TAKEOVER_PATIENCE),
                    summary: None,
                });
                // Right after its start it still has all files open that are open here.
                self.watch.wait(Instant::now(), true);
            }
            Err(error) => {
                self.takeover_ended = Some(now);
                self.note_takeover(now, now, Fate::Failed(format!("no successor can be started: {error}")), false);
            }
        }
    }

    /// Starts a successor, or has the server start one.
    fn start_successor(&mut self, unfit: Option<Unfit>) -> io::Result<()> {
        let servers = self.servers.as_mut().expect("whoever soaks somebody else's server has no successors");
        if self.options.upgrade {
            let arguments = unfit.map(|unfit| unfit.arguments(servers.directory())).unwrap_or_default();
            self.question = Some(Question::new(servers.start_upgrade(FIRST, arguments)?, About::Upgrade));
            self.succession.ask();
        } else {
            self.succession.begin(servers.start_successor(FIRST, None)?);
        }
        Ok(())
    }

    /// Asks the server how it stands.
    fn ask_standing(&mut self) {
        let Some(servers) = &mut self.servers else { return };
        match servers.start_question(FIRST) {
            Ok(asker) => self.question = Some(Question::new(asker, About::Standing)),
            Err(error) => self.end_takeover(Fate::Failed(format!("the server cannot be asked: {error}"))),
        }
    }

    /// So much patience, and more with many connections.
    fn patience(&self, least: Duration) -> Duration {
        least + PATIENCE_PER_CONNECTION * self.options.demand.connections() as u32
    }

    fn kill_if_due(&mut self, load: &Load, now: Instant) {
        let patience = self.patience(TAKEOVER_PATIENCE);
        let (Some(under_way), Some(servers)) = (&mut self.under_way, &mut self.servers) else { return };
        let (slow, successor) = match self.succession {
            Succession::Arriving { successor, .. } => (successor, Some(successor)),
            Succession::Retiring { predecessor, .. } => (predecessor, None),
            Succession::Asked { predecessor, .. } => {
                return self.kill_started_if_due(predecessor, load, now);
            }
            Succession::Serving { .. } | Succession::Over => return,
        };
        if now >= under_way.deadline {
            let (pid, seconds) = (servers.pid(slow), patience.as_secs());
            self.complaints.push(format!("pid {pid} was not done with its takeover after {seconds} s, and was killed"));
            servers.kill(slow);
            under_way.deadline = now + patience;
        } else if let Some(successor) = successor
            && under_way.kill_at.is_some_and(|at| at <= now)
        {
            under_way.kill_at = None;
            // Passing connections may be gone before it looks: those that last are there.
            let peers = load.open_connections().min(self.options.demand.connections());
            if servers.kill_while_copying(successor, peers) {
                self.succession.note_killed();
            } else {
                under_way.spared = true;
            }
        }
    }

    /// The same where the server has started its successor itself, which is first to be found.
    fn kill_started_if_due(&mut self, server: Number, load: &Load, now: Instant) {
        let (Some(under_way), Some(servers)) = (&mut self.under_way, &mut self.servers) else { return };
        if now >= under_way.deadline {
            // The command gives up long before that.
            self.death = Some(format!("the server (pid {}) does not answer", servers.pid(server)));
            return;
        }
        let Some(at) = under_way.kill_at.filter(|at| *at <= now) else { return };
        match (under_way.victim, servers.child_of(server)) {
            (None, None) => under_way.kill_at = Some(at.max(now) + LOOK_FOR_SUCCESSOR),
            (None, Some(successor)) => {
                under_way.victim = Some(successor);
                under_way.kill_at = under_way.kill_after.map(|after| now + after);
            }
            (Some(victim), child) => {
                let peers = load.open_connections().min(self.options.demand.connections());
                under_way.kill_at = None;
                under_way.spared = child != Some(victim) || !kill_while_copying(victim, peers);
            }
        }
    }

    /// Takes in what the servers have said and done.
    fn hear_servers(&mut self, token: Token) {
        let heard = self.servers.as_mut().map(|servers| servers.hear(token)).unwrap_or_default();
        for heard in heard {
            match heard {
                Heard::Line(number, line) => self.hear_line(number, line),
                Heard::Ended(number, status) => match self.question.take_if(|question| question.asker == number) {
                    Some(question) if question.about == About::Upgrade => self.hear_answer(&question, status),
                    Some(question) => self.hear_standing(question.standing(status)),
                    None => self.ended(number, status),
                },
            }
        }
    }

    fn hear_line(&mut self, number: Number, line: String) {
        if let Some(question) = self.question.as_mut().filter(|question| question.asker == number) {
            question.hear(line);
        } else if line.contains("Took over ") && self.succession.took_over(number) == Turn::TookOver {
            // It serves. What that has taken, it says when it is asked.
            self.ask_standing();
        }
    }

    /// An upgrade has come to its end, one way or the other. Who serves now is asked next.
    fn hear_answer(&mut self, question: &Question, status: ExitStatus) {
        let Some(under_way) = &mut self.under_way else { return };
        let answer = question.answer();
        let expected = match under_way.unfit {
            _ if status.success() => under_way.unfit.is_none() || under_way.spared || under_way.kill_at.is_some(),
            Some(unfit) => match unfit.judge(status.code(), answer) {
                Ok(()) => {
                    under_way.declined = true;
                    true
                }
                Err(wrong) => {
                    self.complaints.push(wrong);
                    true
                }
            },
            None => false,
        };
        if !expected {
            self.complaints.push(format!("an upgrade has ended: {status}; {answer}"));
        }
        self.ask_standing();
    }

    /// The server has said how it stands, or it cannot be asked.
    fn hear_standing(&mut self, standing: Result<Standing, String>) {
        let standing = match standing {
            Ok(standing) => standing,
            Err(why) => return self.end_takeover(Fate::Failed(why)),
        };
        let Succession::Asked { predecessor, .. } = self.succession else {
            return self.note_summary(standing.takeover);
        };
        let Some(servers) = &mut self.servers else { return };
        if servers.pid(predecessor) == standing.pid {
            self.succession.serves_on();
            let fate =
                match self.under_way.as_ref().and_then(|under_way| under_way.unfit.filter(|_| under_way.declined)) {
                    Some(unfit) => Fate::Declined(unfit),
                    None => Fate::Failed(standing.failure.unwrap_or_default()),
                };
            return self.end_takeover(fate);
        }
        match servers.adopt(standing.pid, predecessor) {
            Ok(successor) => {
                self.succession.answered_with(successor);
                self.note_summary(standing.takeover);
            }
            Err(error) => self.death = Some(format!("pid {} cannot be looked after: {error}", standing.pid)),
        }
    }

    /// The figures of the takeover are known. It has come to its end if the predecessor is gone, too.
    fn note_summary(&mut self, summary: Option<Summary>) {
        let Some(summary) = summary else {
            return self.end_takeover(Fate::Failed("whoever serves says nothing of a takeover".to_owned()));
        };
        let copy_time = Duration::from_micros(summary.copy_us);
        self.copy_time = Some(self.copy_time.map_or(copy_time, |shortest| shortest.min(copy_time)));
        if let Some(under_way) = &mut self.under_way {
            under_way.summary = Some(summary);
        }
        self.complete_takeover();
    }

    fn ended(&mut self, number: Number, status: ExitStatus) {
        let Some(servers) = &self.servers else { return };
        let (pid, words) = (servers.pid(number), servers.last_words(number));
        match self.succession.ended(number, status) {
            Turn::Nothing | Turn::TookOver => {}
            Turn::Retired => self.complete_takeover(),
            Turn::RetiredBadly => {
                self.complaints.push(format!("predecessor pid {pid} ended: {status}; {words}"));
                self.complete_takeover();
            }
            Turn::Killed => self.end_takeover(Fate::Killed),
            Turn::Failed => self.end_takeover(Fate::Failed(format!("successor pid {pid} ended: {status}; {words}"))),
            Turn::Died => self.death = Some(format!("the server (pid {pid}) died: {status}; {words}")),
            Turn::KilledTooLate => {
                self.death = Some(format!("successor pid {pid} was killed by the soak when it had just taken over"));
            }
        }
    }

    /// If the successor serves, and has said what that took, and the predecessor is gone, that was it.
    fn complete_takeover(&mut self) {
        let summary = self.under_way.as_ref().and_then(|under_way| under_way.summary);
        if let Some(summary) = summary.filter(|_| !self.succession.is_under_way()) {
            self.end_takeover(Fate::TookOver(summary));
        }
    }

    fn end_takeover(&mut self, fate: Fate) {
        let Some(under_way) = self.under_way.take() else { return };
        let now = Instant::now();
        self.takeover_ended = Some(now);
        // Whoever is looked at next is looked at often enough to see what the takeover left.
        self.end = self.end.max(now + self.options.interval / 2);
        // It may also have been done before its time came.
        let spared = under_way.spared || under_way.kill_at.is_some();
        self.note_takeover(under_way.begun, now, fate, spared);
    }

    fn note_takeover(&mut self, begun: Instant, ended: Instant, fate: Fate, spared: bool) {
        let takeover = Takeover { begun: begun - self.start, ended: ended - self.start, fate, spared };
        let number = self.takeovers.len() + 1;
        self.progress.say(&format!("Takeover {number}: {takeover}"));
        self.takeovers.push(takeover);
    }

    fn sample(&mut self, now: Instant) {
        let Some(servers) = &self.servers else { return };
        let processes = self.succession.processes().into_iter().flatten();
        self.watch.sample(servers, processes, now);
    }

    fn show_progress(&mut self, load: &mut Load, now: Instant) {
        let state = State {
            connections: load.open_connections(),
            takeovers_done: self.takeovers.len(),
            takeovers: self.options.takeovers,
            ..State::default()
        };
        let timeline = load.timeline().expect("it was set");
        self.progress.show(now, state, || timeline.take_recent());
    }

    /// Waits until a server that seems to have died is known to have.
    fn await_death(&mut self, wakeups: &mut Wakeups) -> io::Result<()> {
        let deadline = Instant::now() + DEATH_PATIENCE;
        let mut events = Events::with_capacity(16);
        while self.servers.is_some() && self.death.is_none() && wakeups.stops == 0 && Instant::now() < deadline {
            wakeups.wait(&mut events, Some(deadline))?;
            for event in &events {
                if !wakeups.take(event.token())? {
                    self.hear_servers(event.token());
                }
            }
        }
        Ok(())
    }

    fn into_outcome(mut self, mut load: Load) -> Result<Outcome, Error> {
        let patience = self.patience(STOP_PATIENCE);
        self.progress.finish();
        let mut timeline = load.take_timeline().expect("it was set");
        timeline.close_slice();
        let (report, mut wakeups): (Report, Wakeups) = load.into_report_and_wakeups();
        if let Some(death) = &self.death {
            error!("{death}");
        }
        if let Some(servers) = &mut self.servers {
            self.complaints.extend(servers.stop(&mut wakeups, patience)?);
        }
        Ok(Outcome {
            options: self.options.clone(),
            report,
            timeline,
            takeovers: self.takeovers,
            moves: None,
            deaths: None,
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
        if let Some(at) = self.takeover_ended.take() {
            load.timeline().expect("it was set").takeover_ends(at);
        }
        Ok(())
    }

    fn look_at_the_end(&mut self, load: &Load) -> io::Result<()> {
        self.look_at_last(load);
        Ok(())
    }
}
