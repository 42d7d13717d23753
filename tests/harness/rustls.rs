//! A client that speaks TLS by rustls alone, from the first byte to the last.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, Stream};

use super::PATIENCE;

/// The client's end of one connection.
pub(crate) struct RustlsPeer {
    connection: ClientConnection,
    stream: TcpStream,
}

impl RustlsPeer {
    /// Connects, and offers this suite alone. The handshake is done with the first bytes.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, authority_pem: &str, suite: CipherSuite) -> Self {
        let mut provider = default_provider();
        provider.cipher_suites.retain(|known| known.suite() == suite);
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(authority_pem.as_bytes()).expect("it is a certificate");
        roots.add(certificate).expect("it is that of an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("the suite is for one of them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("it is a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("the settings are good");
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("no delay can be set");
        Self { connection, stream }
    }

    /// Says this, and hears the same.
    #[track_caller]
    pub(crate) fn exchange(&mut self, line: &[u8]) {
        let mut stream = Stream::new(&mut self.connection, &mut self.stream);
        stream.write_all(line).expect("the connection takes all");
        stream.flush().expect("the connection takes all");
        let mut heard = vec![0; line.len()];
        stream.read_exact(&mut heard).expect("the connection is open");
        assert!(heard == line, "other bytes came than the {} that were sent", line.len());
    }

    /// Goes over to another key, and has the server do so, too, where the version has that.
    #[track_caller]
    pub(crate) fn update(&mut self) {
        if self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            self.connection.refresh_traffic_keys().expect("it has keys");
        }
    }

    /// Says that nothing more comes, and is told the same.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.connection.send_close_notify();
        let mut stream = Stream::new(&mut self.connection, &mut self.stream);
        stream.flush().expect("the connection takes all");
        // Without a word before, the end would be an error here.
        assert_eq!(stream.read(&mut [0]).expect("the server says that it ends"), 0);
        // It may have gone already.
        drop(self.stream.shutdown(Shutdown::Both));
    }
}
