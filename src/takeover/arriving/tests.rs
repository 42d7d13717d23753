//! Both sides of the I/O over a pair of sockets: what each of them learns when a takeover fails.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Pair;
use std::time::Instant;

use mio::net::{TcpStream, UnixStream};
use reactord_process::channel::TOO_MANY_IN_FLIGHT_RETRY;
use slab::Slab;

use super::*;
use crate::lane::Lane;
use crate::lanes::And;
use crate::listen::Listen;
use crate::peer::Marks;
use crate::recipient::Recipient;
use crate::service::{Accepted, Context, RestoreError, Service, Violation};
use crate::sources::{Entrance, Greeting, Listener, Vestibule};
use crate::standby::licence::{Licence, Licensor};
use crate::table::Table;
use crate::takeover::conversation::peers::FakePeer;
use crate::takeover::departure::{Departure, Turned};
use crate::takeover::failure::Failure;
use crate::takeover::in_flight::{alone, while_too_many_are_in_flight};
use crate::takeover::predecessor::{Copying, Outgoing};
use crate::takeover::wire::{self, Hello, Welcome};

/// A service that panics in one of its calls.
struct Moody(&'static str);

impl Moody {
    fn panic_in(&self, call: &str) {
        assert_ne!(self.0, call, "today");
    }
}

impl Service for Moody {
    type Session = ();
    const NAME: &'static str = "moody";
    const STATE_VERSION: u32 = 1;

    fn open(&mut self, _: &mut Context<'_, Self>) {}

    fn boundary(&self, (): &mut (), _: &[u8], _: usize) -> Result<Option<usize>, Violation> {
        Ok(None)
    }

    fn message(&mut self, (): &mut (), _: &[u8], _: &mut Context<'_, Self>) -> Result<(), Violation> {
        Ok(())
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {
        self.panic_in("save_session");
    }

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        self.panic_in("restore_session");
        Ok(())
    }

    fn save(&self, record: &mut Vec<u8>) {
        self.panic_in("save");
        record.extend_from_slice(&[7; STATE_BYTES]);
    }

    fn restore(&mut self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        self.panic_in("restore");
        Ok(())
    }
}

/// More than a channel holds.
const STATE_BYTES: usize = 1 << 20;

/// Nobody waits for so long unless a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn unblocked() -> (Pair, Pair) {
    let (ours, theirs) = Pair::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn channels() -> (Channel, Channel) {
    let (predecessor, successor) = unblocked();
    let [predecessor, successor] = [predecessor, successor].map(UnixStream::from_std);
    (Channel::of_predecessor(predecessor).unwrap(), Channel::of_successor(successor).unwrap())
}

/// Lanes without peers, and what they would be woken by.
fn lanes(service: Moody) -> (Poll, And<Moody, ()>) {
    let poll = Poll::new().unwrap();
    let marks = Marks { high_bytes: 1, low_bytes: 1 };
    let table = Table::new(0, poll.registry().try_clone().unwrap(), marks, PATIENCE, 0);
    (poll, And { before: (), lane: Lane::new(service, table, 0) })
}

/// The predecessor's side, up to its end.
fn hand_over(channel: Channel, service: Moody, freeze_timeout: Duration) -> Result<(), Failure> {
    hand_over_while(channel, service, freeze_timeout, |_, _| {})
}

/// The same, where something happens each time the loop has turned, with so many peers copied.
fn hand_over_while(
    channel: Channel,
    service: Moody,
    freeze_timeout: Duration,
    mut happens: impl FnMut(&mut And<Moody, ()>, u64),
) -> Result<(), Failure> {
    let (_poll, mut lanes) = lanes(service);
    let (_client, socket) = unblocked();
    lanes.lane.open(TcpStream::from_std(OwnedFd::from(socket).into()), ([127, 0, 0, 1], 1).into(), &Accepted::anyhow());
    lanes.watch(Recipient::Successor);
    let mut vestibule = Vestibule::new();
    let mut departure =
        Departure::of_peers(channel, Recipient::Successor, Hello::with_room(), &lanes.keys_end(), Instant::now());
    loop {
        match departure.turn(&mut lanes, &mut vestibule, Duration::from_secs(1), true, Instant::now())? {
            Turned::Copying(next) => departure = next,
            Turned::Ready(ready) => {
                return ready.commit(&mut lanes, &mut vestibule, None, freeze_timeout).map(drop);
            }
        }
        happens(&mut lanes, departure.copied());
        departure.writable();
        std::thread::yield_now();
    }
}

/// The successor's side, up to its end.
fn arrive(channel: Channel, service: Moody) -> Result<(), Cause> {
    let (poll, lanes) = lanes(service);
    let (mut arriving, receiving) = Arriving::of_peers(channel, poll, lanes, &[<Moody as Service>::STATE_VERSION]);
    let arrived = arriving.receive_peers(receiving).map(drop).map_err(|cause| arriving.explain(cause));
    if let Err(cause) = &arrived {
        cause.tell(arriving.channel);
    }
    arrived
}

/// What each side says of a takeover.
fn take_over(predecessor: Moody, successor: Moody) -> (Result<(), String>, Result<(), String>) {
    let (ours, theirs) = channels();
    let arriving = std::thread::spawn(|| arrive(theirs, successor).map_err(|cause| cause.to_string()));
    let handed_over = hand_over(ours, predecessor, PATIENCE).map_err(|failure| failure.to_string());
    (handed_over, arriving.join().expect("a panic of the service is none of this thread"))
}

#[test]
fn panic_while_saving_fails_the_takeover_and_both_sides_learn_its_text() {
    for call in ["save_session", "save"] {
        let (handed_over, arrived) = take_over(Moody(call), Moody("nothing"));
        let (failure, cause) = (handed_over.unwrap_err(), arrived.unwrap_err());
        assert!(failure.starts_with("the service panicked: ") && failure.contains(call), "{failure}");
        assert_eq!(cause, format!("refused: {failure}"));
    }
}

#[test]
fn panic_while_restoring_fails_the_takeover_and_both_sides_learn_its_text() {
    for (call, whose) in [("restore_session", "peer [127.0.0.1]:1"), ("restore", "the shared state")] {
        let (handed_over, arrived) = take_over(Moody("nothing"), Moody(call));
        let (failure, cause) = (handed_over.unwrap_err(), arrived.unwrap_err());
        assert!(cause.starts_with(&format!("{whose}: the service panicked: ")) && cause.contains(call), "{cause}");
        assert_eq!(failure, format!("the successor gave up: {cause}"));
    }
}

#[test]
fn service_in_a_good_mood_is_taken_over() {
    assert_eq!(take_over(Moody("nothing"), Moody("nothing")), (Ok(()), Ok(())));
}

#[test]
fn what_is_done_to_somebody_when_the_loop_has_turned_is_told() {
    let (ours, theirs) = channels();
    let arriving = std::thread::spawn(|| {
        let (poll, lanes) = lanes(Moody("nothing"));
        let (mut arriving, receiving) = Arriving::of_peers(theirs, poll, lanes, &[<Moody as Service>::STATE_VERSION]);
        arriving.receive_peers(receiving).map(drop).map_err(|cause| cause.to_string()).unwrap();
        let (_, lanes) = arriving.into_lanes();
        lanes.lane.table().peers().iter().map(|peer| peer.talk.outbound().bytes.to_vec()).collect::<Vec<_>>()
    });
    let mut has_sent = false;
    // As when a standby knows of somebody's end, of which its service tells another.
    let sends = |lanes: &mut And<Moody, ()>, copied| {
        if copied == 1 && !std::mem::replace(&mut has_sent, true) {
            let peers = lanes.lane.table_mut().peers_mut();
            let id = peers.iter().next().unwrap().id();
            peers.send(id, b"late").unwrap();
        }
    };
    hand_over_while(ours, Moody("nothing"), PATIENCE, sends).unwrap();
    assert!(has_sent);
    assert_eq!(arriving.join().unwrap(), [b"late"]);
}

/// A successor that says Ready and takes no more; what it was told since.
fn ready_and_deaf(mut channel: Channel, then: &[u8]) -> Channel {
    let mut said = 0;
    loop {
        let raw = channel.receive_by(Deadline::after(PATIENCE)).unwrap();
        let answer = match raw.decode().unwrap() {
            Frame::Round(round) if round.last => {
                channel.send_by(&[&Frame::Ready.encode(), then].concat(), &[], Deadline::after(PATIENCE)).unwrap();
                return channel;
            }
            Frame::Round(round) => wire::Copied { peers: said, rounds: round.number, handshakes: false },
            Frame::Peers(peers) => {
                said += peers.records.len() as u64;
                wire::Copied { peers: said, rounds: 0, handshakes: false }
            }
            _ => continue,
        };
        channel.send_by(&Frame::Copied(answer).encode(), &[], Deadline::after(PATIENCE)).unwrap();
    }
}

#[test]
fn accept_that_is_said_with_ready_is_out_of_turn() {
    let (ours, theirs) = channels();
    let rogue = std::thread::spawn(|| ready_and_deaf(theirs, &Frame::Accept.encode()));
    let failure = hand_over(ours, Moody("nothing"), PATIENCE).unwrap_err();
    assert_eq!(failure.to_string(), "the successor sent Accept after the freeze");
    rogue.join().unwrap();
}

#[test]
fn freeze_that_takes_too_long_is_explained_to_both_sides_also_when_the_channel_is_full() {
    let (ours, theirs) = channels();
    let deaf = std::thread::spawn(|| ready_and_deaf(theirs, &[]));
    let failure = hand_over(ours, Moody("nothing"), Duration::from_millis(100)).unwrap_err().to_string();
    assert!(failure.starts_with("the successor has not accepted within the freeze timeout of 100 ms: "), "{failure}");
    assert!(failure.contains(" of 1048576 bytes of shared state, saved in "), "{failure}");
    assert!(failure.ends_with("(--freeze-timeout, Config::freeze_timeout)"), "{failure}");
    let cause = last_word(&mut deaf.join().unwrap()).expect("it was said before the end");
    assert_eq!(cause.to_string(), format!("refused: {failure}"));
}

#[test]
fn successor_that_holds_peers_that_are_gone_is_told_of_them_before_it_gets_more() {
    let hello = Hello { files_max: reactord_process::open_files::RESERVED as u64 + 2, ..Hello::with_room() };
    let mut copying = Copying::new(Recipient::Successor, hello, &[3], Instant::now());
    // Each fills a batch.
    let mut table: Slab<FakePeer> = (0..3).map(|key| (key, FakePeer::new(key as u64, 64 * 1024))).collect();
    let mut next = |copying: &mut Copying| {
        let outgoing = copying.next(&mut [&mut table]).unwrap().expect("there is more");
        let Outgoing::Batch(batch) = &outgoing else { panic!("the round is not over") };
        let kind = batch.frame[4];
        copying.sent(outgoing, Instant::now());
        kind
    };
    let (peers, closed) = (wire::Kind::Peers as u8, wire::Kind::Closed as u8);
    assert_eq!(next(&mut copying), peers);
    copying.mirror_mut(0).closed(0, 0);
    assert_eq!([next(&mut copying), next(&mut copying), next(&mut copying)], [peers, closed, peers]);
}

#[test]
fn listeners_are_sent_when_the_kernel_takes_descriptors_again() {
    alone(module_path!(), "listeners_are_sent_when_the_kernel_takes_descriptors_again", || {
        let directory = tempfile::tempdir().unwrap();
        let takeover = TakeoverListener::bind(&directory.path().join("takeover")).unwrap();
        let listen = Listen::on("tcp", std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let entrance = Entrance::of_listeners([Listener::bind(0, &listen).unwrap()]);
        let (_poll, mut lanes) = lanes(Moody("nothing"));
        let (channel, mut successor) = channels();
        let welcome =
            Welcome { wire_version: 1, build: String::new(), pid: 1, lanes: vec![], generation: 1, has_secrets: false };
        let departure = RefCell::new(None);
        let turn = |lanes: &mut And<Moody, ()>| {
            let now = Instant::now() + TOO_MANY_IN_FLIGHT_RETRY;
            let next = departure.take().map(|departure: Departure| {
                departure.turn(lanes, &mut Vestibule::new(), Duration::from_secs(1), true, now).unwrap()
            });
            let Some(Turned::Copying(next)) = next else { panic!("the copy has just begun") };
            departure.replace(Some(next));
        };
        let lanes = RefCell::new(&mut lanes);
        while_too_many_are_in_flight(
            || {
                let greeting = Greeting { channel, pid: 1, hello: Hello::with_room() };
                let begun = Departure::begin(
                    greeting,
                    welcome,
                    &entrance,
                    &takeover,
                    Recipient::Successor,
                    &[0, 0],
                    Instant::now(),
                );
                departure.replace(Some(begun.unwrap()));
                turn(&mut lanes.borrow_mut());
            },
            || {
                let kinds = [(); 2].map(|()| {
                    loop {
                        if let Some(raw) = successor.receive().unwrap() {
                            return raw.decode::<Frame<'_>>().unwrap().kind();
                        }
                        turn(&mut lanes.borrow_mut());
                    }
                });
                assert_eq!(kinds, [wire::Kind::Welcome, wire::Kind::Listeners]);
                assert_eq!(successor.take_descriptors(2).unwrap().len(), 2);
            },
        );
    });
}

/// What comes of it if the predecessor is dead when Accept is sent.
fn accept_after_death(licence: Option<&Licensor>) -> Result<(), String> {
    let (predecessor, channel) = channels();
    drop(predecessor);
    let (poll, lanes) = lanes(Moody("nothing"));
    let (mut arriving, _) = Arriving::of_peers(channel, poll, lanes, &[<Moody as Service>::STATE_VERSION]);
    arriving.licence = licence.map(licence_of);
    arriving.send_accept(&Frame::Accept.encode()).map_err(|cause| cause.to_string())
}

fn licence_of(licensor: &Licensor) -> Licence {
    Licence::of(licensor.licence().try_clone_to_owned().unwrap()).unwrap()
}

#[test]
fn a_successor_whose_predecessor_is_dead_owns_the_peers_if_its_standby_does_not() {
    let too_late = Err("too late: the predecessor has taken up its peers again".to_owned());
    assert_eq!(accept_after_death(None), too_late, "nobody knows whether it is dead");
    let licensor = Licensor::new().unwrap();
    let standby = licence_of(&licensor);
    assert_eq!(accept_after_death(Some(&licensor)), Ok(()));
    assert!(!standby.claim());
    assert_eq!(accept_after_death(Some(&licensor)), too_late, "another one has it");

    let licensor = Licensor::new().unwrap();
    let standby = licence_of(&licensor);
    assert!(standby.claim());
    let served_on = "too late: the predecessor is dead, and its standby serves on";
    assert_eq!(accept_after_death(Some(&licensor)), Err(served_on.to_owned()));
    standby.forgo();
}
