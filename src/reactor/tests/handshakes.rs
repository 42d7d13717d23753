//! Clients whose TLS handshakes are under way when somebody wants to take over, or the server stops.

use super::opened_tls::certificate;
use super::*;
use crate::peer::secured::LAYOUT;
use crate::tls::{Certificate, Pem, ServerSettings};

/// With a certificate that is its own authority.
pub(super) fn tls() -> Tls {
    let (chain, key) = certificate();
    let certificate = Certificate { chain: Pem::new("chain", chain), key: Pem::new("key", key) };
    Tls::new(&ServerSettings { certificates: vec![certificate], ..ServerSettings::default() }).unwrap()
}

#[test]
fn a_successor_needs_room_for_those_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::with_tls(Seqnum, &Config::default(), Some(tls()));
    let callers = Callers::on(TakeoverListener::bind(&directory.path().join("takeover")).unwrap());
    rig.reactor.sources.answer(rig.reactor.poll.registry(), callers).unwrap();
    let _silent = [(); 2].map(|()| Client::connect(rig.address).unwrap());
    rig.turn_until(|rig| rig.reactor.sources.vestibule.len() == 2);
    let (channel, mut successor) = Channel::pair();
    let hello = Hello {
        wire_versions: WIRE_VERSIONS,
        build: String::new(),
        services: vec![Offer::of::<Seqnum>().0],
        files_max: 2 + RESERVED as u64,
        files_open: 0,
        upgrade: None,
        tls_layout: LAYOUT,
    };
    rig.reactor.begin_departure(Greeting { channel, pid: 1, hello });
    let raw = successor.receive().unwrap().expect("it is refused");
    let Frame::Refuse(refuse) = raw.decode().unwrap() else { panic!("it is refused") };
    // One of them is for the listener.
    assert_eq!(refuse.reason, "the successor may open 34 files, 35 are needed");
}

#[test]
fn a_server_that_stops_tells_who_waits_of_the_end_also_while_a_successor_has_duplicates() {
    let mut rig = Rig::with_tls(Seqnum, &Config::default(), Some(tls()));
    let mut client = Client::connect(rig.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    rig.turn_until(|rig| rig.reactor.sources.vestibule.len() == 1);
    let of_successor = rig.reactor.sources.vestibule.descriptors(&mut [0].into_iter())[0].try_clone_to_owned().unwrap();
    rig.reactor.drain(Instant::now());
    assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
    drop(of_successor);
}
