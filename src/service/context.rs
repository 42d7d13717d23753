//! What a service can do while it handles one call.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::stream::{Context, StreamService};
use crate::handle::Handle;
use crate::peer::connect::Connect;
use crate::peer::delivery::Counted;
use crate::peer::endurance::{give_up_after, keep_alive};
use crate::peer::{Address, Peer, PeerId, Phase};
use crate::table::{NobodyWaits, Others, Peers, SendError};

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
            stopping: false,
            session_kept: false,
            peers,
            sessions,
        }
    }

    /// For a call that is about no peer.
    pub(crate) fn about_nobody(
        now: Instant,
        replies: &'a mut Vec<u8>,
        peers: &'a mut Peers,
        sessions: Others<'a, S::Session>,
    ) -> Self {
        let nowhere = Address::unix(0);
        Self::new(PeerId::NOBODY, nowhere, now, replies, peers, sessions)
    }

    /// The peer may be answered with so many bytes until it is [full](Self::is_full).
    #[inline]
    pub(crate) fn bound_replies(&mut self, bytes_max: usize) {
        self.replies_max = bytes_max;
    }

    /// What the service has set the peer's deadline to in this call, if it has.
    #[inline]
    pub(crate) fn deadline_ns(&self) -> Option<NonZeroU64> {
        self.deadline_ns
    }

    /// Whether the service has closed the peer that this context is about.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether no more of what the peer has sent is to be handled in this call: it is closed, or held.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping
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

    /// The peer that this call is about. In a call that is about none, such as
    /// [`timer`](StreamService::timer), it is the id of nobody: as of a peer that is gone, nothing reaches it.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Where that peer connects from, unless that is a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.ip()
    }

    /// Where another peer connects from or leads to, unless that is a Unix socket, or the peer is gone.
    #[must_use]
    pub fn address_of(&self, peer: PeerId) -> Option<SocketAddr> {
        self.peers.find(peer)?.address().ip()
    }

    /// What the TLS handshake of a peer has found out: the protocol that was agreed on, the name that the client asked for, its
    /// certificates. `None` of one that does not speak TLS, or is gone; in [`closed`](StreamService::closed), the peer that it is about
    /// can still be asked about. Of a connection that the service has [opened](Self::connect), the certificates are there in
    /// [`connected`](StreamService::connected) alone. They are kept packed, and copied here: ask once.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(&self, peer: PeerId) -> Option<crate::tls::Facts> {
        Some(self.peers.secured(peer)?.facts())
    }

    /// The same as the log names it.
    pub(crate) fn address_as_logged(&self) -> impl std::fmt::Display {
        self.address
    }

    /// The time of this turn of the loop.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Answers the peer that this call is about. Answers are never refused: a peer whose pending output is over the
    /// high-water mark is not read from, so that it cannot ask for more. In a call that is about no peer, they go nowhere.
    pub fn reply(&mut self, bytes: &[u8]) {
        self.replies.extend_from_slice(bytes);
    }

    /// Sends to a peer, which may be another one than the one that this call is about.
    ///
    /// # Errors
    /// If that peer is gone or closing, or if its pending output is over the high-water mark: then nothing was sent,
    /// and the service decides whether to drop the message or to [close](Self::close_peer) the peer. What is sent to the
    /// peer that this call is about is an [answer](Self::reply), whatever is pending.
    pub fn send(&mut self, peer: PeerId, bytes: &[u8]) -> Result<(), SendError> {
        if peer == self.peer && self.peers.find(peer).is_some_and(|peer| peer.talk.takes_answers()) {
            self.reply(bytes);
            return Ok(());
        }
        let sent = self.peers.send(peer, bytes);
        self.stopping |= self.peers.waits_for_writer(self.peer);
        sent
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
            self.deadline_ns = NonZeroU64::new(deadline_ns);
        } else {
            self.peers.set_deadline(peer, deadline_ns);
        }
    }

    /// Opens a connection, which is a peer from now on, with this session. It is read from when it
    /// [stands](StreamService::connected); until then what is sent to it waits. If it is closed before, it is given up.
    ///
    /// Such a peer needs a descriptor as any other does. It counts for [`Config::max_peers`](crate::Config::max_peers):
    /// with it, fewer are let in; but that limit does not keep a service from opening more.
    ///
    /// # Errors
    /// What is known at once gives the session back: there is no descriptor left (`EMFILE`), the source address or port
    /// cannot be had, nobody listens at the path of a Unix socket, the server is closing its peers because it stops, it has no
    /// [connectors](crate::Config::connectors) of the name that [`Connect::tls`] says. What
    /// turns out later is told by
    /// [`closed`](StreamService::closed).
    pub fn connect(&mut self, how: &Connect, session: S::Session) -> Result<PeerId, (S::Session, io::Error)> {
        match self.peers.connect(how) {
            Ok((key, id)) => {
                self.sessions.insert(key, session);
                Ok(id)
            }
            Err(error) => Err((session, error)),
        }
    }

    /// Has the service called [when so much time has passed](StreamService::timer) since the
    /// [beginning of this turn](Self::now), or not at all. The service numbers its timers as it likes; each is due once,
    /// and to set one that is set moves it. They go along in a takeover, in its pause: so a service for which much is due
    /// has one timer for what comes first. With `Duration::ZERO` it is called in the next turn of the loop.
    pub fn set_timer(&mut self, timer: u32, after: Option<Duration>) {
        self.peers.set_timer(timer, after);
    }

    /// How long it is until a timer is due, if it is set.
    #[must_use]
    pub fn timer(&self, timer: u32) -> Option<Duration> {
        self.peers.timer(timer)
    }

    /// The session of another peer, which has been opened and is not gone. What is changed there is saved with that peer.
    pub fn session(&mut self, peer: PeerId) -> Option<&mut S::Session> {
        let key = self.peers.key(peer)?;
        let session = self.sessions.get_mut(key)?;
        self.peers.touch(key);
        Some(session)
    }

    /// The session of another peer, to be looked at: nothing about that peer counts as changed by it.
    #[must_use]
    pub fn look(&self, peer: PeerId) -> Option<&S::Session> {
        self.sessions.get(self.peers.key(peer)?)
    }

    /// Closes the peer that this call is about, after its answers are written. It is sent no more messages.
    pub fn close(&mut self) {
        self.closing = true;
        self.stopping = true;
    }

    /// Ends the output of a peer: what is pending is written, and then it is told that nothing more will come (a
    /// half-close). If that is the peer that this call is about, all answers of the call are pending. It is read from as
    /// before; when the client has ended, too, and all is delivered, the peer is over. What is sent to it from then on is
    /// refused, and answers are left out.
    pub fn finish(&mut self, peer: PeerId) {
        if peer != self.peer {
            self.peers.finish(peer);
        } else if let Some(peer) = self.peers.find_mut(peer) {
            peer.talk.finish_after_call();
        }
    }

    /// Resets the connection of a peer: what is pending for it, and what it has sent, is thrown away. A Unix socket cannot
    /// be reset; it is closed at once.
    pub fn abort(&mut self, peer: PeerId) {
        if peer == self.peer {
            self.close();
        }
        self.peers.abort(peer);
    }

    /// Has a peer not be read from until it is [released](Self::release): what it sends stays in the kernel, which makes
    /// the client wait when its buffers are full. What has been read and not handled waits, too. A peer that is held is
    /// not seen to end or to be lost before it is released, unless it is written to.
    ///
    /// A peer is also not read from while its pending output is over the high-water mark; then both have to be gone.
    pub fn hold(&mut self, peer: PeerId) {
        self.stopping |= peer == self.peer;
        self.peers.hold(peer);
    }

    /// Has a peer be read from again that was [held](Self::hold), from the next turn of the loop on.
    pub fn release(&mut self, peer: PeerId) {
        self.peers.release(peer);
    }

    /// Gives a peer to the process that has waited longest for one: this service goes on with it there, with its session, its
    /// deadline, and all bytes that have come from it or are pending for it; together with whoever it is
    /// [joined](Self::join) or [coupled](Self::couple) to. It is not read from any more here. When it is gone, this
    /// service is told of it as [`Closed::Moved`](crate::Closed::Moved); if nobody takes it,
    /// [`not_given`](StreamService::not_given) is called. Only a [movable](StreamService::MOVABLE) service can do this.
    ///
    /// # Errors
    /// If nobody waits. Then nothing has changed.
    pub fn give_away(&mut self, peer: PeerId) -> Result<(), NobodyWaits> {
        const { assert!(S::MOVABLE, "a service whose peers cannot do without what they share gives none away") };
        self.peers.give_away(peer)?;
        self.stopping |= peer == self.peer;
        Ok(())
    }

    /// Has `reader` not be read from while more is pending for `writer` than the high-water mark, until that has drained to
    /// the low one: for a service that sends to one what it gets from the other. A reader is coupled to one writer, the
    /// last; a writer may have many readers.
    ///
    /// Who is coupled to a writer that is coupled to it in turn is read from whatever is pending for it: the two directions do
    /// not wait for one another, and what the service answers to such a peer by itself is for the service to bound.
    pub fn couple(&mut self, reader: PeerId, writer: PeerId) {
        self.peers.couple(reader, writer);
        self.stopping |= self.peers.waits_for_writer(self.peer);
    }

    /// From the next turn of the loop on, what either of the two sends is written to the other, without the service:
    /// first what is kept of their input. Neither is read from while anything is pending for the other, so that one read of each
    /// is kept at most, 64 KiB, or what the high-water mark allows while a connection does not stand yet; and the two directions
    /// do not wait for one another. Streams go through a pipe, and are not copied
    /// (splice(2)); while a successor copies the peers, bytes are left in the kernel until they are written, so that pairs change
    /// nothing by what they say.
    ///
    /// That one of them ends its output is passed on after all that it has sent. Of what the service has been
    /// called for, [`input`](StreamService::input), [`ended`](StreamService::ended) and
    /// [`drained`](StreamService::drained) come no more, [`connected`](StreamService::connected) comes if either does not
    /// stand yet, and [`closed`](StreamService::closed) comes for each: when both have ended and have got everything, or
    /// when either is lost or [aborted](Self::abort); then the other one is reset, and is told of as
    /// [`Closed::Lost`](crate::Closed::Lost). If one is closed, so is the other. If nothing has moved in either direction for so
    /// long as `idle` says, both are closed with [`Closed::Deadline`](crate::Closed::Deadline); with `None`, they may be
    /// silent for ever.
    ///
    /// All of that goes on in a successor. An [ephemeral](crate::Connect::ephemeral) connection is that no more.
    ///
    /// # Errors
    /// [`SendError::Gone`] if either is gone, is being closed, has its output finished or is joined already, or if they are one: then
    /// nothing has changed.
    pub fn join(&mut self, one: PeerId, other: PeerId, idle: Option<Duration>) -> Result<(), SendError> {
        self.peers.join(one, other, idle)?;
        self.stopping |= self.peer == one || self.peer == other;
        Ok(())
    }

    /// Of two that are [joined](Self::join), either of which this is: from now on nothing may move for so long until both are
    /// closed, or for ever. The time began when something moved last. Of a peer that is not joined, this changes nothing.
    pub fn set_idle(&mut self, peer: PeerId, idle: Option<Duration>) {
        self.peers.set_idle(peer, idle);
    }

    /// What was said last of how long nothing may move between two that are [joined](Self::join), either of which this is; `None`
    /// also of a peer that is not joined.
    #[must_use]
    pub fn idle(&self, peer: PeerId) -> Option<Duration> {
        self.peers.idle(peer)
    }

    /// Whether a peer has sent all it will send, joined or not: [`ended`](StreamService::ended) or
    /// [`half_closed`](StreamService::half_closed) has said so. Of one that had ended before it was joined, the latter says nothing.
    #[must_use]
    pub fn has_ended(&self, peer: PeerId) -> bool {
        self.peers.find(peer).is_some_and(|peer| peer.talk.phase() == Phase::Ended)
    }

    /// Has the kernel ask after so long a silence whether the other side of a peer's TCP connection is there (`TCP_KEEPIDLE`,
    /// tcp(7)), and then every so often; or never. Less than a second is taken for one. Until this is called, the kernel's
    /// own times hold. It is known to the socket, so it goes along in a takeover.
    ///
    /// # Errors
    /// If the kernel does not take it. On a Unix socket, nothing is done.
    pub fn set_keepalive(&mut self, peer: PeerId, after: Option<Duration>) -> io::Result<()> {
        self.peers.find(peer).map_or(Ok(()), |peer| keep_alive(peer, after))
    }

    /// A peer's TCP connection is lost when what was written to it stays unacknowledged for so long (`TCP_USER_TIMEOUT`,
    /// tcp(7)). It is known to the socket, so it goes along in a takeover.
    ///
    /// # Errors
    /// If the kernel does not take it. On a Unix socket, nothing is done.
    pub fn set_user_timeout(&mut self, peer: PeerId, after: Duration) -> io::Result<()> {
        self.peers.find(peer).map_or(Ok(()), |peer| give_up_after(peer, after))
    }

    /// What reaches this server from elsewhere: for a thread that the service starts, or to [ask](Handle::ask) how the server
    /// stands.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.peers.server().clone()
    }

    /// How many bytes wait to be written to a peer, answers of this call among them; 0 if it is gone.
    #[must_use]
    pub fn pending_bytes(&self, peer: PeerId) -> usize {
        let replies_bytes = if peer == self.peer { self.replies.len() } else { 0 };
        self.peers.find(peer).map_or(0, |peer| peer.talk.pending_bytes() + replies_bytes)
    }

    /// What the kernel has counted of a peer, over all takeovers; nothing if it is gone, was reset by the service or
    /// is no TCP connection. In [`closed`](StreamService::closed), the peer that it is about can still be asked about: these
    /// are its last figures then. This asks the kernel, which takes a microsecond or two.
    #[must_use]
    pub fn counted(&self, peer: PeerId) -> Counted {
        self.peers.counted(peer)
    }

    /// The ids of all peers of this service, in no order, those that are being closed among them. Who is
    /// [closed](StreamService::closed) is none any more.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerId> {
        self.peers.iter().map(Peer::id).collect()
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
