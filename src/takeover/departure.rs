//! The copy on the predecessor's side of the channel: it moves frames and descriptors, and decides nothing.
//!
//! The loop gives a [`Departure`] one turn between two polls, and gets back what to do: go on, or freeze.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Interest, Registry};
use reactord_process::channel::DESCRIPTORS_PER_FRAME_MAX;
use reactord_process::channel::{Channel, ChannelError, Deadline, Sent};
use reactord_process::frame::printable;
use reactord_process::path::TakeoverListener;
use reactord_process::wiped::Wiped;

use super::admission::Refusal;
use super::commit::ReadyDeparture;
use super::everybody::{descriptors, originals};
use super::failure::Failure;
use super::fault::{self, PredecessorStep as Step};
use super::memory;
use super::mirror::Batch;
use super::predecessor::Copying;
use super::progress::{Advanced, Progress, Subjects};
use super::wire::{self, At, Frame, Listeners, Process, Spoken, Welcome};
use crate::lanes::Lanes;
use crate::listen::{LISTENERS_MAX, Target};
use crate::originals::Originals;
use crate::recipient::Recipient;
use crate::sources::{Entrance, Greeting, Listener, Source, Tokens, Vestibule};
use crate::tls::Tls;

/// What the book of what the successor knows takes for each key, with its place in a queue.
const BOOK_BYTES_PER_KEY: usize = 24;

/// So many listeners that go are handed on, beside all that stay, that of the takeover and a queue: as many as one frame takes. Those
/// who have connected to any further one are reset; it takes several takeovers in a row that leave many behind.
const LEFTOVERS_MAX: usize = DESCRIPTORS_PER_FRAME_MAX - 2 - LISTENERS_MAX;

/// A takeover in its copy phase.
#[derive(Debug)]
pub(crate) struct Departure {
    channel: Channel,
    successor: Process,
    /// The listeners, if the channel has not taken them yet.
    listeners: Option<Unsent>,
    progress: Progress,
}

/// A frame with its descriptors, to be sent later.
#[derive(Debug)]
struct Unsent {
    frame: Wiped,
    descriptors: Vec<OwnedFd>,
}

/// What the loop is to do after a departure has had its turn.
#[derive(Debug)]
pub(crate) enum Turned {
    /// Serve, and give it the next turn.
    Copying(Departure),
    /// Stop reading and accepting, and let it commit.
    Ready(ReadyDeparture),
}

impl Departure {
    /// Welcomes the successor, or a standby.
    ///
    /// # Errors
    /// If the takeover has failed already. The successor is told why, if it still listens.
    pub(crate) fn begin(
        greeting: Greeting,
        welcome: Welcome,
        entrance: &Entrance,
        takeover: &TakeoverListener,
        to: Recipient,
        keys_end: &[usize],
        now: Instant,
    ) -> Result<Self, Failure> {
        let Greeting { mut channel, pid, hello } = greeting;
        if welcome.has_secrets {
            channel.hold_secrets();
        }
        let successor = Process { build: printable(&hello.build), pid, generation: welcome.generation + 1 };
        let opened = memory::spare(keys_end.iter().sum::<usize>() * BOOK_BYTES_PER_KEY + memory::FRAME_SPARE_BYTES)
            .map_err(Failure::from)
            .and_then(|()| send_welcome(&mut channel, welcome))
            .and_then(|()| send_listeners(&mut channel, entrance, takeover, to));
        let listeners = match opened {
            Ok(listeners) => listeners,
            Err(failure) => {
                channel.close_with(&failure.frame());
                return Err(failure);
            }
        };
        let progress = Progress::new(Copying::new(to, hello, keys_end, now));
        let progress = if listeners.is_some() { progress.blocked_by_others(now) } else { progress };
        Ok(Self { channel, successor, listeners, progress })
    }

    /// The successor's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.successor.pid
    }

    pub(crate) fn successor(&self) -> &Process {
        &self.successor
    }

    /// How many peers the successor has, and others behind them.
    pub(crate) fn copied(&self) -> u64 {
        self.progress.copied()
    }

    /// Whether the successor goes on with TLS handshakes that have been answered, as far as it has said so.
    pub(crate) fn goes_on_with_answered(&self) -> bool {
        self.progress.goes_on_with_answered()
    }

    /// Whether the freeze waits for something.
    pub(crate) fn is_waiting(&self) -> bool {
        self.progress.is_waiting()
    }

    /// When it is to have a turn if no event comes before.
    pub(crate) fn due_at(&self, now: Instant) -> Instant {
        self.progress.due(now)
    }

    /// The channel takes more.
    pub(crate) fn writable(&mut self) {
        self.progress.writable();
    }

    /// Whether all peers are copied. From here on short turns of the loop pay: what one of them changes is pending.
    pub(crate) fn nears_the_freeze(&self, now: Instant) -> bool {
        self.progress.nears_the_freeze(now)
    }

    /// Hears the successor out, and sends it as much as the copy's share of a turn allows: at least one batch, if the
    /// channel takes it. The freeze waits for TLS handshakes that the successor cannot go on with, unless it `waits_no_more`.
    ///
    /// # Errors
    /// If the takeover has failed. The successor is told why, if it still listens.
    pub(crate) fn turn<L: Lanes>(
        self,
        lanes: &mut L,
        vestibule: &mut Vestibule,
        freeze_timeout: Duration,
        waits_no_more: bool,
        now: Instant,
    ) -> Result<Turned, Failure> {
        let Self { mut channel, successor, mut listeners, mut progress } = self;
        progress.note(L::COUNT, vestibule.touches());
        progress.tell_gone_first(L::COUNT);
        for number in 0..L::COUNT {
            let table = lanes.lane_mut(number).table_mut();
            // What was done to them since the loop has settled: to those of whom a standby knows by now that others have left, say.
            table.touch_unsettled();
            progress.note(number, table.touches(progress.to()));
        }
        let everybody = &mut Everybody { lanes, vestibule, listeners: &mut listeners, waits_no_more };
        match progress.advance(&mut channel, everybody, freeze_timeout, now) {
            Ok(Advanced::Copying(progress)) => Ok(Turned::Copying(Self { channel, successor, listeners, progress })),
            Ok(Advanced::Ready(ready, strain)) => {
                Ok(Turned::Ready(ReadyDeparture::new(channel, successor, ready, strain)))
            }
            Err(failure) => {
                channel.close_with(&failure.frame());
                Err(failure)
            }
        }
    }

    /// Ends the takeover, and tells the successor why.
    pub(crate) fn abandon(self, refusal: &Refusal) {
        self.channel.close_with(&refusal.frame());
    }
}

/// All peers, those who are to be some, and what is sent before the first of them.
struct Everybody<'l, L> {
    lanes: &'l mut L,
    vestibule: &'l mut Vestibule,
    listeners: &'l mut Option<Unsent>,
    waits_no_more: bool,
}

impl<L: Lanes> Subjects for Everybody<'_, L> {
    fn lend<T>(&mut self, copy: impl FnOnce(&mut [&mut dyn Originals]) -> T) -> T {
        copy(&mut originals(self.lanes, self.vestibule))
    }

    fn descriptors(&self, batch: &Batch) -> Vec<BorrowedFd<'_>> {
        descriptors(self.lanes, self.vestibule, batch)
    }

    fn waits(&self) -> bool {
        !self.waits_no_more && self.vestibule.bound() > 0
    }

    fn send_first(&mut self, channel: &mut Channel) -> Result<Option<Sent>, ChannelError> {
        let Some(listeners) = self.listeners.take() else { return Ok(None) };
        let descriptors: Vec<BorrowedFd<'_>> = listeners.descriptors.iter().map(AsFd::as_fd).collect();
        let sent = channel.try_send(&listeners.frame, &descriptors)?;
        *self.listeners = (sent != Sent::Taken).then_some(listeners);
        Ok(Some(sent))
    }
}

fn send_welcome(channel: &mut Channel, welcome: Welcome) -> Result<(), Failure> {
    fault::at(Step::Welcome, channel)?;
    // Nothing has been sent on this channel, so it takes this small frame at once.
    Ok(channel.send_by(&Frame::Welcome(welcome).encode(), &[], Deadline::after(Duration::ZERO))?)
}

/// Sends what this process listens on. If the kernel takes no descriptors now, that is to be sent later.
fn send_listeners(
    channel: &mut Channel,
    entrance: &Entrance,
    takeover: &TakeoverListener,
    to: Recipient,
) -> Result<Option<Unsent>, Failure> {
    fault::at(Step::Listeners, channel)?;
    let (takeover_device, takeover_inode) = takeover.file();
    let (kept, leftovers) = (|| entrance.listeners(), || entrance.leftovers().take(LEFTOVERS_MAX));
    let said_of_kept = kept().map(|listener| said_of(listener, false));
    // A successor has one of its own.
    let queue = entrance.queue().filter(|_| to == Recipient::Standby);
    let listeners = Listeners {
        services: said_of_kept.chain(leftovers().map(|listener| said_of(listener, true))).collect(),
        takeover_path: takeover.path().as_os_str().as_bytes().to_vec(),
        takeover_device,
        takeover_inode,
        queue_tls: entrance.queue_tls().map(spoken),
        has_queue: queue.is_some(),
    };
    let frame = listeners.frame();
    let descriptors: Vec<BorrowedFd<'_>> =
        kept().chain(leftovers()).map(AsFd::as_fd).chain([takeover.as_fd()]).chain(queue).collect();
    if channel.try_send(&frame, &descriptors)? == Sent::Taken {
        return Ok(None);
    }
    let descriptors = descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<_>>();
    Ok(Some(Unsent { frame, descriptors: descriptors.map_err(ChannelError::Io)? }))
}

/// What a successor is told of a listener.
fn said_of(listener: &Listener, is_leftover: bool) -> wire::Listener {
    let at = match (listener.at(), listener.file()) {
        (Target::Tcp(address), _) => At::Tcp(address),
        (Target::Unix(path), file) => {
            let (device, inode) = file.expect("a path has a file");
            At::Unix(wire::SocketFile { path: path.into_os_string().into_vec(), device, inode })
        }
    };
    let lane = u32::try_from(listener.lane()).expect("a server has few lanes");
    let (name, is_borrowed) = (listener.name().to_owned(), listener.is_borrowed());
    let tls = listener.tls().map(spoken);
    wire::Listener { at, lane, name, is_leftover, is_borrowed, tls }
}

/// What it is told of whose clients speak TLS with this.
fn spoken(tls: &Tls) -> Spoken {
    Spoken { tickets: tls.save_tickets().into(), specimen: tls.specimen().into() }
}

impl Source for Departure {
    fn register(&mut self, registry: &Registry, tokens: Tokens) -> std::io::Result<()> {
        registry.register(self.channel.source(), tokens.token(0), Interest::READABLE | Interest::WRITABLE)
    }

    /// It has its turn between any two polls; only that the channel takes more would be missed.
    fn hear(&mut self, _: usize, event: &Event) {
        if event.is_writable() {
            self.writable();
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        Some(self.due_at(now))
    }
}

impl Departure {
    /// A copy of peers alone, to a successor or standby of the same process. Nobody waits for a handshake.
    pub(crate) fn of_peers(
        channel: Channel,
        to: Recipient,
        hello: super::wire::Hello,
        keys_end: &[usize],
        now: Instant,
    ) -> Self {
        let progress = Progress::new(Copying::new(to, hello, &[keys_end, &[0]].concat(), now));
        let successor = Process { pid: std::process::id(), ..Process::default() };
        Self { channel, successor, listeners: None, progress }
    }
}
