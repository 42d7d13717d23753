//! One who waits: what is said before its handshake, and until that is over, or until it is known why it never will be.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use reactord_tls::{Handshake, HandshakeFailure, Progress, SavedHandshake};

use super::saved::Saved;
use crate::peer::record::{Change, Phase, Record};
use crate::peer::secured::Secured;
use crate::peer::ties::Ties;
use crate::peer::{Address, Backlog};
use crate::tls::{self, Tls};

/// A handshake of more records than this does not move: it would be told anew with each of them. A client needs three.
const RECORDS_MOVED_MAX: u32 = 4;

/// So often what a client still sends is thrown away in one turn, when its handshake has failed.
const DISCARDS_PER_TURN: usize = 16;

/// Why somebody goes no further here who has come in elsewhere.
const NO_LISTENER: &str = "its listener is none of this process's";

/// One of those who wait.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) socket: TcpStream,
    pub(super) cookie: u64,
    pub(super) address: Address,
    pub(super) lane: usize,
    pub(super) listener: String,
    at: Option<SocketAddr>,
    stage: Stage,
    /// What it has sent and is not heard.
    wire: Backlog,
    /// What it is sent and has not taken.
    out: Backlog,
    /// How often records of it were heard.
    pub(super) heard: u32,
    /// What it has said in clear before its handshake, if that was due.
    preface: Option<Box<[u8]>>,
    pub(super) is_woken: bool,
}

#[derive(Debug)]
enum Stage {
    /// It says something in clear first, which is not whole. It goes on with what the clients of its listener speak TLS with, if
    /// this process has that one.
    Prefacing(Option<Tls>),
    /// Another process has come so far. Nothing is made of that before its first turn here, and then with what the clients of its
    /// listener speak TLS with, if this process has that one.
    Saved(Option<Tls>, SavedHandshake),
    Shaking(Box<Handshake>),
    /// The handshake has failed. The client is told why, and that nothing follows.
    Telling,
    /// It is told. Until it has ended, too, what it sends is thrown away: to close at once would reset the connection, and
    /// take away what it is told (tcp(7)).
    Told,
}

/// Somebody whose handshake is over.
#[derive(Debug)]
pub(crate) struct Welcome {
    pub(crate) socket: TcpStream,
    pub(crate) address: Address,
    pub(crate) lane: usize,
    pub(crate) listener: String,
    pub(crate) at: Option<SocketAddr>,
    /// What it has said in clear before, if that was due.
    pub(crate) preface: Option<Box<[u8]>>,
    pub(crate) secured: Secured,
    /// What it is sent and has not taken.
    pub(crate) out: Vec<u8>,
}

/// How far somebody is after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// It goes on when something comes, or when it takes more.
    Here,
    /// It goes on in another turn.
    MayGoOn,
    /// The handshake is over.
    Door,
    /// Nothing is left to be told or heard.
    End,
}

/// Who has come, from where, and to whom.
pub(super) struct Whom {
    pub(super) socket: TcpStream,
    pub(super) cookie: u64,
    pub(super) address: Address,
    pub(super) lane: usize,
    pub(super) listener: String,
    pub(super) at: Option<SocketAddr>,
}

impl Waiting {
    /// Nothing has been said.
    pub(super) fn new(whom: Whom, tls: &Tls) -> Result<Self, HandshakeFailure> {
        let stage = match tls.preface() {
            Some(preface) if preface.is_due(whom.address.ip()) => Stage::Prefacing(Some(tls.clone())),
            _ => Stage::Shaking(Box::new(Handshake::accept(tls.acceptor())?)),
        };
        Ok(Self::at_stage(whom, stage))
    }

    fn at_stage(whom: Whom, stage: Stage) -> Self {
        let Whom { socket, cookie, address, lane, listener, at } = whom;
        let [wire, out] = [Backlog::default(), Backlog::default()];
        Self { socket, cookie, address, lane, listener, at, stage, wire, out, heard: 0, preface: None, is_woken: false }
    }

    /// Hears what it has sent, and answers.
    ///
    /// # Errors
    /// If the handshake has failed, and why. What there is to tell the client of that is still to be told.
    pub(super) fn go_on(&mut self, buffer: &mut [u8]) -> Result<Reached, String> {
        match &mut self.stage {
            Stage::Saved(..) => {
                self.restore_handshake().map_err(|why| self.end_because(why))?;
                self.shake(buffer)
            }
            Stage::Prefacing(_) | Stage::Shaking(_) => self.shake(buffer),
            Stage::Telling | Stage::Told => Ok(self.tell(buffer)),
        }
    }

    /// Its first turn here.
    ///
    /// # Errors
    /// If its handshake does not go on in this process.
    fn restore_handshake(&mut self) -> Result<(), String> {
        let Stage::Saved(tls, saved) = std::mem::replace(&mut self.stage, Stage::Told) else { return Ok(()) };
        let tls = tls.ok_or(NO_LISTENER)?;
        let handshake = Handshake::restore(tls.acceptor(), saved);
        let handshake = handshake.map_err(|why| format!("its TLS handshake does not go on: {why}"))?;
        self.stage = Stage::Shaking(Box::new(handshake));
        Ok(())
    }

    fn shake(&mut self, buffer: &mut [u8]) -> Result<Reached, String> {
        // What has come may be enough, where another process has read it.
        if !self.wire.is_empty() && self.hear()? == Progress::Done {
            return Ok(Reached::Door);
        }
        loop {
            self.write().map_err(|why| self.end_because(why))?;
            let came = match self.socket.read(buffer) {
                Ok(0) => return Err(self.end_because("it has left before its TLS handshake was over".to_owned())),
                Ok(bytes) => &buffer[..bytes],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Reached::Here),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.end_because(error.to_string())),
            };
            self.wire.push(came);
            if self.hear()? == Progress::Done {
                self.write().map_err(|why| self.end_because(why))?;
                return Ok(Reached::Door);
            }
        }
    }

    /// Hears what has come.
    fn hear(&mut self) -> Result<Progress, String> {
        if let Stage::Prefacing(tls) = &self.stage {
            let tls = tls.clone();
            let is_whole = self.hear_preface(tls.as_ref()).map_err(|why| self.end_because(why))?;
            if !is_whole {
                return Ok(Progress::More);
            }
        }
        let Stage::Shaking(handshake) = &mut self.stage else { unreachable!("nobody else is heard") };
        let mut out = Vec::new();
        let heard = handshake.hear(self.wire.as_slice(), &mut out);
        self.out.push(&out);
        match heard {
            Ok((used, progress)) => {
                self.heard += u32::from(used > 0);
                self.wire.advance(used);
                Ok(progress)
            }
            Err(failure) => {
                self.stage = Stage::Telling;
                Err(format!("TLS: {failure}"))
            }
        }
    }

    /// Hears what is said before the handshake. Whether that is whole.
    ///
    /// # Errors
    /// If no handshake follows, and why.
    fn hear_preface(&mut self, tls: Option<&Tls>) -> Result<bool, String> {
        let tls = tls.ok_or(NO_LISTENER)?;
        // One that expects nothing would take it for TLS.
        let preface =
            tls.preface().ok_or("something comes before its TLS handshake that its listener does not know")?;
        let Some(bytes) = tls::read_preface(preface, self.wire.as_slice())? else { return Ok(false) };
        let handshake = Handshake::accept(tls.acceptor()).map_err(|failure| failure.to_string())?;
        self.preface = Some(self.wire.as_slice()[..bytes].into());
        self.wire.advance(bytes);
        self.stage = Stage::Shaking(Box::new(handshake));
        Ok(true)
    }

    /// How far it has come: what another process has to be told of is another then.
    pub(super) fn come_to(&self) -> (bool, u32) {
        (self.preface.is_some(), self.heard)
    }

    /// There is nobody to be told anything.
    fn end_because(&mut self, why: String) -> String {
        self.stage = Stage::Told;
        self.out.advance(self.out.len());
        // What it may still send changes nothing: it is closed.
        self.wire.advance(self.wire.len());
        why
    }

    /// Whether it is still to be told why its handshake has failed, or has yet to hear it.
    pub(super) fn is_being_told(&self) -> bool {
        matches!(self.stage, Stage::Telling)
    }

    fn tell(&mut self, buffer: &mut [u8]) -> Reached {
        if self.write().is_err() {
            return Reached::End;
        }
        if matches!(self.stage, Stage::Telling) && self.out.is_empty() {
            self.stage = Stage::Told;
            if self.socket.shutdown(Shutdown::Write).is_err() {
                return Reached::End;
            }
        }
        for _ in 0..DISCARDS_PER_TURN {
            match self.socket.read(buffer) {
                Ok(0) => return Reached::End,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Reached::Here,
                Err(error) if error.kind() != ErrorKind::Interrupted => return Reached::End,
                Ok(_) | Err(_) => {}
            }
        }
        Reached::MayGoOn
    }

    fn write(&mut self) -> Result<(), String> {
        while !self.out.is_empty() {
            match self.socket.write(self.out.as_slice()) {
                Ok(bytes) => self.out.advance(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Its handshake is over.
    ///
    /// # Errors
    /// If nothing comes of it after all, and why.
    pub(super) fn welcomed(self) -> Result<Welcome, String> {
        let Self { socket, address, lane, listener, at, stage, wire, out, preface, .. } = self;
        let failed = |why| {
            hang_up(&socket);
            why
        };
        let Stage::Shaking(handshake) = stage else { return Err(failed("its TLS handshake has failed".to_owned())) };
        let established = handshake.finish().map_err(|failure| failed(format!("TLS: {failure}")))?;
        let (secured, out) = (Secured::new(established, wire.as_slice()), out.as_slice().to_vec());
        Ok(Welcome { socket, address, lane, listener, at, preface, secured, out })
    }

    /// Ends the connection, also where another process holds a duplicate of its socket: to close it would not.
    pub(super) fn hang_up(&self) {
        hang_up(&self.socket);
    }

    // ── Being copied, and filled ───────────────────────────────────────────────────────────────────────────────────

    /// Whether it can go on in another process, which goes on with those who were answered if `answered_move`.
    pub(super) fn moves(&self, answered_move: bool) -> bool {
        let is_movable = match &self.stage {
            // As the bytes that it is.
            Stage::Prefacing(tls) | Stage::Saved(tls, _) => tls.is_some(),
            Stage::Shaking(handshake) => self.heard <= RECORDS_MOVED_MAX && handshake.unmovable().is_none(),
            Stage::Telling | Stage::Told => false,
        };
        is_movable && (answered_move || !self.is_answered())
    }

    /// Whether it has been answered. Who has not may be anybody, and say nothing for ever.
    pub(super) fn is_answered(&self) -> bool {
        match &self.stage {
            Stage::Saved(_, handshake) => handshake.has_answered(),
            Stage::Shaking(handshake) => handshake.has_answered(),
            Stage::Prefacing(_) | Stage::Telling | Stage::Told => false,
        }
    }

    /// Whether it is lost with this process if the successor does not go on with it.
    pub(super) fn is_shaking(&self) -> bool {
        matches!(self.stage, Stage::Prefacing(_) | Stage::Saved(..) | Stage::Shaking(_))
    }

    /// How it stands, until this instant.
    pub(super) fn record(&self, until_ns: u64) -> Record<'_> {
        Record {
            cookie: self.cookie,
            address: self.address,
            phase: Phase::Open,
            session: &[],
            secured: None,
            inbound: self.wire.stretch(),
            outbound: self.out.stretch(),
            parting: None,
            deadline_ns: Some(until_ns),
            since_s: 0,
            ties: Ties::default(),
        }
    }

    /// Appends where it has come in, and how far its handshake is.
    ///
    /// # Panics
    /// If it does not move.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        let saved_now;
        let handshake = match &self.stage {
            Stage::Prefacing(_) => &[],
            Stage::Saved(_, saved) => saved.bytes(),
            Stage::Shaking(handshake) => {
                saved_now = handshake.save().expect("whether it moves was asked before");
                saved_now.bytes()
            }
            Stage::Telling | Stage::Told => panic!("it does not move"),
        };
        let lane = u32::try_from(self.lane).expect("a server has few lanes");
        // Room for all of it, so that nothing is left where it was too small.
        let preface = self.preface.as_deref();
        out.reserve(handshake.len() + self.listener.len() + preface.map_or(0, <[u8]>::len) + 32);
        Saved { lane, listener: &self.listener, handshake, preface }.write(out);
    }

    /// Somebody with whom another process has come so far.
    pub(super) fn restore(whom: Whom, tls: Option<Tls>, saved: &Saved<'_>, record: &Record<'_>) -> Self {
        let mut waiting = Self::at_stage(whom, Stage::Prefacing(tls));
        waiting.follow_handshake(saved);
        waiting.wire = Backlog::at(record.inbound.start, record.inbound.bytes);
        waiting.out = Backlog::at(record.outbound.start, record.outbound.bytes);
        waiting
    }

    /// The other process has come further.
    ///
    /// # Errors
    /// If it has not gone on from here.
    pub(super) fn follow(&mut self, change: &Change<'_>) -> Result<(), String> {
        self.wire.shift(change.inbound).map_err(|misplaced| format!("its input: {misplaced}"))?;
        self.out.shift(change.outbound).map_err(|misplaced| format!("its output: {misplaced}"))
    }

    /// So has its handshake.
    ///
    /// # Panics
    /// If it has had a turn here.
    pub(super) fn follow_handshake(&mut self, saved: &Saved<'_>) {
        let (Stage::Prefacing(tls) | Stage::Saved(tls, _)) = &mut self.stage else {
            panic!("it is the other process's")
        };
        if !saved.handshake.is_empty() {
            self.stage = Stage::Saved(tls.take(), SavedHandshake::read(saved.handshake));
        }
        self.preface = saved.preface.map(Into::into);
    }
}

fn hang_up(socket: &TcpStream) {
    // A connection that has failed has ended already.
    let _ = socket.shutdown(Shutdown::Both);
}
