//! A client that speaks TLS, and certificates for both sides.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reactord_tls::{
    Certificate, ClientSettings, Connector, End, Facts, Handshake, Pem, Progress, Roots, Session, Version, Versions,
};

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

/// The client's end of one connection, which speaks TLS.
pub(crate) struct TlsPeer {
    stream: TcpStream,
    session: Session,
    facts: Facts,
    wire: Vec<u8>,
    plain: Vec<u8>,
}

impl TlsPeer {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, connector: &Connector) -> Self {
        Self::try_connect(address, connector).expect("the handshake succeeds")
    }

    /// Connects, unless that fails.
    pub(crate) fn try_connect(address: SocketAddr, connector: &Connector) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        Self::try_over(stream, connector)
    }

    /// Speaks TLS over a connection, on which nothing has been said.
    pub(crate) fn try_over(stream: TcpStream, connector: &Connector) -> Result<Self, String> {
        Shaking::over(stream, connector).try_finish()
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
        self.session.seal(bytes, &mut out).map_err(|failure| Lost(failure.to_string()))?;
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
        self.session.update(true, &mut out).map_err(|failure| Lost(failure.to_string()))?;
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
        self.stream.write_all(bytes).map_err(|error| Lost(format!("sending: {error}")))
    }

    /// Sends as much of this as goes while it reads nothing; what is left is sealed, and comes back.
    #[track_caller]
    pub(crate) fn send_until_slow(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.session.seal(bytes, &mut out).expect("it is open");
        self.stream.set_write_timeout(Some(SLOW)).expect("a timeout can be set");
        let mut sent = 0;
        while sent < out.len() {
            match self.stream.write(&out[sent..]) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("sending after {sent} bytes: {error}"),
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        out.split_off(sent)
    }

    /// Receives exactly these bytes while it sends what is sealed already.
    #[track_caller]
    pub(crate) fn expect_while_sending(&mut self, expected: &[u8], sealed: &[u8]) {
        let mut stream = self.stream.try_clone().expect("a socket has duplicates");
        std::thread::scope(|scope| {
            scope.spawn(move || stream.write_all(sealed).expect("the connection takes all"));
            self.expect(expected);
        });
    }

    /// Receives exactly these bytes.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[u8]) {
        self.try_expect(expected).expect("the connection is open");
    }

    /// The same, unless the connection is lost.
    #[track_caller]
    pub(crate) fn try_expect(&mut self, expected: &[u8]) -> Result<(), Lost> {
        while self.plain.len() < expected.len() {
            if !self.receive().map_err(Lost)? {
                return Err(Lost(format!("the end came after {} bytes", self.plain.len())));
            }
        }
        let received: Vec<u8> = self.plain.drain(..expected.len()).collect();
        assert!(received == expected, "other bytes came than the {} that were expected", expected.len());
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
                Err(why) => return why,
            }
        }
    }

    fn receive(&mut self) -> Result<bool, String> {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(bytes) => self.wire.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error.to_string()),
        }
        let mut out = Vec::new();
        let opened = self.session.open(&mut self.wire, &mut self.plain, &mut out);
        let used = opened.map_err(|failure| failure.to_string())?;
        self.wire.drain(..used);
        self.stream.write_all(&out).map_err(|error| error.to_string())?;
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
        Self::over(TcpStream::connect(address).expect("the server listens"), connector)
    }

    fn over(stream: TcpStream, connector: &Connector) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("no delay can be set");
        let mut out = Vec::new();
        let handshake = Handshake::connect(connector, "localhost", &mut out).expect("it can begin");
        Self { stream, handshake, wire: Vec::new(), out, progress: Progress::More }
    }

    /// Says no more of what it has to say than this.
    #[track_caller]
    pub(crate) fn say(&mut self, bytes_max: usize) {
        let bytes = self.out.len().min(bytes_max);
        let said: Vec<u8> = self.out.drain(..bytes).collect();
        self.stream.write_all(&said).expect("the connection takes all");
    }

    /// Hears the server out, and knows what to say next.
    #[track_caller]
    pub(crate) fn hear(&mut self) {
        self.try_hear().expect("the server goes on");
    }

    fn try_hear(&mut self) -> Result<(), String> {
        while self.out.is_empty() && self.progress == Progress::More {
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).map_err(|error| error.to_string())? {
                0 => return Err("the server has ended the connection".to_owned()),
                bytes => self.wire.extend_from_slice(&buffer[..bytes]),
            }
            let heard = self.handshake.hear(&self.wire, &mut self.out);
            let (used, progress) = heard.map_err(|failure| failure.to_string())?;
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

    fn try_finish(mut self) -> Result<TlsPeer, String> {
        loop {
            let said = std::mem::take(&mut self.out);
            self.stream.write_all(&said).map_err(|error| error.to_string())?;
            if self.progress == Progress::Done {
                break;
            }
            self.try_hear()?;
        }
        let Self { stream, handshake, wire, .. } = self;
        let established = handshake.finish().map_err(|failure| failure.to_string())?;
        let (session, facts) = (established.session, established.facts);
        Ok(TlsPeer { stream, session, facts, wire, plain: Vec::new() })
    }
}
