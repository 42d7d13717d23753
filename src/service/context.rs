//! What a service can do while it handles one call.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::stream::{Context, StreamService};
use crate::peer::{Address, PeerId};
use crate::table::{Others, Peers, SendError};

impl<'a, S: StreamService> Context<'a, S> {
    pub(crate) fn new(
        peer: PeerId,
        address: Address,
        now: Instant,
        replies: &'a mut Vec<u8>,
        peers: &'a mut Peers,
        sessions: Others<'a, S::Session>,
    ) -> Self {
        Self {
            peer,
            address,
            now,
            replies,
            replies_max: usize::MAX,
            closing: false,
            deadline_ns: None,
            session_kept: false,
            peers,
            sessions,
        }
    }

    /// The peer may be answered with so many bytes until it is [full](Self::is_full).
    #[inline]
    pub(crate) fn bound_replies(&mut self, bytes_max: usize) {
        self.replies_max = bytes_max;
    }

    /// What the service has set the peer's deadline to in this call, if it has.
    #[inline]
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// Whether the service has closed the peer that this context is about.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether more output is pending for the peer that this call is about than the high-water mark. What it has sent and
    /// is not used by now may wait: it comes again when that has drained.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.replies.len() > self.replies_max
    }

    /// What was saved of the session last will do.
    pub(super) fn keep_session(&mut self) {
        self.session_kept = true;
    }

    pub(crate) fn has_kept_session(&self) -> bool {
        self.session_kept
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

    /// Has the service called about a peer [when so much time has passed](StreamService::deadline) since the
    /// [beginning of this turn](Self::now), or not at all. A peer has one deadline, and this replaces it: to move it with
    /// each message is what it is made for. It goes along in a takeover, and the time does not begin anew. A peer that is
    /// gone or being closed has none.
    ///
    /// The call comes as soon as the loop has time for it: not before, and later if others keep the loop busy.
    #[inline]
    pub fn set_deadline(&mut self, peer: PeerId, after: Option<Duration>) {
        let deadline_ns = self.peers.deadline_ns(after);
        if peer == self.peer {
            self.deadline_ns = Some(deadline_ns);
        } else {
            self.peers.set_deadline(peer, deadline_ns);
        }
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
