//! Whether a path on which this process listens leads to it still, and what is done if it does not.
//!
//! Whoever cleans up `/tmp`, or the directory of a user who has logged out, removes the path of a server that runs, and
//! nobody could take over from it, or connect to it, ever again. So it is looked at every few seconds, and made anew. A timer of
//! the kernel's wakes the loop for that, so that a turn costs nothing, and nobody is told of what others do in the same directory.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use log::{info, warn};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::path::{OnPath, PathError};

/// An operator who finds that the path is gone has not typed the next command yet when it is there again, and a look
/// takes a few microseconds.
const LOOKED_EVERY: Duration = Duration::from_secs(2);

/// Wakes the loop when it is time to look.
#[derive(Debug)]
pub struct LookTimer {
    timer: TimerFd,
    /// Whether the timer has been set: not before the loop hears of it.
    is_set: bool,
}

impl LookTimer {
    /// One that is not set yet.
    ///
    /// # Errors
    /// If the kernel has no timer to give.
    pub fn new() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(Self { timer, is_set: false })
    }

    /// Has the loop woken for it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.timer.as_fd().as_raw_fd()), token, Interest::READABLE)
    }

    /// Sets the timer anew. Whether it has rung, so that it is time to look: for the first time it has not.
    pub fn rings(&mut self) -> bool {
        let expiration = Expiration::OneShot(TimeSpec::from_duration(LOOKED_EVERY));
        // One that is set anew raises an edge without having been read (timerfd_create(2)).
        if let Err(errno) = self.timer.set(expiration, TimerSetTimeFlags::empty()) {
            warn!("No path of this process is looked after any more: {errno}");
        }
        std::mem::replace(&mut self.is_set, true)
    }
}

/// Looks after the path of one listener.
#[derive(Debug, Default)]
pub struct PathWatch {
    /// What was said last of a path that could not be made anew.
    complaint: Option<String>,
}

impl PathWatch {
    /// Looks whether the path leads to `listener`, and returns what `bind_anew` has put there if it does not. What somebody
    /// else has put there is left alone.
    pub fn look<L: OnPath, A>(
        &mut self,
        listener: &L,
        bind_anew: impl FnOnce(&L) -> Result<A, PathError>,
    ) -> Option<A> {
        let (what, path) = (L::WHAT, listener.path().display());
        if listener.is_at_its_path() {
            if self.complaint.take().is_some() {
                info!("{what} {path} leads here again");
            }
            return None;
        }
        match bind_anew(listener) {
            Ok(anew) => {
                self.complaint = None;
                warn!("{what} {path} was gone, and has been made anew");
                Some(anew)
            }
            Err(error) => {
                self.say_once(format_args!("{what} {path}"), error.why());
                None
            }
        }
    }

    /// Says once why there is no way to this server.
    fn say_once(&mut self, path: fmt::Arguments<'_>, why: String) {
        if self.complaint.as_ref() != Some(&why) {
            warn!("{path} does not lead here any more, and cannot be made anew: {why}");
            self.complaint = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;

    use super::*;
    use crate::path::TakeoverListener;

    /// Whether the path is made anew.
    fn looked(watch: &mut PathWatch, listener: &mut TakeoverListener) -> bool {
        let anew = watch.look(listener, |listener| listener.bind_anew(true));
        anew.map(|anew| *listener = anew).is_some()
    }

    fn watched(path: &Path) -> (PathWatch, TakeoverListener) {
        (PathWatch::default(), TakeoverListener::bind(path).unwrap())
    }

    fn lets_in(listener: &TakeoverListener) -> bool {
        let _caller = UnixStream::connect(listener.path()).unwrap();
        listener.accept(&mut |_| {}).unwrap().is_some()
    }

    #[test]
    fn a_path_is_made_anew_also_with_its_directory_and_is_left_as_it_is_otherwise() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("directory");
        std::fs::create_dir(&directory).unwrap();
        let (mut watch, mut listener) = watched(&directory.join("takeover"));
        assert!(!looked(&mut watch, &mut listener));

        std::fs::remove_file(listener.path()).unwrap();
        assert!(looked(&mut watch, &mut listener) && lets_in(&listener));
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(looked(&mut watch, &mut listener) && lets_in(&listener));
        assert!(!looked(&mut watch, &mut listener));
    }

    #[test]
    fn a_directory_that_is_anothers_to_make_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("directory");
        std::fs::create_dir(&directory).unwrap();
        let (mut watch, listener) = watched(&directory.join("takeover"));
        std::fs::remove_dir_all(&directory).unwrap();
        let mut look = |listener: &TakeoverListener| watch.look(listener, |listener| listener.bind_anew(false));
        assert!(look(&listener).is_none() && !directory.exists());
        assert!(watch.complaint.as_ref().is_some_and(|why| why.contains("No such file or directory")));
        std::fs::create_dir(&directory).unwrap();
        let anew = watch.look(&listener, |listener| listener.bind_anew(false));
        assert!(lets_in(&anew.expect("there is a directory again")));
    }

    #[test]
    fn what_another_has_put_there_is_left_alone_until_nobody_answers_and_complained_of_once() {
        let place = tempfile::tempdir().unwrap();
        let (mut watch, mut listener) = watched(&place.path().join("takeover"));
        std::fs::remove_file(listener.path()).unwrap();
        let other = UnixListener::bind(listener.path()).unwrap();
        other.set_nonblocking(true).unwrap();
        for _ in 0..3 {
            assert!(!looked(&mut watch, &mut listener));
            assert_eq!(watch.complaint.as_deref(), Some("another server answers on it"));
        }
        assert!(other.accept().is_err(), "it is not called to find that out");

        drop(other);
        // A process that another test is starting has it open, too, for an instant.
        while !looked(&mut watch, &mut listener) {
            std::thread::yield_now();
        }
        assert!(lets_in(&listener));
        std::fs::remove_file(listener.path()).unwrap();
        std::fs::write(listener.path(), "precious").unwrap();
        assert!(!looked(&mut watch, &mut listener));
        assert_eq!(watch.complaint.as_deref(), Some("it is a regular file"));
        assert_eq!(std::fs::read_to_string(listener.path()).unwrap(), "precious");
    }

    #[test]
    fn the_timer_rings_again_though_nobody_reads_it() {
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(1);
        let mut timer = LookTimer::new().unwrap();
        timer.register(poll.registry(), Token(7)).unwrap();
        assert!(!timer.rings(), "it has been set, and has not rung");
        assert!(timer.rings());
        for _ in 0..2 {
            let expiration = Expiration::OneShot(TimeSpec::from_duration(Duration::from_millis(1)));
            timer.timer.set(expiration, TimerSetTimeFlags::empty()).unwrap();
            poll.poll(&mut events, None).unwrap();
            assert_eq!(events.iter().next().map(|event| event.token()), Some(Token(7)));
        }
    }
}
