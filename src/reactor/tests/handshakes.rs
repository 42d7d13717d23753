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

/// A service that lets in one at each of its listeners at a time whose handshake is under way, and has one beyond the maximum.
#[derive(Default)]
struct Narrow;

impl StreamService for Narrow {
    type Session = ();
    const NAME: &'static str = "narrow";
    const STATE_VERSION: u32 = 1;
    const PEERS_BEYOND_MAX: usize = 1;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) {}

    fn room(&self, listener: &str, arriving: &dyn Fn(&str) -> usize) -> usize {
        1_usize.saturating_sub(arriving(listener))
    }

    fn input(&mut self, (): &mut (), input: &[u8], _: usize, _: &mut Context<'_, Self>) -> Result<usize, Violation> {
        Ok(input.len())
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

type TwoNarrow = And<Narrow, And<Narrow, ()>>;

/// A loop with two lanes, and a listener that is called `tls` for the first, and one called `plain` for the lane with this number.
/// Somebody has come in at the first, and says nothing; where each can be connected to.
fn with_a_silent_client(lane_of_plain: usize, max_peers: usize) -> (Reactor<TwoNarrow>, Client, [SocketAddr; 2]) {
    let config = Config { max_peers, ..Config::default() };
    let poll = Poll::new().unwrap();
    let before = And { before: (), lane: lane(0, Narrow, &poll, &config) };
    let lanes = And { before, lane: lane(1, Narrow, &poll, &config) };
    let mut reactor = Reactor::new(poll, lanes, Sources::none(), &config, config.max_peers);
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let of_tls = Listen { tls: Some(tls()), ..Listen::on("tls", anywhere) };
    let listeners = [(0, of_tls), (lane_of_plain, Listen::on("plain", anywhere))];
    let listeners = listeners.map(|(lane, listen)| Listener::bind(lane, &listen).unwrap());
    let at = listeners.each_ref().map(|listener| match listener.at() {
        Target::Tcp(address) => address,
        Target::Unix(_) => panic!("it is a TCP listener"),
    });
    reactor.sources.open(reactor.poll.registry(), Entrance::of_listeners(listeners)).unwrap();
    let silent = Client::connect(at[0]).unwrap();
    turn_until(&mut reactor, |reactor| reactor.sources.vestibule.len() == 1);
    (reactor, silent, at)
}

#[track_caller]
fn turn_until<L: Lanes>(reactor: &mut Reactor<L>, done: impl Fn(&Reactor<L>) -> bool) {
    let mut events = Events::with_capacity(EVENTS_PER_TURN);
    for _ in 0..TURNS_MAX {
        if done(reactor) {
            return;
        }
        reactor.poll(&mut events, Some(TURN)).unwrap();
        reactor.turn(&events);
    }
    panic!("not in {TURNS_MAX} turns");
}

#[test]
fn handshakes_at_one_listener_take_no_room_from_another() {
    let (mut reactor, _silent, [tls, plain]) = with_a_silent_client(0, 100);
    let _waits_in_the_kernel = Client::connect(tls).unwrap();
    let _other = Client::connect(plain).unwrap();
    turn_until(&mut reactor, |reactor| reactor.lanes.peers() == 1);
    assert_eq!(reactor.sources.vestibule.len(), 1);
}

#[test]
fn handshakes_of_one_service_take_no_room_that_another_has_beyond_the_maximum() {
    // The place that the first service has beyond the maximum is taken by that.
    let (mut reactor, _silent, [_, plain]) = with_a_silent_client(1, 0);
    let _other = Client::connect(plain).unwrap();
    turn_until(&mut reactor, |reactor| reactor.lanes.peers() == 1);
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
