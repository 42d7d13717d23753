use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use mio::net::TcpStream;
use mio::{Events, Poll};
use reactord_process::channel::Deadline;
use reactord_process::frame::RawFrame;
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::*;
use crate::lane::{AnyLane, Lane};
use crate::lanes::And;
use crate::peer::Marks;
use crate::service::Accepted;
use crate::services::{Line, Seqnum};
use crate::table::Table;

type Lanes = And<Line, And<Seqnum, ()>>;

/// Two lanes with so many peers each, and the other ends of those.
fn lanes(poll: &Poll, counts: [usize; 2]) -> (Lanes, Vec<UnixStream>) {
    let marks = Marks { high_bytes: 1024, low_bytes: 512 };
    let registry = || poll.registry().try_clone().unwrap();
    let table = |number| Table::new(number, registry(), marks, Duration::from_secs(1), 0);
    let before = And { before: (), lane: Lane::new(Seqnum, table(0), 0) };
    let mut lanes = And { before, lane: Lane::new(Line::default(), table(1), 0) };
    let mut clients = Vec::new();
    for (number, count) in counts.into_iter().enumerate() {
        for _ in 0..count {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            let socket = TcpStream::from_std(OwnedFd::from(theirs).into());
            let lane: &mut dyn AnyLane = crate::lanes::Lanes::lane_mut(&mut lanes, number);
            lane.open(socket, ([127, 0, 0, 1], 1).into(), &Accepted::anyhow());
            clients.push(ours);
        }
    }
    (lanes, clients)
}

/// One turn of a loop that has no peers to serve.
fn turn(listings: &mut Listings, lanes: &Lanes, poll: &mut Poll, now: Instant) {
    let mut events = Events::with_capacity(16);
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    for event in &events {
        if let Some((Name::Listings, key)) = Tokens::find(event.token()) {
            listings.hear(key, event);
        }
    }
    listings.tend(lanes, poll.registry(), now);
}

fn list(raw: &RawFrame) -> PeerList {
    match raw.decode().unwrap() {
        Frame::PeerList(list) => list,
        frame => panic!("{frame:?}"),
    }
}

#[test]
fn all_peers_are_told_of_once_and_few_in_one_turn() {
    let mut poll = Poll::new().unwrap();
    let (lanes, _clients) = lanes(&poll, [PEERS_PER_TURN + 3, 2]);
    let mut listings = Listings::new();
    let channels: Vec<(Channel, Channel)> = (0..2).map(|_| Channel::pair()).collect();
    let now = Instant::now();
    let mut callers = Vec::new();
    for (ours, theirs) in channels {
        listings.begin(ours, 7, poll.registry(), now);
        callers.push((theirs, Vec::new(), false));
    }
    while !listings.is_idle() {
        let mut told = 0;
        turn(&mut listings, &lanes, &mut poll, now);
        for (channel, peers, is_over) in &mut callers {
            while let Ok(Some(raw)) = channel.receive() {
                let list = list(&raw);
                assert!(!*is_over);
                *is_over = list.is_last;
                told += list.peers.len();
                peers.extend(list.peers.into_iter().map(|peer| (list.service.clone(), peer.id)));
            }
        }
        assert!(told <= PEERS_PER_TURN, "{told}");
    }
    for (_, peers, is_over) in callers {
        assert!(is_over);
        let of = |name: &str| peers.iter().filter(|(service, _)| service == name).count();
        assert_eq!((of("seqnum"), of("line"), peers.len()), (PEERS_PER_TURN + 3, 2, PEERS_PER_TURN + 5));
        let different: std::collections::BTreeSet<u64> = peers.iter().map(|(_, id)| *id).collect();
        assert_eq!(different.len(), peers.len());
    }
}

#[test]
fn who_does_not_read_or_has_left_is_told_no_more_and_holds_up_nobody() {
    let mut poll = Poll::new().unwrap();
    let (lanes, _clients) = lanes(&poll, [6 * PEERS_PER_TURN, 0]);
    let mut listings = Listings::new();
    let (mut ours, theirs) = Channel::pair();
    set_socket_send_buffer_size(ours.source(), 1).unwrap();
    let began = Instant::now();
    listings.begin(ours, 7, poll.registry(), began);
    let (ours, gone) = Channel::pair();
    listings.begin(ours, 8, poll.registry(), began);
    drop(gone);
    let (ours, mut reading) = Channel::pair();
    listings.begin(ours, 9, poll.registry(), began);
    let mut told = 0;
    loop {
        turn(&mut listings, &lanes, &mut poll, began);
        if let Some(raw) = reading.receive().unwrap() {
            let list = list(&raw);
            told += list.peers.len();
            if list.is_last {
                break;
            }
        }
    }
    assert_eq!(told, 6 * PEERS_PER_TURN);
    // The one that does not read is left.
    while listings.due(began) != Some(began + READ_PATIENCE) {
        turn(&mut listings, &lanes, &mut poll, began);
    }
    turn(&mut listings, &lanes, &mut poll, began + READ_PATIENCE);
    assert!(listings.is_idle());
    drop(theirs);
}

#[test]
fn further_callers_are_refused_with_the_reason() {
    let poll = Poll::new().unwrap();
    let mut listings = Listings::new();
    let now = Instant::now();
    let mut others = Vec::new();
    for pid in 0..LISTINGS_MAX {
        let (ours, theirs) = Channel::pair();
        listings.begin(ours, u32::try_from(pid).unwrap(), poll.registry(), now);
        others.push(theirs);
    }
    let (ours, mut theirs) = Channel::pair();
    listings.begin(ours, 99, poll.registry(), now);
    let raw = theirs.receive_by(Deadline::after(Duration::from_secs(30))).unwrap();
    let Frame::Refuse(refuse) = raw.decode().unwrap() else { panic!() };
    assert!(refuse.reason.contains("8 are being told"), "{}", refuse.reason);
}

#[test]
fn a_peer_is_told_with_its_phase_its_age_and_what_waits() {
    let poll = Poll::new().unwrap();
    let (mut lanes, clients) = lanes(&poll, [1, 0]);
    let peer = |lanes: &Lanes| lanes.before.lane.table().peers().described(0).unwrap();
    let before = peer(&lanes);
    assert_eq!((before.phase.as_str(), before.age_s, before.received_bytes), ("serving", Some(0), None));
    crate::lanes::Lanes::begin_turn(&mut lanes, Instant::now() + Duration::from_secs(61));
    assert!((60..=61).contains(&peer(&lanes).age_s.unwrap()));
    clients[0].shutdown(Shutdown::Write).unwrap();
    lanes.before.lane.close_all();
    assert!(lanes.before.lane.table().peers().described(0).is_none_or(|peer| peer.phase == "closing"));
}
