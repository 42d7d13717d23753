//! Servers that send back what comes, on the library: in clear, over TLS, and over TLS by rustls' own connections.

use std::io::{Error, Read, Result, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use reactord::tls::{Certificate, Pem, ServerSettings, Tls};
use reactord::{Accepted, Config, Context, Listen, RestoreError, Server, StreamService, Violation};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use simple_logger::SimpleLogger;

use super::certificate::{CHAIN, KEY};
use super::rig;

/// Is the server with this name, for ever.
pub(crate) fn serve(role: &str, certificate: Option<&str>) -> Result<()> {
    let certificate = || certificate.map(Path::new).ok_or_else(|| Error::other("no certificate was named"));
    match role {
        "bare" => rig::bare::serve(),
        "plain" => run(None, Echo),
        "tls" => run(Some(tls(certificate()?)?), Echo),
        "rustls" => run(None, OverRustls::new(certificate()?)?),
        other => Err(Error::other(format!("{other} is no server"))),
    }
}

fn run(tls: Option<Tls>, service: impl StreamService) -> Result<()> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).init().map_err(Error::other)?;
    let listen = Listen { tls, backlog: Some(4096), ..Listen::on("clients", SocketAddr::from(([127, 0, 0, 1], 0))) };
    Server::new(Config::default()).service([listen], service).serve().map(drop).map_err(Error::other)
}

fn tls(directory: &Path) -> Result<Tls> {
    let pem = |name: &str| Pem::read(&directory.join(name)).map_err(Error::other);
    let certificates = vec![Certificate { chain: pem(CHAIN)?, key: pem(KEY)? }];
    Tls::new(&ServerSettings { certificates, ..ServerSettings::default() }).map_err(Error::other)
}

/// Sends back what comes.
struct Echo;

impl StreamService for Echo {
    type Session = ();
    const NAME: &'static str = "echo";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) {}

    fn input(
        &mut self,
        (): &mut (),
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> std::result::Result<usize, Violation> {
        context.reply(input);
        Ok(input.len())
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> std::result::Result<(), RestoreError> {
        Ok(())
    }
}

/// The same, of what rustls makes of it.
struct OverRustls {
    config: Arc<ServerConfig>,
    plain: Vec<u8>,
    out: Vec<u8>,
}

impl OverRustls {
    fn new(directory: &Path) -> Result<Self> {
        let chain = CertificateDer::pem_file_iter(directory.join(CHAIN)).map_err(Error::other)?;
        let chain = chain.collect::<std::result::Result<Vec<_>, _>>().map_err(Error::other)?;
        let key = PrivateKeyDer::from_pem_file(directory.join(KEY)).map_err(Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(Error::other)?;
        Ok(Self { config: Arc::new(config), plain: vec![0; 16 * 1024], out: Vec::new() })
    }

    /// Takes in what has come, and seals what it holds.
    fn echo(&mut self, connection: &mut ServerConnection, mut wire: &[u8]) -> Result<()> {
        while !wire.is_empty() {
            connection.read_tls(&mut wire)?;
            let state = connection.process_new_packets().map_err(Error::other)?;
            let mut bytes_left = state.plaintext_bytes_to_read();
            while bytes_left > 0 {
                let bytes = connection.reader().read(&mut self.plain)?;
                connection.writer().write_all(&self.plain[..bytes])?;
                bytes_left -= bytes;
                self.seal(connection)?;
            }
            if state.peer_has_closed() {
                break;
            }
        }
        self.seal(connection)
    }

    fn seal(&mut self, connection: &mut ServerConnection) -> Result<()> {
        while connection.wants_write() {
            connection.write_tls(&mut self.out)?;
        }
        Ok(())
    }
}

impl StreamService for OverRustls {
    type Session = Box<ServerConnection>;
    const NAME: &'static str = "rustls";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) -> Box<ServerConnection> {
        Box::new(ServerConnection::new(self.config.clone()).expect("the configuration is good"))
    }

    fn input(
        &mut self,
        connection: &mut Box<ServerConnection>,
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> std::result::Result<usize, Violation> {
        let echoed = self.echo(connection, input);
        let has_ended = connection.process_new_packets().is_ok_and(|state| state.peer_has_closed());
        if has_ended {
            connection.send_close_notify();
            // A vector takes all that is written.
            let _ = self.seal(connection);
        }
        context.reply(&self.out);
        self.out.clear();
        if has_ended {
            context.close();
        }
        echoed.map(|()| input.len()).map_err(|error| Violation::new(error.to_string()))
    }

    fn save_session(&self, _: &Box<ServerConnection>, _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> std::result::Result<Box<ServerConnection>, RestoreError> {
        Err(RestoreError::new("a connection of rustls cannot be restored"))
    }
}
