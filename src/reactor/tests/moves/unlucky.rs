//! Moves at a bad moment: of peers that are tied, that tie themselves or leave meanwhile, or are being closed, and to takers
//! that have no room or are gone.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::lane::Passing;
use crate::takeover::admission::{Estate, greet};
use crate::takeover::wire::{Frame, Round};

/// Gives turns until all that the first was asked for is done.
#[track_caller]
fn finish(servers: &mut [&mut Server]) {
    turn_all(servers, |all| !all[0].reactor.giver.has_orders());
}

/// Gives both turns up to the copy, which the taker has not answered.
#[track_caller]
fn begin_to_copy(giver: &mut Server, taker: &mut Server) {
    turn_all(&mut [taker, giver], |all| all[1].reactor.giver.has_begun());
}

/// All that a client receives up to the end of its connection.
#[track_caller]
fn rest(client: &mut Client, servers: &mut [&mut Server]) -> String {
    let mut received = Vec::new();
    turn_all(servers, |_| {
        let mut buffer = [0; 4096];
        loop {
            match client.read(&mut buffer) {
                Ok(0) => return true,
                Ok(bytes) => received.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("after {received:?}: {error}"),
            }
        }
    });
    String::from_utf8(received).unwrap()
}

impl Server {
    fn table(&self) -> &crate::table::Table {
        self.reactor.lanes.lane.table()
    }

    /// A peer over a socket pair.
    fn connect_pair(&mut self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let socket = mio::net::TcpStream::from_std(OwnedFd::from(theirs).into());
        self.reactor.lanes.lane.open(socket, Address::unix(0), &Accepted::anyhow());
        ours
    }
}

#[test]
fn what_the_two_who_are_joined_send_during_the_freeze_reaches_the_other() {
    for _ in 0..8 {
        let [mut here, mut there] = [Server::counting(), Server::counting()];
        let (mut one, _) = here.connect();
        let (mut other, _) = here.connect();
        say(&mut one, "JOIN\n");
        say(&mut other, "joined\n");
        assert_eq!(line(&mut one, &mut [&mut here]), "joined\n");
        here.order(Which::All, &mut there);
        freeze(&mut here, &mut there);
        say(&mut one, "to the other\n");
        say(&mut other, "to the one\n");
        let all = &mut [&mut there, &mut here];
        assert_eq!(line(&mut one, all), "to the one\n");
        assert_eq!(line(&mut other, all), "to the other\n");
        assert_eq!((here.peers(), there.peers()), (0, 2));
    }
}

#[test]
fn who_is_coupled_while_it_is_copied_to_one_that_ends_with_its_process_stays() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (mut client, _) = here.connect();
    let (mut alone, _) = here.connect();
    here.order(Which::All, &mut there);
    begin_to_copy(&mut here, &mut there);
    say(&mut client, &format!("OPEN:{}\n", backend.local_addr().unwrap()));
    line(&mut client, &mut [&mut here]);
    let (mut opened, _) = backend.accept().unwrap();
    opened.set_nonblocking(true).unwrap();
    finish(&mut [&mut here, &mut there]);
    say(&mut client, "a\n");
    say(&mut alone, "b\n");
    say(&mut opened, "c\n");
    let all = &mut [&mut here, &mut there];
    assert_eq!(line(&mut client, all), "1 a\n");
    assert_eq!(line(&mut alone, all), "0 b\n");
    assert_eq!(line(&mut opened, all), "0 c\n");
    turn_all(all, |all| all[0].peers() == 2 && all[1].peers() == 1);
}

#[test]
fn who_is_tied_to_another_while_it_is_copied_goes_with_that_one_a_little_later() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (mut one, _) = here.connect();
    let (mut late, _) = here.connect();
    say(&mut one, "a\n");
    assert_eq!(line(&mut one, &mut [&mut here]), "0 a\n");
    here.on_act(|context| context.couple(context.peer(), context.peers()[0]));
    let address = Address::from(one.local_addr().unwrap()).to_string();
    here.order(Which::From(vec![address]), &mut there);
    begin_to_copy(&mut here, &mut there);
    say(&mut late, "ACT\n");
    assert_eq!(line(&mut late, &mut [&mut here]), "0 ACT\n");
    finish(&mut [&mut here, &mut there]);
    assert_eq!((here.peers(), there.peers()), (0, 2));
    say(&mut late, "b\n");
    say(&mut one, "c\n");
    assert_eq!(line(&mut late, &mut [&mut there]), "1 b\n");
    assert_eq!(line(&mut one, &mut [&mut there]), "1 c\n");
}

#[test]
fn who_goes_along_is_none_of_those_who_were_asked_for() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (mut one, _) = here.connect();
    let (mut partner, _) = here.connect();
    let (mut alone, _) = here.connect();
    say(&mut one, "JOIN\n");
    say(&mut partner, "joined\n");
    assert_eq!(line(&mut one, &mut [&mut here]), "joined\n");
    let addresses = [&one, &alone].map(|client| Address::from(client.local_addr().unwrap()).to_string());
    here.order(Which::From(addresses.to_vec()), &mut there);
    finish(&mut [&mut here, &mut there]);
    assert_eq!((here.peers(), there.peers()), (0, 3));
    say(&mut alone, "a\n");
    assert_eq!(line(&mut alone, &mut [&mut there]), "0 a\n");
}

#[test]
fn a_batch_that_everybody_leaves_before_the_freeze_moves_nobody_and_ends() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (client, _) = here.connect();
    here.order(Which::All, &mut there);
    begin_to_copy(&mut here, &mut there);
    drop(client);
    turn_all(&mut [&mut here], |all| all[0].peers() == 0);
    finish(&mut [&mut here, &mut there]);
    turn_all(&mut [&mut there], |all| all[0].peers() == 0);
    assert!(here.service().moved.is_empty() && there.service().arrived.is_empty());
}

#[test]
fn another_one_moves_instead_of_who_leaves_before_the_freeze() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (leaving, _) = here.connect();
    let (mut staying, _) = here.connect();
    here.order(Which::Count(1), &mut there);
    begin_to_copy(&mut here, &mut there);
    drop(leaving);
    turn_all(&mut [&mut here], |all| all[0].peers() == 1);
    finish(&mut [&mut here, &mut there]);
    turn_all(&mut [&mut there], |all| all[0].peers() == 1);
    say(&mut staying, "a\n");
    assert_eq!(line(&mut staying, &mut [&mut there]), "0 a\n");
}

#[test]
fn who_is_given_away_twice_is_kept_once() {
    let [mut here, mut gone] = [Server::counting(), Server::counting()];
    let (mut client, _) = here.connect();
    gone.wait_for(&mut here);
    turn_all(&mut [&mut here], |all| all[0].reactor.giver.waiting() == 1);
    drop(gone);
    here.on_act(|context| (0..2).for_each(|_| context.give_away(context.peer()).unwrap()));
    say(&mut client, "ACT\na\n");
    assert_eq!(line(&mut client, &mut [&mut here]), "0 ACT\n");
    assert_eq!(line(&mut client, &mut [&mut here]), "kept\n");
    assert_eq!(line(&mut client, &mut [&mut here]), "1 a\n");
    assert_eq!(here.service().kept, 1);
}

#[test]
fn who_is_kept_because_nobody_waits_cannot_be_given_away_again() {
    let [mut here, mut gone] = [Server::counting(), Server::counting()];
    let (mut client, _) = here.connect();
    gone.wait_for(&mut here);
    turn_all(&mut [&mut here], |all| all[0].reactor.giver.waiting() == 1);
    drop(gone);
    here.reactor.lanes.lane.service_mut().act_when_kept = Some(Box::new(|context| {
        context.give_away(context.peer()).unwrap_err();
    }));
    say(&mut client, "GIVE\na\n");
    assert_eq!(line(&mut client, &mut [&mut here]), "kept\n");
    assert_eq!(line(&mut client, &mut [&mut here]), "0 a\n");
}

#[test]
fn who_is_given_away_and_closed_in_one_call_gets_its_last_answers() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (mut client, _) = here.connect();
    there.wait_for(&mut here);
    turn_all(&mut [&mut here], |all| all[0].reactor.giver.waiting() == 1);
    here.on_act(|context| {
        context.give_away(context.peer()).unwrap();
        context.reply(&vec![b'.'; MUCH]);
        context.close();
    });
    say(&mut client, "ACT\nignored\n");
    let received = rest(&mut client, &mut [&mut here, &mut there]);
    assert_eq!(received.trim_start_matches('.'), "0 ACT\n");
    assert_eq!(received.len(), MUCH + "0 ACT\n".len());
    drop(client);
    turn_all(&mut [&mut here, &mut there], |all| all.iter().all(|server| server.peers() == 0));
}

#[test]
fn who_is_given_away_when_another_has_gone_goes_too() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (mut one, _) = here.connect();
    let (mut other, _) = here.connect();
    there.wait_for(&mut here);
    let id = here.peer(here.keys()[1]).id();
    here.reactor.lanes.lane.service_mut().act_when_moved = Some(Box::new(move |context| {
        // Who cannot be given by then is served here.
        let _ = context.give_away(id);
    }));
    turn_all(&mut [&mut here], |all| all[0].reactor.giver.waiting() == 1);
    say(&mut one, "GIVE\na\n");
    let all = &mut [&mut here, &mut there];
    assert_eq!(line(&mut one, all), "0 a\n");
    say(&mut other, "b\n");
    turn_all(all, |all| all[0].peers() == 1 && !all[0].reactor.giver.has_orders());
    let mut answer = line(&mut other, all);
    if answer == "kept\n" {
        answer = line(&mut other, all);
    }
    assert_eq!(answer, "0 b\n");
}

#[test]
fn a_taker_that_has_no_room_by_now_takes_nobody() {
    let config = Config { max_peers: 1, ..Config::default() };
    let [mut here, mut there] = [Server::counting(), Server::with(&config)];
    let (mut client, _) = here.connect();
    there.wait_for(&mut here);
    turn_all(&mut [&mut here], |all| all[0].reactor.giver.waiting() == 1);
    let (_taken, _) = there.connect();
    say(&mut client, "GIVE\na\n");
    let all = &mut [&mut here, &mut there];
    assert_eq!(line(&mut client, all), "kept\n");
    assert_eq!(line(&mut client, all), "0 a\n");
    assert_eq!((here.peers(), there.peers()), (1, 1));
}

#[test]
fn a_giver_that_talks_on_and_gives_nobody_is_heard_no_longer_after_a_while() {
    let mut there = Server::counting();
    let (mut giver, theirs) = Channel::pair();
    let (_, taker, mut with) = there.reactor.moves();
    taker.begin(theirs, 7, &mut with).expect("it can be registered");
    let raw = giver.receive().unwrap().expect("it waits");
    let Ok(Frame::Wait(hello)) = raw.decode() else { panic!("{raw:?}") };
    let estate = Estate { service: <Counting as Service>::NAME, state_version: 1, peers: 1 };
    giver.post(&Frame::Welcome(greet(&hello, &[estate], 8).unwrap()).encode()).unwrap();
    for number in 1..100 {
        giver.post(&Frame::Round(Round { number, last: false }).encode()).unwrap();
        there.turn();
        let answer = giver.receive().unwrap().expect("it answers each round");
        match answer.decode().unwrap() {
            Frame::Copied(_) => there.ahead += Duration::from_secs(5),
            Frame::Refuse(refuse) => {
                assert_eq!(refuse.reason, "the giver talks on, and has given nobody within 180000 ms");
                assert!(there.ahead >= Duration::from_secs(175));
                return;
            }
            frame => panic!("{frame:?}"),
        }
    }
    panic!("it is heard for ever");
}

#[test]
fn whoever_asks_for_a_move_finds_a_place_however_many_wait() {
    let mut here = Server::counting();
    let mut know = |waits: bool| {
        let (ours, theirs) = Channel::pair();
        let (giver, _, mut with) = here.reactor.moves();
        giver.know(ours, 8, waits, &mut with).map(|_| theirs)
    };
    let waiting: Vec<Channel> = std::iter::from_fn(|| know(true)).collect();
    let called: Vec<Channel> = std::iter::from_fn(|| know(false)).collect();
    assert_eq!((waiting.len(), called.len()), (56, 8));
}

#[test]
fn a_peer_to_whom_many_are_coupled_moves_with_all_of_them() {
    const READERS: usize = 1000;
    reactord_process::open_files::raise_limit();
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let mut writer = here.connect_pair();
    let readers: Vec<UnixStream> = (0..READERS).map(|_| here.connect_pair()).collect();
    here.on_act(|context| {
        let peers = context.peers();
        peers[1..].iter().for_each(|reader| context.couple(*reader, peers[0]));
    });
    writer.write_all(b"ACT\n").unwrap();
    turn_all(&mut [&mut here], |all| all[0].table().readers() == READERS);
    here.order(Which::Count(1), &mut there);
    finish(&mut [&mut here, &mut there]);
    assert_eq!((here.peers(), there.peers()), (0, READERS + 1));
    assert_eq!((here.table().readers(), there.table().readers()), (0, READERS));
    drop((writer, readers));
}

#[test]
fn a_descriptor_that_cannot_be_registered_leaves_nobody_behind() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (_client, key) = here.connect();
    let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let socket = mio::net::TcpStream::from_std(null.into());
    let record = Record { session: &[0; 4], ..here.reactor.lanes.lane.record(key).unwrap() };
    there.reactor.lanes.lane.take_in(socket, &record, 1).unwrap_err();
    assert_eq!(there.peers(), 0);
}

#[test]
fn who_comes_a_second_time_is_found_when_the_first_is_dropped() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (_client, key) = here.connect();
    let socket = || {
        let socket = here.peer(key).as_fd().try_clone_to_owned().unwrap();
        mio::net::TcpStream::from_std(socket.into())
    };
    let record = Record { session: &[0; 4], ..here.reactor.lanes.lane.record(key).unwrap() };
    let lane = &mut there.reactor.lanes.lane;
    let first = lane.take_in(socket(), &record, 1).unwrap();
    let second = lane.take_in(socket(), &record, 1).unwrap();
    lane.welcome(&[second]);
    lane.drop_taken(first);
    assert_eq!(lane.table().peers().key(record.cookie.into()), Some(second.key()));
}

#[test]
fn of_two_who_want_to_take_over_during_a_freeze_the_first_goes_on() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (_client, _) = here.connect();
    here.order(Which::All, &mut there);
    freeze(&mut here, &mut there);
    let mut callers = [1, 2].map(|pid| {
        let (channel, caller) = Channel::pair();
        let hello = Hello {
            wire_versions: WIRE_VERSIONS,
            build: String::new(),
            services: Vec::new(),
            files_max: 100,
            files_open: 0,
            upgrade: None,
            tls_layout: 0,
        };
        here.reactor.take_leave(Greeting { channel, pid, hello });
        caller
    });
    let mut told = |caller: usize| {
        callers[caller].receive().unwrap().map(|raw| match raw.decode().unwrap() {
            Frame::Refuse(refuse) => refuse.reason,
            frame => panic!("{frame:?}"),
        })
    };
    assert_eq!(told(1).as_deref(), Some("pid 1 is taking over already"));
    assert_eq!(told(0), None);
    turn_all(&mut [&mut there, &mut here], |_| {
        told(0).is_some_and(|why| why == "the predecessor serves counting, the successor offers nothing")
    });
}

/// A line that is long enough to be cut anywhere, by its number.
fn numbered(sender: usize, number: usize) -> String {
    format!("{sender} says {number}\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_two_who_are_joined_send_reaches_the_other_whole_wherever_they_are(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut servers: Vec<Server> = (0..SERVERS).map(|_| Server::counting()).collect();
        // Client and partner differ in the lowest bit.
        let mut clients: Vec<Client> = (0..CLIENTS).map(|number| servers[number / 2].connect().0).collect();
        for (server, pair) in servers.iter_mut().zip(clients.chunks_mut(2)) {
            say(&mut pair[0], "JOIN\n");
            say(&mut pair[1], "joined\n");
            assert_eq!(line(&mut pair[0], &mut [server]), "joined\n");
        }
        clients.iter().for_each(|client| client.set_nodelay(true).unwrap());
        let texts: Vec<String> = (0..CLIENTS).map(|sender| (0..300).map(|number| numbered(sender, number)).collect()).collect();
        let mut sent = [0; CLIENTS];
        for step in steps {
            match step {
                Step::Send { client, bytes } => {
                    let end = (sent[client] + bytes).min(texts[client].len());
                    clients[client].write_all(&texts[client].as_bytes()[sent[client]..end]).unwrap();
                    sent[client] = end;
                }
                Step::Turn { server, turns } => (0..turns).for_each(|_| servers[server].look()),
                Step::Move { from, to, count } => {
                    let (from, to) = two(&mut servers, from, to);
                    from.order(Which::Count(count), to);
                }
                Step::Cut { server } => servers[server].reactor.stop_moving(&Refusal::Stopping),
            }
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let expected = &texts[number ^ 1][..sent[number ^ 1]];
            let mut received = Vec::new();
            for _ in 0..TURNS_MAX {
                if received.len() >= expected.len() {
                    break;
                }
                servers.iter_mut().for_each(Server::look);
                let mut buffer = [0; 4096];
                while let Ok(bytes @ 1..) = client.read(&mut buffer) {
                    received.extend_from_slice(&buffer[..bytes]);
                }
            }
            prop_assert_eq!(String::from_utf8(received).unwrap(), expected);
        }
    }
}
