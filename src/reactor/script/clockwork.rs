//! A service that answers each line with what it is, in time: at once, at a deadline, or at a timer. It counts in entries
//! that all peers share, and opens connections that end with its process, of which nobody waits for anything.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::listen::Target;
use crate::peer::PeerId;
use crate::service::{Closed, Connect, Context, Entries, Keyed, RestoreError, SendError, Service, Violation};

/// Whose line is to be answered at which timer, and the line.
type Awaited = (PeerId, Vec<u8>);

/// In which way a line is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    AtDeadline = b'd' as isize,
    AtTimer = b't' as isize,
    /// At once, while a connection is opened for it.
    Errand = b'e' as isize,
    Counted = b'+' as isize,
    /// With what was counted.
    Taken = b'-' as isize,
}

impl Kind {
    /// Lines that are longer are all counted: scripts have many of them, and it would take long to wait for each.
    const LINE_BYTES_MAX: usize = 32;

    pub(super) fn of(line: &[u8]) -> Self {
        match line[0] % 8 {
            _ if line.len() > Self::LINE_BYTES_MAX => Self::Counted,
            0 | 1 => Self::AtDeadline,
            2 | 3 => Self::AtTimer,
            4 => Self::Errand,
            5 => Self::Taken,
            _ => Self::Counted,
        }
    }
}

/// What is known of a peer.
#[derive(Debug)]
pub(super) enum Session {
    /// A client, and its line that is answered at its deadline.
    Client(Option<Vec<u8>>),
    /// A connection that ends with this process.
    Errand,
}

/// The service.
#[derive(Debug, Default)]
pub(super) struct Clockwork {
    pub(super) upstream: PathBuf,
    /// By the numbers of timers.
    awaited: Keyed<u32, Awaited>,
    /// How many lines have been counted at each key, since that was last asked.
    pub(super) counts: Keyed<u8, u64>,
    timers: u32,
    /// How many clients wait for their deadline.
    at_deadline: u32,
}

impl Clockwork {
    /// Whether some lines will be answered when time has passed.
    pub(super) fn waits(&self) -> bool {
        !self.awaited.is_empty() || self.at_deadline > 0
    }

    fn answer_at_deadline(&mut self, waiting: &mut Option<Vec<u8>>, line: &[u8], context: &mut Context<'_, Self>) {
        context.set_deadline(context.peer(), Some(after(line)));
        context.hold(context.peer());
        *waiting = Some(line.to_vec());
        self.at_deadline += 1;
    }

    fn answer_at_timer(&mut self, line: &[u8], context: &mut Context<'_, Self>) {
        self.timers += 1;
        context.set_timer(self.timers, Some(after(line)));
        context.hold(context.peer());
        self.awaited.insert(self.timers, (context.peer(), line.to_vec()));
    }

    fn count(&mut self, line: &[u8]) -> u64 {
        let count = self.counts.get_or_insert_with(kept_at(line), || 0);
        *count += 1;
        *count
    }

    fn run_errand(&self, line: &[u8], context: &mut Context<'_, Self>) {
        let how = Connect { ephemeral: true, ..Connect::to(Target::Unix(self.upstream.clone())) };
        let peer = context.connect(&how, Session::Errand).map_err(|(_, error)| error).expect("it listens");
        context.send(peer, line).expect("it is new");
    }
}

/// What comes back for a line: what kind of answer it is, a number, and the line.
fn answer(kind: Kind, number: u64, line: &[u8]) -> Vec<u8> {
    [&[kind as u8][..], &number.to_be_bytes(), line].concat()
}

/// The key that it is counted at, or that is asked.
pub(super) fn kept_at(line: &[u8]) -> u8 {
    line[0] / 8 % 4
}

/// After how long a line is answered that is not answered at once: up to seven seconds, by its length.
fn after(line: &[u8]) -> Duration {
    Duration::from_secs(line.len() as u64 % 8)
}

impl Service for Clockwork {
    type Session = Session;
    const NAME: &'static str = "clockwork";
    const STATE_VERSION: u32 = 1;

    fn open(&mut self, _: &mut Context<'_, Self>) -> Session {
        Session::Client(None)
    }

    fn boundary(&self, _: &mut Session, input: &[u8], searched: usize) -> Result<Option<usize>, Violation> {
        Ok(memchr::memchr(b'\n', &input[searched..]).map(|newline| searched + newline + 1))
    }

    fn message(
        &mut self,
        session: &mut Session,
        line: &[u8],
        context: &mut Context<'_, Self>,
    ) -> Result<(), Violation> {
        let Session::Client(waiting) = session else {
            // Its own line has come back.
            context.close();
            return Ok(());
        };
        match Kind::of(line) {
            Kind::AtDeadline => self.answer_at_deadline(waiting, line, context),
            Kind::AtTimer => self.answer_at_timer(line, context),
            Kind::Errand => {
                self.run_errand(line, context);
                context.reply(&answer(Kind::Errand, 0, line));
            }
            Kind::Taken => {
                let taken = self.counts.remove(&kept_at(line)).unwrap_or(0);
                context.reply(&answer(Kind::Taken, taken, line));
            }
            Kind::Counted => {
                let count = self.count(line);
                context.reply(&answer(Kind::Counted, count, line));
            }
        }
        Ok(())
    }

    fn deadline(&mut self, session: &mut Session, context: &mut Context<'_, Self>) {
        let Session::Client(waiting) = session else { panic!("it has no deadline") };
        let line = waiting.take().expect("it was set for a line");
        self.at_deadline -= 1;
        context.reply(&answer(Kind::AtDeadline, 0, &line));
        context.release(context.peer());
    }

    fn timer(&mut self, timer: u32, context: &mut Context<'_, Self>) {
        let (peer, line) = self.awaited.remove(&timer).expect("it was set for a line");
        match context.send(peer, &answer(Kind::AtTimer, 0, &line)) {
            Ok(()) => context.release(peer),
            Err(SendError::Full { .. }) => {
                context.set_timer(timer, Some(Duration::from_secs(1)));
                self.awaited.insert(timer, (peer, line));
            }
            // Whoever is gone is answered no more.
            Err(_) => {}
        }
    }

    fn closed(&mut self, session: Session, _: &Closed, _: &mut Context<'_, Self>) {
        if let Session::Client(Some(_)) = session {
            self.at_deadline -= 1;
        }
    }

    fn save_session(&self, session: &Session, record: &mut Vec<u8>) {
        let Session::Client(waiting) = session else { panic!("an errand ends with its process") };
        record.extend(waiting.iter().flatten());
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<Session, RestoreError> {
        Ok(Session::Client((!record.is_empty()).then(|| record.to_vec())))
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        match map {
            0 => Some(&mut self.awaited),
            1 => Some(&mut self.counts),
            _ => None,
        }
    }

    fn save(&self, record: &mut Vec<u8>) {
        record.extend(self.timers.to_be_bytes());
        record.extend(self.at_deadline.to_be_bytes());
        record.extend_from_slice(self.upstream.as_os_str().as_bytes());
    }

    fn restore(&mut self, _: u32, record: &[u8]) -> Result<(), RestoreError> {
        let (numbers, upstream) =
            record.split_at_checked(8).ok_or_else(|| RestoreError::new("8 bytes are expected"))?;
        let (numbers, _) = numbers.as_chunks::<4>();
        [self.timers, self.at_deadline] = [0, 1].map(|number| u32::from_be_bytes(numbers[number]));
        self.upstream = OsStr::from_bytes(upstream).into();
        Ok(())
    }
}
