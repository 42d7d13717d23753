//! Those who call on the takeover path, until they have said Hello.
//!
//! It owns the takeover listener, hears whoever it lets in, and lets go of whoever says anything else or nothing. What
//! comes of a Hello is not decided here.

use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::{Interest, Registry, Token};
use slab::Slab;

use super::channel::{Channel, ChannelError};
use super::fault::{self, PredecessorStep};
use super::path::{Call, TakeoverListener};
use super::predecessor::Refusal;
use super::wire::{Frame, Hello};
use crate::accept::ACCEPT_PAUSE;

/// How many callers are listened to at once. Further ones wait in the kernel.
pub(crate) const CALLERS_MAX: usize = 16;

/// How long a caller may take to say Hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(2);

/// The takeover listener, and those who were let in.
#[derive(Debug)]
pub(crate) struct Callers {
    listener: TakeoverListener,
    /// By the key that is in their token.
    waiting: Slab<Caller>,
    token: fn(usize) -> Token,
    /// Nobody could be let in, and when to try again.
    answer_at: Option<Instant>,
}

/// Somebody who has not said Hello yet.
#[derive(Debug)]
struct Caller {
    channel: Channel,
    pid: u32,
    deadline: Instant,
}

/// Somebody who has. The channel is not registered any more.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) channel: Channel,
    pub(crate) pid: u32,
    pub(crate) hello: Hello,
}

impl Callers {
    /// Those who call on `listener`. The one at a key is registered with the token of that key.
    pub(crate) fn on(listener: TakeoverListener, token: fn(usize) -> Token) -> Self {
        Self { listener, waiting: Slab::new(), token, answer_at: None }
    }

    pub(crate) fn listener(&self) -> &TakeoverListener {
        &self.listener
    }

    /// Registers what tells that somebody calls.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> std::io::Result<()> {
        registry.register(self.listener.source(), token, Interest::READABLE)
    }

    /// Lets callers in. An edge that was left before all were in does not come again, so this is called whenever there
    /// may be room for more.
    pub(crate) fn answer(&mut self, registry: &Registry, now: Instant) {
        while self.waiting.len() < CALLERS_MAX {
            let Call { socket, pid } = match self.listener.accept() {
                Ok(Some(call)) => call,
                Ok(None) => return,
                Err(error) => {
                    warn!("The takeover path answers again in {} ms: {error}", ACCEPT_PAUSE.as_millis());
                    self.answer_at = Some(now + ACCEPT_PAUSE);
                    return;
                }
            };
            let mut channel = Channel::of_predecessor(socket);
            let entry = self.waiting.vacant_entry();
            match registry.register(channel.source(), (self.token)(entry.key()), Interest::READABLE) {
                Ok(()) => drop(entry.insert(Caller { channel, pid, deadline: now + HELLO_PATIENCE })),
                Err(error) => warn!("Takeover by pid {pid} dropped: {error}"),
            }
        }
    }

    /// The caller at `key` says something: Hello, or nothing that is listened to.
    pub(crate) fn hear(&mut self, key: usize, registry: &Registry, now: Instant) -> Option<Greeting> {
        let caller = self.waiting.get_mut(key)?;
        let heard = fault::at(PredecessorStep::Hello, &mut caller.channel).and_then(|()| caller.channel.receive());
        let heard = heard.transpose()?;
        let Caller { mut channel, pid, .. } = self.waiting.remove(key);
        if let Err(error) = registry.deregister(channel.source()) {
            warn!("Caller pid {pid} stays in the epoll set: {error}");
        }
        self.answer(registry, now);
        match heard {
            Ok(raw) => match raw.decode() {
                Ok(Frame::Hello(hello)) => return Some(Greeting { channel, pid, hello }),
                Ok(frame) => warn!("Takeover by pid {pid} dropped: it sent {:?} before Hello", frame.kind()),
                Err(error) => warn!("Takeover by pid {pid} dropped: {error}"),
            },
            // Whoever only looks whether somebody answers is no news.
            Err(ChannelError::Closed) => debug!("Caller pid {pid} left without a word"),
            Err(error) => warn!("Takeover by pid {pid} dropped: {error}"),
        }
        None
    }

    /// When [`Callers::tend`] is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.iter().map(|(_, caller)| caller.deadline).chain(self.answer_at).min()
    }

    /// Does what no event will ask for: lets go of those who have said nothing for too long, and tries again where
    /// nobody could be let in.
    pub(crate) fn tend(&mut self, registry: &Registry, now: Instant) {
        let before = self.waiting.len();
        self.waiting.retain(|_, Caller { pid, deadline, .. }| {
            let waits = now < *deadline;
            if !waits {
                warn!("Takeover by pid {pid} dropped: it said nothing for {} ms", HELLO_PATIENCE.as_millis());
            }
            waits
        });
        let again = self.answer_at.take_if(|instant| now >= *instant).is_some();
        if again || self.waiting.len() < before {
            self.answer(registry, now);
        }
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
        while let Ok(Some(call)) = self.listener.accept() {
            Channel::of_predecessor(call.socket).close_with(&refusal.frame());
        }
    }
}
