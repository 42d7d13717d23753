//! The loop: it waits for what happens, starts and ends processes as the fleet decides, and obeys signals.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use reactord_cli::service_manager::{ServiceManager, Word};
use reactord_process::accept::listen_on;
use reactord_process::address::Address;
use reactord_process::asker::Asker;
use reactord_process::frame::{self, Refuse};
use reactord_process::requests::{self, LOG_SET, Process, SetLog, Upgraded};
use reactord_process::words::{Fraction, FromSupervisor};
use reactord_process::{inherited, log_level, open_files};

use crate::asked::Asked;
use crate::children::{is_child, is_in_another_group, next_exit, send_signal, send_signal_to_group};
use crate::config::{Config, Replace, Supply};
use crate::directory::Directory;
use crate::error::Error;
use crate::fleet::{Action, Exit, Fleet, Lost, Reload, Report, Rules, WorkerId};
use crate::frames::Request;
use crate::launch::Program;
use crate::limited::{Kind, Limited};
use crate::nursery::Nursery;
use crate::remains::Remains;
use crate::resume::{self, Resumption};
use crate::sight::Lookout;
use crate::signals::Signals;
use crate::source::Source;
use crate::state::State;
use crate::status::{
    FailedReload, FailedUpgrade, Failures, FleetStatus, ReloadFailure, Summary, Telling, WorkerStatus,
};
use crate::traffic::{Ending, Traffic};
use crate::upgrade::{Before, Failed, UPGRADE_SIGNAL, Upgrade};

/// Why nothing is begun any more.
const STOPPING: &str = "the supervisor is stopping";

/// Events taken from one poll.
const EVENTS_PER_TURN: usize = 256;

/// How often it is looked again for what was said in time, before it is judged who is late.
const LOOKS_MAX: usize = 16;

/// What the program around the supervisor wants of it.
#[derive(Default)]
pub(crate) struct Surroundings<'p> {
    /// The program's name and version.
    pub(crate) build: &'p str,
    /// Called once, when all workers serve for the first time.
    pub(crate) serving: Option<Box<dyn FnOnce() + 'p>>,
    /// Somebody waits for that who could not be told by a binary which is executed in place of this one.
    pub(crate) is_awaited: bool,
    /// Who wants to know from then on how it is.
    pub(crate) manager: Option<&'p ServiceManager>,
    /// Descriptors that a binary which is executed in place of this one [finds again](Resumption::take_kept).
    pub(crate) kept: Vec<(&'static str, BorrowedFd<'p>)>,
}

/// Holds the ports and feeds workers, until one of the `signals` stops it. The process must have one thread.
///
/// # Errors
/// If it cannot listen or run the command; then nothing was started. Or if the loop fails.
pub(crate) fn supervise(
    config: &Config,
    resumption: Option<Resumption>,
    signals: Signals,
    surroundings: Surroundings<'_>,
) -> Result<(), Error> {
    let supervisor = match resumption {
        None => Supervisor::begin(config, signals, surroundings)?,
        Some(resumption) => Supervisor::resume(config, signals, surroundings, resumption.into_state())?,
    };
    supervisor.run()
}

/// The loop, with everything that it holds.
struct Supervisor<'p> {
    config: Config,
    nursery: Nursery,
    surroundings: Surroundings<'p>,
    poll: Poll,
    signals: Signals,
    asked: Asked,
    traffic: Traffic,
    fleet: Fleet,
    /// What workers that are gone have left behind.
    remains: Remains,
    lookout: Lookout,
    /// Workers whose processes are gone, and of whom not all is heard that they had said.
    exits: Vec<(WorkerId, Exit)>,
    /// Which binary is executed in place of this one.
    own_path: PathBuf,
    upgrade: Option<Box<Upgrade>>,
    limited: Limited,
    telling: Telling,
    failures: Failures,
    /// When the service manager is to be told next that the loop turns, if it waits for that.
    beat_at: Option<Instant>,
    began_unix_ms: u64,
    now: Instant,
}

impl<'p> Supervisor<'p> {
    /// Listens, and starts nothing yet.
    fn begin(config: &Config, signals: Signals, surroundings: Surroundings<'p>) -> Result<Self, Error> {
        let program = Program::here(&config.command).map_err(Error::Command)?;
        open_files::raise_limit();
        let opened = config.listen_sockets.iter().map(|socket| socket.open(config.listen_backlog));
        let opened = opened.map(|socket| Ok(TcpListener::from_std(socket?.into()))).collect::<io::Result<_>>();
        let mut sockets: Vec<TcpListener> = opened.map_err(Error::while_doing("the listeners"))?;
        for address in &config.listen_addresses {
            sockets.push(listen_on(*address, config.listen_backlog).map_err(Error::Listen)?);
        }
        let directory = match (config.supply, config.replace) {
            (Supply::Queue, Replace::Drain) => None,
            _ => Some(
                Directory::make_in(&std::env::temp_dir())
                    .map_err(Error::while_doing("a directory for the workers' sockets"))?,
            ),
        };
        let asked = Asked::on(&config.path).map_err(Error::Path)?;
        let fleet = Fleet::new(rules(config), config.workers);
        let mut supervisor = Self::with(config, program, (signals, asked), surroundings, fleet, directory)
            .map_err(Error::while_doing("the loop"))?;
        supervisor.traffic.listen(sockets).map_err(Error::while_doing("the listeners"))?;
        supervisor.traffic.count_files();
        supervisor.announce();
        Ok(supervisor)
    }

    /// Goes on with what this process had before it executed this binary.
    fn resume(
        config: &Config,
        signals: Signals,
        surroundings: Surroundings<'p>,
        mut state: State,
    ) -> Result<Self, Error> {
        let before = Before::take(&mut state);
        let workplace = state.workplace.map_or_else(|| ".".into(), PathBuf::from);
        let program = Program { arguments: config.command.clone(), workplace, files_max: state.files_max };
        // Those who serve go on; the command may be there again when the next worker is started.
        if let Err(error) = program.find() {
            warn!("{error}");
        }
        let fleet = Fleet::from_record(state.fleet, rules(config), Instant::now());
        let lock = state.directory_lock.and_then(|lock| inherited::take(lock).ok());
        let directory = state.directory.map(|path| Directory::adopt(path.into(), lock));
        let asked = match &state.path {
            Some(path) => Asked::adopt(path).map_err(Error::while_doing("the path"))?,
            None => Asked::default(),
        };
        let mut supervisor = Self::with(config, program, (signals, asked), surroundings, fleet, directory)
            .map_err(Error::while_doing("the loop"))?;
        supervisor.began_unix_ms = state.began_unix_ms.unwrap_or(supervisor.began_unix_ms);
        supervisor.failures = state.failures.unwrap_or_default();
        if state.complete {
            supervisor.surroundings.serving = None;
        }
        supervisor.remains = Remains::from_record(&state.remains.unwrap_or_default(), Instant::now());
        supervisor.traffic.take_up(state.traffic, Instant::now()).map_err(Error::while_doing("going on"))?;
        supervisor.traffic.count_files();
        supervisor.have_as_many_workers_as_asked(before.workers);
        supervisor.answer_for(before);
        supervisor.announce();
        Ok(supervisor)
    }

    /// Says where it listens, and where it can be asked.
    fn announce(&self) {
        self.traffic.announce();
        if let Some(path) = self.asked.path() {
            info!("Answering reload, status, upgrade and log on {}", path.display());
        }
    }

    fn with(
        config: &Config,
        program: Program,
        (signals, mut asked): (Signals, Asked),
        surroundings: Surroundings<'p>,
        fleet: Fleet,
        directory: Option<Directory>,
    ) -> io::Result<Self> {
        // What a worker leaves behind is this process's to wait for.
        prctl::set_child_subreaper(true)?;
        let poll = Poll::new()?;
        // Whoever started this process may have had it ignored; then nobody is told of children that end, and there are none
        // to wait for (wait(2)). Any handler will do: it is blocked.
        signal_hook::flag::register(Signal::SIGCHLD as i32, Arc::default())?;
        let descriptor = signals.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), Source::Signals.into(), Interest::READABLE)?;
        asked.register(poll.registry())?;
        let beats = surroundings.manager.and_then(|manager| manager.watchdog_beat(false)).is_some();
        let now = Instant::now();
        Ok(Self {
            config: config.clone(),
            nursery: Nursery::new(config, program, directory),
            surroundings,
            traffic: Traffic::new(poll.registry().try_clone()?, config),
            poll,
            signals,
            asked,
            fleet,
            remains: Remains::default(),
            lookout: Lookout::default(),
            exits: Vec::new(),
            own_path: resume::own_path()?,
            upgrade: None,
            limited: Limited::with_workers(config.workers),
            telling: Telling::default(),
            failures: Failures::default(),
            beat_at: beats.then_some(now),
            began_unix_ms: unix_ms(),
            now,
        })
    }

    fn run(mut self) -> Result<(), Error> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        // Those that ended while another binary was executed.
        self.reap();
        loop {
            self.decide();
            self.execute_if_tried();
            if self.fleet.is_over() && self.remains.is_empty() {
                break;
            }
            self.tell_status();
            self.look(&mut events, self.timeout())?;
            self.hear_in_time(&mut events)?;
            self.finish_turn();
        }
        if let Some(upgrade) = self.upgrade.take() {
            upgrade.abandon(STOPPING.to_owned()).answer(self.process());
        }
        self.asked.leave();
        if self.traffic.connections() > 0 {
            warn!("Stopping: {} connections in the queue are closed", self.traffic.connections());
        }
        info!("Stopped");
        Ok(())
    }

    /// Waits so long for what happens, and does what follows from it. Returns how much has happened.
    fn look(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<usize, Error> {
        self.now = Instant::now();
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled.map_err(Error::while_doing("epoll_wait"))?,
        }
        // Where nothing was waited for, the time is that before the look: what was said by then has been heard with it.
        if timeout != Some(Duration::ZERO) {
            self.now = Instant::now();
        }
        for event in &*events {
            match event.token().into() {
                Source::Signals => self.obey_signals(),
                Source::Trial => self.upgrade.iter_mut().for_each(|upgrade| upgrade.hear(self.poll.registry())),
                Source::Caller(key) => self.asked.note(key),
                Source::Listener(place) => self.traffic.accept(place, &mut self.fleet, self.now),
                Source::Worker(id) => {
                    self.traffic.flush(id, &mut self.fleet, self.now);
                    self.traffic.hear(id, &mut self.fleet, self.now);
                }
            }
        }
        Ok(events.iter().count())
    }

    /// Hears what was said before somebody is found late: this process may have been stopped, and what has come meanwhile was
    /// said in time. The time by which it is judged is that before the last look.
    fn hear_in_time(&mut self, events: &mut Events) -> Result<(), Error> {
        if self.fleet.deadline().is_none_or(|deadline| self.now < deadline) {
            return Ok(());
        }
        for _ in 0..LOOKS_MAX {
            if self.look(events, Some(Duration::ZERO))? < EVENTS_PER_TURN {
                break;
            }
        }
        Ok(())
    }

    /// Does what no event will ask for.
    fn finish_turn(&mut self) {
        self.traffic.tend(&mut self.fleet, self.now);
        self.tend_guarded();
        self.tell_exits();
        for leader in self.remains.tend(self.now) {
            if self.limited.admits(Kind::Remains, self.now) {
                info!("What worker pid {leader} had left behind is gone");
            }
        }
        self.look_who_serves();
        self.answer_callers();
        if let Some(late) = self.upgrade.take_if(|upgrade| upgrade.due().is_some_and(|due| self.now >= due)) {
            self.upgrade_failed(late.give_up(self.what_is_waited_for()));
        }
        for (lines, kind) in self.limited.left_out(self.now) {
            warn!("{lines} more lines about {kind} left out within a second");
        }
    }

    /// How long the next poll may sleep.
    fn timeout(&self) -> Option<Duration> {
        let upgrade = self.upgrade.as_ref().and_then(|upgrade| upgrade.due());
        let limited = self.limited.due();
        let status = self.status().and_then(|status| self.telling.due(&status, self.now));
        let seen = self.lookout.due(self.fleet.to_be_seen(), self.now);
        let due =
            [self.traffic.due(self.now), self.fleet.deadline(), self.remains.due(), seen, upgrade, status, limited];
        let due = due.into_iter().chain([self.asked.due(self.now), self.beat_at]);
        let due = due.flatten().min()?;
        // Rounded up: what is half a millisecond away is waited for, not spun for.
        Some(due.checked_duration_since(Instant::now()).map_or(Duration::ZERO, |wait| wait + Duration::from_millis(1)))
    }

    /// What the service manager is to know, if there is one, and the supervisor serves already.
    fn status(&self) -> Option<Summary> {
        (self.manager_if_served().is_some()).then(|| self.summary())
    }

    fn summary(&self) -> Summary {
        Summary::of(&self.fleet, self.traffic.queue_status(&self.fleet))
    }

    /// Who wants to know how it is, once it has served.
    fn manager_if_served(&self) -> Option<&'p ServiceManager> {
        self.surroundings.manager.filter(|_| self.surroundings.serving.is_none())
    }

    fn tell_status(&mut self) {
        let Some(manager) = self.surroundings.manager else { return };
        if let Some(status) = self.status()
            && let Some(line) = self.telling.tell(status, self.now)
        {
            manager.tell(&[Word::Status(&line)]);
        }
        if self.beat_at.take_if(|due| self.now >= *due).is_some() {
            manager.tell(&[Word::Watchdog]);
            self.beat_at = manager.watchdog_beat(false).map(|beat| self.now + beat);
        }
    }

    /// A new generation begins, or has come to its end, whether it serves or not.
    fn tell_of_generation(&self, word: Word<'_>) {
        if let Some(manager) = self.manager_if_served() {
            manager.tell(&[Word::Status(&self.summary().to_string()), word]);
        }
    }

    // ── Who asks ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn answer_callers(&mut self) {
        while let Some((request, channel, pid)) = self.asked.next(self.poll.registry(), self.now) {
            match request {
                Request::Status => channel.close_with(&self.fleet_status().frame()),
                Request::Reload => match self.fleet.replace(self.now) {
                    Some(number) => self.asked.wait(number, channel),
                    None => channel.close_with(&Refuse::frame(&STOPPING)),
                },
                Request::Upgrade(request) => self.begin_upgrade(Asker::Caller(Box::new(channel), pid), &request),
                Request::SetLog(SetLog { level }) => {
                    let is_said = self.limited.admits(Kind::Request, self.now);
                    // Workers log what their own command line says.
                    let changed = log_level::change(pid, &level, log::set_max_level, || is_said);
                    channel.close_with(
                        &changed
                            .map_or_else(|reason| Refuse::frame(&reason), |changed| frame::encode(LOG_SET, &changed)),
                    );
                }
            }
        }
    }

    fn fleet_status(&self) -> FleetStatus {
        let workers = self.fleet.members().map(|(id, member)| WorkerStatus::of(member, self.share(id), self.now));
        FleetStatus {
            build: self.surroundings.build.to_owned(),
            pid: std::process::id(),
            began_unix_ms: self.began_unix_ms,
            listeners: self.traffic.listeners().map(|(_, address)| Address(address).to_string()).collect(),
            summary: self.summary(),
            workers: workers.collect(),
            failures: self.failures.clone(),
        }
    }

    /// How many connections a worker has, where it is known.
    fn share(&self, id: WorkerId) -> Option<u64> {
        (self.config.supply == Supply::Queue).then(|| self.fleet.share(id))
    }

    fn reloaded(&mut self, reload: &Reload) {
        if let Some(failure) = ReloadFailure::of(reload) {
            self.failures.reload = Some(FailedReload { at_unix_ms: unix_ms(), failure });
        }
        self.tell_of_generation(Word::Ready);
        self.asked.answer(reload, self.fleet.current());
    }

    // ── Workers ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Lets the fleet decide, and does what it has decided.
    fn decide(&mut self) {
        self.fleet.advance(self.now);
        while let Some(action) = self.fleet.next_action() {
            self.act(action);
        }
        self.traffic.hand_out(&mut self.fleet, self.now);
        if self.fleet.is_complete()
            && let Some(serving) = self.surroundings.serving.take()
        {
            serving();
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start { worker, predecessor } => self.start(worker, predecessor),
            Action::Finish { worker } => self.tell_to_finish(worker),
            Action::Count { worker } => self.traffic.say(worker, FromSupervisor::Count, &mut self.fleet, self.now),
            Action::Give { worker, count } => {
                self.traffic.say(worker, FromSupervisor::Give(count), &mut self.fleet, self.now);
            }
            Action::Move { worker, to, share } => self.tell_to_move(worker, to, share),
            Action::Signal { worker, signal } => {
                if let (Some(group), Some(pid)) = (self.fleet.group(worker), self.fleet.pid(worker)) {
                    send_signal_to_group(group, pid, signal);
                }
            }
            Action::Report(report) => self.report(&report),
            Action::Answer(reload) => self.reloaded(&reload),
        }
    }

    fn report(&mut self, report: &Report) {
        if Kind::of(report).is_none_or(|kind| self.limited.admits(kind, self.now)) {
            match report {
                report if report.is_warning() => warn!("{report}"),
                report => info!("{report}"),
            }
        }
        if report.is_beginning() {
            self.tell_of_generation(Word::Reloading);
        }
    }

    fn tell_to_finish(&mut self, worker: WorkerId) {
        // It alone: what it has started may be at work for a client, and it knows when that is no longer needed.
        if self.config.supply == Supply::Listeners {
            return self.fleet.pid(worker).into_iter().for_each(|pid| send_signal(pid, self.config.finish_signal));
        }
        // At a stop it would give back what nobody is to serve any more. Without a queue it finishes that itself.
        if self.fleet.is_stopping() && self.fleet.gives_back(worker) {
            return self.traffic.close(worker, Ending::Expected, &mut self.fleet, self.now);
        }
        self.traffic.say(worker, FromSupervisor::Finish, &mut self.fleet, self.now);
    }

    fn tell_to_move(&mut self, worker: WorkerId, to: WorkerId, share: Fraction) {
        let path = self.nursery.takeover_path(to).expect("workers that hand over have a directory");
        self.traffic.say(worker, FromSupervisor::Move { share, path }, &mut self.fleet, self.now);
    }

    fn start(&mut self, id: WorkerId, predecessor: Option<WorkerId>) {
        match self.launch(id, predecessor) {
            Ok(pid) => {
                debug!("Worker pid {pid} is started");
                self.fleet.launched(id, pid);
            }
            Err(error) => {
                self.forget(id);
                self.fleet.exited(id, Exit::NotStarted(error.to_string()), self.now);
                self.fleet.advance(self.now);
            }
        }
    }

    fn launch(&mut self, id: WorkerId, predecessor: Option<WorkerId>) -> io::Result<u32> {
        let is_of_new_generation = self.fleet.is_coming(id);
        let (pid, line) = self.nursery.start(id, predecessor, is_of_new_generation, self.traffic.listeners())?;
        // One that is not heard would never be ready.
        self.traffic.watch(id, line).inspect_err(|_| send_signal_to_group(pid, pid, Signal::SIGKILL))?;
        Ok(pid)
    }

    /// A worker's process is gone, or was never there.
    fn forget(&mut self, id: WorkerId) {
        self.traffic.close(id, Ending::Expected, &mut self.fleet, self.now);
        self.nursery.remove_sockets(id);
    }

    // ── Signals ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn obey_signals(&mut self) {
        loop {
            match self.signals.next() {
                Ok(Some(signal)) => self.obey(signal),
                Ok(None) => return,
                Err(error) => return warn!("A signal was lost: {error}"),
            }
        }
    }

    fn obey(&mut self, signal: Signal) {
        match signal {
            Signal::SIGCHLD => self.reap(),
            Signal::SIGHUP => drop(self.fleet.replace(self.now)),
            Signal::SIGUSR1 | Signal::SIGTTIN => self.fleet.add(self.now),
            Signal::SIGTTOU => self.fleet.remove(self.now),
            Signal::SIGUSR2 => self.begin_upgrade(UPGRADE_SIGNAL, &requests::Upgrade::default()),
            Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => {
                self.traffic.stop_listening(&mut self.fleet, self.now);
                let (workers, waiting) = (self.fleet.workers(), in_the_queue(&self.fleet));
                let by = if self.fleet.is_stopping() { self.now } else { self.now + self.config.drain_timeout };
                self.remains.hurry(by);
                self.surroundings.manager.into_iter().for_each(|manager| manager.tell(&[Word::Stopping]));
                info!("{signal}: stopping with {workers} workers, {waiting} in the queue");
                self.fleet.stop(self.now);
            }
            _ => {}
        }
    }

    /// Waits for all processes that have ended: one SIGCHLD may stand for several.
    fn reap(&mut self) {
        let ended: Vec<(u32, Exit)> = std::iter::from_fn(next_exit).collect();
        // What was said by now may tell whose process one is, and what its end means.
        for id in self.fleet.members().map(|(id, _)| id).collect::<Vec<WorkerId>>() {
            self.traffic.hear_what_there_is(id, &mut self.fleet, self.now);
        }
        for (pid, exit) in ended {
            if let Some(upgrade) = self.upgrade.take_if(|upgrade| upgrade.is_tried_by(pid)) {
                self.trial_ended(*upgrade, &exit);
                continue;
            }
            if self.fleet.former_ended(pid, &exit).is_some() {
                continue;
            }
            let Some(id) = self.fleet.with_pid(pid) else {
                debug!("Process {pid} {exit}");
                continue;
            };
            if !self.fleet.may_survive(id, &exit, self.now) {
                self.bury(id, exit);
            }
        }
        self.tend_guarded();
        self.tell_exits();
    }

    /// A worker's process is gone, and nobody serves on in its place.
    fn bury(&mut self, id: WorkerId, exit: Exit) {
        self.note_what_it_left(id);
        self.forget(id);
        self.exits.push((id, exit));
    }

    /// Looks after workers whose process has died, and whose standby is to serve on or does.
    fn tend_guarded(&mut self) {
        let Self { fleet, traffic, now, .. } = self;
        // Who serves on may have said so while nobody listened here.
        for id in fleet.overdue(*now) {
            traffic.hear_what_there_is(id, fleet, *now);
        }
        for Lost { worker, exit, standby } in fleet.take_lost(|id| traffic.speaks_with(id), *now) {
            // It would take whom others have by then.
            let standby = standby.filter(|pid| self.is_of_worker(worker, *pid));
            standby.into_iter().for_each(|pid| send_signal(pid, Signal::SIGKILL));
            self.bury(worker, exit);
        }
        for id in self.fleet.take_survivors() {
            let Some(pid) = self.fleet.pid(id).filter(|pid| !self.is_of_worker(id, *pid)) else { continue };
            self.bury(id, Exit::QueueEnded(format!("its standby, pid {pid}, is none of its own processes")));
        }
    }

    /// Whether this is a process of that worker, of whose end this one hears: it has no other parent when the process before it is dead.
    fn is_of_worker(&self, id: WorkerId, pid: u32) -> bool {
        is_child(pid) && self.fleet.group(id).is_some_and(|group| !is_in_another_group(pid, group))
    }

    /// A worker's process is gone; what it has started may not be.
    fn note_what_it_left(&mut self, id: WorkerId) {
        let Some(pid) = self.fleet.group(id) else { return };
        let finish = (self.config.supply == Supply::Listeners).then_some(self.config.finish_signal);
        let drained_by = self.now + self.config.drain_timeout;
        let next = self.fleet.next_signal(id).unwrap_or((drained_by, Signal::SIGTERM));
        let was_guarded = self.fleet.was_guarded(id);
        if self.remains.left_by(pid, was_guarded, finish, next, self.now)
            && self.limited.admits(Kind::Remains, self.now)
        {
            info!("Worker pid {pid} is gone and has left processes of its group behind, which are to finish");
        }
    }

    /// Looks who of those that accept themselves does so by now.
    fn look_who_serves(&mut self) {
        let listeners = self.traffic.listeners().map(|(socket, _)| socket);
        for id in self.lookout.look(self.fleet.to_be_seen(), listeners, self.now) {
            self.fleet.ready(id, self.now);
        }
    }

    /// Tells the fleet who has exited, as soon as all is heard that they had said.
    fn tell_exits(&mut self) {
        for (id, exit) in self.exits.extract_if(.., |(id, _)| self.traffic.is_heard_out(*id)) {
            self.fleet.exited(id, exit, self.now);
        }
    }

    // ── Another binary in place of this one ────────────────────────────────────────────────────────────────────────

    /// This process, as others are told of it.
    fn process(&self) -> Process {
        let build = self.surroundings.build.to_owned();
        Process { build, pid: std::process::id(), generation: self.fleet.current() }
    }

    /// Tries out the binary that somebody asks for, unless there is a reason not to.
    fn begin_upgrade(&mut self, asker: Asker, request: &requests::Upgrade) {
        if let Some(under_way) = &self.upgrade {
            return self.upgrade_failed(Failed::refused(asker, under_way.to_string()));
        }
        if self.fleet.is_stopping() && matches!(asker, Asker::Caller(..)) {
            return self.upgrade_failed(Failed::refused(asker, STOPPING.to_owned()));
        }
        let (state, registry) = (self.state(false), self.poll.registry());
        match Upgrade::begin(asker, request, &self.own_path, &state, registry, self.now) {
            Ok(upgrade) => self.upgrade = Some(Box::new(upgrade)),
            Err(failed) => self.upgrade_failed(failed),
        }
    }

    /// The binary that was tried out is executed, at once or when that is possible; or not at all.
    fn trial_ended(&mut self, upgrade: Upgrade, exit: &Exit) {
        match upgrade.trial_ended(exit) {
            Ok(upgrade) => {
                if !self.may_execute() {
                    info!("{} is executed when {}", upgrade.path().display(), self.what_is_waited_for());
                }
                self.upgrade = Some(Box::new(upgrade));
            }
            Err(failed) => self.upgrade_failed(failed),
        }
    }

    fn upgrade_failed(&mut self, failed: Failed) {
        self.failures.upgrade = Some(FailedUpgrade {
            at_unix_ms: unix_ms(),
            asker: failed.asker.to_string(),
            why: failed.objection.to_string(),
        });
        if self.limited.admits(Kind::Request, self.now) {
            warn!("The binary is not replaced: {}", failed.objection);
        }
        failed.answer(self.process());
    }

    /// Whether nothing is under way that would be torn apart.
    fn may_execute(&self) -> bool {
        !self.fleet.is_moving()
            && !self.fleet.awaits_survivors()
            && !self.launching_command_waits()
            && !self.asked.is_waited_for()
    }

    fn launching_command_waits(&self) -> bool {
        self.surroundings.is_awaited && self.surroundings.serving.is_some()
    }

    fn what_is_waited_for(&self) -> &'static str {
        if self.fleet.is_moving() {
            "no connections are being moved any more"
        } else if self.fleet.awaits_survivors() {
            "it is known whether the standby of a worker that has died serves on"
        } else if self.launching_command_waits() {
            "all workers serve, which the launching command waits for"
        } else {
            "whoever has asked for a generation has been answered"
        }
    }

    /// Becomes the binary that was tried out, if one was and nothing is in its way.
    fn execute_if_tried(&mut self) {
        if !self.may_execute() {
            return;
        }
        let Some(upgrade) = self.upgrade.take_if(|upgrade| upgrade.is_tried()) else { return };
        // Who has been waited for cannot be waited for again.
        self.tell_exits();
        let remains = self.traffic.remains();
        let failed = if remains > 0 {
            upgrade
                .abandon(format!("{remains} workers that are gone have given back more than there are descriptors for"))
        } else {
            self.execute(*upgrade)
        };
        self.upgrade_failed(failed);
    }

    /// Returns only if that could not be.
    fn execute(&mut self, upgrade: Upgrade) -> Failed {
        // What was decided and not done yet would be lost.
        self.traffic.end_patience(&mut self.fleet, self.now);
        self.decide();
        info!("Executing {}", upgrade.path().display());
        let kept = self.surroundings.kept.iter().map(|(_, kept)| *kept);
        let lock = self.nursery.directory().and_then(Directory::lock);
        let others = self.asked.descriptors().chain(lock).chain(kept);
        upgrade.execute(self.state(true), self.traffic.descriptors().chain(others).collect())
    }

    /// Says what this process goes on with, and answers whoever has asked the binary before it for that.
    fn answer_for(&self, Before { build, asker, .. }: Before) {
        let (workers, waiting) = (self.fleet.workers(), in_the_queue(&self.fleet));
        let (now, before) = (self.process(), Process { build, ..self.process() });
        let (pid, build) = (now.pid, &now.build);
        info!(
            "Resumed as pid {pid} with {workers} workers, {waiting} in the queue: {build} in place of {}",
            before.build
        );
        if let Some(asker) = asker {
            let (predecessor, successor) = (before, Some(now));
            asker.answer(&Upgraded { predecessor, successor, workers: Some(workers as u64), ..Upgraded::default() });
        }
    }

    /// The command line may say another number of workers than that of the binary before this one did.
    fn have_as_many_workers_as_asked(&mut self, before: Option<u64>) {
        let asked = self.config.workers;
        if before.is_none_or(|before| before == asked as u64) {
            return;
        }
        while self.fleet.target() < asked {
            self.fleet.add(self.now);
        }
        while self.fleet.target() > asked {
            self.fleet.remove(self.now);
        }
    }

    /// What that binary has to know; `with_states` of connections, if it is to go on.
    fn state(&self, with_states: bool) -> State {
        let (program, directory) = (self.nursery.program(), self.nursery.directory());
        let kept = self.surroundings.kept.iter().map(|(name, kept)| ((*name).to_owned(), kept.as_raw_fd()));
        State {
            traffic: self.traffic.state(with_states),
            remains: Some(self.remains.record(self.now)),
            fleet: self.fleet.record(self.now),
            directory: directory.and_then(|directory| directory.path().to_str()).map(str::to_owned),
            kept: kept.collect(),
            complete: self.surroundings.serving.is_none(),
            files_max: program.files_max,
            workplace: program.workplace.to_str().map(str::to_owned),
            directory_lock: directory.and_then(Directory::lock).map(|lock| lock.as_raw_fd()),
            path: self.asked.state(),
            began_unix_ms: Some(self.began_unix_ms),
            fixed: Some(self.config.fixed.clone()),
            workers: Some(self.config.workers as u64),
            build: Some(self.surroundings.build.to_owned()),
            asker: None,
            failures: Some(self.failures.clone()),
        }
    }
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How many connections wait, for the log.
fn in_the_queue(fleet: &Fleet) -> String {
    match (fleet.waiting(), fleet.returned()) {
        (waiting, 0) => format!("{waiting} connections"),
        (waiting, returned) => format!("{waiting} connections and {returned} that were given back"),
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        supply: config.supply,
        ready: config.ready,
        finish_signal: config.finish_signal,
        replace: config.replace,
        ready_timeout: config.ready_timeout,
        drain_timeout: config.drain_timeout,
        rebalance: config.rebalance,
    }
}
