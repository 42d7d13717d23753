//! Clients that speak TLS, when the server is killed: what was sealed for them is sealed once, and what they had half sent goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reactord::Status;
use reactord_tls::Version;

use crate::harness::{Authority, Place, Server, TlsPeer, lines};
use crate::standbys::{follow, rest, survived, wait_until};

const VERSIONS: [Version; 2] = [Version::Tls13, Version::Tls12];

/// A server of lines over TLS, and who signs for it.
struct Spoken {
    place: Place,
    authority: Authority,
    options: String,
    active: Server,
}

impl Spoken {
    fn serve() -> Self {
        let (place, authority) = (Place::new(), Authority::new());
        let options = authority.options(&place);
        let active = Server::serve(&place.path(), &format!("--service line {options}"));
        Self { place, authority, options, active }
    }

    fn connect(&self, count: usize) -> Vec<TlsPeer> {
        let connectors = VERSIONS.map(|version| self.authority.connector(version));
        (0..count).map(|number| TlsPeer::connect(self.active.address(), &connectors[number % 2])).collect()
    }

    /// All that has come is read, and the standby that follows from now on knows these.
    #[track_caller]
    fn followed(&self, peers: usize) -> Server {
        // Whoever answers has done all that came before.
        Status::of(&self.place.path()).expect("it serves");
        let standby = follow(&self.place, &self.options);
        rest(&self.place, peers);
        standby
    }
}

fn exchange(peer: &mut TlsPeer, line: &[u8]) -> bool {
    peer.try_send(line).and_then(|()| peer.try_expect(line)).is_ok()
}

#[test]
fn clients_go_on_in_the_middle_of_a_line_and_of_a_record() {
    const PEERS: usize = 40;
    let spoken = Spoken::serve();
    let mut peers = spoken.connect(PEERS);
    let rests: Vec<Vec<u8>> = (0..)
        .zip(&mut peers)
        .map(|(number, peer)| {
            peer.send(b"whole\nhalf ");
            peer.expect(b"whole\n");
            if number % 4 < 2 {
                peer.update();
            }
            peer.send_half(b"a line\n")
        })
        .collect();
    let standby = spoken.followed(PEERS);
    spoken.active.kill();

    assert_eq!(survived(&standby, spoken.active.pid()), (PEERS, 0));
    for (peer, rest) in peers.iter_mut().zip(rests) {
        peer.send_raw(&rest);
        peer.expect(b"half a line\n");
        peer.update();
        assert!(exchange(peer, b"another\n"));
    }
    let mut new = TlsPeer::connect(spoken.active.address(), &spoken.authority.connector(Version::Tls13));
    assert!(exchange(&mut new, b"somebody new\n"));
    drop((peers, new));
    standby.stop();
}

#[test]
fn who_reads_slowly_gets_every_byte_that_was_sealed_before_the_death() {
    let spoken = Spoken::serve();
    let mut peers = spoken.connect(2);
    let bytes = lines(1, 24 << 20);
    let sealed: Vec<Vec<u8>> = peers.iter_mut().map(|peer| peer.send_until_slow(&bytes)).collect();
    let standby = spoken.followed(2);
    spoken.active.kill();

    assert_eq!(survived(&standby, spoken.active.pid()), (2, 0));
    for (peer, sealed) in peers.iter_mut().zip(sealed) {
        peer.expect_while_sending(&bytes, &sealed);
        assert!(exchange(peer, b"another\n"));
    }
    drop(peers);
    standby.stop();
}

#[test]
fn under_load_whoever_is_served_on_has_every_record_and_whoever_is_in_doubt_is_reset() {
    const QUIET: usize = 180;
    const BUSY: usize = 20;
    let spoken = Spoken::serve();
    let (mut quiet, mut busy) = (spoken.connect(QUIET), spoken.connect(BUSY));
    let standby = spoken.followed(QUIET + BUSY);
    let (is_over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let ask = |peer: &mut TlsPeer| {
        while !is_over.load(Ordering::Relaxed) && exchange(peer, b"a line\n") {
            asked.fetch_add(1, Ordering::Relaxed);
        }
        exchange(peer, b"a last one\n")
    };
    let (served_on, reset, open) = std::thread::scope(|scope| {
        let asking: Vec<_> = busy.iter_mut().map(|peer| scope.spawn(|| ask(peer))).collect();
        // They are being answered.
        wait_until("they are answered", || asked.load(Ordering::Relaxed) > 1000);
        spoken.active.kill();
        let (served_on, reset) = survived(&standby, spoken.active.pid());
        is_over.store(true, Ordering::Relaxed);
        let open = asking.into_iter().filter_map(|thread| thread.join().ok()).filter(|open| *open).count();
        (served_on, reset, open)
    });
    assert_eq!((served_on + reset, served_on), (QUIET + BUSY, QUIET + open), "whoever was reset has seen it");
    assert!(quiet.iter_mut().all(|peer| exchange(peer, b"still here\n")), "who said nothing goes on");
    drop((quiet, busy));
    standby.stop();
}
