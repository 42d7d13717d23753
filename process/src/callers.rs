//! Those who call on a path, until they have said what they want.
//!
//! It owns the listener, hears whoever it lets in, and lets go of whoever says nothing. What they want is not understood here.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::{Interest, Registry, Token};
use slab::Slab;

use crate::accept::ACCEPT_PAUSE;
use crate::channel::{Channel, ChannelError};
use crate::frame::{RawFrame, Refuse};
use crate::path::{Call, TakeoverListener, refuse};

/// How many callers are listened to at once. Further ones wait in the kernel.
pub const CALLERS_MAX: usize = 16;

/// How long a caller may take to say what it wants.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A listener, and those who were let in.
#[derive(Debug)]
pub struct Callers {
    listener: TakeoverListener,
    /// What is registered for a part: the listener has key 0, and each caller one of those that follow.
    token_of: fn(usize) -> Token,
    /// What callers want, as lines of the log begin that tell of one.
    what: &'static str,
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

/// Somebody who has said what it wants. The channel is not registered any more.
#[derive(Debug)]
pub struct Heard {
    /// Where the answer goes.
    pub channel: Channel,
    /// Its process id, or 0 where it is in another pid namespace.
    pub pid: u32,
    /// What it has said, which need not be understood.
    pub said: RawFrame,
}

/// Writes a line about a caller, unless there are too many.
type Complain<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

impl Callers {
    /// Those who call on `listener`. The listener is registered with the token of 0, and callers with those of the numbers
    /// that follow. Lines of the log begin with `what` they want.
    #[must_use]
    pub fn on(listener: TakeoverListener, token_of: fn(usize) -> Token, what: &'static str) -> Self {
        Self { listener, token_of, what, waiting: Slab::new(), heard: VecDeque::new(), calling: true, answer_at: None }
    }

    /// Where they call.
    #[must_use]
    pub fn listener(&self) -> &TakeoverListener {
        &self.listener
    }

    /// Answers on another listener from now on, which is on the same path: that does not lead to the one before any more.
    pub fn go_over_to(&mut self, mut listener: TakeoverListener, registry: &Registry) {
        let swapped = registry
            .register(listener.source(), (self.token_of)(0), Interest::READABLE)
            .and_then(|()| registry.deregister(self.listener.source()));
        if let Err(error) = swapped {
            warn!("Callers on path {} may not be heard: {error}", listener.path().display());
        }
        self.listener = listener;
    }

    /// Has the loop woken for them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(self.listener.source(), (self.token_of)(0), Interest::READABLE)
    }

    /// Notes an event of the part with this key.
    pub fn note(&mut self, key: usize) {
        match key.checked_sub(1) {
            None => self.calling = true,
            Some(caller) => self.heard.push_back(caller),
        }
    }

    /// When [`Self::tend`] has something to do if no event comes before.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Instant> {
        if !self.heard.is_empty() || (self.calling && self.waiting.len() < CALLERS_MAX) {
            return Some(now);
        }
        self.waiting.iter().map(|(_, caller)| caller.deadline).chain(self.answer_at).min()
    }

    /// Lets callers in and hears them. Returns one who has said something; there may be more. Those who say nothing for too
    /// long are let go.
    pub fn tend(&mut self, registry: &Registry, now: Instant, complain: Complain<'_>) -> Option<Heard> {
        self.calling |= self.answer_at.take_if(|instant| now >= *instant).is_some();
        self.answer(registry, now, complain);
        // What has arrived in time was said in time, however late this process comes to hear it.
        self.heard.extend(self.waiting.iter().filter(|(_, caller)| now >= caller.deadline).map(|(key, _)| key));
        while let Some(key) = self.heard.pop_front() {
            if let Some(heard) = self.hear(key, registry, complain) {
                return Some(heard);
            }
        }
        self.judge(now, complain);
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
            let what = self.what;
            let mut channel = match Channel::of_predecessor(socket) {
                Ok(channel) => channel,
                Err(error) => {
                    complain(format_args!("{what} by pid {pid} dropped: {error}"));
                    continue;
                }
            };
            let entry = self.waiting.vacant_entry();
            let token = (self.token_of)(1 + entry.key());
            match registry.register(channel.source(), token, Interest::READABLE) {
                Ok(()) => drop(entry.insert(Caller { channel, pid, deadline: now + PATIENCE })),
                Err(error) => complain(format_args!("{what} by pid {pid} dropped: {error}")),
            }
        }
    }

    /// The caller at `key` may say something.
    fn hear(&mut self, key: usize, registry: &Registry, complain: Complain<'_>) -> Option<Heard> {
        let caller = self.waiting.get_mut(key)?;
        let said = caller.channel.receive().transpose()?;
        let Caller { mut channel, pid, .. } = self.waiting.remove(key);
        // There is room for another.
        self.calling = true;
        if let Err(error) = registry.deregister(channel.source()) {
            warn!("Caller pid {pid} stays in the epoll set: {error}");
        }
        match said {
            Ok(said) => return Some(Heard { channel, pid, said }),
            // Whoever only looks whether somebody answers is no news.
            Err(ChannelError::Closed) => debug!("Caller pid {pid} left without a word"),
            Err(error) => complain(format_args!("{} by pid {pid} dropped: {error}", self.what)),
        }
        None
    }

    /// Lets go of those who have said nothing for too long, and tells them so: they may be there and only have had no time.
    fn judge(&mut self, now: Instant, complain: Complain<'_>) {
        let late: Vec<_> =
            self.waiting.iter().filter(|(_, caller)| now >= caller.deadline).map(|(key, _)| key).collect();
        for key in late {
            let Caller { channel, pid, .. } = self.waiting.remove(key);
            let patience_ms = PATIENCE.as_millis();
            complain(format_args!("{} by pid {pid} dropped: it said nothing for {patience_ms} ms", self.what));
            channel.close_with(&Refuse::frame(&format_args!("it said nothing for {patience_ms} ms")));
            self.calling = true;
        }
    }

    /// Lets go of those who were let in, and tells them why. Whoever was not is for the next to have the listener.
    pub fn refuse(&mut self, reason: &impl fmt::Display) {
        for caller in self.waiting.drain() {
            caller.channel.close_with(&Refuse::frame(reason));
        }
    }

    /// Leaves the path, and tells whoever has called why.
    pub fn leave(mut self, reason: &impl fmt::Display) {
        self.listener.remove();
        self.refuse(reason);
        // They all hear why, and the log knows it.
        let complain: Complain<'_> = &mut |complaint| debug!("{complaint}");
        while let Ok(Some(call)) = self.listener.accept(complain) {
            refuse(call.socket, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use mio::Poll;

    use super::*;
    use crate::frame;

    #[test]
    fn a_caller_whose_word_was_there_in_time_is_heard_however_late_that_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("path");
        let poll = Poll::new().unwrap();
        let mut callers = Callers::on(TakeoverListener::bind(&path).unwrap(), Token, "Word");
        let [mut prompt, mut stammering, _silent] = std::array::from_fn(|_| UnixStream::connect(&path).unwrap());
        let began = Instant::now();
        let mut complaints = Vec::new();
        let mut tend =
            |now| callers.tend(poll.registry(), now, &mut |complaint| complaints.push(complaint.to_string()));
        assert!(tend(began).is_none(), "nobody has said anything");
        let word = frame::finish(frame::begin(7));
        prompt.write_all(&word).unwrap();
        stammering.write_all(&word[..5]).unwrap();
        assert!(tend(began + PATIENCE / 2).is_none(), "no event has come yet");
        assert_eq!(tend(began + PATIENCE).map(|heard| heard.said.kind()), Some(7), "and it was there in time");
        assert!(tend(began + PATIENCE).is_none());
        assert_eq!(complaints.len(), 2, "the others have had their time");
        assert!(callers.waiting.is_empty());
    }
}
