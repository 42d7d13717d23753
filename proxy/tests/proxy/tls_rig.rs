//! What tests with TLS stand on: certificates, and the ends of a connection beside the proxy, which speak it or do not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reactord_tls::{
    Acceptor, Certificate, ClientSettings, Connector, End, Facts, Handshake, HandshakeFailure, Pem, Progress, Roots,
    ServerSettings, Session, TicketKeys, Version, Versions,
};
use tempfile::TempDir;

use super::rig::{Client, PATIENCE, address, upstream};

/// Who takes nothing for so long takes nothing.
const SLOW: Duration = Duration::from_millis(500);

/// Somebody who signs certificates, with a directory for them.
pub(crate) struct Authority {
    directory: TempDir,
    pem: String,
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
        let directory = tempfile::tempdir().expect("there is room for a directory");
        std::fs::write(directory.path().join("authority.pem"), &pem).expect("it can be written");
        Self { directory, pem, issuer: Issuer::new(params, key) }
    }

    /// The file with its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.path("authority.pem")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A certificate for this name, and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new([name.to_owned()]).expect("that is a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        (certificate.pem(), key.serialize_pem())
    }

    /// A file with a certificate for this name, which is made now, and its key.
    pub(crate) fn certify(&self, name: &str) -> PathBuf {
        let (chain, key) = self.sign(name);
        let path = self.path(&format!("{name}.pem"));
        std::fs::write(&path, chain + &key).expect("it can be written");
        path
    }

    fn roots(&self) -> Roots {
        Roots::Authorities(Pem::new("authority", self.pem.clone()))
    }

    /// What a client needs that believes it.
    pub(crate) fn connector(&self, version: Version) -> Connector {
        let settings = ClientSettings { versions: Versions::Only(version), ..ClientSettings::new(self.roots()) };
        Connector::new(&settings).expect("the settings are good")
    }

    /// The same with a certificate for this name, and something to be spoken inside.
    pub(crate) fn connector_as(&self, name: &str, alpn: &str) -> Connector {
        let alpn = vec![alpn.as_bytes().to_vec()];
        let certificate = Some(self.certificate(name));
        let settings = ClientSettings { certificate, alpn, ..ClientSettings::new(self.roots()) };
        Connector::new(&settings).expect("the settings are good")
    }

    fn certificate(&self, name: &str) -> Certificate {
        let (chain, key) = self.sign(name);
        Certificate { chain: Pem::new("chain", chain), key: Pem::new("key", key) }
    }

    /// What a server needs that is called so.
    pub(crate) fn acceptor(&self, name: &str) -> Acceptor {
        let settings = ServerSettings { certificates: vec![self.certificate(name)], ..ServerSettings::default() };
        Acceptor::new(&settings, Arc::new(TicketKeys::new().expect("there is randomness"))).expect("they are good")
    }
}

/// The text of a path, for a file.
pub(crate) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

/// One end of a connection that speaks TLS.
pub(crate) struct Tls {
    pub(crate) stream: TcpStream,
    session: Session,
    pub(crate) facts: Facts,
    wire: Vec<u8>,
    plain: Vec<u8>,
}

impl Tls {
    /// The client's, which asks for this name.
    #[track_caller]
    pub(crate) fn connect(at: SocketAddr, connector: &Connector, name: &str) -> Self {
        Self::try_to_connect(at, connector, name).expect("the handshake succeeds")
    }

    pub(crate) fn try_to_connect(at: SocketAddr, connector: &Connector, name: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(at).map_err(|error| error.to_string())?;
        Self::connect_by(stream, connector, name, |stream, out| stream.write_all(out))
    }

    /// The client's, on a connection that stands, where each flight is written so.
    pub(crate) fn connect_by(
        stream: TcpStream,
        connector: &Connector,
        name: &str,
        write: impl FnMut(&mut TcpStream, &[u8]) -> std::io::Result<()>,
    ) -> Result<Self, String> {
        Self::shake_hands(stream, |out| Handshake::connect(connector, name, out), write)
    }

    /// The server's.
    pub(crate) fn accept(stream: TcpStream, acceptor: &Acceptor) -> Result<Self, String> {
        Self::shake_hands(stream, |_| Handshake::accept(acceptor), |stream, out| stream.write_all(out))
    }

    fn shake_hands(
        mut stream: TcpStream,
        begin: impl FnOnce(&mut Vec<u8>) -> Result<Handshake, HandshakeFailure>,
        mut write: impl FnMut(&mut TcpStream, &[u8]) -> std::io::Result<()>,
    ) -> Result<Self, String> {
        stream.set_read_timeout(Some(PATIENCE)).expect("it is no time of zero");
        stream.set_nodelay(true).expect("it is TCP");
        let (mut out, mut wire) = (Vec::new(), Vec::new());
        let mut handshake = begin(&mut out).map_err(|failure| failure.to_string())?;
        let mut progress = Progress::More;
        while progress == Progress::More {
            write(&mut stream, &out).map_err(|error| error.to_string())?;
            out.clear();
            receive(&mut stream, &mut wire).map_err(|error| error.to_string())?;
            let heard = handshake.hear(&wire, &mut out);
            // An alert, if it has failed, for whoever is still there.
            drop(heard.is_err().then(|| stream.write_all(&out)));
            let (used, reached) = heard.map_err(|failure| failure.to_string())?;
            wire.drain(..used);
            progress = reached;
        }
        write(&mut stream, &out).map_err(|error| error.to_string())?;
        let established = handshake.finish().map_err(|failure| failure.to_string())?;
        Ok(Self { stream, session: established.session, facts: established.facts, wire, plain: Vec::new() })
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_to_send(bytes.as_ref()).expect("it stands");
    }

    fn try_to_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let mut out = Vec::new();
        self.session.seal(bytes, &mut out).expect("it is open");
        self.stream.write_all(&out)
    }

    /// What comes next. Nothing is that all has come, as is said; an error that it was cut off, or reset.
    pub(crate) fn read(&mut self) -> std::io::Result<Vec<u8>> {
        while self.plain.is_empty() {
            let mut out = Vec::new();
            let opened = self.session.open(&mut self.wire, &mut self.plain, &mut out);
            let used = opened.map_err(|failure| std::io::Error::new(ErrorKind::InvalidData, failure.to_string()))?;
            self.wire.drain(..used);
            self.stream.write_all(&out)?;
            if self.plain.is_empty() && self.session.end() == End::Orderly {
                break;
            }
            if self.plain.is_empty() {
                receive(&mut self.stream, &mut self.wire)?;
            }
        }
        Ok(std::mem::take(&mut self.plain))
    }

    #[track_caller]
    pub(crate) fn receive(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let more = self.read().expect("it stands");
            assert!(!more.is_empty(), "it ends after {:?}", String::from_utf8_lossy(&received));
            received.extend(more);
        }
        self.plain = received.split_off(expected.len());
        assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(expected));
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, text: &str) {
        self.send(text);
        self.receive(text);
    }

    /// Sends half of a record; the other half comes back, to be sent later.
    pub(crate) fn send_half(&mut self, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        self.session.seal(text.as_bytes(), &mut out).expect("it is open");
        let rest = out.split_off(out.len() / 2);
        self.stream.write_all(&out).expect("it stands");
        rest
    }

    /// Sends what is sealed already.
    pub(crate) fn send_rest(&mut self, rest: &[u8]) {
        self.stream.write_all(rest).expect("it stands");
    }

    /// Goes over to another key, and has the other side do so, too.
    pub(crate) fn update(&mut self) {
        let mut out = Vec::new();
        self.session.update(true, &mut out).expect("it is open");
        self.stream.write_all(&out).expect("it stands");
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(&mut self) {
        let mut out = Vec::new();
        self.session.close(&mut out);
        // Whom it is said to may have left.
        drop(self.stream.write_all(&out));
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// Ends without a word, as who is cut off.
    pub(crate) fn cut_off(&self) {
        self.stream.shutdown(Shutdown::Write).expect("it stands");
    }

    /// Sends this, and receives as much at the same time.
    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.stream.try_clone().expect("a socket has duplicates");
        let session = Mutex::new(self);
        let lock = || session.lock().expect("neither panics with it");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in bytes.chunks(32 * 1024) {
                    let mut out = Vec::new();
                    lock().session.seal(piece, &mut out).expect("it is open");
                    stream.write_all(&out).expect("it stands");
                }
            });
            let mut reader = lock().stream.try_clone().expect("a socket has duplicates");
            let mut received = Vec::new();
            while received.len() < bytes.len() {
                let mut came = Vec::new();
                receive(&mut reader, &mut came).expect("it stands");
                let mut guard = lock();
                let Tls { session, wire, .. } = &mut **guard;
                wire.extend(came);
                let used = session.open(wire, &mut received, &mut Vec::new()).expect("nothing is wrong");
                wire.drain(..used);
            }
            received
        })
    }
}

/// What comes, behind what is there.
fn receive(stream: &mut TcpStream, wire: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let bytes = stream.read(&mut buffer)?;
    if bytes == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    wire.extend_from_slice(&buffer[..bytes]);
    Ok(())
}

/// One end of a connection, of either kind.
pub(crate) enum Side {
    Plain(Client),
    Tls(Box<Tls>),
}

impl Side {
    pub(crate) fn send(&mut self, bytes: &str) {
        match self {
            Self::Plain(client) => client.send(bytes),
            Self::Tls(tls) => tls.send(bytes),
        }
    }

    /// Sends this; false if it is not taken for some time.
    pub(crate) fn is_taken(&mut self, bytes: String) -> bool {
        let stream = match self {
            Self::Plain(client) => &client.0,
            Self::Tls(tls) => &tls.stream,
        };
        stream.set_write_timeout(Some(SLOW)).expect("it is no time of zero");
        let sent = match self {
            Self::Plain(client) => client.0.write_all(bytes.as_bytes()),
            Self::Tls(tls) => tls.try_to_send(bytes.as_bytes()),
        };
        sent.is_ok()
    }

    #[track_caller]
    pub(crate) fn receive(&mut self, expected: &str) {
        match self {
            Self::Plain(client) => client.receive(expected),
            Self::Tls(tls) => tls.receive(expected),
        }
    }

    pub(crate) fn finish(&mut self) {
        match self {
            Self::Plain(client) => client.finish(),
            Self::Tls(tls) => tls.finish(),
        }
    }

    /// Waits for an orderly end.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        match self {
            Self::Plain(client) => client.ends(),
            Self::Tls(tls) => assert_eq!(tls.read().expect("it ends, and is not cut off"), b""),
        }
    }

    /// Waits for an end that is none, whatever comes before.
    #[track_caller]
    pub(crate) fn is_cut_off(&mut self) {
        match self {
            Self::Plain(client) => client.is_reset(),
            Self::Tls(tls) => loop {
                match tls.read() {
                    Ok(bytes) => assert!(!bytes.is_empty(), "it says that it ends"),
                    Err(_) => return,
                }
            },
        }
    }
}

/// A server that speaks TLS, and sends back what comes after its name. It ends with the process.
pub(crate) fn tls_echo(name: &'static str, acceptor: Acceptor) -> SocketAddr {
    let listener = upstream();
    let at = address(&listener);
    std::thread::spawn(move || serve_echo(&listener, name, &acceptor));
    at
}

fn serve_echo(listener: &TcpListener, name: &'static str, acceptor: &Acceptor) {
    for client in listener.incoming().map_while(Result::ok) {
        let acceptor = acceptor.clone();
        std::thread::spawn(move || {
            let Ok(mut tls) = Tls::accept(client, &acceptor) else { return };
            if tls.try_to_send(name.as_bytes()).is_err() {
                return;
            }
            while let Ok(bytes) = tls.read() {
                if bytes.is_empty() {
                    return tls.finish();
                }
                if tls.try_to_send(&bytes).is_err() {
                    return;
                }
            }
        });
    }
}
