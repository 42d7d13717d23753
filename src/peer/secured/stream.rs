//! A TLS connection, as a peer has it.

use reactord_tls::{End, Established, Facts, Failure, Handshake, SavedSession, Session};

use super::Opened;
use crate::peer::backlog::Backlog;
use crate::peer::record::{SecuredChange, SecuredRecord, Stretch};

/// How what moves of TLS is told, be it of a peer or of somebody whose handshake is under way. Another way gets another number.
const TOLD: u8 = 1;

/// An established connection.
pub(crate) struct Secured {
    session: Session,
    /// What the handshake has found out, as it is told: that is seldom looked at, and takes a fourth of the memory.
    facts: Box<[u8]>,
    /// The beginning of a record that has not come whole.
    partial: Backlog,
    /// Its keys have been used since they were [dropped](Self::cool_down).
    is_warm: bool,
    /// Whole records may be among what has come: they came with the end of the handshake, and no event tells of them.
    is_unheard: bool,
}

/// An idle connection is to take 600 bytes at most, with its peer, its particulars and a short name of the server.
const _: () = assert!(size_of::<Secured>() <= 200);

impl Secured {
    /// Of all that a predecessor may say of TLS: of connections, of what was agreed on, of handshakes, and of how these are told.
    /// The last byte is that of connections.
    pub(super) const LAYOUT: u64 =
        u64::from_be_bytes([0, 0, 0, 0, TOLD, Handshake::LAYOUT, Facts::LAYOUT, Session::LAYOUT]);

    /// At the end of its handshake; `wire` came after that.
    pub(crate) fn new(Established { session, facts }: Established, wire: &[u8]) -> Self {
        Self::with(session, facts.save(), Backlog::at(0, wire))
    }

    fn with(session: Session, facts: Vec<u8>, partial: Backlog) -> Self {
        let is_unheard = session.hears(partial.as_slice());
        Self { session, facts: facts.into(), partial, is_warm: false, is_unheard }
    }

    /// What the handshake has found out.
    pub(crate) fn facts(&self) -> Facts {
        Facts::restore(&self.facts).expect("it was saved, here or by whoever is restored")
    }

    /// Those of the other side are needed no more.
    pub(crate) fn forget_certificates(&mut self) {
        self.facts = Facts { certificates: Vec::new(), ..self.facts() }.save().into();
    }

    /// Opens what the socket has brought: what it says goes to the end of `plain`, what the protocol answers to that of `out`.
    pub(crate) fn open(&mut self, came: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Opened {
        let Self { session, partial, .. } = self;
        let opened = if partial.is_empty() {
            session.open(came, plain, out).map(|used| partial.push(&came[used..]))
        } else {
            partial.push(came);
            session.open(partial.as_mut_slice(), plain, out).map(|used| partial.advance(used))
        };
        if opened.is_err() {
            partial.advance(partial.len());
        }
        match opened {
            Ok(()) if session.end() == End::Orderly => Opened::Last,
            Ok(()) => Opened::Whole,
            Err(broken @ Failure::Broken(_)) => Opened::Broken(format!("TLS: {broken}")),
            Err(failed) => Opened::Failed(format!("TLS: {failed}")),
        }
    }

    /// Seals what is said, at the end of `out`. What is said after the last word is not.
    ///
    /// # Errors
    /// If the connection has come to its end with that, and why.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self.session.seal(plain, out) {
            Ok(()) | Err(Failure::Ended) => Ok(()),
            Err(failure) => Err(format!("TLS: {failure}")),
        }
    }

    /// Says that nothing more will come, once.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) {
        self.session.close(out);
    }

    /// Whether what has come is to be looked at once more.
    pub(crate) fn has_unheard(&self) -> bool {
        self.is_unheard
    }

    /// The same, which is done now.
    pub(crate) fn take_unheard(&mut self) -> bool {
        std::mem::take(&mut self.is_unheard)
    }

    /// Its keys are used. Says whether they were not before.
    pub(crate) fn warm_up(&mut self) -> bool {
        !std::mem::replace(&mut self.is_warm, true)
    }

    /// Gives back the memory of keys, which are made again when they are used.
    pub(crate) fn cool_down(&mut self) {
        self.is_warm = false;
        self.session.idle();
    }

    /// Whether the client has said that nothing more will come: it was not cut off.
    pub(crate) fn ended_orderly(&self) -> bool {
        self.session.end() == End::Orderly
    }

    /// What has come of a record that has not come whole.
    pub(crate) fn partial(&self) -> Stretch<'_> {
        self.partial.stretch()
    }

    /// Appends keys, and how far they have been used.
    pub(crate) fn save(&self, saved: &mut Vec<u8>) {
        saved.extend_from_slice(self.session.save().bytes());
    }

    /// Appends what the handshake has found out.
    pub(crate) fn save_facts(&self, saved: &mut Vec<u8>) {
        saved.extend_from_slice(&self.facts);
    }

    /// The connection that was saved, which goes on here.
    ///
    /// # Errors
    /// If that is not what was saved.
    pub(crate) fn restore(saved: &SecuredRecord<'_>) -> Result<Self, String> {
        let SecuredRecord { facts, state, partial } = saved;
        let damaged = || format!("{} bytes are nothing that a TLS handshake finds out", facts.len());
        Facts::restore(facts).ok_or_else(damaged)?;
        Ok(Self::with(session_of(state)?, facts.to_vec(), Backlog::at(partial.start, partial.bytes)))
    }

    /// The connection that has come to be since its peer was told of.
    ///
    /// # Errors
    /// If that is not what was saved.
    pub(crate) fn begin_to_follow(change: &SecuredChange<'_>) -> Result<Self, String> {
        let SecuredChange { facts, state, partial } = *change;
        let partial = partial.appended;
        Self::restore(&SecuredRecord { facts: facts.unwrap_or_default(), state, partial })
    }

    /// The same connection where it is now.
    ///
    /// # Errors
    /// If that is not what was saved, or it has not gone on from here.
    pub(crate) fn follow(&mut self, change: &SecuredChange<'_>) -> Result<(), String> {
        let session = session_of(change.state)?;
        self.partial.shift(change.partial).map_err(|misplaced| format!("its TLS record: {misplaced}"))?;
        self.is_unheard = session.hears(self.partial.as_slice());
        self.session = session;
        Ok(())
    }
}

fn session_of(saved: &[u8]) -> Result<Session, String> {
    SavedSession::read(saved).and_then(Session::restore).map_err(|error| error.to_string())
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secured")
            .field("session", &self.session)
            .field("partial_bytes", &self.partial.len())
            .finish_non_exhaustive()
    }
}
