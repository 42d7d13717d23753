//! Those who call on the takeover path: what they want, once they have said it.
//!
//! What comes of that is not decided here.

use std::fmt;
use std::io;
use std::time::Instant;

use log::warn;
use mio::Registry;
use mio::event::Event;
use reactord_process::callers::{CALLERS_MAX, Callers as Calling, Heard};
use reactord_process::channel::{Channel, ChannelError};
use reactord_process::frame::{RawFrame, Refuse, WireError};
use reactord_process::path::TakeoverListener;
use reactord_process::path_watch::{LookTimer, PathWatch};

use super::source::{Name, Source, Tokens};
use crate::limited::{Kind, Limited};
use crate::takeover::admission::Refusal;
use crate::takeover::fault::{self, PredecessorStep};
use crate::takeover::wire::{Ask, Frame, Give, Hello, Move, SetLog, Upgrade};

/// The key of the timer: the listener and callers have those before it.
const TIMER: usize = 1 + CALLERS_MAX;

/// The kind of what is asked of a supervisor alone: a new generation of workers.
const RELOAD: u8 = 35;

/// What whoever asks a server for that is told.
const NO_SUPERVISOR: &str = "this is a server, which has no workers to reload; upgrade replaces it";

/// The takeover listener, and those who were let in.
#[derive(Debug)]
pub(crate) struct Callers {
    calling: Calling,
    watch: PathWatch,
    /// Says when to look after the path, once this is registered.
    timer: Option<LookTimer>,
    /// The timer may have rung.
    timer_rang: bool,
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
    /// To follow this server, as its standby.
    Follow(Greeting),
    /// To be given peers when there are some to give.
    Wait(Channel, u32, Hello),
    /// To give peers to this server.
    Give(Channel, u32, Give),
    /// That peers are moved to another server.
    Move(Channel, u32, Move),
    /// To know how the server stands.
    Status(Channel),
    /// Nobody's: it is time to look whether the path leads here still.
    LookAfterPath,
    /// That the server starts its successor.
    Upgrade(Channel, u32, Upgrade),
    /// To know whether it could take over.
    Check(Channel, u32, Hello),
    /// To know who its peers are.
    Peers(Channel, u32),
    /// That another level is logged.
    SetLog(Channel, u32, SetLog),
    /// To have a service answer.
    Ask(Channel, Ask),
}

/// Writes a line about a caller, unless there are too many.
type Complain<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

impl Callers {
    /// Those who call on `listener`.
    pub(crate) fn on(listener: TakeoverListener) -> Self {
        let calling = Calling::on(listener, |key| Tokens::of(Name::Callers).token(key), "Takeover");
        Self { calling, watch: PathWatch::default(), timer: None, timer_rang: true }
    }

    pub(crate) fn listener(&self) -> &TakeoverListener {
        self.calling.listener()
    }

    /// Lets callers in and hears them. Returns one who has said what it wants; there may be more. Those who say anything else,
    /// or nothing for too long, are let go.
    pub(crate) fn tend(&mut self, registry: &Registry, now: Instant, limited: &mut Limited) -> Option<Request> {
        if std::mem::take(&mut self.timer_rang) && self.timer.as_mut().is_some_and(LookTimer::rings) {
            return Some(Request::LookAfterPath);
        }
        let mut complain = |complaint: fmt::Arguments<'_>| {
            if limited.admits(Kind::Caller, now) {
                warn!("{complaint}");
            }
        };
        while let Some(heard) = self.calling.tend(registry, now, &mut complain) {
            if let Some(request) = understood(heard, &mut complain) {
                return Some(request);
            }
        }
        None
    }

    /// Goes over to another listener on the same path where that does not lead here any more. Not while a successor copies,
    /// which has been given this one. A directory that is gone is made anew if it is this process's own to make.
    pub(crate) fn look_after_path(&mut self, registry: &Registry, is_own_directory: bool) {
        let anew = self.watch.look(self.calling.listener(), |listener| listener.bind_anew(is_own_directory));
        anew.into_iter().for_each(|anew| self.calling.go_over_to(anew, registry));
    }

    /// Lets go of those who were let in, and tells them why. Whoever was not is for the next to have the listener.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        self.calling.refuse(refusal);
    }

    /// Leaves the takeover path, and tells whoever has called why.
    pub(crate) fn leave(self, refusal: &Refusal) {
        self.calling.leave(refusal);
    }
}

/// What a caller wants, unless it is nothing that is listened to.
fn understood(Heard { mut channel, pid, said }: Heard, complain: Complain<'_>) -> Option<Request> {
    match first_frame(&said, &mut channel) {
        Ok(Frame::Hello(hello)) => return Some(Request::TakeOver(Greeting { channel, pid, hello })),
        Ok(Frame::Follow(hello)) => return Some(Request::Follow(Greeting { channel, pid, hello })),
        Ok(Frame::Wait(hello)) => return Some(Request::Wait(channel, pid, hello)),
        Ok(Frame::Give(give)) => return Some(Request::Give(channel, pid, give)),
        Ok(Frame::Move(request)) => return Some(Request::Move(channel, pid, request)),
        Ok(Frame::Upgrade(request)) => return Some(Request::Upgrade(channel, pid, request)),
        Ok(Frame::Check(hello)) => return Some(Request::Check(channel, pid, hello)),
        Ok(Frame::AskStatus) => return Some(Request::Status(channel)),
        Ok(Frame::AskPeers) => return Some(Request::Peers(channel, pid)),
        Ok(Frame::SetLog(request)) => return Some(Request::SetLog(channel, pid, request)),
        Ok(Frame::Ask(ask)) => return Some(Request::Ask(channel, ask)),
        Ok(frame) => {
            let kind = frame.kind();
            complain(format_args!("Takeover by pid {pid} dropped: it sent {kind:?} before Hello"));
        }
        Err(ChannelError::Wire(WireError::Kind(RELOAD))) => {
            complain(format_args!("A request by pid {pid} refused: {NO_SUPERVISOR}"));
            channel.close_with(&Refuse::frame(&NO_SUPERVISOR));
        }
        Err(error) => complain(format_args!("Takeover by pid {pid} dropped: {error}")),
    }
    None
}

fn first_frame<'f>(said: &'f RawFrame, channel: &mut Channel) -> Result<Frame<'f>, ChannelError> {
    let frame = said.decode()?;
    // Whoever only asks is not counted.
    if matches!(frame, Frame::Hello(_) | Frame::Follow(_)) {
        fault::at(PredecessorStep::Hello, channel)?;
    }
    Ok(frame)
}

impl Source for Callers {
    fn register(&mut self, registry: &Registry, tokens: Tokens) -> io::Result<()> {
        self.timer.insert(LookTimer::new()?).register(registry, tokens.token(TIMER))?;
        self.calling.register(registry)
    }

    fn hear(&mut self, key: usize, _: &Event) {
        match key {
            TIMER => self.timer_rang = true,
            key => self.calling.note(key),
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        self.calling.due(now)
    }
}
