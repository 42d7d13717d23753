//! How a client of a script speaks TLS: rustls on its side, the server's own sessions on the other. And how it breaks it.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, KeyPair};
use reactord_tls::watch::Watch;
use reactord_tls::{Acceptor, Certificate, Established, Handshake, Pem, Progress, ServerSettings, TicketKeys};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::peer::secured::Secured;

/// The most data in one record of a client: the largest, and such as make many of a line.
const FRAGMENT_BYTES_MAX: [Option<usize>; 3] = [None, Some(64), Some(32)];

/// What the server of all scripts accepts with, and clients of each suite and each size of records.
struct Settings {
    acceptor: Acceptor,
    clients: Vec<Arc<ClientConfig>>,
}

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let key = KeyPair::generate().expect("a key can be made");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("that is a name");
    let pem = params.self_signed(&key).expect("it signs itself").pem();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("it is a certificate"))
        .expect("it can be believed");
    let certificate = Certificate { chain: Pem::new("chain", pem), key: Pem::new("key", key.serialize_pem()) };
    let settings = ServerSettings { certificates: vec![certificate], ..ServerSettings::default() };
    let tickets = Arc::new(TicketKeys::new().expect("there are random numbers"));
    let acceptor = Acceptor::new(&settings, tickets).expect("the settings are good");
    Settings { acceptor, clients: clients(&roots) }
});

fn clients(roots: &RootCertStore) -> Vec<Arc<ClientConfig>> {
    let mut clients = Vec::new();
    // The server's key is for ECDSA.
    let suites = default_provider().cipher_suites.into_iter().filter(|suite| !format!("{suite:?}").contains("_RSA_"));
    for suite in suites {
        for max_fragment_size in FRAGMENT_BYTES_MAX {
            let provider = rustls::crypto::CryptoProvider { cipher_suites: vec![suite], ..default_provider() };
            let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_safe_default_protocol_versions()
                .expect("the suite is for one of them")
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.max_fragment_size = max_fragment_size;
            clients.push(Arc::new(config));
        }
    }
    clients
}

/// Sees to it that no number is sealed twice while a script is played, whichever of its processes does it.
pub(super) fn watch() -> Watch {
    Watch::begin()
}

/// The client's side of a connection.
pub(super) struct Speech {
    connection: ClientConnection,
    /// The server has said that nothing more comes.
    is_ended: bool,
    /// It has sent what no client may send, and is told so.
    is_broken: bool,
}

/// Both sides of a connection whose handshake is over, and what the server has sealed by then that its client has not heard.
pub(super) struct Met {
    pub(super) speech: Speech,
    pub(super) secured: Secured,
    pub(super) out: Vec<u8>,
}

impl Speech {
    /// The client with this number in a script that says how its clients are.
    pub(super) fn begin(kind: usize, number: usize) -> Option<Met> {
        let clients = &SETTINGS.clients;
        let config = clients[(kind + number) % clients.len()].clone();
        let name = ServerName::try_from("localhost").expect("it is a name");
        let mut client = ClientConnection::new(config, name).expect("the settings are good");
        let mut server = Handshake::accept(&SETTINGS.acceptor).expect("it can begin");
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        loop {
            taken(&mut client, &mut to_server);
            let (used, progress) = server.hear(&to_server, &mut to_client).expect("the client is in order");
            to_server.drain(..used);
            if progress == Progress::Done {
                break;
            }
            heard(&mut client, &mut to_client);
        }
        if client.is_handshaking() {
            // In TLS 1.2 the server has the last word.
            heard(&mut client, &mut to_client);
        }
        let established: Established = server.finish().expect("it is over");
        let secured = Secured::new(established, &to_server);
        let speech = Self { connection: client, is_ended: false, is_broken: false };
        Some(Met { speech, secured, out: to_client })
    }

    /// Says this to the server.
    pub(super) fn say(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.connection.writer().write_all(plain).expect("memory can be written");
        taken(&mut self.connection, out);
    }

    /// Hears what the server says, and answers what is to be answered.
    pub(super) fn hear(&mut self, mut wire: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) {
        while !wire.is_empty() && self.connection.read_tls(&mut wire).expect("memory can be read") > 0 {
            match self.connection.process_new_packets() {
                Ok(state) => self.is_ended |= state.peer_has_closed(),
                Err(error) => assert!(self.is_broken, "{error}"),
            }
            // An end without a word before it is looked at when the socket has come to its own.
            drop(self.connection.reader().read_to_end(plain));
        }
        taken(&mut self.connection, out);
    }

    /// Goes over to the next key, and wants the server to do the same, where the version has that.
    pub(super) fn update(&mut self, out: &mut Vec<u8>) {
        // Those of TLS 1.2 have one key.
        drop(self.connection.refresh_traffic_keys());
        taken(&mut self.connection, out);
    }

    /// Says that nothing more comes.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if !self.is_broken {
            self.connection.send_close_notify();
            taken(&mut self.connection, out);
        }
    }

    /// Says this in a way that no server can hear: what is heard of it all the same.
    pub(super) fn damage<'p>(&mut self, plain: &'p [u8], how: u8, out: &mut Vec<u8>) -> &'p [u8] {
        self.is_broken = true;
        let mut said = Vec::new();
        self.say(plain, &mut said);
        let first = HEADER_BYTES + usize::from(u16::from_be_bytes([said[3], said[4]]));
        match how % 5 {
            // A bit is another one, behind the header of the first record.
            0 => {
                let at = HEADER_BYTES + usize::from(how) % (first - HEADER_BYTES);
                said[at] ^= 1 << (how % 8);
            }
            // It comes twice.
            1 => {
                let again = said.clone();
                said.extend(again);
                out.extend(said);
                return plain;
            }
            // It comes behind the next one.
            2 => {
                let mut next = Vec::new();
                self.say(plain, &mut next);
                said.splice(..0, next);
            }
            // Its first record has lost its end.
            3 => said.truncate(first - 1),
            // It is missing, and the next one comes.
            _ => {
                said.clear();
                self.say(plain, &mut said);
            }
        }
        out.extend(said);
        &[]
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether the server has ended as it should.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }
}

const HEADER_BYTES: usize = 5;

/// Lets rustls have what the server has sent.
fn heard(connection: &mut ClientConnection, wire: &mut Vec<u8>) {
    let mut unread = &**wire;
    while !unread.is_empty() {
        connection.read_tls(&mut unread).expect("memory can be read");
        connection.process_new_packets().expect("the server is in order");
    }
    wire.clear();
}

/// All that rustls wants to send.
fn taken(connection: &mut ClientConnection, out: &mut Vec<u8>) {
    while connection.wants_write() {
        connection.write_tls(out).expect("memory can be written");
    }
}
