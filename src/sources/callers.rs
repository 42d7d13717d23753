//! Those who call on the takeover path: what they want, once they have said it.
//!
//! What comes of that is not decided here.

use std::fmt;
use std::io;
use std::time::Instant;

use log::warn;
use mio::Registry;
use mio::event::Event;
use reactord_process::callers::{Callers as Calling, Heard};
use reactord_process::channel::Channel;
use reactord_process::path::TakeoverListener;

use super::source::{Name, Source, Tokens};
use crate::limited::{Kind, Limited};
use crate::takeover::fault::{self, PredecessorStep};
use crate::takeover::predecessor::Refusal;
use crate::takeover::wire::{Frame, Give, Hello, Move};

/// The takeover listener, and those who were let in.
#[derive(Debug)]
pub(crate) struct Callers(Calling);

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
        Self(Calling::on(listener, |key| Tokens::of(Name::Callers).token(key), "Takeover"))
    }

    pub(crate) fn listener(&self) -> &TakeoverListener {
        self.0.listener()
    }

    /// Lets callers in and hears them. Returns one who has said what it wants; there may be more. Those who say anything else,
    /// or nothing for too long, are let go.
    pub(crate) fn tend(&mut self, registry: &Registry, now: Instant, limited: &mut Limited) -> Option<Request> {
        let mut complain = |complaint: fmt::Arguments<'_>| {
            if limited.admits(Kind::Caller, now) {
                warn!("{complaint}");
            }
        };
        while let Some(heard) = self.0.tend(registry, now, &mut complain) {
            if let Some(request) = understood(heard, &mut complain) {
                return Some(request);
            }
        }
        None
    }

    /// Lets go of those who were let in, and tells them why. Whoever was not is for the next to have the listener.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        self.0.refuse(refusal);
    }

    /// Leaves the takeover path, and tells whoever has called why.
    pub(crate) fn leave(self, refusal: &Refusal) {
        self.0.leave(refusal);
    }
}

/// What a caller wants, unless it is nothing that is listened to.
fn understood(Heard { mut channel, pid, said }: Heard, complain: Complain<'_>) -> Option<Request> {
    let spared = fault::at(PredecessorStep::Hello, &mut channel);
    match spared.and_then(|()| Ok(said.decode()?)) {
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
    }
    None
}

impl Source for Callers {
    /// The listener has key 0, and each caller one of those that follow.
    fn register(&mut self, registry: &Registry, _: Tokens) -> io::Result<()> {
        self.0.register(registry)
    }

    fn hear(&mut self, key: usize, _: &Event) {
        self.0.note(key);
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        self.0.due(now)
    }
}
