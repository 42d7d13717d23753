//! Those who call on the takeover path, until they have said what they want.
//!
//! It owns the takeover listener, hears whoever it lets in, and lets go of whoever says anything else or nothing. What
//! comes of that is not decided here.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::event::Event;
use mio::{Interest, Registry};
use slab::Slab;

use super::source::{Name, Source, Tokens};
use crate::limited::{Kind, Limited};
use crate::takeover::channel::{Channel, ChannelError};
use crate::takeover::fault::{self, PredecessorStep};
use crate::takeover::path::{Call, TakeoverListener, refuse};
use crate::takeover::predecessor::Refusal;
use crate::takeover::wire::{Frame, Give, Hello, Move};
use reactord_process::accept::ACCEPT_PAUSE;

/// How many callers are listened to at once. Further ones wait in the kernel.
pub(crate) const CALLERS_MAX: usize = 16;

/// How long a caller may take to say Hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(2);

/// The takeover listener, and those who were let in.
#[derive(Debug)]
pub(crate) struct Callers {
    listener: TakeoverListener,
    /// How it is registered, once it is.
    tokens: Tokens,
    waiting: Slab<Caller>,
    /// Keys of those who have something to say.
    heard: VecDeque<usize>,
    /// Somebody may be calling: an edge that was left before all were let in does not come again.
    calling: bool,
    /// Nobody could be let in, and when to try again.
    answer_at: Option<Instant>,
}

/// Somebody who has not said yet what it wants.
#[derive(Debug)]
struct Caller {
    channel: Channel,
    pid: u32,
    deadline: Instant,
}

/// Somebody who wants to take over. The channel is not registered any more.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) channel: Channel,
    pub(crate) pid: u32,
    pub(crate) hello: Hello,
}

/// Somebody who has said what it wants. The channel is not registered any more.
#[derive(Debug)]
pub(crate) enum Request {
    /// To take over.
    TakeOver(Greeting),
    /// To be given peers when there are some to give.
    Wait(Channel, u32, Hello),
    /// To give peers to this server.
    Give(Channel, u32, Give),
    /// That peers are moved to another server.
    Move(Channel, u32, Move),
    /// To know how the server stands.
    Status(Channel),
}

/// Writes a line about a caller, unless there are too many.
type Complain<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

impl Callers {
    /// Those who call on `listener`.
    pub(crate) fn on(listener: TakeoverListener) -> Self {
        Self {
            listener,
            tokens: Tokens::of(Name::Callers),
            waiting: Slab::new(),
            heard: VecDeque::new(),
            calling: true,
            answer_at: None,
        }
    }

    pub(crate) fn listener(&self) -> &TakeoverListener {
        &self.listener
    }

    /// Lets callers in and hears them. Returns one who has said what it wants; there may be more. Those who say anything else,
    /// or nothing for too long, are let go.
    pub(crate) fn tend(&mut self, registry: &Registry, now: Instant, limited: &mut Limited) -> Option<Request> {
        let mut complain = |complaint: fmt::Arguments<'_>| {
            if limited.admits(Kind::Caller, now) {
                warn!("{complaint}");
            }
        };
        self.calling |= self.answer_at.take_if(|instant| now >= *instant).is_some();
        self.answer(registry, now, &mut complain);
        // What has arrived in time was said in time, however late this process comes to hear it.
        self.heard.extend(self.waiting.iter().filter(|(_, caller)| now >= caller.deadline).map(|(key, _)| key));
        while let Some(key) = self.heard.pop_front() {
            if let Some(request) = self.hear_caller(key, registry, &mut complain) {
                return Some(request);
            }
        }
        self.judge(now, &mut complain);
        None
    }

    /// Lets callers in.
    fn answer(&mut self, registry: &Registry, now: Instant, complain: Complain<'_>) {
        while self.calling && self.waiting.len() < CALLERS_MAX {
            let Call { socket, pid } = match self.listener.accept(complain) {
                Ok(Some(call)) => call,
                Ok(None) => {
                    self.calling = false;
                    return;
                }
                Err(error) => {
                    let pause_ms = ACCEPT_PAUSE.as_millis();
                    complain(format_args!("The takeover path answers again in {pause_ms} ms: {error}"));
                    self.calling = false;
                    self.answer_at = Some(now + ACCEPT_PAUSE);
                    return;
                }
            };
            let mut channel = match Channel::of_predecessor(socket) {
                Ok(channel) => channel,
                Err(error) => {
                    complain(format_args!("Takeover by pid {pid} dropped: {error}"));
                    continue;
                }
            };
            let entry = self.waiting.vacant_entry();
            let token = self.tokens.token(1 + entry.key());
            match registry.register(channel.source(), token, Interest::READABLE) {
                Ok(()) => drop(entry.insert(Caller { channel, pid, deadline: now + HELLO_PATIENCE })),
                Err(error) => complain(format_args!("Takeover by pid {pid} dropped: {error}")),
            }
        }
    }

    /// The caller at `key` may say something: Hello, or nothing that is listened to.
    fn hear_caller(&mut self, key: usize, registry: &Registry, complain: Complain<'_>) -> Option<Request> {
        let caller = self.waiting.get_mut(key)?;
        let heard = fault::at(PredecessorStep::Hello, &mut caller.channel).and_then(|()| caller.channel.receive());
        let heard = heard.transpose()?;
        let Caller { mut channel, pid, .. } = self.waiting.remove(key);
        // There is room for another.
        self.calling = true;
        if let Err(error) = registry.deregister(channel.source()) {
            warn!("Caller pid {pid} stays in the epoll set: {error}");
        }
        match heard {
            Ok(raw) => match raw.decode() {
                Ok(Frame::Hello(hello)) => return Some(Request::TakeOver(Greeting { channel, pid, hello })),
                Ok(Frame::Wait(hello)) => return Some(Request::Wait(channel, pid, hello)),
                Ok(Frame::Give(give)) => return Some(Request::Give(channel, pid, give)),
                Ok(Frame::Move(request)) => return Some(Request::Move(channel, pid, request)),
                Ok(Frame::AskStatus) => return Some(Request::Status(channel)),
                Ok(frame) => {
                    let kind = frame.kind();
                    complain(format_args!("Takeover by pid {pid} dropped: it sent {kind:?} before Hello"));
                }
                Err(error) => complain(format_args!("Takeover by pid {pid} dropped: {error}")),
            },
            // Whoever only looks whether somebody answers is no news.
            Err(ChannelError::Closed) => debug!("Caller pid {pid} left without a word"),
            Err(error) => complain(format_args!("Takeover by pid {pid} dropped: {error}")),
        }
        None
    }

    /// Lets go of those who have said nothing for too long.
    fn judge(&mut self, now: Instant, complain: Complain<'_>) {
        let before = self.waiting.len();
        self.waiting.retain(|_, Caller { pid, deadline, .. }| {
            let waits = now < *deadline;
            if !waits {
                let patience_ms = HELLO_PATIENCE.as_millis();
                complain(format_args!("Takeover by pid {pid} dropped: it said nothing for {patience_ms} ms"));
            }
            waits
        });
        self.calling |= self.waiting.len() < before;
    }

    /// Lets go of those who were let in, and tells them why. Whoever was not is for the next to have the listener.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        for caller in self.waiting.drain() {
            caller.channel.close_with(&refusal.frame());
        }
    }

    /// Leaves the takeover path, and tells whoever has called why.
    pub(crate) fn leave(mut self, refusal: &Refusal) {
        self.listener.remove();
        self.refuse(refusal);
        // They all hear why, and the log knows it.
        let complain: Complain<'_> = &mut |complaint| debug!("{complaint}");
        while let Ok(Some(call)) = self.listener.accept(complain) {
            refuse(call.socket, refusal);
        }
    }
}

impl Source for Callers {
    /// The listener has key 0, and each caller one of those that follow.
    fn register(&mut self, registry: &Registry, tokens: Tokens) -> io::Result<()> {
        self.tokens = tokens;
        registry.register(self.listener.source(), tokens.token(0), Interest::READABLE)
    }

    fn hear(&mut self, key: usize, _: &Event) {
        match key.checked_sub(1) {
            None => self.calling = true,
            Some(caller) => self.heard.push_back(caller),
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        if !self.heard.is_empty() || (self.calling && self.waiting.len() < CALLERS_MAX) {
            return Some(now);
        }
        self.waiting.iter().map(|(_, caller)| caller.deadline).chain(self.answer_at).min()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use mio::Poll;

    use super::*;
    use crate::takeover::successor::Called;

    #[test]
    fn a_caller_whose_hello_was_there_in_time_is_heard_however_late_that_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("takeover");
        let poll = Poll::new().unwrap();
        let mut callers = Callers::on(TakeoverListener::bind(&path).unwrap());
        let [mut prompt, mut stammering, _silent] = std::array::from_fn(|_| UnixStream::connect(&path).unwrap());
        let began = Instant::now();
        let limited = &mut Limited::default();
        assert!(callers.tend(poll.registry(), began, limited).is_none(), "nobody has said anything");
        let (_, hello) = Called::new(Vec::new(), 1, 1);
        prompt.write_all(&hello).unwrap();
        stammering.write_all(&hello[..5]).unwrap();
        assert!(callers.tend(poll.registry(), began + HELLO_PATIENCE / 2, limited).is_none(), "no event has come yet");
        assert!(callers.tend(poll.registry(), began + HELLO_PATIENCE, limited).is_some(), "and it was there in time");
        assert!(callers.tend(poll.registry(), began + HELLO_PATIENCE, limited).is_none());
        assert!(callers.waiting.is_empty(), "the others have had their time");
    }
}
