//! The taking side: the server at whose path this process waits to be given peers, and those servers that have called to
//! give it some.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::event::Event;
use mio::{Interest, Registry};
use reactord_process::channel::{Channel, ChannelError};
use reactord_process::frame::Refuse;
use reactord_process::path::{Call, call};
use slab::Slab;

use super::lent::Lent;
use super::taking::{Taking, Turned};
use super::words::{Peers, in_words_of_a_move};
use crate::lanes::Lanes;
use crate::limited::Kind;
use crate::milestone::Milestone;
use crate::sources::{Name, Source, Tokens};
use crate::takeover::admission::Refusal;
use crate::takeover::error::Cause;
use crate::takeover::successor::Objection;
use crate::takeover::wire::{Frame, Give, WIRE_VERSIONS, agree};

/// How many servers give at once.
const GIVERS_MAX: usize = 16;

/// How long to wait before calling again where nobody has answered, and where somebody has refused.
const CALL_AGAIN: Duration = Duration::from_millis(100);
const CALL_AGAIN_REFUSED: Duration = Duration::from_secs(2);

/// All that is on the taking side.
#[derive(Debug)]
pub(crate) struct Taker {
    takings: Slab<Taking>,
    /// Channels that may have something to say.
    heard: Vec<usize>,
    waits_at: Option<WaitsAt>,
    /// How many peers there may be.
    peers_max: usize,
    /// How many of those places others have.
    taken_places: usize,
}

/// The takeover path of a server that may give peers to this process.
#[derive(Debug)]
struct WaitsAt {
    path: PathBuf,
    /// Which channel it is, while there is one.
    key: Option<usize>,
    again_at: Instant,
    /// It was said that nobody can be waited for, and not yet that somebody can.
    has_complained: bool,
    /// When it was said last that this process waits for peers, and of whom.
    said: Option<(u32, Instant)>,
}

impl Taker {
    pub(crate) fn new(waits_at: Option<&Path>, peers_max: usize, now: Instant) -> Self {
        let waits_at = waits_at.map(|path| WaitsAt::new(path, now));
        Self { takings: Slab::new(), heard: Vec::new(), waits_at, peers_max, taken_places: 0 }
    }

    /// So many places are for others than those who are given.
    pub(crate) fn leave_places(&mut self, places: usize) {
        self.taken_places = places;
    }

    /// For how many peers there are places.
    fn places(&self) -> usize {
        self.peers_max.saturating_sub(self.taken_places)
    }

    /// Whether nobody is there who could give anything.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.takings.is_empty() && self.waits_at.is_none()
    }

    /// Whether peers may come that nobody has to be listened to for.
    pub(crate) fn waits(&self) -> bool {
        self.waits_at.is_some()
    }

    /// A server has called to give peers.
    pub(crate) fn hear_giver<L: Lanes>(&mut self, channel: Channel, pid: u32, give: &Give, with: &mut Lent<'_, L>) {
        let taken = match agree(WIRE_VERSIONS, give.wire_versions) {
            None => {
                Err((channel, Refusal::WireVersions { ours: WIRE_VERSIONS, theirs: give.wire_versions }.to_string()))
            }
            Some(_) if self.takings.len() >= GIVERS_MAX => {
                Err((channel, format!("{GIVERS_MAX} servers give it peers already")))
            }
            Some(_) => Ok(channel.into_successor()),
        };
        match taken {
            Ok(channel) => drop(self.begin(channel, pid, with)),
            Err((channel, reason)) => {
                if with.limited.admits(Kind::Caller, with.now) {
                    warn!("Pid {pid} may not give peers: {reason}");
                }
                channel.close_with(&Frame::Refuse(Refuse::because(&reason)).encode());
            }
        }
    }

    pub(crate) fn begin<L: Lanes>(&mut self, mut channel: Channel, pid: u32, with: &mut Lent<'_, L>) -> Option<usize> {
        let peers_max = self.places();
        let entry = self.takings.vacant_entry();
        let key = entry.key();
        let token = Tokens::of(Name::Taker).token(key);
        let registered = with.registry.register(channel.source(), token, Interest::READABLE | Interest::WRITABLE);
        let taking = registered
            .map_err(|error| Cause::from(ChannelError::Io(error)))
            .and_then(|()| Taking::wait(channel, pid, &*with.lanes, peers_max, with.now));
        match taking {
            Ok(taking) => {
                entry.insert(taking);
                self.heard.push(key);
                Some(key)
            }
            Err(cause) => {
                debug!("Nothing can be taken from pid {pid}: {cause}");
                None
            }
        }
    }

    /// Hears who gives, and calls where nobody answers yet. `may_take` is false while all peers are about to leave.
    pub(crate) fn tend<L: Lanes>(&mut self, with: &mut Lent<'_, L>, may_take: bool) {
        if !may_take {
            return;
        }
        self.call_again(with);
        let now = with.now;
        let overdue = self.takings.iter().filter(|(_, taking)| taking.due().is_some_and(|due| now >= due));
        self.heard.extend(overdue.map(|(key, _)| key));
        for key in std::mem::take(&mut self.heard) {
            self.hear_one(key, with);
        }
    }

    fn hear_one<L: Lanes>(&mut self, key: usize, with: &mut Lent<'_, L>) {
        // One of several events may have been its last.
        let Some(mut taking) = self.takings.try_remove(key) else { return };
        let pid = taking.pid();
        let flushed = taking.channel().flush();
        let turned = match flushed {
            Ok(_) => taking.turn(with.lanes, self.places(), with.now),
            Err(error) => taking.give_up(with.lanes, error.into()),
        };
        match turned {
            Turned::On(taking) => self.put_back(key, taking),
            Turned::Later(taking) => {
                self.put_back(key, taking);
                self.heard.push(key);
            }
            Turned::Took { taking, peers, pause } => {
                if with.limited.admits(Kind::Moved, with.now) {
                    info!("Was given {} by pid {pid}, pause {} us", Peers(peers), pause.as_micros());
                }
                with.annals.tell(Milestone::Took { peers, pid, pause });
                match taking {
                    Ok(taking) => self.put_back(key, taking),
                    Err(cause) => return self.part_with(key, pid, &cause, with),
                }
                // It may have said something that no event will tell of.
                self.heard.push(key);
            }
            Turned::Over(cause) => self.part_with(key, pid, &cause, with),
        }
    }

    fn put_back(&mut self, key: usize, taking: Taking) {
        let again = self.takings.insert(taking);
        assert_eq!(again, key, "the key that was just freed is the next");
    }

    fn part_with<L: Lanes>(&mut self, key: usize, pid: u32, cause: &Cause, with: &mut Lent<'_, L>) {
        let has_left = matches!(cause, Cause::Channel(ChannelError::Closed));
        let waited_at = self.waits_at.as_mut().filter(|waits_at| waits_at.key == Some(key));
        if let Some(waits_at) = waited_at {
            waits_at.key = None;
            waits_at.again_at = with.now + if has_left { CALL_AGAIN } else { CALL_AGAIN_REFUSED };
        }
        if has_left {
            debug!("Pid {pid}, which could give peers, has left");
        } else if with.limited.admits(Kind::FailedTakeover, with.now) {
            warn!("Nothing more is taken from pid {pid}: {}", in_words_of_a_move(cause));
        }
    }

    /// Calls on the path where this process is to wait, if it does not wait there.
    fn call_again<L: Lanes>(&mut self, with: &mut Lent<'_, L>) {
        let Some(waits_at) = &mut self.waits_at else { return };
        if waits_at.key.is_some() || with.now < waits_at.again_at {
            return;
        }
        waits_at.again_at = with.now + CALL_AGAIN;
        let path = waits_at.path.clone();
        let called = call(&path).and_then(|call| {
            let is_own = call.pid == std::process::id();
            if is_own { Err(io::Error::other("it is this process's own")) } else { Ok(call) }
        });
        match called {
            Ok(Call { socket, pid }) => {
                let channel = match Channel::of_successor(socket) {
                    Ok(channel) => channel,
                    Err(error) => return warn!("Waiting at {}: {error}", path.display()),
                };
                waits_at.say(pid, with.now);
                let key = self.begin(channel, pid, with);
                if let Some(waits_at) = &mut self.waits_at {
                    (waits_at.key, waits_at.has_complained) = (key, false);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut waits_at.has_complained, true) {
                    let again_ms = CALL_AGAIN.as_millis();
                    info!("Nobody answers at {} ({error}): calling again every {again_ms} ms", path.display());
                }
            }
        }
    }

    /// All peers go to a successor, or the server stops: nothing is taken any more. What has not been accepted is left to
    /// its giver.
    pub(crate) fn stop_taking<L: Lanes>(&mut self, reason: &str, with: &mut Lent<'_, L>) {
        self.heard.clear();
        for taking in self.takings.drain() {
            let pid = taking.pid();
            let reason = reason.to_owned();
            if let Turned::Over(cause) = taking.give_up(with.lanes, Objection::Leaving { reason }.into()) {
                debug!("Nothing more is taken from pid {pid}: {cause}");
            }
        }
        if let Some(waits_at) = &mut self.waits_at {
            (waits_at.key, waits_at.again_at) = (None, with.now + CALL_AGAIN);
        }
    }
}

impl WaitsAt {
    fn new(path: &Path, now: Instant) -> Self {
        Self { path: path.to_owned(), key: None, again_at: now, has_complained: false, said: None }
    }

    /// Says that this process waits to be given peers by that one; not again and again if that hangs up at once.
    fn say(&mut self, pid: u32, now: Instant) {
        let is_news = self.said.is_none_or(|(of, at)| of != pid || now >= at + CALL_AGAIN_REFUSED);
        let path = self.path.display();
        if is_news {
            self.said = Some((pid, now));
            info!("Waiting at {path} to be given peers by pid {pid}");
        } else {
            debug!("Waiting at {path} again");
        }
    }
}

impl Source for Taker {
    /// Each giver is registered when it comes.
    fn register(&mut self, _: &Registry, _: Tokens) -> io::Result<()> {
        Ok(())
    }

    fn hear(&mut self, key: usize, _: &Event) {
        self.heard.push(key);
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let takings = self.takings.iter().filter_map(|(_, taking)| taking.due()).min();
        let again = self.waits_at.as_ref().filter(|waits_at| waits_at.key.is_none()).map(|waits_at| waits_at.again_at);
        let at_once = (!self.heard.is_empty()).then_some(now);
        [takings, again, at_once].into_iter().flatten().min()
    }
}
