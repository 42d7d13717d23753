//! The layer of messages: a service that says where they end, and gets one whole message after another.

use super::accepted::Accepted;
use super::entries::Entries;
use super::restore_error::RestoreError;
use super::stream::{Context, StreamService};
use crate::peer::closed::Closed;
use crate::peer::violation::Violation;

/// A protocol of messages, its conversations, and the state they share.
///
/// The reactor calls [`boundary`](Self::boundary) to find where a message ends and [`message`](Self::message) with
/// each whole message, in order. Everything else is as with a [`StreamService`], which every `Service` is; what
/// [its documentation](StreamService#state-in-a-takeover) says of the state in a takeover holds for both.
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

    /// Whether a peer can go on in another process that runs this service while this one goes on with the others: whether
    /// its session can do without the state that it shares with them, which stays. Default: no.
    ///
    /// While such a peer changes its owner, for a tenth of a millisecond or so, it is in reach of neither: what others send to it
    /// is refused with [`SendError::Gone`](crate::SendError::Gone), though it may come to stay. So a service that is to
    /// reach each peer in any case is not movable.
    const MOVABLE: bool = false;

    /// How many bytes a message may have at most. A peer that sends a longer one is closed. Default: 64 KiB.
    const MESSAGE_BYTES_MAX: usize = 64 * 1024;

    /// A peer has connected.
    fn open(&mut self, context: &mut Context<'_, Self>) -> Self::Session;

    /// The same, and how. Unless this is overridden, all listeners are the same to the service.
    fn accepted(&mut self, how: &Accepted<'_>, context: &mut Context<'_, Self>) -> Self::Session {
        let _ = how;
        self.open(context)
    }

    /// How many bytes the first message in `input` has, or `None` if its end has not come yet. `input` is never
    /// empty. Its first `searched` bytes have been searched in vain by an earlier call, so a delimiter of several bytes
    /// may begin before them. A parser may keep in the session how far it has come; the next call's `input` begins where
    /// this one's does, as long as this says `None`. What it keeps is no more than that: after a takeover it may find the
    /// session as it was after any earlier call about the same bytes, and `searched` is 0 then.
    ///
    /// # Errors
    /// If what has come can never be a message: the peer is closed, after what is pending for it was written.
    fn boundary(&self, session: &mut Self::Session, input: &[u8], searched: usize) -> Result<Option<usize>, Violation>;

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
    /// before its next message. Peers whose output has been finished are not spoken of.
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

    /// The maps that all peers share, by number from 0 on; `None` behind the last one. See
    /// [there](StreamService::entries).
    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        let _ = map;
        None
    }

    /// Appends the state that all peers share to `record`.
    /// [What it costs](StreamService#state-in-a-takeover) grows with its size.
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

impl<S: Service> StreamService for S {
    type Session = S::Session;
    const NAME: &'static str = S::NAME;
    const STATE_VERSION: u32 = S::STATE_VERSION;
    const STATE_VERSION_OLDEST: u32 = S::STATE_VERSION_OLDEST;
    const STATE_VERSION_NEWEST: u32 = S::STATE_VERSION_NEWEST;
    const MOVABLE: bool = S::MOVABLE;
    const INPUT_BYTES_MAX: usize = S::MESSAGE_BYTES_MAX;

    fn accepted(&mut self, how: &Accepted<'_>, context: &mut Context<'_, Self>) -> S::Session {
        Service::accepted(self, how, context)
    }

    #[inline]
    fn input(
        &mut self,
        session: &mut S::Session,
        input: &[u8],
        mut searched: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        let mut used = 0;
        while used < input.len() && !context.is_full() && !context.is_stopping() {
            let rest = &input[used..];
            let Some(message) = first_message(self, session, rest, std::mem::take(&mut searched))? else { break };
            self.message(session, message, context)?;
            used += message.len();
        }
        if used == 0 {
            // What `boundary` has noted it will find again in the same bytes, from where it was before.
            context.keep_session();
        }
        Ok(used)
    }

    fn ended(&mut self, session: &mut S::Session, context: &mut Context<'_, Self>) {
        Service::ended(self, session, context);
    }

    fn deadline(&mut self, session: &mut S::Session, context: &mut Context<'_, Self>) {
        Service::deadline(self, session, context);
    }

    fn connected(&mut self, session: &mut S::Session, context: &mut Context<'_, Self>) {
        Service::connected(self, session, context);
    }

    fn drained(&mut self, session: &mut S::Session, context: &mut Context<'_, Self>) {
        Service::drained(self, session, context);
    }

    fn half_closed(&mut self, session: &mut S::Session, context: &mut Context<'_, Self>) {
        Service::half_closed(self, session, context);
    }

    fn closed(&mut self, session: S::Session, how: &Closed, context: &mut Context<'_, Self>) {
        Service::closed(self, session, how, context);
    }

    fn arrived(&mut self, session: &mut S::Session, context: &mut Context<'_, Self>) {
        Service::arrived(self, session, context);
    }

    fn not_given(&mut self, session: &mut S::Session, context: &mut Context<'_, Self>) {
        Service::not_given(self, session, context);
    }

    fn started(&mut self, context: &mut Context<'_, Self>) {
        Service::started(self, context);
    }

    fn taken_over(&mut self, context: &mut Context<'_, Self>) {
        Service::taken_over(self, context);
    }

    fn timer(&mut self, timer: u32, context: &mut Context<'_, Self>) {
        Service::timer(self, timer, context);
    }

    fn woken(&mut self, context: &mut Context<'_, Self>) {
        Service::woken(self, context);
    }

    fn asked(&mut self, question: &[u8], context: &mut Context<'_, Self>) -> Result<Vec<u8>, String> {
        Service::asked(self, question, context)
    }

    fn figures(&self, exposition: &mut String) {
        Service::figures(self, exposition);
    }

    fn stopping(&mut self, context: &mut Context<'_, Self>) {
        Service::stopping(self, context);
    }

    fn save_session(&self, session: &S::Session, record: &mut Vec<u8>) {
        Service::save_session(self, session, record);
    }

    fn restore_session(&self, version: u32, record: &[u8]) -> Result<S::Session, RestoreError> {
        Service::restore_session(self, version, record)
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        Service::entries(self, map)
    }

    fn save(&self, record: &mut Vec<u8>) {
        Service::save(self, record);
    }

    fn restore(&mut self, version: u32, record: &[u8]) -> Result<(), RestoreError> {
        Service::restore(self, version, record)
    }
}

/// The first message in `input`, if it is whole.
fn first_message<'i, S: Service>(
    service: &S,
    session: &mut S::Session,
    input: &'i [u8],
    searched: usize,
) -> Result<Option<&'i [u8]>, Violation> {
    let bytes = service.boundary(session, input, searched)?;
    if bytes.unwrap_or(input.len()) > S::MESSAGE_BYTES_MAX {
        return Err(Violation::new(format!("a message of more than {} bytes", S::MESSAGE_BYTES_MAX)));
    }
    let message = bytes.map(|bytes| input.get(..bytes).expect("a message ends within what has come"));
    assert!(message.is_none_or(|message| !message.is_empty()), "a message has at least one byte");
    Ok(message)
}
