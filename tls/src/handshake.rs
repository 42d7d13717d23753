//! The handshake: all of it is rustls's, which hears it record by record and so never holds a byte that comes after it.

use std::fmt;
use std::io;
use std::sync::Arc;

use ring::digest;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::{Connection, ConnectionTrafficSecrets, ExtractedSecrets, HandshakeKind};
use zeroize::Zeroizing;

use crate::direction::Direction;
use crate::facts::Facts;
use crate::messages::Role;
use crate::record::{HEADER_BYTES, Header};
use crate::secret::{Secret, key_with_iv};
use crate::session::Session;
use crate::settings::{Acceptor, Connector};
use crate::suite::{Suite, Version};
use crate::tape::{self, Drawn};

mod failure;
mod saved;

pub use failure::HandshakeFailure;
use saved::{Digest, Parts};
pub use saved::{NotContinued, SavedHandshake, Unmovable};

/// No handshake has more to hear: rustls takes chains of at most 64 KiB.
const HEARD_BYTES_MAX: usize = 1 << 18;

/// A handshake that is under way.
///
/// What [`Session`] says of nonces holds for it, too: at its end it seals with the keys of the session, and of one
/// connection only one process seals. What a successor makes of one that it restores it keeps to itself until it owns
/// the connection.
pub struct Handshake {
    connection: Connection,
    verifier: Verifier,
    drawn: Drawn,
    heard: Heard,
    said: Said,
}

/// What says whether the certificate of the other side is good.
enum Verifier {
    OfClients(Arc<dyn ClientCertVerifier>),
    /// Of a server that has to have this name.
    OfServer(Connector, ServerName<'static>),
}

/// What the other side has said.
#[derive(Default)]
struct Heard {
    bytes: usize,
    /// All of it, for as long as a successor could make something of it.
    records: Vec<u8>,
}

/// What was answered.
struct Said {
    bytes: u64,
    digest: digest::Context,
}

impl Said {
    fn digest(&self) -> Digest {
        let sha256 = self.digest.clone().finish().as_ref().try_into().expect("SHA-256 gives 32 bytes");
        Digest { bytes: self.bytes, sha256 }
    }
}

/// How far a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on when more comes.
    More,
    /// It is over: [`Handshake::finish`].
    Done,
}

/// A connection at the end of its handshake.
#[derive(Debug)]
pub struct Established {
    /// The connection.
    pub session: Session,
    /// What was found out.
    pub facts: Facts,
}

impl Handshake {
    /// The number of the layout of what [`Handshake::save`] gives: a process that knows another one cannot continue it.
    pub const LAYOUT: u8 = saved::LAYOUT;

    /// That of a client which connected to this side. Nothing is said before it says something.
    ///
    /// # Errors
    /// If rustls cannot begin one.
    pub fn accept(acceptor: &Acceptor) -> Result<Self, HandshakeFailure> {
        let connection = rustls::ServerConnection::new(acceptor.config())?;
        Ok(Self::new(connection.into(), Verifier::OfClients(acceptor.verifier()), Drawn::default()))
    }

    /// That of this side which connected to a server with this name, a DNS name or an address: it begins, with what is
    /// put into `out`.
    ///
    /// # Errors
    /// If that is no name, or rustls cannot begin one.
    pub fn connect(connector: &Connector, name: &str, out: &mut Vec<u8>) -> Result<Self, HandshakeFailure> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| rustls::Error::General(format!("{name:?} is no name of a server: {error}")))?;
        let mut drawn = Drawn::default();
        let connection = tape::during(&mut drawn, || rustls::ClientConnection::new(connector.config(), name.clone()))?;
        let mut handshake = Self::new(connection.into(), Verifier::OfServer(connector.clone(), name), drawn);
        handshake.say(out);
        Ok(handshake)
    }

    fn new(connection: Connection, verifier: Verifier, drawn: Drawn) -> Self {
        let said = Said { bytes: 0, digest: digest::Context::new(&digest::SHA256) };
        Self { connection, verifier, drawn, heard: Heard::default(), said }
    }

    fn role(&self) -> Role {
        match self.connection {
            Connection::Client(_) => Role::Client,
            Connection::Server(_) => Role::Server,
        }
    }

    /// Hears the whole records at the front of what the socket gave, up to the end of the handshake; what is to be sent
    /// goes to the end of `out`. Says how many bytes are done with: the others are to be given again, with what
    /// follows. Once it is done they belong to the session.
    ///
    /// # Errors
    /// If it fails: then all is over when `out` has been sent.
    pub fn hear(&mut self, wire: &[u8], out: &mut Vec<u8>) -> Result<(usize, Progress), HandshakeFailure> {
        let mut taken = 0;
        while self.connection.is_handshaking() {
            let Some(record) = first_record(&wire[taken..]) else {
                return Ok((taken, Progress::More));
            };
            self.hear_record(record, out)?;
            taken += record.len();
        }
        Ok((taken, Progress::Done))
    }

    fn hear_record(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), HandshakeFailure> {
        self.heard.bytes += record.len();
        if self.heard.bytes > HEARD_BYTES_MAX {
            return Err(HandshakeFailure::TooLong { bytes: self.heard.bytes, bytes_max: HEARD_BYTES_MAX });
        }
        let mut unread = record;
        while !unread.is_empty() {
            let read = self.connection.read_tls(&mut unread);
            // It refuses when it holds more of one message than any may have.
            read.ok().filter(|&bytes| bytes > 0).ok_or(HandshakeFailure::NoRecord)?;
        }
        let processed = tape::during(&mut self.drawn, || self.connection.process_new_packets());
        self.say(out);
        processed?;
        let is_plausible = |bytes: &[u8; HEADER_BYTES]| Header { bytes: *bytes }.is_plausible();
        if !record.first_chunk().is_some_and(is_plausible) {
            return Err(HandshakeFailure::NoRecord);
        }
        self.remember(record);
        Ok(())
    }

    fn say(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        while self.connection.wants_write() {
            self.connection.write_tls(out as &mut dyn io::Write).expect("a vector takes all that is written");
        }
        self.said.bytes += (out.len() - start) as u64;
        self.said.digest.update(&out[start..]);
    }

    fn remember(&mut self, record: &[u8]) {
        if self.unmovable().is_none() {
            self.heard.records.extend_from_slice(record);
        } else {
            self.heard.records = Vec::new();
            self.drawn.tape.forget();
        }
    }

    /// Whether the other side has been told anything: from then on it can only go on where the same would have been said.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.said.bytes > 0
    }

    /// Why it cannot move now. `None`: it can.
    #[must_use]
    pub fn unmovable(&self) -> Option<Unmovable> {
        match self.role() {
            Role::Client => Some(Unmovable::Client),
            Role::Server if !self.connection.is_handshaking() => Some(Unmovable::Done),
            Role::Server if self.drawn.tape.misses_key() => Some(Unmovable::KeyHeld),
            Role::Server if self.drawn.tape.is_full() => Some(Unmovable::TooLong),
            Role::Server => None,
        }
    }

    /// All that a successor needs to go on. It goes on here, too: what is saved is outdated with the next record that it
    /// hears.
    ///
    /// # Errors
    /// If it [cannot move](Self::unmovable).
    pub fn save(&self) -> Result<SavedHandshake, Unmovable> {
        match self.unmovable() {
            Some(reason) => Err(reason),
            None => Ok(SavedHandshake::write(self.said.digest(), &self.heard.records, &self.drawn.tape)),
        }
    }

    /// The handshake that was saved, which goes on where it was. What was saved is used up.
    ///
    /// # Errors
    /// If this process would have said something else to the same client.
    pub fn restore(acceptor: &Acceptor, saved: SavedHandshake) -> Result<Self, NotContinued> {
        let Parts { said, heard, tape } = saved.parts()?;
        let mut handshake = Self::accept(acceptor).map_err(NotContinued::Fails)?;
        handshake.drawn = Drawn { tape, ..Drawn::default() };
        handshake.replay(heard)?;
        if handshake.said.digest() == said { Ok(handshake) } else { Err(NotContinued::Differs) }
    }

    /// Hears again what was heard. What is answered has been sent already.
    fn replay(&mut self, heard: &[u8]) -> Result<(), NotContinued> {
        let progress = self.hear(heard, &mut Vec::new());
        let played = self.drawn.tape.end_playing();
        match progress {
            Err(_) if !played => Err(NotContinued::Differs),
            Err(failure) => Err(NotContinued::Fails(failure)),
            Ok(progress) if progress != (heard.len(), Progress::More) => Err(NotContinued::Damaged),
            Ok(_) if !played || self.unmovable().is_some() => Err(NotContinued::Differs),
            Ok(_) => Ok(()),
        }
    }

    /// The connection that comes of it.
    ///
    /// # Errors
    /// If it is not over, rustls does not give out what the session needs, or it was resumed by a client or with a server whose
    /// certificate has expired since.
    pub fn finish(self) -> Result<Established, HandshakeFailure> {
        if self.connection.is_handshaking() {
            return Err(HandshakeFailure::UnderWay);
        }
        let (role, facts) = (self.role(), self.facts()?);
        self.verify_resumed(UnixTime::now())?;
        let extracted = self.connection.dangerous_extract_secrets()?;
        let (client, server) = (&self.drawn.secrets.client, &self.drawn.secrets.server);
        let (tx_secret, rx_secret) = match role {
            Role::Client => (client, server),
            Role::Server => (server, client),
        };
        let ExtractedSecrets { tx: (tx_sequence, tx_keys), rx: (rx_sequence, rx_keys) } = extracted;
        let tx = secret(facts.suite, &tx_keys, tx_secret).ok_or(HandshakeFailure::Secrets)?;
        let rx = secret(facts.suite, &rx_keys, rx_secret).ok_or(HandshakeFailure::Secrets)?;
        let (tx, rx) = (Direction::new(tx, tx_sequence), Direction::new(rx, rx_sequence));
        Ok(Established { session: Session::new(facts.suite, role, tx, rx), facts })
    }

    /// Who resumes shows no certificate, and is taken for who it was; so is the server that it resumes with. rustls does not look at
    /// that certificate again, and another ticket is given out each time: so either could go on for ever after its certificate has
    /// expired.
    fn verify_resumed(&self, now: UnixTime) -> Result<(), rustls::Error> {
        let certificates = self.connection.peer_certificates().unwrap_or_default();
        match (&self.verifier, certificates) {
            (Verifier::OfClients(verifier), [certificate, others @ ..]) if self.is_resumed() => {
                verifier.verify_client_cert(certificate, others, now).map(|_| ())
            }
            // Its ticket would have to be of another configuration, for which no ticket can be opened.
            (Verifier::OfClients(verifier), []) if verifier.client_auth_mandatory() => {
                Err(rustls::Error::NoCertificatesPresented)
            }
            (Verifier::OfServer(connector, name), [certificate, others @ ..]) if self.is_resumed() => {
                connector.verify_resumed(name, certificate, others, now)
            }
            _ => Ok(()),
        }
    }

    fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn facts(&self) -> Result<Facts, HandshakeFailure> {
        let number = self.connection.negotiated_cipher_suite().map(|suite| u16::from(suite.suite()));
        let certificates = self.connection.peer_certificates().unwrap_or_default();
        let server_name = match &self.connection {
            Connection::Server(server) => server.server_name().map(str::to_owned),
            Connection::Client(_) => None,
        };
        Ok(Facts {
            suite: number.and_then(Suite::from_number).ok_or(HandshakeFailure::Secrets)?,
            resumed: self.is_resumed(),
            alpn: self.connection.alpn_protocol().map(<[u8]>::to_vec),
            server_name,
            certificates: certificates.iter().map(|certificate| certificate.to_vec()).collect(),
        })
    }
}

/// The secret of a direction. In TLS 1.3 it is the one that was logged, if the keys that rustls uses follow from it; in
/// TLS 1.2 those keys.
fn secret(suite: Suite, keys: &ConnectionTrafficSecrets, logged: &Zeroizing<Vec<u8>>) -> Option<Secret> {
    let (key, iv) = match keys {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key.as_ref(), iv.as_ref()),
        _ => return None,
    };
    match suite.version() {
        Version::Tls12 => key_with_iv(suite, key, iv),
        Version::Tls13 => Secret::new(suite, logged).filter(|secret| secret.material(suite).is(suite, key, iv)),
    }
}

/// The record at the front, if it is whole. Of what can be none only the header, so that rustls says what is wrong with
/// it.
fn first_record(wire: &[u8]) -> Option<&[u8]> {
    let header = Header { bytes: *wire.first_chunk()? };
    wire.get(..if header.is_plausible() { header.record_bytes() } else { HEADER_BYTES })
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("role", &self.role())
            .field("heard_bytes", &self.heard.bytes)
            .field("said_bytes", &self.said.bytes)
            .field("tape", &self.drawn.tape)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
