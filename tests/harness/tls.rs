//! A client that speaks TLS, and certificates for both sides.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reactord_tls::{
    Certificate, ClientSettings, Connector, End, Facts, Handshake, Pem, Progress, Roots, Session, Version, Versions,
};
use rustix::net::sockopt;

use super::nonces::Nonces;
use super::peer::is_loss;
use super::{Lost, PATIENCE, Place};

/// Who takes nothing for so long is slow.
const SLOW: Duration = Duration::from_millis(200);

/// What a certificate is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateKey {
    Ecdsa,
    Rsa,
}

impl CertificateKey {
    fn make(self) -> KeyPair {
        match self {
            Self::Ecdsa => KeyPair::generate().expect("a key can be made"),
            Self::Rsa => {
                // To make one takes too long: there is one for all tests.
                let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tls/tests/support/rsa.pem");
                let pem = std::fs::read_to_string(file).expect("it is in the tree");
                KeyPair::from_pem(&pem).expect("it is a key")
            }
        }
    }
}

/// Somebody who signs certificates.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Whoever has the name of its issuer passes for one that has signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for this name, and its key.
    fn sign(&self, name: &str) -> (String, String) {
        self.sign_for(CertificateKey::Ecdsa, name)
    }

    fn sign_for(&self, key: CertificateKey, name: &str) -> (String, String) {
        let key = key.make();
        let params = CertificateParams::new([name.to_owned()]).expect("that is a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        (certificate.pem(), key.serialize_pem())
    }

    /// The options of a server with a certificate for `localhost`, which is made now.
    pub(crate) fn options(&self, place: &Place) -> String {
        self.options_with(CertificateKey::Ecdsa, place)
    }

    /// The same with a key of this kind.
    pub(crate) fn options_with(&self, key: CertificateKey, place: &Place) -> String {
        self.options_in(&place.directory(), key)
    }

    /// The same with the files in this directory.
    pub(crate) fn options_in(&self, directory: &Path, key: CertificateKey) -> String {
        let (chain, key) = self.sign_for(key, "localhost");
        let files = ["chain.pem", "key.pem"].map(|name| directory.join(name));
        for (file, pem) in files.iter().zip([chain, key]) {
            std::fs::write(file, pem).expect("a file can be written");
        }
        format!("--tls-cert {} --tls-key {}", files[0].display(), files[1].display())
    }

    /// The file with its own certificate.
    pub(crate) fn file(&self, place: &Place) -> PathBuf {
        let file = place.file("authority.pem");
        std::fs::write(&file, &self.pem).expect("a file can be written");
        file
    }

    /// What a client needs that believes it.
    pub(crate) fn connector(&self, version: Version) -> Connector {
        self.connector_with(version, None)
    }

    /// The same with a certificate of its own, from this authority.
    pub(crate) fn connector_with_certificate(&self, from: &Self) -> Connector {
        let (chain, key) = from.sign("client");
        let certificate = Certificate { chain: Pem::new("client", chain), key: Pem::new("client's key", key) };
        self.connector_with(Version::Tls13, Some(certificate))
    }

    fn connector_with(&self, version: Version, certificate: Option<Certificate>) -> Connector {
        let roots = Roots::Authorities(Pem::new("authority", self.pem.clone()));
        let versions = Versions::Only(version);
        let settings = ClientSettings { certificate, versions, ..ClientSettings::new(roots) };
        Connector::new(&settings).expect("the settings are good")
    }
}

/// Why a client cannot go on.
#[derive(Debug)]
pub(crate) enum Why {
    Lost(Lost),
    /// One side has ended it, since it does not take what the other one says.
    Refused(String),
}

impl Why {
    #[track_caller]
    fn of(doing: &str, error: &io::Error) -> Self {
        assert!(is_loss(error), "{doing}: {error}");
        Self::Lost(Lost(format!("{doing}: {error}")))
    }

    /// The loss of its connection, which is the only reason there may be.
    #[track_caller]
    pub(crate) fn loss(self) -> Lost {
        match self {
            Self::Lost(lost) => lost,
            Self::Refused(why) => panic!("{why}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(Lost(why)) | Self::Refused(why) => f.write_str(why),
        }
    }
}

/// The client's end of one connection, which speaks TLS.
pub(crate) struct TlsPeer {
    stream: TcpStream,
    session: Session,
    facts: Facts,
    nonces: Option<Nonces>,
    wire: Vec<u8>,
    plain: Vec<u8>,
}

impl TlsPeer {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, connector: &Connector) -> Self {
        Self::try_connect(address, connector).expect("the handshake succeeds")
    }

    /// Connects, unless that fails.
    pub(crate) fn try_connect(address: SocketAddr, connector: &Connector) -> Result<Self, Why> {
        Shaking::try_connect(address, connector)?.try_finish()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let mut out = Vec::new();
        self.session.seal(bytes, &mut out).expect("it is open");
        self.stream.write_all(&out).expect("the connection takes all");
    }

    /// The same, unless the connection is lost.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        let mut out = Vec::new();
        self.session.seal(bytes, &mut out).expect("it is open");
        self.try_send_raw(&out)
    }

    /// Goes over to another key, and has the server do so, too.
    #[track_caller]
    pub(crate) fn update(&mut self) {
        self.try_update().expect("the connection takes all");
    }

    /// The same, unless the connection is lost.
    pub(crate) fn try_update(&mut self) -> Result<(), Lost> {
        let mut out = Vec::new();
        self.session.update(true, &mut out).expect("it is open");
        self.try_send_raw(&out)
    }

    /// Sends in each segment less than a record.
    #[track_caller]
    pub(crate) fn send_in_pieces(&mut self, bytes: &[u8], piece: usize) {
        let mut out = Vec::new();
        self.session.seal(bytes, &mut out).expect("it is open");
        out.chunks(piece).for_each(|piece| self.stream.write_all(piece).expect("the connection takes all"));
    }

    /// Sends half of a record; the other half comes back, to be sent later.
    #[track_caller]
    pub(crate) fn send_half(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.session.seal(bytes, &mut out).expect("it is open");
        let rest = out.split_off(out.len() / 2);
        self.stream.write_all(&out).expect("the connection takes all");
        rest
    }

    /// Sends what is sealed already, or is no TLS.
    #[track_caller]
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes).expect("the connection takes all");
    }

    /// The same, unless the connection is lost.
    pub(crate) fn try_send_raw(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        self.stream.write_all(bytes).map_err(|error| Why::of("sending", &error).loss())
    }

    /// Has the kernel keep little of what comes, however long that lasts.
    pub(crate) fn keep_little(&self) {
        sockopt::set_socket_recv_buffer_size(&self.stream, 64 * 1024).expect("a buffer can be made small");
        sockopt::set_socket_send_buffer_size(&self.stream, 64 * 1024).expect("a buffer can be made small");
    }

    /// Seals this behind what is sealed already, to be sent later.
    #[track_caller]
    pub(crate) fn seal(&mut self, bytes: &[u8], sealed: &mut Vec<u8>) {
        self.session.seal(bytes, sealed).expect("it is open");
    }

    /// Seals behind what is sealed already that it goes over to another key, where its version has that, to be sent later; whether the
    /// server is to do so, too.
    #[track_caller]
    pub(crate) fn seal_update(&mut self, wants_one: bool, sealed: &mut Vec<u8>) {
        self.session.update(wants_one, sealed).expect("it is open");
    }

    /// Seals and sends of this as much as goes until nothing has been taken for so long, unless the connection is lost. Returns how much
    /// of it is sealed, and what of that is still to be sent.
    #[track_caller]
    pub(crate) fn try_seal_until_slow(&mut self, silence: Duration, bytes: &[u8]) -> Result<(usize, Vec<u8>), Lost> {
        let mut sealed = 0;
        for part in bytes.chunks(16 * 1024) {
            sealed += part.len();
            let rest = self.try_send_for(silence, part)?;
            if !rest.is_empty() {
                return Ok((sealed, rest));
            }
        }
        Ok((sealed, Vec::new()))
    }

    /// Sends as much of this as goes while it reads nothing; what is left is sealed, and comes back.
    #[track_caller]
    pub(crate) fn send_until_slow(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.try_send_for(SLOW, bytes).expect("the connection is open")
    }

    #[track_caller]
    fn try_send_for(&mut self, silence: Duration, bytes: &[u8]) -> Result<Vec<u8>, Lost> {
        let mut out = Vec::new();
        self.session.seal(bytes, &mut out).expect("it is open");
        self.stream.set_write_timeout(Some(silence)).expect("a timeout can be set");
        let mut sent = 0;
        while sent < out.len() {
            match self.stream.write(&out[sent..]) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(Why::of("sending", &error).loss()),
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Ok(out.split_off(sent))
    }

    /// Receives exactly these bytes while it sends what is sealed already.
    #[track_caller]
    pub(crate) fn expect_while_sending(&mut self, expected: &[u8], sealed: &[u8]) {
        self.try_expect_while_sending(expected, sealed).expect("the connection is open");
    }

    /// The same, unless the connection is lost.
    pub(crate) fn try_expect_while_sending(&mut self, expected: &[u8], sealed: &[u8]) -> Result<(), Lost> {
        let mut stream = self.stream.try_clone().expect("a socket has duplicates");
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || stream.write_all(sealed));
            let heard = self.try_expect(expected);
            let sent = sending.join().expect("a client can send");
            heard.and(sent.map_err(|error| Why::of("sending", &error).loss()))
        })
    }

    /// Receives exactly these bytes.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[u8]) {
        self.try_expect(expected).expect("the connection is open");
    }

    /// The same, unless the connection is lost.
    #[track_caller]
    pub(crate) fn try_expect(&mut self, expected: &[u8]) -> Result<(), Lost> {
        self.try_receive(expected.len())?;
        let received: Vec<u8> = self.plain.drain(..expected.len()).collect();
        assert!(received == expected, "other bytes came than the {} that were expected", expected.len());
        Ok(())
    }

    /// The next byte, which is still to be received, unless the connection is lost.
    #[track_caller]
    pub(crate) fn try_peek(&mut self) -> Result<u8, Lost> {
        self.try_receive(1)?;
        Ok(self.plain[0])
    }

    /// Has received so many bytes that nobody has expected yet.
    #[track_caller]
    fn try_receive(&mut self, bytes: usize) -> Result<(), Lost> {
        while self.plain.len() < bytes {
            if !self.receive().map_err(Why::loss)? {
                return Err(Lost(format!("the end came after {} bytes", self.plain.len())));
            }
        }
        Ok(())
    }

    /// The same, or how the connection ends.
    #[track_caller]
    pub(crate) fn expect_or_end(&mut self, expected: &[u8]) -> Result<(), String> {
        while self.plain.len() < expected.len() {
            if !self.receive().map_err(|why| why.to_string())? {
                return Err(format!("{:?}", self.session.end()));
            }
        }
        self.expect(expected);
        Ok(())
    }

    /// What has come that nobody has expected yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.plain
    }

    /// Says that it sends nothing more.
    #[track_caller]
    pub(crate) fn end_sending(&mut self) {
        let mut out = Vec::new();
        self.session.close(&mut out);
        self.stream.write_all(&out).expect("the connection takes all");
        self.stream.shutdown(Shutdown::Write).expect("an open connection can be ended");
    }

    /// Says so, and is told the same, unless the connection is lost.
    #[track_caller]
    pub(crate) fn try_end(mut self) -> Result<(), Lost> {
        let last_word = self.last_word();
        self.try_send_raw(&last_word)?;
        // Nobody is there to whom to say it, if that fails.
        drop(self.stream.shutdown(Shutdown::Write));
        while self.receive().map_err(Why::loss)? {}
        assert_eq!(self.unread(), b"", "so much came before the end");
        match self.session.end() {
            End::Orderly => Ok(()),
            End::Truncated => Err(Lost("the end came without a word".to_owned())),
        }
    }

    /// That it sends nothing more, to be sent later.
    pub(crate) fn last_word(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.session.close(&mut out);
        out
    }

    /// Ends without a word, as who is cut off.
    #[track_caller]
    pub(crate) fn cut_off(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection can be ended");
    }

    /// The server says nothing more, and says so.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        while self.receive().expect("the connection is open") {}
        assert_eq!((self.plain.len(), self.session.end()), (0, End::Orderly));
    }

    /// How the connection ends, if that is not orderly.
    pub(crate) fn failure(&mut self) -> String {
        loop {
            match self.receive() {
                Ok(true) => {}
                Ok(false) => return format!("{:?}", self.session.end()),
                Err(why) => return why.to_string(),
            }
        }
    }

    /// The connection is gone, however that happened, and nobody has said that it ends. What has come before is unread.
    #[track_caller]
    pub(crate) fn expect_loss(&mut self) {
        loop {
            match self.receive().map_err(Why::loss) {
                Ok(true) => {}
                Ok(false) => return assert_eq!(self.session.end(), End::Truncated, "somebody has ended it"),
                Err(_) => return,
            }
        }
    }

    #[track_caller]
    fn receive(&mut self) -> Result<bool, Why> {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(bytes) => self.wire.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(Why::of("receiving", &error)),
        }
        let mut out = Vec::new();
        let opened = self.session.open(&mut self.wire, &mut self.plain, &mut out);
        let used = opened.map_err(|failure| Why::Refused(failure.to_string()))?;
        let (whole, begun) = self.wire.split_at(used);
        self.nonces.iter_mut().for_each(|nonces| nonces.see(whole, begun));
        self.wire.drain(..used);
        self.stream.write_all(&out).map_err(|error| Why::of("sending", &error))?;
        Ok(true)
    }
}

/// A client in the middle of its handshake.
pub(crate) struct Shaking {
    stream: TcpStream,
    handshake: Handshake,
    wire: Vec<u8>,
    /// What it has to say and has not said.
    out: Vec<u8>,
    progress: Progress,
}

impl Shaking {
    /// It has connected, and said nothing.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, connector: &Connector) -> Self {
        Self::try_connect(address, connector).expect("the server listens")
    }

    /// The same, unless nobody listens any more.
    pub(crate) fn try_connect(address: SocketAddr, connector: &Connector) -> Result<Self, Why> {
        let connected = TcpStream::connect(address);
        let stream = connected.map_err(|error| Why::Lost(Lost(format!("connecting: {error}"))))?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("no delay can be set");
        let mut out = Vec::new();
        let handshake = Handshake::connect(connector, "localhost", &mut out).expect("it can begin");
        Ok(Self { stream, handshake, wire: Vec::new(), out, progress: Progress::More })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether there is nothing more to be heard.
    pub(crate) fn is_done(&self) -> bool {
        self.progress == Progress::Done
    }

    /// Says no more of what it has to say than this.
    #[track_caller]
    pub(crate) fn say(&mut self, bytes_max: usize) {
        self.try_say(bytes_max).expect("the connection takes all");
    }

    /// The same, unless the connection is lost.
    pub(crate) fn try_say(&mut self, bytes_max: usize) -> Result<(), Why> {
        let bytes = self.out.len().min(bytes_max);
        let said: Vec<u8> = self.out.drain(..bytes).collect();
        self.stream.write_all(&said).map_err(|error| Why::of("shaking hands", &error))
    }

    /// Hears the server out, and knows what to say next.
    #[track_caller]
    pub(crate) fn hear(&mut self) {
        self.try_hear().expect("the server goes on");
    }

    /// The same, unless that fails.
    pub(crate) fn try_hear(&mut self) -> Result<(), Why> {
        while self.out.is_empty() && self.progress == Progress::More {
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Why::Lost(Lost("the end came in the handshake".to_owned()))),
                Ok(bytes) => self.wire.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Why::of("shaking hands", &error)),
            }
            let heard = self.handshake.hear(&self.wire, &mut self.out);
            let (used, progress) = heard.map_err(|failure| Why::Refused(failure.to_string()))?;
            self.wire.drain(..used);
            self.progress = progress;
        }
        Ok(())
    }

    /// Goes on to the end.
    #[track_caller]
    pub(crate) fn finish(self) -> TlsPeer {
        self.try_finish().expect("the handshake succeeds")
    }

    /// The same, unless that fails.
    pub(crate) fn try_finish(mut self) -> Result<TlsPeer, Why> {
        loop {
            self.try_say(usize::MAX)?;
            if self.progress == Progress::Done {
                break;
            }
            self.try_hear()?;
        }
        let Self { stream, handshake, wire, .. } = self;
        let established = handshake.finish().map_err(|failure| Why::Refused(failure.to_string()))?;
        let (session, facts) = (established.session, established.facts);
        let nonces = Nonces::of(session.suite());
        Ok(TlsPeer { stream, session, facts, nonces, wire, plain: Vec::new() })
    }
}
