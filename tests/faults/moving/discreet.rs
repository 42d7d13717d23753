//! Clients that speak TLS: peers are moved in the middle of their handshakes, their records, and the changes of their keys. A seed decides
//! where that is.
//!
//! As with the others that speak it, none takes a record that is not the next one of its connection.

use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use fastrand::Rng;
use reactord_tls::Connector;

use super::clients::Talks;
use crate::harness::{Lost, Shaking, Why};
use crate::secured::{Full, HANDSHAKE, Talker};

/// One line out of so many comes with a change of keys, if its version has that.
const KEY_EVERY: u32 = 4;

/// No word of a handshake is so long that more of it would have to be held back.
const WORD_BYTES: usize = 300;

/// What somebody hears who asks for another process while none waits.
const NOBODY_WAITS: &[u8] = b"nobody is waiting\n";

pub(super) struct Discreet {
    stage: Stage,
    began: Instant,
    /// What it has said behind its handshake was answered, so that this was over in time at the other end, too.
    is_answered: bool,
    /// Its connection was lost before that, after more time than a handshake may take.
    is_late: bool,
    random: Rng,
    /// What is sealed of a line and not sent.
    rest: Vec<u8>,
}

enum Stage {
    /// And what it will be called.
    UnderWay(Box<Shaking>, String),
    Talks(Talker),
    /// Does not read, so that its answers fill all buffers.
    IsFull(Full),
    /// The connection was lost before it talked.
    Gone,
}

impl Discreet {
    /// One who has come somewhere in its handshake, or has talked already; or nobody, if that took too long.
    ///
    /// # Errors
    /// If its connection is lost.
    pub(super) fn connect(
        address: SocketAddr,
        connectors: &[Connector],
        name: String,
        mut random: Rng,
    ) -> Result<Option<Self>, Lost> {
        let (began, connector) = (Instant::now(), &connectors[random.usize(0..connectors.len())]);
        let shaking = Shaking::try_connect(address, connector).map_err(Why::loss)?;
        let stage = Stage::UnderWay(Box::new(shaking), name);
        let mut discreet = Self { stage, began, is_answered: false, is_late: false, random, rest: Vec::new() };
        match discreet.come_somewhere() {
            Ok(()) => Ok(Some(discreet)),
            Err(_) if discreet.is_late => Ok(None),
            Err(lost) => Err(lost),
        }
    }

    /// From now on it does not read.
    ///
    /// # Errors
    /// If its connection is lost.
    pub(super) fn fill(mut self) -> Result<Self, Lost> {
        self.finish_handshake()?;
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Talks(talker) => self.stage = Stage::IsFull(Full::from(talker)?),
            stage => self.stage = stage,
        }
        Ok(self)
    }

    /// The same, having read what it has asked for, if it has not before.
    ///
    /// # Errors
    /// If its connection is lost.
    pub(super) fn that_reads(mut self) -> Result<Self, Lost> {
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::IsFull(full) => self.stage = Stage::Talks(full.read()?),
            stage => self.stage = stage,
        }
        Ok(self)
    }

    fn come_somewhere(&mut self) -> Result<(), Lost> {
        match self.random.u32(0..6) {
            0 => Ok(()),
            1 => self.say_some(),
            2 => {
                self.say()?;
                self.hear()?;
                self.say_some()
            }
            _ => self.exchange(),
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::UnderWay(..))
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(self.stage, Stage::IsFull(_))
    }

    /// Whether it has lost its connection because its handshake took too long.
    pub(super) fn is_late(&self) -> bool {
        self.is_late
    }

    /// Nobody has its connection any more, as it can see.
    pub(super) fn notice_loss(&mut self) -> Result<(), Lost> {
        match &mut self.stage {
            Stage::IsFull(full) => {
                full.expect_loss();
                Err(Lost("nobody has it".to_owned()))
            }
            _ => self.exchange(),
        }
    }

    /// Says that it sends nothing more, and is told the same.
    ///
    /// # Errors
    /// If its connection is lost.
    pub(super) fn end(mut self) -> Result<(), Lost> {
        self.talker()?;
        match self.stage {
            Stage::Talks(talker) => talker.peer.try_end(),
            _ => unreachable!("it talks"),
        }
    }

    /// Says a part of what is next in its handshake, if that is not over.
    fn say_some(&mut self) -> Result<(), Lost> {
        let bytes_max = self.random.usize(0..WORD_BYTES);
        match &mut self.stage {
            Stage::UnderWay(shaking, _) => {
                let said = shaking.try_say(bytes_max).map_err(Why::loss);
                self.note_lateness(said)
            }
            _ => Ok(()),
        }
    }

    /// Its last word of a handshake may be on its way when the other end waits no longer.
    fn note_lateness<T>(&mut self, done: Result<T, Lost>) -> Result<T, Lost> {
        self.is_late |= done.is_err() && !self.is_answered && self.began.elapsed() >= HANDSHAKE;
        done
    }

    fn send(&mut self, sealed: &[u8]) -> Result<(), Lost> {
        let sent = self.talker()?.peer.try_send_raw(sealed);
        self.note_lateness(sent)
    }

    /// Comes to the end of its handshake.
    fn finish_handshake(&mut self) -> Result<(), Lost> {
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::UnderWay(shaking, name) => {
                let peer = self.note_lateness(shaking.try_finish().map_err(Why::loss))?;
                self.stage = Stage::Talks(Talker::new(peer, name));
            }
            stage => self.stage = stage,
        }
        Ok(())
    }

    fn talker(&mut self) -> Result<&mut Talker, Lost> {
        match &mut self.stage {
            Stage::Talks(talker) => Ok(talker),
            _ => Err(Lost("its handshake has not come to its end".to_owned())),
        }
    }

    /// Seals the next line, behind something else: in one record or in two, and perhaps with a change of keys before, between or behind
    /// them.
    fn seal_line_behind(&mut self, first: &[u8]) -> Result<Vec<u8>, Lost> {
        let (share, changes, wants_one) = (self.random.f32(), self.random.u32(0..KEY_EVERY) == 0, self.random.bool());
        let talker = self.talker()?;
        let plain = [first, &*talker.line()].concat();
        let (front, back) = plain.split_at((plain.len() as f32 * share) as usize);
        let mut sealed = Vec::new();
        talker.peer.seal(front, &mut sealed);
        if changes {
            talker.peer.seal_update(wants_one, &mut sealed);
        }
        talker.peer.seal(back, &mut sealed);
        Ok(sealed)
    }
}

impl Talks for Discreet {
    fn stream(&self) -> Option<&TcpStream> {
        match &self.stage {
            Stage::UnderWay(shaking, _) => Some(shaking.stream()),
            Stage::Talks(talker) | Stage::IsFull(Full { talker, .. }) => Some(talker.peer.stream()),
            Stage::Gone => None,
        }
    }

    /// Or what is next in its handshake.
    fn say(&mut self) -> Result<(), Lost> {
        if let Stage::UnderWay(shaking, _) = &mut self.stage {
            let said = shaking.try_say(usize::MAX).map_err(Why::loss);
            return self.note_lateness(said);
        }
        let sealed = self.seal_line_behind(b"")?;
        self.send(&sealed)
    }

    /// Or the answer in its handshake, and ends that if nothing else is to come.
    fn hear(&mut self) -> Result<(), Lost> {
        if let Stage::UnderWay(shaking, _) = &mut self.stage {
            let (heard, is_done) = (shaking.try_hear().map_err(Why::loss), shaking.is_done());
            self.note_lateness(heard)?;
            return if is_done { self.finish_handshake() } else { Ok(()) };
        }
        let talker = self.talker()?;
        let heard = talker.hear(&talker.line());
        self.is_answered |= heard.is_ok();
        self.note_lateness(heard)
    }

    fn exchange(&mut self) -> Result<(), Lost> {
        self.finish_handshake()?;
        self.say()?;
        self.hear()
    }

    /// Unless its handshake is under way.
    fn ask_for_another(&mut self) -> Result<(), Lost> {
        if self.is_under_way() {
            return Ok(());
        }
        let sealed = self.seal_line_behind(b"Steal\n")?;
        self.send(&sealed)?;
        let first = self.talker()?.peer.try_peek();
        if self.note_lateness(first)? == NOBODY_WAITS[0] {
            self.talker()?.peer.try_expect(NOBODY_WAITS)?;
        }
        self.hear()
    }

    /// Of what is sealed, wherever that ends.
    fn say_half(&mut self) {
        // Nobody answers that, so it does not matter whether anybody is there.
        if self.is_under_way() {
            let _ = self.say_some();
        } else if let Ok(mut sealed) = self.seal_line_behind(b"") {
            self.rest = sealed.split_off(self.random.usize(0..sealed.len()));
            let _ = self.talker().and_then(|talker| talker.peer.try_send_raw(&sealed));
        }
    }

    fn say_the_rest(&mut self) -> Result<(), Lost> {
        if self.is_under_way() {
            return self.exchange();
        }
        let rest = std::mem::take(&mut self.rest);
        self.send(&rest)?;
        self.hear()
    }

    /// With a word or without.
    fn leave(&mut self) {
        if self.random.bool() {
            // Whoever has it may be gone.
            let _ = self.talker().and_then(|talker| {
                let last_word = talker.peer.last_word();
                talker.peer.try_send_raw(&last_word)
            });
        }
    }
}
