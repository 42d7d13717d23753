//! What answers messages: the trait [`Service`], and what it is given to do so.
//!
//! A service is a state machine without I/O. Bytes come in as whole messages, bytes go out through a [`Context`], and
//! time is what the context says. Because it does no I/O of its own, the reactor can save it between two messages and
//! go on with it in another process.

pub use crate::table::SendError;

use std::net::SocketAddr;
use std::time::Instant;

use crate::peer::{Address, PeerId};
use crate::table::{Others, Peers};

/// A protocol, its conversations, and the state they share.
///
/// The reactor calls [`boundary`](Self::boundary) to find where a message ends and [`message`](Self::message) with
/// each whole message, in order. A takeover never happens inside a call.
///
/// # State in a takeover
/// Sessions are saved while the predecessor still serves, and again after a call about their peer that may have changed
/// them: [`boundary`](Self::boundary) may not, not through a `Cell` either. What changes in other calls, through an `Rc`
/// for instance, belongs into the state shared by all peers. That is saved once, after the
/// freeze: nobody serves while it is saved, sent and restored, which takes about two milliseconds for each megabyte.
/// Keep it small, or keep in it only what the sessions do not hold already: all of that has to be done within
/// [`Config::freeze_timeout`](crate::Config::freeze_timeout), and a takeover for which it is not enough says on both sides
/// what the time went into.
///
/// Saving changes nothing, neither in what it saves nor elsewhere, and may be repeated: a takeover may fail at any point,
/// and the next one saves again. If one of the four calls panics, that takeover fails, on both sides with the panic's
/// text, and the predecessor serves on (unless the program is built to abort at a panic). So a service that is to save
/// more than there may be memory for asks with `try_reserve` first, and panics if it is refused.
pub trait Service: Sized {
    /// The state of the conversation with one peer.
    type Session;

    /// The service's name, which a successor must know.
    const NAME: &'static str;

    /// The version in which sessions and shared state are saved. Raise it when what is saved changes.
    const STATE_VERSION: u32;

    /// The oldest version that can be restored. Keep it at the previous version for as long as upgrades should work.
    const STATE_VERSION_OLDEST: u32 = Self::STATE_VERSION;

    /// The newest version that can be restored. A program that restores what its next version will save, before that
    /// one saves it, is what an upgrade can be undone to: `examples/versions.rs` shows the steps.
    const STATE_VERSION_NEWEST: u32 = Self::STATE_VERSION;

    /// How many bytes a message may have at most. A peer that sends a longer one is closed.
    const MESSAGE_BYTES_MAX: usize = 64 * 1024;

    /// A peer has connected.
    fn open(&mut self, context: &mut Context<'_, Self>) -> Self::Session;

    /// How many bytes the first message in `input` has, or `None` if its end has not come yet. `input` is never
    /// empty. Its first `searched` bytes have been searched in vain by an earlier call.
    ///
    /// # Errors
    /// If what has come can never be a message: the peer is closed, after what is pending for it was written.
    fn boundary(&self, session: &Self::Session, input: &[u8], searched: usize) -> Result<Option<usize>, Violation>;

    /// A whole message has come.
    ///
    /// # Errors
    /// If the message breaks the protocol: the peer is closed, after what is pending for it was written.
    fn message(
        &mut self,
        session: &mut Self::Session,
        message: &[u8],
        context: &mut Context<'_, Self>,
    ) -> Result<(), Violation>;

    /// The client has sent all it will send (it closed, or half-closed). An unfinished message, if there is one, is
    /// never going to be finished. Unless this is overridden, the peer is closed once all its answers are written.
    fn ended(&mut self, session: &mut Self::Session, context: &mut Context<'_, Self>) {
        let _ = session;
        context.close();
    }

    /// The peer is gone, whoever closed it. It can no longer be sent anything; others can.
    fn closed(&mut self, session: Self::Session, context: &mut Context<'_, Self>) {
        let _ = (session, context);
    }

    /// Appends the session to `record`, in the version [`STATE_VERSION`](Self::STATE_VERSION).
    fn save_session(&self, session: &Self::Session, record: &mut Vec<u8>);

    /// The session that a predecessor saved in this version. The shared state is not restored yet.
    ///
    /// # Errors
    /// If `record` is not such a session: the takeover fails, and the predecessor serves on.
    fn restore_session(&self, version: u32, record: &[u8]) -> Result<Self::Session, RestoreError>;

    /// Appends the state that all peers share to `record`. See the trait's documentation for what it costs.
    fn save(&self, record: &mut Vec<u8>) {
        let _ = record;
    }

    /// Restores the state that all peers share. All sessions are there already.
    ///
    /// # Errors
    /// If `record` is not such a state: the takeover fails, and the predecessor serves on.
    fn restore(&mut self, version: u32, record: &[u8]) -> Result<(), RestoreError> {
        let _ = (version, record);
        Ok(())
    }
}

/// What a service does to the world while it handles one call: it answers, sends to others, closes.
pub struct Context<'a, S: Service> {
    peer: PeerId,
    address: Address,
    now: Instant,
    replies: &'a mut Vec<u8>,
    closing: bool,
    peers: &'a mut Peers,
    sessions: Others<'a, S::Session>,
}

impl<'a, S: Service> Context<'a, S> {
    pub(crate) fn new(
        peer: PeerId,
        address: Address,
        now: Instant,
        replies: &'a mut Vec<u8>,
        peers: &'a mut Peers,
        sessions: Others<'a, S::Session>,
    ) -> Self {
        Self { peer, address, now, replies, closing: false, peers, sessions }
    }

    /// Whether the service has closed the peer that this context is about.
    pub(crate) fn closing(&self) -> bool {
        self.closing
    }

    /// The bytes of answers that this context has collected and nobody has written.
    pub(crate) fn replies_bytes(&self) -> usize {
        self.replies.len()
    }

    /// The peer that this call is about.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Where that peer connects from.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address.0
    }

    /// The time of this turn of the loop.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Answers the peer that this call is about. Answers are never refused: a peer whose pending output is over the
    /// high-water mark is not read from, so that it cannot ask for more.
    pub fn reply(&mut self, bytes: &[u8]) {
        self.replies.extend_from_slice(bytes);
    }

    /// Sends to a peer, which may be another one than the one that this call is about.
    ///
    /// # Errors
    /// If that peer is gone or closing, or if its pending output is over the high-water mark: then nothing was sent,
    /// and the service decides whether to drop the message or to [close](Self::close_peer) the peer.
    pub fn send(&mut self, peer: PeerId, bytes: &[u8]) -> Result<(), SendError> {
        if peer == self.peer {
            self.reply(bytes);
            return Ok(());
        }
        self.peers.send(peer, bytes)
    }

    /// The session of another peer, which has been opened and is not gone. What is changed there is saved with that peer.
    pub fn session(&mut self, peer: PeerId) -> Option<&mut S::Session> {
        let key = self.peers.key(peer)?;
        let session = self.sessions.get_mut(key)?;
        self.peers.touch(key);
        Some(session)
    }

    /// Closes the peer that this call is about, after its answers are written. It is sent no more messages.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Closes a peer, which may be another one than the one that this call is about, after what is pending for it is
    /// written. A peer that is gone stays gone.
    pub fn close_peer(&mut self, peer: PeerId) {
        if peer == self.peer {
            self.close();
        } else {
            self.peers.close(peer);
        }
    }
}

/// How a peer broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    what: String,
}

impl Violation {
    /// A violation, in words for the log: what came, and what is allowed.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Violation {}

/// Why saved state cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreError {
    what: String,
}

impl RestoreError {
    /// An error, in words for the log.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for RestoreError {}
