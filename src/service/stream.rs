//! The layer of bytes: what comes from a peer is used up at the service's own pace.

use std::num::NonZeroU64;
use std::time::Instant;

use super::accepted::Accepted;
use super::entries::Entries;
use super::restore_error::RestoreError;
use crate::peer::closed::Closed;
use crate::peer::violation::Violation;
use crate::peer::{Address, PeerId};
use crate::table::{Others, Peers};

/// A protocol, its conversations, and the state they share.
///
/// The reactor calls [`input`](Self::input) with what has come from a peer and is not used yet. A takeover never happens
/// inside a call. Whoever has messages whose ends can be told implements [`Service`](crate::Service) instead, and gets
/// them one by one.
///
/// # State in a takeover
/// There are three places for it:
///
/// | where | what for | when it is copied |
/// | --- | --- | --- |
/// | the session, [`save_session`](Self::save_session) | what is about one peer | while the predecessor serves, and again when it may have changed |
/// | entries, [`entries`](Self::entries) | what all peers share, by keys | while the predecessor serves, and each again that may have changed |
/// | the rest, [`save`](Self::save) | what all peers share, and is small | whole, while nobody serves |
///
/// Sessions are saved again after each call about their peer. What changes in other calls, through an `Rc` for instance,
/// belongs into the state that all peers share.
///
/// Entries are the place for whatever can grow. In the pause only those are sent that have changed since the last round: at
/// most 128 of them, or 128 KiB, unless they change as fast as they are copied. [`Keyed`](crate::Keyed) is a map that does
/// it all.
///
/// What is saved whole is saved once, after the freeze, and nobody serves while it is saved, sent and restored: a pause of
/// about three milliseconds for each megabyte. All of that has to be done within
/// [`Config::freeze_timeout`](crate::Config::freeze_timeout), so that with the default of one second no takeover succeeds with
/// more than about 300 MB; it says on both sides what the time went into.
///
/// Sessions and entries are restored in any order, and the rest when all of them are there.
///
/// Saving changes nothing, neither in what it saves nor elsewhere, and may be repeated: a takeover may fail at any point,
/// and the next one saves again. If one of these calls panics, that takeover fails, on both sides with the panic's
/// text, and the predecessor serves on (unless the program is built to abort at a panic). So a service that is to save
/// more than there may be memory for asks with `try_reserve` first, and panics if it is refused.
pub trait StreamService: Sized {
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

    /// Whether a peer can go on in another process that runs this service while this one goes on with the others: whether
    /// its session can do without the state that it shares with them, which stays. Default: no.
    ///
    /// While such a peer changes its owner, for a tenth of a millisecond or so, it is in reach of neither: what others send to it
    /// is refused with [`SendError::Gone`](crate::SendError::Gone), though it may come to stay. So a service that is to
    /// reach each peer in any case is not movable.
    const MOVABLE: bool = false;

    /// So many of its peers are let in also where there are as many as [may be](crate::Config::max_peers), and do not count
    /// for that: those who look after a server are to reach it when it is full. Default: 0.
    const PEERS_BEYOND_MAX: usize = 0;

    /// How many bytes may be left unused while more is read; a peer of which more is left is closed, unless
    /// [its answers](Self::input) are over the high-water mark, or it is held. Default: 64 KiB.
    const INPUT_BYTES_MAX: usize = 64 * 1024;

    /// A peer has connected, to one of the service's listeners.
    fn accepted(&mut self, how: &Accepted<'_>, context: &mut Context<'_, Self>) -> Self::Session;

    /// How many more peers may come in at the listener with this name: while it is none, whoever connects there waits in the
    /// kernel (listen(2)), and this is asked again when any peer of the server has left. It is asked before each peer is let
    /// in, and a maximum of the [server](crate::Config::max_peers) holds besides. Default: any number.
    ///
    /// `arriving` says of any listener of the service how many have come in there whose TLS handshakes are under way: they will
    /// be peers without being asked for again, so whatever is the most there may be, they count.
    fn room(&self, listener: &str, arriving: &dyn Fn(&str) -> usize) -> usize {
        let _ = (listener, arriving);
        usize::MAX
    }

    /// Bytes have come: returns how many of `input` are used. The rest is kept, and comes again with more behind it; its
    /// first `searched` bytes were there in an earlier call. `input` is never empty.
    ///
    /// Answers over the high-water mark are not the time to use more ([`Context::is_full`]): what is left then comes
    /// again when they have drained, and is no reason to close anybody. That is so also if nothing was used at all, and if
    /// the socket takes all answers at once: then it comes again in the next turn of the loop, after [`drained`](Self::drained).
    /// (Two peers that are [coupled](Context::couple) to one another are the exception: they are read from however much is
    /// pending, and a service that uses nothing of what they send is to keep within
    /// [`INPUT_BYTES_MAX`](Self::INPUT_BYTES_MAX).)
    ///
    /// # Errors
    /// If what has come breaks the protocol: the peer is closed, after what is pending for it was written.
    fn input(
        &mut self,
        session: &mut Self::Session,
        input: &[u8],
        searched: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation>;

    /// The client has sent all it will send (it closed, or half-closed). What it has sent and was not used never will be
    /// more. Unless this is overridden, the peer is closed once all its answers are written.
    fn ended(&mut self, session: &mut Self::Session, context: &mut Context<'_, Self>) {
        let _ = session;
        context.close();
    }

    /// The peer's [deadline](Context::set_deadline) is reached, and it has none any more. What it has sent by then is handled
    /// first, and may move the deadline; of one that has sent more than is read in one turn (256 KiB at most), that much is,
    /// and of one that is not read from, nothing: because its answers are over the high-water mark, the service
    /// [holds](Context::hold) it, or whom it is [coupled](Context::couple) to does not take more. The deadline comes for those
    /// all the same, as it does for one whose connection does not stand yet. Unless this is overridden, the peer is closed
    /// once all its answers are written, and what it has sent and was not handled never is. Whoever is closed in here is
    /// [closed](Self::closed) with [`Closed::Deadline`].
    fn deadline(&mut self, session: &mut Self::Session, context: &mut Context<'_, Self>) {
        let _ = session;
        context.close();
    }

    /// The connection that the service has [opened](Context::connect) stands. Before that nothing is read from it, and what
    /// is sent to it waits. If it never stands, [`closed`](Self::closed) is called with [`Closed::Unreachable`] instead.
    /// Either comes once, in whichever process serves by then.
    fn connected(&mut self, session: &mut Self::Session, context: &mut Context<'_, Self>) {
        let _ = (session, context);
    }

    /// Its pending output was over the high-water mark, and has drained to the low one: it can be sent more. This comes
    /// before what is kept of its own input, and before more of that is read. Peers whose output has been finished are
    /// not spoken of.
    fn drained(&mut self, session: &mut Self::Session, context: &mut Context<'_, Self>) {
        let _ = (session, context);
    }

    /// A peer that is [joined](Context::join) has sent all it will send, and that is passed on behind it. The other direction
    /// goes on until it has ended, too; here a service may say [for how long](Context::set_idle) nothing may move in it.
    fn half_closed(&mut self, session: &mut Self::Session, context: &mut Context<'_, Self>) {
        let _ = (session, context);
    }

    /// The peer is gone, whoever closed it: it is not among [the others](Context::peers), nothing is sent to it, and its
    /// answers go nowhere. What the kernel has [counted](Context::counted) of it can still be asked.
    fn closed(&mut self, session: Self::Session, how: &Closed, context: &mut Context<'_, Self>) {
        let _ = (session, how, context);
    }

    /// The peer has come from another process that goes on without it, which has
    /// [given it away](Context::give_away) or was asked to. Its session is what was saved there; what that process keeps
    /// besides is not here.
    fn arrived(&mut self, session: &mut Self::Session, context: &mut Context<'_, Self>) {
        let _ = (session, context);
    }

    /// The service has [given the peer away](Context::give_away), and nobody has taken it: it goes on here.
    fn not_given(&mut self, session: &mut Self::Session, context: &mut Context<'_, Self>) {
        let _ = (session, context);
    }

    /// The server has begun to serve, and has not taken over from anybody: the first call of all. Here a service sets its
    /// [timers](Context::set_timer), which its successors inherit. There is no peer in this context.
    fn started(&mut self, context: &mut Context<'_, Self>) {
        let _ = context;
    }

    /// All that the predecessor had is restored and belongs to this process: the first call after those that restore.
    /// Indexes over sessions are built here, and what an older version has not set is set. It cannot fail any more, and
    /// its time is no part of the pause; but peers wait for it as for any call. There is no peer in this context.
    fn taken_over(&mut self, context: &mut Context<'_, Self>) {
        let _ = context;
    }

    /// A [timer](Context::set_timer) of the service is due, and is set no more. There is no peer in this context.
    fn timer(&mut self, timer: u32, context: &mut Context<'_, Self>) {
        let _ = (timer, context);
    }

    /// Another thread has [woken](crate::Handle::wake) the server since the last such call: it has something for the service,
    /// in a place that both know. There is no peer in this context.
    fn woken(&mut self, context: &mut Context<'_, Self>) {
        let _ = context;
    }

    /// Somebody who may take over has [asked](crate::ask) this service something, in words that the two agree on. The answer
    /// is sent as it is; it should be short, or be asked for in parts. There is no peer in this context.
    ///
    /// # Errors
    /// Why there is no answer, in a few words.
    fn asked(&mut self, question: &[u8], context: &mut Context<'_, Self>) -> Result<Vec<u8>, String> {
        let _ = (question, context);
        Err(format!("the service {} answers no questions", Self::NAME))
    }

    /// Appends figures of the service's own to those of the server, in the text format of Prometheus 0.0.4: whole lines, with
    /// names that begin with the service's.
    fn figures(&self, exposition: &mut String) {
        let _ = exposition;
    }

    /// The server is stopping, and nobody will take over: the last chance to say goodbye. Each peer is closed after this
    /// call, and what was sent to it in here is delivered first, within
    /// [`Config::drain_timeout`](crate::Config::drain_timeout). There is no peer in this context.
    fn stopping(&mut self, context: &mut Context<'_, Self>) {
        let _ = context;
    }

    /// Appends the session to `record`, in the version [`STATE_VERSION`](Self::STATE_VERSION).
    fn save_session(&self, session: &Self::Session, record: &mut Vec<u8>);

    /// The session that a predecessor saved in this version. The shared state is not restored yet.
    ///
    /// # Errors
    /// If `record` is not such a session: the takeover fails, and the predecessor serves on.
    fn restore_session(&self, version: u32, record: &[u8]) -> Result<Self::Session, RestoreError>;

    /// The maps that all peers share and that are [copied while the predecessor serves](Self#state-in-a-takeover), by number
    /// from 0 on: `None` behind the last one, of which there are at most 64. A number must stay with its map as long as
    /// versions of the state do.
    ///
    /// ```
    /// # use reactord::{Entries, Keyed};
    /// # struct Cache { values: Keyed<String, String>, counts: Keyed<String, u64> }
    /// # impl Cache {
    /// fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
    ///     match map {
    ///         0 => Some(&mut self.values),
    ///         1 => Some(&mut self.counts),
    ///         _ => None,
    ///     }
    /// }
    /// # }
    /// ```
    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        let _ = map;
        None
    }

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
pub struct Context<'a, S: StreamService> {
    pub(super) peer: PeerId,
    pub(super) address: Address,
    pub(super) now: Instant,
    pub(super) replies: &'a mut Vec<u8>,
    /// With more answers than this, it is not the time for more.
    pub(super) replies_max: usize,
    pub(super) closing: bool,
    /// The peer's deadline, if the service has set it in this call.
    pub(super) deadline_ns: Option<NonZeroU64>,
    /// No more of what the peer has sent is to be handled in this call.
    pub(super) stopping: bool,
    /// The session is what it was when it was saved last, or an earlier state of it that leads to the same.
    pub(super) session_kept: bool,
    pub(super) peers: &'a mut Peers,
    pub(super) sessions: Others<'a, S::Session>,
}
