//! Who asks something of the supervisor on its path, and who waits for what comes of it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use log::{info, warn};
use mio::Registry;
use reactord_process::callers::{CALLERS_MAX, Callers, Heard};
use reactord_process::channel::Channel;
use reactord_process::frame::Refuse;
use reactord_process::inherited;
use reactord_process::limited::Limit;
use reactord_process::path::{PathError, TakeoverListener};
use reactord_process::path_watch::{LookTimer, PathWatch};

use crate::config::AskedOn;
use crate::fleet::Reload;
use crate::frames::{Reloaded, Request};
use crate::source::Source;
use crate::state::PathState;

/// The key of the timer: the listener and callers have those before it.
const TIMER: usize = 1 + CALLERS_MAX;

/// Those who ask.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// `None` where nobody can ask.
    callers: Option<Callers>,
    watch: PathWatch,
    /// Says when to look after the path, once this is registered.
    timer: Option<LookTimer>,
    /// The timer may have rung.
    timer_rang: bool,
    complaints: Limit,
    /// Who waits for what comes of a new generation, by its number.
    waiting: Vec<(u64, Channel)>,
}

impl Asked {
    /// Has the path, if it can be had.
    ///
    /// # Errors
    /// If one that was chosen cannot be had.
    pub(crate) fn on(path: &AskedOn) -> Result<Self, PathError> {
        let bound = match path {
            AskedOn::Chosen(path) => return TakeoverListener::bind(path).map(Self::of),
            AskedOn::Default(path) => TakeoverListener::bind(path).map_err(|error| why(&error)),
            AskedOn::Nowhere(why) => Err(why.clone()),
        };
        Ok(bound.map(Self::of).unwrap_or_else(|why| {
            info!("This supervisor answers on no path: {why}; choose one with -t");
            Self::default()
        }))
    }

    /// The path that an earlier binary had.
    ///
    /// # Errors
    /// If its listener is not there.
    pub(crate) fn adopt(state: &PathState) -> io::Result<Self> {
        let listener = inherited::take(state.descriptor)?;
        let path = Path::new(&state.path).to_owned();
        Ok(Self::of(TakeoverListener::adopt(listener, path, (state.device, state.inode))))
    }

    fn of(listener: TakeoverListener) -> Self {
        let callers = Callers::on(listener, |key| Source::Caller(key).into(), "A request");
        Self { callers: Some(callers), timer_rang: true, ..Self::default() }
    }

    /// Has the loop woken for it.
    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        let Some(callers) = &mut self.callers else { return Ok(()) };
        self.timer.insert(LookTimer::new()?).register(registry, Source::Caller(TIMER).into())?;
        callers.register(registry)
    }

    /// Where it can be asked.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.callers.as_ref().map(|callers| callers.listener().path())
    }

    /// What a binary has to know that is executed in place of this one.
    pub(crate) fn state(&self) -> Option<PathState> {
        let listener = self.callers.as_ref()?.listener();
        let (device, inode) = listener.file();
        let path = listener.path().to_str()?.to_owned();
        Some(PathState { descriptor: listener.as_fd().as_raw_fd(), path, device, inode })
    }

    /// The listener, which that binary is to have.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.callers.iter().map(|callers| callers.listener().as_fd())
    }

    /// Notes an event of the part with this key.
    pub(crate) fn note(&mut self, key: usize) {
        match key {
            TIMER => self.timer_rang = true,
            key => self.callers.iter_mut().for_each(|callers| callers.note(key)),
        }
    }

    /// When [`Self::next`] has something to do, if no event comes before.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        self.callers.as_ref().and_then(|callers| callers.due(now))
    }

    /// Goes over to another listener on the same path where that does not lead here any more, if it is time to look.
    fn look_after_path(&mut self, registry: &Registry) {
        let rang = std::mem::take(&mut self.timer_rang) && self.timer.as_mut().is_some_and(LookTimer::rings);
        if let Some(callers) = self.callers.as_mut().filter(|_| rang) {
            let anew = self.watch.look(callers.listener(), |listener| listener.bind_anew(true));
            anew.into_iter().for_each(|anew| callers.go_over_to(anew, registry));
        }
    }

    /// Somebody who wants something, if anybody does. Whoever wants what is not understood hears that.
    pub(crate) fn next(&mut self, registry: &Registry, now: Instant) -> Option<(Request, Channel, u32)> {
        self.look_after_path(registry);
        let complaints = &mut self.complaints;
        let mut complain = |complaint: fmt::Arguments<'_>| {
            if complaints.admits(now) {
                warn!("{complaint}");
            }
        };
        let callers = self.callers.as_mut()?;
        while let Some(Heard { channel, pid, said }) = callers.tend(registry, now, &mut complain) {
            match said.decode() {
                Ok(request) => return Some((request, channel, pid)),
                Err(error) => {
                    complain(format_args!("A request by pid {pid} refused: {error}"));
                    channel.close_with(&Refuse::frame(&format!("this is a supervisor: {error}")));
                }
            }
        }
        None
    }

    /// Somebody waits for what comes of the generation with this number.
    pub(crate) fn wait(&mut self, number: u64, channel: Channel) {
        self.waiting.push((number, channel));
    }

    /// Whether anybody waits.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells those who have waited for this what has come of it. Who has left needs no answer.
    pub(crate) fn answer(&mut self, reload: &Reload, current: u64) {
        let Reload { number, generation, workers, why_not } = reload;
        let frame = Reloaded {
            generation: *generation,
            workers: *workers as u64,
            why_not: why_not.clone(),
            pid: std::process::id(),
            current,
        }
        .frame();
        for (_, channel) in self.waiting.extract_if(.., |(awaited, _)| *awaited <= *number) {
            channel.close_with(&frame);
        }
    }

    /// Leaves the path.
    pub(crate) fn leave(&mut self) {
        self.callers.take().into_iter().for_each(|callers| callers.leave(&"the supervisor is stopping"));
    }
}

/// Why a path cannot be had, as a supervisor says it.
pub(crate) fn why(error: &PathError) -> String {
    match error {
        PathError::Alive { path, pid: Some(pid) } => format!("pid {pid} answers on {} already", path.display()),
        error => error.to_string(),
    }
}
