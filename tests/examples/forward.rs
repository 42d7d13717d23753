//! The example `forward`, between clients that read slowly and a server that does not wait for them to.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};

use super::clients::Service;
use crate::harness::Peer;

const CLIENTS: usize = 50;
const BYTES_EACH: usize = 8 << 20;
const TAKEOVERS: usize = 10;

/// How far apart two clients' bytes begin in those of all: no two clients get the same.
const APART: usize = 4099;

/// How much memory the proxy may take for a client: what it keeps for either side, by its marks, and as much again for
/// buffers that have grown to hold it.
const KEPT_BYTES_MAX: u64 = 2 * 2 * (256 + 64) * 1024;

/// Sends to each client what it asks for, as fast as it is let, then reads to the end.
struct Upstream {
    address: SocketAddr,
    bytes: Arc<Vec<u8>>,
    accepting: JoinHandle<Vec<JoinHandle<Result<Vec<u8>>>>>,
}

impl Upstream {
    fn start() -> Self {
        let mut bytes = vec![0; BYTES_EACH + CLIENTS * APART];
        fastrand::Rng::with_seed(1).fill(&mut bytes);
        let bytes = Arc::new(bytes);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let sent = bytes.clone();
        let accepting = spawn(move || {
            let connections = listener.incoming().take(CLIENTS).map(|stream| stream.expect("a client comes"));
            connections.map(|stream| serve(stream, sent.clone())).collect()
        });
        Self { address, bytes, accepting }
    }

    fn bytes_of(&self, client: usize) -> &[u8] {
        &self.bytes[client * APART..][..BYTES_EACH]
    }
}

/// Returns what has come after the client had got everything.
fn serve(mut stream: TcpStream, bytes: Arc<Vec<u8>>) -> JoinHandle<Result<Vec<u8>>> {
    spawn(move || {
        let mut client = [0];
        stream.read_exact(&mut client)?;
        stream.write_all(&bytes[usize::from(client[0]) * APART..][..BYTES_EACH])?;
        stream.shutdown(Shutdown::Write)?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        Ok(rest)
    })
}

#[test]
fn slow_clients_get_each_byte_across_ten_takeovers_and_cost_no_more_memory_than_the_marks_say() {
    let upstream = Upstream::start();
    let mut service = Service::start_with("forward", &[upstream.address.to_string()]);
    let resident_before = service.server().resident_bytes();
    let peers = Peer::connect_many(service.server().address(), CLIENTS);
    for (client, peer) in peers.iter().enumerate() {
        peer.keep_little();
        peer.send(&[client as u8]);
    }
    let share = BYTES_EACH / (TAKEOVERS + 1);
    for takeover in 0..TAKEOVERS {
        for (client, peer) in peers.iter().enumerate() {
            peer.expect(&upstream.bytes_of(client)[takeover * share..][..share]);
        }
        let resident = service.server().resident_bytes();
        let more = resident.saturating_sub(resident_before);
        assert!(
            more <= CLIENTS as u64 * KEPT_BYTES_MAX,
            "{more} bytes for {CLIENTS} clients after {takeover} takeovers"
        );
        service.take_over();
    }
    for (client, peer) in peers.iter().enumerate() {
        peer.expect(&upstream.bytes_of(client)[TAKEOVERS * share..]);
        peer.send(b"thanks");
        peer.expect_end();
        peer.end_sending();
    }
    for connection in upstream.accepting.join().expect("all have come") {
        let rest = connection.join().expect("it does not panic");
        assert_eq!(rest.expect("the connection is whole"), b"thanks");
    }
    drop(peers);
    service.stop();
}

#[test]
fn whoever_cannot_be_connected_on_is_reset() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let nowhere = gone.local_addr().expect("a listener has an address").to_string();
    drop(gone);
    let service = Service::start_with("forward", &[nowhere]);
    let peer = Peer::connect(service.server().address());
    peer.expect_loss();
    service.server().wait_for_line(|line| line.contains("onnection refused"));
    drop(peer);
    service.stop();
}
