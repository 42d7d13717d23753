//! Sends back what it hears, by rustls' own connections: what the server is compared with. It listens at a port that the kernel
//! chooses, says which, and ends with its standard input.
//!
//! ```sh
//! cargo run -p reactord-tls --example rustls_echo -- chain.pem key.pem
//! ```

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};

/// How long a client may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [chain, key] = arguments.as_slice() else { return Err("usage: rustls_echo CHAIN KEY".into()) };
    let config = Arc::new(config(chain, key)?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let config = config.clone();
            // A client's error ends that client.
            std::thread::spawn(move || drop(serve(socket, config)));
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// As the server has it: both versions, tickets, nothing stored, no early data.
fn config(chain: &str, key: &str) -> Result<ServerConfig, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn serve(mut socket: TcpStream, config: Arc<ServerConfig>) -> Result<(), Box<dyn Error>> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let mut connection = ServerConnection::new(config)?;
    let (mut wire, mut plain) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut goes_on = true;
    while goes_on {
        let bytes = socket.read(&mut wire)?;
        let mut came = &wire[..bytes];
        goes_on = bytes > 0;
        while goes_on && !came.is_empty() {
            connection.read_tls(&mut came)?;
            goes_on = echo(&mut connection, &mut plain)?;
        }
        if bytes == 0 {
            connection.send_close_notify();
        }
        while connection.wants_write() {
            connection.write_tls(&mut socket)?;
        }
    }
    socket.shutdown(Shutdown::Write)?;
    std::io::copy(&mut socket, &mut std::io::sink())?;
    Ok(())
}

/// Sends back what has come, unless it broke the protocol. Says whether more may come.
fn echo(connection: &mut ServerConnection, plain: &mut [u8]) -> Result<bool, Box<dyn Error>> {
    let Ok(state) = connection.process_new_packets() else {
        return Ok(false);
    };
    while let Ok(bytes @ 1..) = connection.reader().read(plain) {
        connection.writer().write_all(&plain[..bytes])?;
    }
    if state.peer_has_closed() {
        connection.send_close_notify();
    }
    Ok(!state.peer_has_closed())
}
