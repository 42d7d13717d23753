//! The successor's side of the channel: it moves frames and descriptors, and decides nothing.
//!
//! It calls on the takeover path, and fills a lane that is not served yet with what arrives, until Accept is in the
//! channel. Until then it can fail at any point, by leaving: nobody's byte has been touched.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{debug, info};
use mio::net::TcpListener;
use mio::{Events, Poll};
use nix::sys::signal::Signal;
use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::{socket_acceptconn, socket_cookie, socket_domain};
use rustix::net::{AddressFamily, getsockname};

use super::channel::{Channel, ChannelError, Deadline};
use super::drive::{Accepting, Owner, SuccessorEnd};
use super::fault::{self, SuccessorStep as Step};
use super::memory::Expendable;
use super::panicked::{Panicked, caught};
use super::path::{self, PathError, TakeoverListener};
use super::successor::{Action, Called, Fault, Receiving};
use super::summary::{Pause, Summary};
use super::wire::{self, Digested, Frame, Listeners, RawFrame, Refuse, Serving, Versions, Welcome};
use crate::clock::monotonic_ns;
use crate::lane::{AdoptError, Lane};
use crate::open_files;
use crate::peer::Address;
use crate::peer::record::{Change, Record};
use crate::service::{RestoreError, Service};
use crate::sources::{Callers, Draw, Entrance, Sources, StopSignals};
use crate::table::Handle;
use crate::worker::Queue;

/// How long the predecessor may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// After so many peers, about 100 us of work, the processor goes to whoever else wants it: the predecessor serves, and
/// its clients wait.
const ADOPTED_AT_A_STRETCH: usize = 64;

/// Events taken from one look at what has arrived for peers, and how often more is looked than there are peers.
const EVENTS_SIFTED: usize = 1024;
const SIFTED_MORE: usize = 16;

/// Why a takeover failed before the commit point: no peer was touched, and a predecessor that lives serves on.
#[derive(Debug)]
pub struct TakeoverError {
    path: PathBuf,
    /// The predecessor, if it answered.
    pid: Option<u32>,
    cause: Cause,
}

#[derive(Debug)]
pub(crate) enum Cause {
    Connect(io::Error),
    Channel(ChannelError),
    Fault(Fault),
    Path(PathError),
    Cookie {
        record: u64,
        socket: u64,
    },
    Listener {
        what: &'static str,
    },
    DescriptorsLeft {
        count: usize,
    },
    Adopt {
        address: Address,
        error: AdoptError,
    },
    State(RestoreError),
    /// The service did, while its shared state or a peer's session was restored.
    Panicked {
        address: Option<Address>,
        panicked: Panicked,
    },
    Signal(Signal),
    TooLate,
    /// The predecessor ended the takeover after the freeze, and no reason came through.
    Ended {
        since_ready: Duration,
    },
    Io {
        what: &'static str,
        error: io::Error,
    },
}

impl fmt::Display for TakeoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "takeover from pid {pid} on {}: {}", self.path.display(), self.cause),
            None => write!(f, "takeover on {}: {}", self.path.display(), self.cause),
        }
    }
}

impl Cause {
    /// Tells the predecessor, unless it has said so itself, and leaves.
    fn tell(&self, channel: Channel) {
        if !matches!(self, Self::Fault(Fault::Refused { .. })) {
            channel.close_with(&Frame::Refuse(Refuse { reason: self.to_string() }).encode());
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) if error.kind() == io::ErrorKind::NotFound => write!(f, "there is no such path"),
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => write!(f, "nobody answers"),
            Self::Connect(error) => write!(f, "connect: {error}"),
            Self::Channel(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
            Self::Path(error) => error.fmt(f),
            Self::Cookie { record, socket } => {
                write!(f, "the record with cookie {record} came with the socket that has cookie {socket}")
            }
            Self::Listener { what } => write!(f, "the descriptor of {what} is something else"),
            Self::DescriptorsLeft { count } => write!(f, "{count} descriptors came that no frame speaks of"),
            Self::Adopt { address, error } => write!(f, "peer {address}: {error}"),
            Self::State(error) => write!(f, "the shared state: {error}"),
            Self::Panicked { address: Some(address), panicked } => write!(f, "peer {address}: {panicked}"),
            Self::Panicked { address: None, panicked } => write!(f, "the shared state: {panicked}"),
            Self::Signal(signal) => write!(f, "{signal} came before the peers were taken over"),
            Self::TooLate => write!(f, "too late: the predecessor has taken up its peers again"),
            Self::Ended { since_ready } => write!(
                f,
                "the predecessor ended the takeover, {} ms after this process was ready: its log has the reason, which may be \
                 its freeze timeout (--freeze-timeout, Config::freeze_timeout)",
                since_ready.as_millis()
            ),
            Self::Io { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for TakeoverError {}

impl From<Fault> for Cause {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<ChannelError> for Cause {
    fn from(error: ChannelError) -> Self {
        Self::Channel(error)
    }
}

impl From<wire::WireError> for Cause {
    fn from(error: wire::WireError) -> Self {
        Self::Channel(error.into())
    }
}

impl From<PathError> for Cause {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

/// A service that a successor can run.
#[derive(Clone, Debug)]
pub struct Offer(wire::Offer);

impl Offer {
    /// The service `S`, with the state versions that it restores.
    #[must_use]
    pub fn of<S: Service>() -> Self {
        const {
            assert!(S::STATE_VERSION_OLDEST <= S::STATE_VERSION, "a service restores what it saves");
            assert!(S::STATE_VERSION <= S::STATE_VERSION_NEWEST, "a service restores what it saves");
        }
        let state_versions = Versions { oldest: S::STATE_VERSION_OLDEST, newest: S::STATE_VERSION_NEWEST };
        Self(wire::Offer { service: S::NAME.to_owned(), state_versions })
    }
}

/// A successor whom the predecessor has welcomed. To drop it is to give up: the predecessor serves on.
#[derive(Debug)]
pub(crate) struct Welcomed {
    channel: Channel,
    path: PathBuf,
    predecessor_pid: u32,
    welcome: Welcome,
    /// Until it owns the peers, this process can go, and nobody is the worse for it.
    expendable: Option<Expendable>,
}

impl Welcomed {
    /// Calls on `path`, and offers to run one of several services.
    ///
    /// # Errors
    /// If nobody answers, or the predecessor refuses.
    pub(crate) fn call(path: &Path, offers: &[Offer]) -> Result<Self, TakeoverError> {
        let in_context = |pid| move |cause| TakeoverError { path: path.to_owned(), pid, cause };
        let path::Call { socket, pid } = path::call(path).map_err(Cause::Connect).map_err(in_context(None))?;
        let mut channel = Channel::of_successor(socket).map_err(Cause::Channel).map_err(in_context(Some(pid)))?;
        let welcome = greet(&mut channel, offers).map_err(in_context(Some(pid)))?;
        debug!("Welcomed by {} as pid {pid}, with {} peers", wire::printable(&welcome.build), welcome.peers);
        let expendable = Expendable::until_dropped();
        Ok(Self { channel, path: path.to_owned(), predecessor_pid: welcome.pid, welcome, expendable })
    }

    /// The name of the service to be taken over, which is one of those offered.
    pub(crate) fn service(&self) -> &str {
        &self.welcome.service
    }

    /// How many peers there will be about, and not more than can be.
    pub(crate) fn peers_expected(&self) -> usize {
        usize::try_from(self.welcome.peers).unwrap_or(usize::MAX).min(open_files::limit())
    }

    /// Receives everything into `lane`, whose peers `poll` wakes. When this returns, Accept is in the channel, and the
    /// peers are this process's.
    ///
    /// # Errors
    /// Before the commit point: the predecessor serves on, and knows why.
    pub(crate) fn receive<S: Service>(
        self,
        poll: Poll,
        lane: Lane<S>,
        sources: Sources,
        queue: Option<Queue>,
        moved_to: Option<&Path>,
    ) -> Result<Arrived<S>, TakeoverError> {
        let peers_expected = self.peers_expected();
        let Self { channel, path, predecessor_pid, welcome, expendable } = self;
        let mut arriving = Arriving {
            channel,
            poll,
            lane,
            sources,
            receiving: Receiving::expecting(peers_expected),
            state_version: welcome.state_version,
            queue,
            moved_to: moved_to.map(Path::to_owned),
            left_behind: None,
            ready_at_ns: None,
            frozen: None,
        };
        match arriving.receive() {
            Ok(owner) => {
                let Arriving { channel, poll, lane, sources, receiving, left_behind, frozen, .. } = arriving;
                let frozen = frozen.expect("it was frozen when it committed");
                let _receiving = receiving;
                let arrival = Arrival { channel, predecessor_pid, owner, frozen, left_behind, expendable, _receiving };
                Ok(Arrived { poll, lane, sources, arrival })
            }
            Err(cause) => {
                arriving.sources.give_up();
                cause.tell(arriving.channel);
                Err(TakeoverError { path, pid: Some(predecessor_pid), cause })
            }
        }
    }
}

/// A successor that owns the peers, and has not polled yet.
pub(crate) struct Arrived<S: Service> {
    pub(crate) poll: Poll,
    pub(crate) lane: Lane<S>,
    pub(crate) sources: Sources,
    pub(crate) arrival: Arrival,
}

fn in_context(what: &'static str) -> impl FnOnce(io::Error) -> Cause {
    move |error| Cause::Io { what, error }
}

/// A successor up to the commit point: what arrives fills a lane that is not served yet.
pub(crate) struct Arriving<S: Service> {
    channel: Channel,
    poll: Poll,
    lane: Lane<S>,
    sources: Sources,
    receiving: Receiving,
    /// The version of all state that the predecessor saves.
    state_version: u32,
    /// Where further peers come from, if not from the predecessor's listener.
    queue: Option<Queue>,
    /// The takeover path from now on, if it is to be another one.
    moved_to: Option<PathBuf>,
    /// The takeover listener on the path before, if it is another one now.
    left_behind: Option<TakeoverListener>,
    /// When the predecessor was last told that it may freeze: `CLOCK_MONOTONIC`, ns.
    ready_at_ns: Option<u64>,
    /// When it has frozen, once it has committed.
    frozen: Option<FrozenAt>,
}

impl<S: Service> Arriving<S> {
    /// Receives everything, up to and including the commit point.
    fn receive(&mut self) -> Result<Owner, Cause> {
        self.receive_all().map_err(|cause| self.explain(cause))
    }

    fn receive_all(&mut self) -> Result<Owner, Cause> {
        fault::at(Step::Welcome, &mut self.channel)?;
        loop {
            let raw = receive_unless_stopped(&mut self.channel, self.sources.signals.as_ref())?;
            if let Some(owner) = self.hear(&raw)? {
                return Ok(owner);
            }
        }
    }

    /// What the predecessor has said of the end of the channel, if it is that. After the freeze it may have had no time to.
    fn explain(&mut self, cause: Cause) -> Cause {
        if !matches!(cause, Cause::TooLate | Cause::Channel(ChannelError::Closed)) {
            return cause;
        }
        let ready_at_ns = self.ready_at_ns;
        last_word(&mut self.channel).unwrap_or_else(|| match (cause, ready_at_ns) {
            (Cause::Channel(_), Some(ready_at_ns)) => {
                Cause::Ended { since_ready: Duration::from_nanos(monotonic_ns().saturating_sub(ready_at_ns)) }
            }
            (cause, _) => cause,
        })
    }

    /// Does what a frame asks for, and answers. Returns what there is to know once Accept is in the channel: from then
    /// on the peers are this process's.
    pub(crate) fn hear(&mut self, raw: &RawFrame) -> Result<Option<Owner>, Cause> {
        let answer = match self.receiving.hear(raw.decode()?)? {
            Action::Listen(listeners) => {
                self.listen(&listeners)?;
                None
            }
            Action::Adopt(records, answer) => {
                self.adopt(records)?;
                Some(answer)
            }
            Action::Change(changes) => {
                self.change(changes)?;
                None
            }
            Action::Discard(cookies) => {
                self.discard(cookies)?;
                None
            }
            Action::Answer(answer) => {
                self.sift(Step::Round)?;
                Some(answer)
            }
            Action::GetReady(answer) => {
                self.sift(Step::Ready)?;
                self.ready_at_ns = Some(monotonic_ns());
                Some(answer)
            }
            Action::Wait => None,
            Action::Accept(accept) => {
                self.frozen = Some(FrozenAt::between(self.ready_at_ns, accept.frozen_at_ns, monotonic_ns()));
                return Accepting::Verified(accept).finish(self).map(Some);
            }
        };
        if let Some(answer) = answer {
            self.channel.send_by(&answer, &[], Deadline::after(SILENCE_MAX))?;
        }
        Ok(None)
    }

    fn listen(&mut self, listeners: &Listeners) -> Result<(), Cause> {
        fault::at(Step::Listeners, &mut self.channel)?;
        let (entrance, takeover) = take_listeners(&mut self.channel, listeners, self.queue.take())?;
        let registry = self.poll.registry();
        self.sources.open(registry, entrance).map_err(in_context("the listener"))?;
        let (current, left_behind) = move_to(takeover, self.moved_to.as_deref())?;
        self.left_behind = left_behind;
        self.sources.answer(registry, Callers::on(current)).map_err(in_context("the takeover listener"))
    }

    /// Adopts a socket with each record, which must be about it.
    fn adopt(&mut self, records: Vec<Digested<Record<'_>>>) -> Result<(), Cause> {
        fault::at(Step::Adopt, &mut self.channel)?;
        let sockets = self.channel.take_descriptors(records.len())?;
        for (adopted, (socket, Digested { value: record, .. })) in sockets.into_iter().zip(records).enumerate() {
            if adopted % ADOPTED_AT_A_STRETCH == 0 {
                std::thread::yield_now();
            }
            let cookie = socket_cookie(&socket).map_err(io::Error::from).map_err(in_context("SO_COOKIE"))?;
            if cookie != record.cookie {
                return Err(Cause::Cookie { record: record.cookie, socket: cookie });
            }
            let adopted = caught(|| self.lane.adopt(socket.into(), &record, self.state_version));
            restored(adopted, Address(record.address))?;
        }
        Ok(fault::at(Step::Copied, &mut self.channel)?)
    }

    fn change(&mut self, changes: Vec<Digested<Change<'_>>>) -> Result<(), Cause> {
        fault::at(Step::Change, &mut self.channel)?;
        for Digested { value: change, .. } in changes {
            let address = self.lane.address(change.cookie.into());
            let followed = caught(|| self.lane.follow(&change, self.state_version));
            restored(followed, address)?;
        }
        Ok(())
    }

    fn discard(&mut self, cookies: Vec<u64>) -> Result<(), Cause> {
        fault::at(Step::Discard, &mut self.channel)?;
        for cookie in cookies {
            self.lane.discard(cookie.into());
        }
        Ok(())
    }

    fn sift(&mut self, step: Step) -> Result<(), Cause> {
        fault::at(step, &mut self.channel)?;
        sift(&mut self.poll, &mut self.lane).map_err(in_context("epoll_wait"))
    }
}

impl<S: Service> SuccessorEnd for Arriving<S> {
    type Cause = Cause;

    fn restore(&mut self, state: &[u8]) -> Result<(), Cause> {
        match self.channel.descriptors_left() {
            0 => {}
            count => return Err(Cause::DescriptorsLeft { count }),
        }
        caught(|| self.lane.restore(self.state_version, state))
            .map_err(|panicked| Cause::Panicked { address: None, panicked })?
            .map_err(Cause::State)
    }

    fn send_accept(&mut self, frame: &[u8]) -> Result<(), Cause> {
        stop_if_told(self.sources.signals.as_ref())?;
        fault::at(Step::Accept, &mut self.channel)?;
        match self.channel.send_by(frame, &[], Deadline::after(SILENCE_MAX)) {
            Err(ChannelError::Closed) => Err(Cause::TooLate),
            sent => Ok(sent?),
        }
    }
}

/// Takes from the epoll set what has become of no interest since it was registered. Whatever arrived for a peer during
/// the copy has left an entry there, also where the predecessor has read it long ago, and the first poll would look at all
/// of them while nobody serves. Nothing is read from anybody: who has something to read becomes due.
pub(crate) fn sift<S: Service>(poll: &mut Poll, lane: &mut Lane<S>) -> io::Result<()> {
    let mut events = Events::with_capacity(EVENTS_SIFTED);
    // Often enough to see every peer once, and some more. Clients may send faster than this looks at them.
    for _ in 0..lane.peers() / EVENTS_SIFTED + SIFTED_MORE {
        match poll.poll(&mut events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        if events.is_empty() {
            break;
        }
        // Sources are all tended in the first turn in any case.
        for handle in events.iter().filter_map(|event| Handle::from_token(event.token())) {
            lane.table_mut().make_due(handle);
        }
    }
    Ok(())
}

/// What came of restoring a peer, with its name.
fn restored(result: Result<Result<(), AdoptError>, Panicked>, address: Address) -> Result<(), Cause> {
    let result = result.map_err(|panicked| Cause::Panicked { address: Some(address), panicked })?;
    result.map_err(|error| Cause::Adopt { address, error })
}

/// The next frame, unless a signal asks this process to stop: it owns no peer yet, and the predecessor will keep them.
fn receive_unless_stopped(channel: &mut Channel, signals: Option<&StopSignals>) -> Result<RawFrame, Cause> {
    let deadline = Deadline::after(SILENCE_MAX);
    loop {
        stop_if_told(signals)?;
        let verdict = deadline.check();
        match (channel.receive()?, signals) {
            (Some(raw), _) => return Ok(raw),
            (None, Some(signals)) => {
                verdict?;
                channel.wait_beside(signals.as_fd(), deadline)?;
            }
            (None, None) => return Ok(channel.receive_by(deadline)?),
        }
    }
}

/// Why the predecessor has ended the takeover: it may have said so before it ended the channel.
fn last_word(channel: &mut Channel) -> Option<Cause> {
    while let Ok(Some(raw)) = channel.receive() {
        if let Ok(Frame::Refuse(refuse)) = raw.decode() {
            return Some(Fault::Refused { reason: wire::printable(&refuse.reason) }.into());
        }
    }
    None
}

/// # Errors
/// If a signal has asked this process to stop.
fn stop_if_told(signals: Option<&StopSignals>) -> Result<(), Cause> {
    match signals.map(StopSignals::look) {
        Some(Ok(Some(signal))) => Err(Cause::Signal(signal)),
        Some(Err(error)) => Err(Cause::Io { what: "signals", error }),
        Some(Ok(None)) | None => Ok(()),
    }
}

/// Says Hello, and hears the answer.
fn greet(channel: &mut Channel, offers: &[Offer]) -> Result<Welcome, Cause> {
    let offers = offers.iter().map(|offer| offer.0.clone()).collect();
    let (called, hello) = Called::new(offers, open_files::limit() as u64, open_files::count() as u64);
    let deadline = Deadline::after(SILENCE_MAX);
    fault::at(Step::Hello, channel)?;
    // A predecessor that refuses before it hears anything may be gone already; what it said is still there.
    let sent = channel.send_by(&hello, &[], deadline);
    match channel.receive_by(deadline) {
        Ok(raw) => Ok(called.hear(raw.decode()?)?),
        Err(error) => Err(sent.err().unwrap_or(error).into()),
    }
}

/// Takes the descriptors of the listeners, and pairs them with what is said about them. Who draws from a queue does not
/// listen.
fn take_listeners(
    channel: &mut Channel,
    listeners: &Listeners,
    queue: Option<Queue>,
) -> Result<(Entrance, TakeoverListener), Cause> {
    let (count, expected) = (listeners.tcp.len(), usize::from(queue.is_none()));
    if count != expected {
        return Err(Fault::Listeners { count, expected }.into());
    }
    let mut descriptors = channel.take_descriptors(count + 1)?;
    let takeover = descriptors.pop().expect("one more was taken than there are listeners");
    let tcp = descriptors.pop();
    // A peer's descriptor is known by its cookie, a listener's by what it is.
    let listens = |socket: &OwnedFd| socket_acceptconn(socket).unwrap_or(false);
    let is_at = |socket: &OwnedFd| getsockname(socket).ok().and_then(|name| name.try_into().ok());
    if !tcp.iter().all(|tcp| listens(tcp) && is_at(tcp) == listeners.tcp.first().copied()) {
        return Err(Cause::Listener { what: "the listener" });
    }
    if !listens(&takeover) || socket_domain(&takeover) != Ok(AddressFamily::UNIX) {
        return Err(Cause::Listener { what: "the takeover listener" });
    }
    // It belongs to the open file, which others may have: a call on a listener that blocks would hold up every peer. Peers
    // need no such care: the predecessor read from each of them until it would have blocked.
    for listener in tcp.iter().chain([&takeover]) {
        ioctl_fionbio(listener, true).map_err(io::Error::from).map_err(in_context("O_NONBLOCK"))?;
    }
    let entrance = match (queue, tcp) {
        (Some(queue), _) => Entrance::of_queue(Draw::from(queue)),
        (None, Some(tcp)) => Entrance::of_listener(TcpListener::from_std(tcp.into())),
        (None, None) => unreachable!("without a queue, one listener was expected"),
    };
    let path = PathBuf::from(OsStr::from_bytes(&listeners.takeover_path));
    let file = (listeners.takeover_device, listeners.takeover_inode);
    Ok((entrance, TakeoverListener::adopt(takeover, path, file)))
}

/// The takeover listener to answer on, and the one that is left behind if the path moves.
fn move_to(
    takeover: TakeoverListener,
    moved_to: Option<&Path>,
) -> Result<(TakeoverListener, Option<TakeoverListener>), PathError> {
    match moved_to {
        Some(path) if std::path::absolute(path).is_ok_and(|path| path == takeover.path()) => Ok((takeover, None)),
        Some(path) => Ok((TakeoverListener::bind(path)?, Some(takeover))),
        None => Ok((takeover, None)),
    }
}

/// When the predecessor froze, by this process's clock, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrozenAt {
    Exactly(u64),
    /// The predecessor's clock is another one (time_namespaces(7)): it was not before this process was ready.
    NotBefore(u64),
}

impl FrozenAt {
    /// The predecessor says by its own clock when it was. By one that both share, that is after this process was ready,
    /// and before this process heard of it.
    fn between(ready_at_ns: Option<u64>, told_ns: u64, heard_at_ns: u64) -> Self {
        match ready_at_ns {
            Some(ready_at_ns) if !(ready_at_ns..=heard_at_ns).contains(&told_ns) => Self::NotBefore(ready_at_ns),
            _ => Self::Exactly(told_ns),
        }
    }

    /// The time up to the first poll.
    fn pause(self, polled_at_ns: u64) -> Pause {
        match self {
            Self::Exactly(at_ns) => Pause::Exactly { us: polled_at_ns.saturating_sub(at_ns) / 1000 },
            Self::NotBefore(at_ns) => Pause::AtMost { us: polled_at_ns.saturating_sub(at_ns) / 1000 },
        }
    }
}

/// What a successor has left to do when it serves for the first time.
#[derive(Debug)]
pub(crate) struct Arrival {
    channel: Channel,
    predecessor_pid: u32,
    owner: Owner,
    frozen: FrozenAt,
    /// Nobody has told the kernel yet that this process must live.
    expendable: Option<Expendable>,
    /// The takeover listener that is not listened on any more.
    left_behind: Option<TakeoverListener>,
    /// To free it takes as long as there are peers, which is no matter for the pause.
    _receiving: Receiving,
}

impl Arrival {
    /// The first poll has returned: what the peers need is done next, and this process must live.
    pub(crate) fn polled(&mut self) {
        self.expendable = None;
    }

    /// The first poll has returned, at `polled_at_ns`, and all that was due has been done: tells the predecessor, logs
    /// the summary, puts this process's name on the takeover listener, and leaves the path that the takeover has moved
    /// away from.
    pub(crate) fn serving(mut self, polled_at_ns: u64, listener: Option<&TakeoverListener>) {
        let pause = self.frozen.pause(polled_at_ns);
        let (Pause::Exactly { us: pause_us } | Pause::AtMost { us: pause_us }) = pause else {
            unreachable!("who has polled knows when that was");
        };
        let said = fault::at(Step::Serving, &mut self.channel)
            .and_then(|()| self.channel.try_send(&Frame::Serving(Serving { pause_us }).encode(), &[]));
        if let Err(error) = said {
            debug!("Predecessor pid {} was not told how long the pause was: {error}", self.predecessor_pid);
        }
        if let Some(Err(error)) = listener.map(TakeoverListener::sign) {
            debug!("Callers see a predecessor's pid: {error}");
        }
        let summary = Summary {
            peers: self.owner.accept().peers,
            figures: self.owner.accept().figures,
            pause,
            predecessor_pid: self.predecessor_pid,
            successor_pid: std::process::id(),
        };
        info!("Took over {summary}");
        if let Some(left_behind) = self.left_behind {
            left_behind.remove();
        }
    }
}

#[cfg(any(test, fuzzing))]
impl<S: Service> Arriving<S> {
    /// A takeover of peers alone, from a predecessor of the same process.
    pub(crate) fn of_peers(channel: Channel, poll: Poll, lane: Lane<S>) -> Self {
        let mut receiving = Receiving::default();
        let listeners = Listeners { tcp: Vec::new(), takeover_path: Vec::new(), takeover_device: 0, takeover_inode: 0 };
        receiving.hear(Frame::Listeners(listeners)).expect("listeners come first");
        Self {
            channel,
            poll,
            lane,
            sources: Sources::none(),
            receiving,
            state_version: S::STATE_VERSION,
            queue: None,
            moved_to: None,
            left_behind: None,
            ready_at_ns: None,
            frozen: None,
        }
    }

    /// The next frame, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<RawFrame>, ChannelError> {
        self.channel.receive()
    }

    /// What owns the peers once Accept is in the channel.
    pub(crate) fn into_lane(self) -> (Poll, Lane<S>) {
        (self.poll, self.lane)
    }
}

#[cfg(test)]
mod tests;
