//! A TLS connection, as a peer has it.

use reactord_tls::{End, Established, Facts, Failure, SavedSession, Session};

use super::Opened;

/// What is left of a large read may keep so much room that it does not need.
const WIRE_ROOM_BYTES: usize = 1024;

/// An established connection.
pub(crate) struct Secured {
    session: Session,
    facts: Facts,
    /// The beginning of a record that has not come whole.
    wire: Vec<u8>,
    /// Its keys have been used since they were [dropped](Self::cool_down).
    is_warm: bool,
    /// Whole records may be among what has come: they came with the end of the handshake, and no event tells of them.
    is_unheard: bool,
}

impl Secured {
    pub(super) const LAYOUT: u64 = Session::LAYOUT as u64;

    /// At the end of its handshake; `wire` came after that.
    pub(crate) fn new(Established { session, facts }: Established, wire: Vec<u8>) -> Self {
        let is_unheard = !wire.is_empty();
        Self { session, facts, wire, is_warm: false, is_unheard }
    }

    /// What the handshake has found out.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Those of the other side are needed no more.
    pub(crate) fn forget_certificates(&mut self) {
        self.facts.certificates = Vec::new();
    }

    /// Opens what the socket has brought: what it says goes to the end of `plain`, what the protocol answers to that of `out`.
    pub(crate) fn open(&mut self, came: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Opened {
        let Self { session, wire, .. } = self;
        let opened = if wire.is_empty() {
            session.open(came, plain, out).map(|used| wire.extend_from_slice(&came[used..]))
        } else {
            wire.extend_from_slice(came);
            session.open(wire, plain, out).map(|used| drop(wire.drain(..used)))
        };
        if wire.is_empty() || opened.is_err() {
            *wire = Vec::new();
        } else if wire.capacity() > 2 * wire.len() + WIRE_ROOM_BYTES {
            wire.shrink_to_fit();
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

    /// Appends the whole state of the connection.
    pub(crate) fn save(&self, saved: &mut Vec<u8>) {
        saved.extend_from_slice(self.session.save().bytes());
        let wire_bytes = u32::try_from(self.wire.len()).expect("it is less than a record");
        saved.extend_from_slice(&wire_bytes.to_be_bytes());
        saved.extend_from_slice(&self.wire);
        saved.extend_from_slice(&self.facts.save());
    }

    /// The connection that was saved, which goes on here.
    ///
    /// # Errors
    /// If that is not what was saved.
    pub(crate) fn restore(saved: &[u8]) -> Result<Self, String> {
        let damaged = || format!("{} bytes are no TLS connection", saved.len());
        let (session, rest) = saved.split_at_checked(SavedSession::BYTES).ok_or_else(damaged)?;
        let session = SavedSession::read(session).and_then(Session::restore).map_err(|error| error.to_string())?;
        let (wire_bytes, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let wire_bytes = usize::try_from(u32::from_be_bytes(*wire_bytes)).ok().ok_or_else(damaged)?;
        let (wire, facts) = rest.split_at_checked(wire_bytes).ok_or_else(damaged)?;
        let facts = Facts::restore(facts).ok_or_else(damaged)?;
        Ok(Self { is_unheard: !wire.is_empty(), session, facts, wire: wire.to_vec(), is_warm: false })
    }
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secured")
            .field("session", &self.session)
            .field("wire_bytes", &self.wire.len())
            .finish_non_exhaustive()
    }
}
