mod moves;
mod passage;
mod time;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as Client};
use std::os::fd::AsFd;

use mio::Token;
use nix::sys::signal::Signal;
use reactord_process::channel::Channel;
use reactord_process::open_files::RESERVED;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::script::lane;
use super::*;
use crate::lane::AnyLane;
use crate::lanes::And;
use crate::listen::{Listen, Target};
use crate::originals::Originals;
use crate::peer::record::Record;
use crate::peer::{Address, Peer, PeerId, Phase};
use crate::recipient::Recipient;
use crate::service::{Accepted, Context, RestoreError, Service, StreamService, Violation};
use crate::services::{Metrics, Seqnum};
use crate::sources::{Entrance, Listener};
use crate::table::Touch;
use crate::takeover::offer::Offer;
use crate::takeover::sift::{sift, sift_and_keep};
use crate::takeover::wire::{Frame, Hello, WIRE_VERSIONS};
use crate::tls::Tls;

/// How many turns a loop gets at most to do what a test waits for. A turn waits for events, but not long.
const TURNS_MAX: u32 = 2000;
const TURN: Duration = Duration::from_millis(5);

/// A loop without sources.
fn reactor<S: StreamService>(service: S, config: &Config) -> Reactor<And<S, ()>> {
    let poll = Poll::new().expect("epoll");
    let lanes = And { before: (), lane: lane(0, service, &poll, config) };
    Reactor::new(poll, lanes, Sources::none(), config, config.max_peers)
}

/// A reactor whose turns a test gives.
struct Rig<S: StreamService> {
    reactor: Reactor<And<S, ()>>,
    address: SocketAddr,
    events: Events,
    /// How much later it is for the loop than it is.
    ahead: Duration,
}

impl<S: StreamService> Rig<S> {
    fn new(service: S, config: &Config) -> Self {
        Self::with_tls(service, config, None)
    }

    /// One whose clients speak TLS, if this says with what.
    fn with_tls(service: S, config: &Config, tls: Option<Tls>) -> Self {
        let mut reactor = reactor(service, config);
        let listen = Listen { tls, ..Listen::on("clients", SocketAddr::from(([127, 0, 0, 1], 0))) };
        let listener = Listener::bind(0, &listen).unwrap();
        let Target::Tcp(address) = listener.at() else { panic!("it is a TCP listener") };
        reactor.sources.open(reactor.poll.registry(), Entrance::of_listeners([listener])).unwrap();
        Self { reactor, address, events: Events::with_capacity(EVENTS_PER_TURN), ahead: Duration::ZERO }
    }

    fn peer(&self, key: usize) -> &Peer {
        self.reactor.lanes.lane.table().peers().get(key).unwrap()
    }

    fn handle(&self, key: usize) -> PeerHandle {
        PeerHandle::new(key, self.peer(key).stamp())
    }

    fn keys(&self) -> Vec<usize> {
        self.reactor.lanes.lane.table().peers().handles().into_iter().map(PeerHandle::key).collect()
    }

    fn turn(&mut self) {
        let timeout = self.reactor.timeout().map_or(TURN, |timeout| timeout.min(TURN));
        self.reactor.poll(&mut self.events, Some(timeout)).unwrap();
        self.reactor.turn_at(Instant::now() + self.ahead, &self.events);
    }

    #[track_caller]
    fn turn_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS_MAX {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("not in {TURNS_MAX} turns");
    }

    /// A client whose connection has been accepted, and its key.
    fn connect(&mut self) -> (Client, usize) {
        let client = Client::connect(self.address).unwrap();
        client.set_nonblocking(true).unwrap();
        let address = Address::from(client.local_addr().unwrap());
        let key = |rig: &Self| rig.keys().into_iter().find(|key| rig.peer(*key).address() == address);
        self.turn_until(|rig| key(rig).is_some());
        let key = key(self).unwrap();
        (client, key)
    }

    /// Gives turns until the client has received so many bytes, or the end. How many that takes depends on how much goes at once.
    #[track_caller]
    fn receive(&mut self, client: &mut Client, bytes: usize) -> Vec<u8> {
        let (mut received, mut has_ended) = (Vec::new(), false);
        while received.len() < bytes && !has_ended {
            let before = received.len();
            self.turn_until(|_| {
                let mut buffer = [0; 64 * 1024];
                while received.len() < bytes {
                    let room = buffer.len().min(bytes - received.len());
                    match client.read(&mut buffer[..room]) {
                        Ok(0) => {
                            has_ended = true;
                            break;
                        }
                        Ok(read) => received.extend_from_slice(&buffer[..read]),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("after {} of {bytes} bytes: {error}", received.len()),
                    }
                }
                has_ended || received.len() > before
            });
        }
        received
    }
}

/// Lines that make a server do things: `B` answers 32 MiB, `C` answers 32 MiB and closes, `K` answers 32 KiB, `S` sends
/// a byte to the first peer, anything else is answered with its length.
#[derive(Default)]
struct Commands {
    first: Option<PeerId>,
}

/// More than the kernel buffers for one connection, by far (tcp(7), `tcp_wmem` and `tcp_rmem`).
const BIG: usize = 32 << 20;

/// What the kernel takes at once, and does not deliver to a client that hardly has room.
const LITTLE: usize = 32 << 10;

impl Service for Commands {
    type Session = ();
    const NAME: &'static str = "commands";
    const STATE_VERSION: u32 = 1;

    fn open(&mut self, context: &mut Context<'_, Self>) {
        self.first.get_or_insert(context.peer());
    }

    fn boundary(&self, (): &mut (), input: &[u8], searched: usize) -> Result<Option<usize>, Violation> {
        assert!(!input[..searched].contains(&b'\n'), "what counts as searched holds no message's end");
        Ok(memchr::memchr(b'\n', input).map(|newline| newline + 1))
    }

    fn message(&mut self, (): &mut (), line: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        match line {
            b"B\n" => context.reply(&vec![b'b'; BIG]),
            b"C\n" => {
                context.reply(&vec![b'c'; BIG]);
                context.close();
            }
            b"K\n" => context.reply(&[b'k'; LITTLE]),
            b"S\n" => context.send(self.first.expect("the one that speaks"), b"s").expect("it is below its mark"),
            line => context.reply(&[u8::try_from(line.len()).expect("a short line")]),
        }
        Ok(())
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[test]
fn a_held_peer_that_is_let_go_by_anothers_message_has_each_of_its_own_handled() {
    let config = Config { outbound_high_bytes: BIG / 2, outbound_low_bytes: 64 << 10, ..Config::default() };
    let mut rig = Rig::new(Commands::default(), &config);
    let (mut held, key) = rig.connect();
    let (mut other, _) = rig.connect();
    held.write_all(b"B\nE1\nE22\n").unwrap();
    rig.turn_until(|rig| !rig.peer(key).talk.inbound.is_empty());
    assert!(!rig.peer(key).talk.listens());

    let mut answers: Vec<u8> = Vec::new();
    let mut read_answers = |held: &mut Client| {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(read @ 1..) = held.read(&mut buffer) {
            answers.extend(buffer[..read].iter().filter(|byte| !b"bs".contains(byte)));
        }
        answers.clone()
    };
    // What follows begins between the marks, where others may send to it.
    rig.turn_until(|rig| {
        read_answers(&mut held);
        rig.peer(key).talk.pending_bytes() <= BIG / 2
    });
    assert!(!rig.peer(key).talk.listens());

    // The client reads, and what it makes room for is used by the other's messages alone: its own event is kept back,
    // as if it came a little later.
    let kept_back = Token::from(rig.handle(key));
    for _ in 0..TURNS_MAX {
        read_answers(&mut held);
        other.write_all(b"S\n").unwrap();
        rig.reactor.poll(&mut rig.events, Some(TURN)).unwrap();
        rig.reactor.begin_turn(Instant::now());
        for event in rig.events.iter().filter(|event| event.token() != kept_back) {
            rig.reactor.dispatch(event);
        }
        rig.reactor.finish_turn();
        if rig.peer(key).talk.listens() {
            break;
        }
    }
    assert!(rig.peer(key).talk.listens(), "its pending output is below the low mark");
    held.write_all(b"E333\n").unwrap();
    rig.turn_until(|_| read_answers(&mut held).len() == 3);
    assert_eq!(read_answers(&mut held), [3, 4, 5], "each message is answered by itself");
}

#[test]
fn a_greedy_peer_gets_one_turn_at_a_time() {
    let mut rig = Rig::new(Seqnum, &Config::default());
    let (greedy, _) = rig.connect();
    greedy.set_nonblocking(false).unwrap();
    let writer = greedy.try_clone().unwrap();
    let writing = std::thread::spawn(move || while (&writer).write_all(&[0; 1 << 20]).is_ok() {});
    let reader = greedy.try_clone().unwrap();
    let reading = std::thread::spawn(move || while matches!((&reader).read(&mut [0; 1 << 16]), Ok(1..)) {});
    let mut due = 0;
    rig.turn_until(|rig| {
        due += rig.reactor.lanes.lane.table().due();
        assert!(rig.reactor.lanes.lane.table().due() <= 1, "{}", rig.reactor.lanes.lane.table().due());
        due >= 100
    });
    greedy.shutdown(Shutdown::Both).unwrap();
    writing.join().unwrap();
    reading.join().unwrap();
}

/// It takes its time over all that comes, and notes who has sent it.
#[derive(Default)]
struct Slow {
    calls: Vec<(PeerId, usize)>,
}

impl StreamService for Slow {
    type Session = ();
    const NAME: &'static str = "slow";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) {}

    fn input(
        &mut self,
        (): &mut (),
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        self.calls.push((context.peer(), input.len()));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1) {}
        Ok(input.len())
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[test]
fn others_get_their_turn_between_two_reads_that_a_service_takes_long_to_use() {
    let mut rig = Rig::new(Slow::default(), &Config::default());
    let [(mut much, much_key), (mut little, _)] = [(); 2].map(|()| rig.connect());
    // All of it is there when the loop looks.
    let sent = much.write(&[0; 1 << 20]).unwrap();
    assert!(sent > 3 * 64 * 1024, "the kernel takes several reads at once, not {sent} bytes");
    little.write_all(&[0]).unwrap();
    let much_id = rig.peer(much_key).id();
    rig.turn_until(|rig| rig.reactor.lanes.lane.service().calls.iter().any(|(id, _)| *id != much_id));
    let calls = &rig.reactor.lanes.lane.service().calls;
    assert!(calls.len() <= 2, "{calls:?}: one who sends little waits for one read of one who sends much");
    rig.turn_until(|rig| rig.reactor.lanes.lane.service().calls.iter().map(|(_, bytes)| bytes).sum::<usize>() > sent);
    let [first, .., last] = &rig.reactor.lanes.lane.service().calls[..] else { panic!("there were several reads") };
    assert!(last.1 < first.1, "a read takes less when it takes long to use");
}

#[test]
fn what_was_answered_before_a_close_reaches_a_client_that_goes_on_sending() {
    let mut rig = Rig::new(Commands::default(), &Config::default());
    let (mut client, _) = rig.connect();
    client.write_all(b"C\n").unwrap();
    let mut received = 0;
    let mut buffer = vec![0; 64 * 1024];
    rig.turn_until(|_| {
        // It may fail when the connection has ended, and not before all has been read.
        let sent = client.write(b"more\n");
        match client.read(&mut buffer) {
            Ok(0) => return true,
            Ok(read) => received += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("after {received} bytes, and {sent:?}: {error}"),
        }
        false
    });
    assert_eq!(received, BIG);
    client.shutdown(Shutdown::Both).unwrap();
    rig.turn_until(|rig| rig.reactor.lanes.is_empty());
}

#[test]
fn a_client_that_does_not_end_does_not_linger_for_ever() {
    let mut rig = Rig::new(Commands::default(), &Config::default());
    let (mut client, key) = rig.connect();
    client.write_all(b"C\n").unwrap();
    assert_eq!(rig.receive(&mut client, BIG).len(), BIG);
    rig.turn_until(|rig| rig.peer(key).talk.phase() == Phase::Lingering);
    let due = rig.reactor.timeout().expect("the loop wakes up for it");
    assert!(due <= Duration::from_secs(2), "{due:?}");
    rig.turn_until(|rig| rig.reactor.lanes.is_empty());
}

#[test]
fn a_client_that_reads_nothing_of_its_last_answer_is_given_up() {
    let config = Config { close_timeout: Duration::ZERO, ..Config::default() };
    let mut rig = Rig::new(Commands::default(), &config);
    let (mut client, key) = rig.connect();
    client.write_all(b"C\n").unwrap();
    rig.turn_until(|rig| rig.peer(key).talk.phase() == Phase::Closing);
    assert!(rig.peer(key).talk.pending_bytes() > 0);
    // As a successor that is copying.
    let _duplicate = rig.peer(key).as_fd().try_clone_to_owned().unwrap();
    let began = Instant::now();
    rig.turn_until(|rig| rig.reactor.lanes.is_empty());
    assert!(began.elapsed() > Duration::from_millis(500), "not before its time: {:?}", began.elapsed());
    let ended = loop {
        if let Err(error) = client.read(&mut [0; 64 << 10]) {
            break error;
        }
    };
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset, "the kernel keeps nothing of what is left");
}

#[test]
fn a_client_that_reads_all_the_time_is_not_given_up_however_short_the_timeout() {
    let mut rig = Rig::new(Commands::default(), &Config { close_timeout: Duration::ZERO, ..Config::default() });
    let (mut client, _) = rig.connect();
    client.write_all(b"C\n").unwrap();
    assert_eq!(rig.receive(&mut client, BIG).len(), BIG);
}

#[test]
fn whoever_only_sends_more_of_a_message_has_the_same_session() {
    let mut rig = Rig::new(Seqnum, &Config::default());
    let (mut client, key) = rig.connect();
    let mut touched = |rig: &mut Rig<Seqnum>, bytes: &[u8]| {
        rig.reactor.lanes.lane.table_mut().watch(Recipient::Successor);
        client.write_all(bytes).unwrap();
        let mut touches = Vec::new();
        rig.turn_until(|rig| {
            touches.extend(rig.reactor.lanes.lane.table_mut().touches(Recipient::Successor));
            !touches.is_empty()
        });
        touches
    };
    assert_eq!(touched(&mut rig, &[0]), [Touch::Changed { key, session: false }]);
    assert_eq!(touched(&mut rig, &[0, 0, 7]), [Touch::Changed { key, session: true }]);
}

#[test]
fn a_client_that_reads_its_last_answer_slowly_is_not_given_up() {
    let mut rig = Rig::new(Commands::default(), &Config { close_timeout: Duration::from_secs(1), ..Config::default() });
    let (mut client, key) = rig.connect();
    client.write_all(b"C\n").unwrap();
    rig.turn_until(|rig| rig.peer(key).talk.phase() == Phase::Closing);
    // For twice the time, it reads a little every now and then.
    let (began, mut received, mut buffer) = (Instant::now(), 0, vec![0; 512 << 10]);
    while began.elapsed() < Duration::from_secs(2) {
        received += client.read(&mut buffer).unwrap_or(0);
        let next = Instant::now() + Duration::from_millis(200);
        rig.turn_until(|_| Instant::now() >= next);
    }
    assert!(received < BIG / 2, "it is slow: {received} bytes");
    assert_eq!(rig.receive(&mut client, BIG - received).len(), BIG - received);
}

#[test]
fn a_stop_waits_for_nobody_who_has_all_answers_and_asks_nothing() {
    let mut rig = Rig::new(Commands::default(), &Config::default());
    let (_silent, _) = rig.connect();
    let (mut answered, answered_key) = rig.connect();
    answered.write_all(b"E1\n").unwrap();
    assert_eq!(rig.receive(&mut answered, 1), [3]);
    // Its kernel may take a moment to acknowledge that (tcp(7), delayed acknowledgements).
    rig.turn_until(|rig| !rig.peer(answered_key).is_undelivered());
    let (mut pending, key) = rig.connect();
    pending.write_all(b"B\n").unwrap();
    rig.turn_until(|rig| rig.peer(key).talk.pending_bytes() > 0);

    rig.reactor.stop(&Signal::SIGTERM);
    assert_eq!(rig.keys(), [key], "only whose output is pending is waited for");
    assert!(!rig.reactor.stopped());
    assert_eq!(rig.receive(&mut pending, BIG).len(), BIG);
    drop(pending);
    rig.turn_until(|rig| rig.reactor.stopped());
}

#[test]
fn a_stop_serves_on_for_a_moment_where_somebody_could_take_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("takeover");
    let mut rig = Rig::new(Seqnum, &Config::default());
    let callers = Callers::on(TakeoverListener::bind(&path).unwrap());
    rig.reactor.sources.answer(rig.reactor.poll.registry(), callers).unwrap();
    let (mut client, _) = rig.connect();

    rig.reactor.stop(&Signal::SIGTERM);
    assert!(rig.reactor.timeout().expect("the loop wakes up for it") <= stop::LAST_CALL);
    let later = Instant::now() + Duration::from_secs(60);
    rig.reactor.stop = Some(Stop::LastCall { until: later, taken_over_by: later, drained_by: later });
    client.write_all(&[0, 0, 0, 7]).unwrap();
    assert_eq!(rig.receive(&mut client, 4), [0, 0, 0, 7]);
    rig.connect();
    assert!(path.exists() && !rig.reactor.stopped());

    rig.reactor.stop = Some(Stop::LastCall { until: rig.reactor.now, taken_over_by: later, drained_by: later });
    rig.turn();
    assert!(!path.exists());
    rig.turn_until(|rig| rig.reactor.stopped());
}

#[test]
fn urgent_data_does_not_hide_what_follows_it() {
    let mut rig = Rig::new(Seqnum, &Config::default());
    let (mut client, _) = rig.connect();
    client.write_all(&1u32.to_be_bytes()).unwrap();
    rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB).unwrap();
    client.write_all(&[0, 0, 0, 2, 0, 0, 0, 3]).unwrap();
    assert_eq!(rig.receive(&mut client, 12), [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
}

#[test]
fn something_urgent_is_told_also_of_who_is_not_read_from_while_its_output_waits() {
    let mut rig = Rig::new(Commands::default(), &Config::default());
    let (mut client, key) = rig.connect();
    client.write_all(b"B\n").unwrap();
    rig.turn_until(|rig| rig.peer(key).talk.pending_bytes() > 0 && !rig.peer(key).talk.listens());
    rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB).unwrap();
    let Rig { reactor, events, .. } = &mut rig;
    let mut polls = 0..TURNS_MAX;
    while !events.iter().any(mio::event::Event::is_priority) {
        assert!(polls.next().is_some(), "it is told");
        reactor.poll(events, Some(TURN)).unwrap();
    }
}

#[test]
fn a_stop_waits_for_what_is_written_and_not_delivered() {
    let mut rig = Rig::new(Commands::default(), &Config::default());
    // A client with hardly any room to receive, as after a long and lossy way.
    let client = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    set_socket_recv_buffer_size(&client, 2048).unwrap();
    rustix::net::connect(&client, &rig.address).unwrap();
    let mut client = Client::from(client);
    client.set_nonblocking(true).unwrap();
    client.write_all(b"K\n").unwrap();
    rig.turn_until(|rig| rig.reactor.lanes.lane.table().peers().iter().any(Peer::is_undelivered));
    assert_eq!(rig.reactor.lanes.lane.table().peers().iter().next().unwrap().talk.pending_bytes(), 0, "all is written");

    rig.reactor.stop(&Signal::SIGTERM);
    // It asks on, and only then reads.
    client.write_all(b"E1\n").unwrap();
    rig.turn();
    assert!(!rig.reactor.stopped(), "it is waited for");
    assert_eq!(rig.receive(&mut client, LITTLE).len(), LITTLE);
    drop(client);
    rig.turn_until(|rig| rig.reactor.stopped());
}

#[test]
fn a_stop_that_waits_no_longer_ends_connections_of_which_another_process_holds_duplicates() {
    let mut rig = Rig::new(Commands::default(), &Config::default());
    let (mut client, key) = rig.connect();
    client.write_all(b"B\n").unwrap();
    rig.turn_until(|rig| rig.peer(key).talk.pending_bytes() > 0);
    // As a successor that was stopped in the middle of its takeover.
    let _duplicate = rig.peer(key).as_fd().try_clone_to_owned().unwrap();

    rig.reactor.stop(&Signal::SIGTERM);
    rig.reactor.stop(&Signal::SIGTERM);
    assert_eq!(rig.reactor.run(None).unwrap(), Outcome::Stopped);
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).expect("the connection ends");
    assert!(received.len() < BIG, "not all was written");
}

/// A second loop that has adopted duplicates of all peers of the first, as a successor does.
fn successor_of<S: StreamService + Default>(predecessor: &Rig<S>, config: &Config) -> Reactor<And<S, ()>> {
    let mut successor = reactor(S::default(), config);
    adopt_all(predecessor, &mut successor);
    successor
}

fn adopt_all<S: StreamService>(predecessor: &Rig<S>, successor: &mut Reactor<And<S, ()>>) {
    for key in predecessor.keys() {
        let peer = predecessor.peer(key);
        let duplicate = peer.as_fd().try_clone_to_owned().unwrap();
        let mut session = Vec::new();
        predecessor.reactor.lanes.lane.save_session(key, &mut session);
        let record = predecessor.reactor.lanes.lane.record(key).unwrap();
        successor.lanes.lane.adopt(duplicate.into(), &Record { session: &session, ..record }, 1).unwrap();
    }
}

#[test]
fn a_successor_that_holds_a_peer_less_handles_what_it_received_before_what_comes() {
    let config = Config { outbound_high_bytes: BIG / 2, ..Config::default() };
    let mut predecessor = Rig::new(Commands::default(), &config);
    let (mut held, key) = predecessor.connect();
    held.write_all(b"B\nE1\nE22\n").unwrap();
    predecessor.turn_until(|rig| !rig.peer(key).talk.inbound.is_empty());
    assert!(!predecessor.peer(key).talk.listens());

    let generous = Config { outbound_high_bytes: 2 * BIG, outbound_low_bytes: 2 * BIG, ..config };
    let reactor = successor_of(&predecessor, &generous);
    let mut successor =
        Rig { reactor, address: predecessor.address, events: predecessor.events, ahead: Duration::ZERO };
    // It comes with the first poll.
    held.write_all(b"E333\n").unwrap();
    let answers = successor.receive(&mut held, BIG + 3);
    assert_eq!(answers[BIG..], [3, 4, 5], "each message is answered by itself");
}

#[test]
fn a_takeover_does_not_begin_anew_how_long_a_client_is_waited_for() {
    let mut predecessor = Rig::new(Commands::default(), &Config::default());
    let (mut client, key) = predecessor.connect();
    client.write_all(b"C\n").unwrap();
    assert_eq!(predecessor.receive(&mut client, BIG).len(), BIG);
    predecessor.turn_until(|rig| rig.peer(key).talk.phase() == Phase::Lingering);
    let parting = predecessor.peer(key).record().parting;
    assert!(parting.is_some(), "it has begun");

    let successor = successor_of(&predecessor, &Config::default());
    assert_eq!(successor.lanes.lane.table().peers().iter().next().unwrap().record().parting, parting);
}

#[test]
fn what_the_predecessor_has_read_during_the_copy_is_no_matter_for_the_first_poll() {
    let mut predecessor = Rig::new(Seqnum, &Config::default());
    let (mut answered, _) = predecessor.connect();
    let (mut unread, _) = predecessor.connect();
    let mut successor = successor_of(&predecessor, &Config::default());

    answered.write_all(&[0, 0, 0, 7]).unwrap();
    assert_eq!(predecessor.receive(&mut answered, 4), [0, 0, 0, 7]);
    unread.write_all(&[0, 0, 0, 8]).unwrap();
    // From here on the predecessor is frozen.
    sift(&mut successor.poll, &mut successor.lanes).unwrap();
    assert_eq!(successor.lanes.lane.table().due(), 1, "only what is unread is of interest");
    let mut events = Events::with_capacity(EVENTS_PER_TURN);
    successor.poll(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(events.is_empty(), "{events:?}");

    successor.turn(&events);
    let mut number = [0; 4];
    unread.set_nonblocking(false).unwrap();
    unread.read_exact(&mut number).unwrap();
    assert_eq!(number, [0, 0, 0, 8], "the successor has read what its event was taken for");
}

#[test]
fn who_is_adopted_by_a_standby_is_registered_when_it_serves_if_there_was_no_time_before() {
    let mut active = Rig::new(Seqnum, &Config::default());
    let clients: Vec<Client> = (0..5).map(|_| active.connect().0).collect();
    let mut standby = reactor(Seqnum, &Config::default());
    standby.lanes.lane.table_mut().put_off();
    adopt_all(&active, &mut standby);
    for mut client in &clients {
        client.write_all(&[0, 0, 0, 8]).unwrap();
    }
    let mut events = Events::with_capacity(EVENTS_PER_TURN);
    let mut seen = |standby: &mut Reactor<_>| {
        standby.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().count()
    };
    assert_eq!(seen(&mut standby), 0, "to be registered takes time");
    let table = standby.lanes.lane.table_mut();
    assert_eq!([3, 0].map(|at_most| table.register_some(at_most).unwrap()), [3, 0]);
    // One of the others has left by then.
    let left = table.peers().handles()[0];
    table.let_go(left.key());
    assert_eq!(seen(&mut standby), 3);
    standby.lanes.lane.table_mut().make_up().unwrap();
    assert_eq!(seen(&mut standby), 1);
    assert_eq!(standby.lanes.lane.table_mut().register_some(1).unwrap(), 0);
}

#[test]
fn what_the_active_reads_is_no_matter_for_a_standbys_first_poll_and_what_it_leaves_is() {
    let mut active = Rig::new(Seqnum, &Config::default());
    let (mut client, _) = active.connect();
    let (mut answered, _) = active.connect();
    let mut standby = successor_of(&active, &Config::default());
    let mut events = Events::with_capacity(EVENTS_PER_TURN);
    for is_read in [true, false] {
        answered.write_all(&[0, 0, 0, 7]).unwrap();
        assert_eq!(active.receive(&mut answered, 4), [0, 0, 0, 7]);
        client.write_all(&[0, 0, 0, 8]).unwrap();
        sift_and_keep(&mut standby.poll, &mut standby.lanes).unwrap();
        if is_read {
            assert_eq!(active.receive(&mut client, 4), [0, 0, 0, 8]);
        }
        sift_and_keep(&mut standby.poll, &mut standby.lanes).unwrap();
        standby.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), if is_read { 0 } else { 1 }, "{events:?}");
    }
    assert_eq!(standby.lanes.lane.table().due(), 0, "it is looked at when it serves");
}

#[test]
fn a_successor_that_gives_up_leaves_the_takeover_path_to_its_predecessor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("takeover");
    let bound = TakeoverListener::bind(&path).unwrap();
    let duplicate = bound.as_fd().try_clone_to_owned().unwrap();
    let registry = reactor(Seqnum, &Config::default()).poll.registry().try_clone().unwrap();
    let mut arriving = Sources::none();
    let adopted = TakeoverListener::adopt(duplicate, path.clone(), bound.file());
    arriving.answer(&registry, Callers::on(adopted)).unwrap();
    arriving.give_up();
    assert!(path.exists());

    let mut starting = Sources::none();
    starting.answer(&registry, Callers::on(bound)).unwrap();
    starting.give_up();
    assert!(!path.exists(), "a path of its own is not left behind");
}

#[test]
fn a_server_that_is_full_lets_in_a_few_of_a_service_whose_first_peers_do_not_count() {
    let mut rig = Rig::new(Metrics::default(), &Config { max_peers: 1, ..Config::default() });
    let let_in: Vec<Client> = (0..=Metrics::PEERS_BEYOND_MAX).map(|_| rig.connect().0).collect();
    let late = Client::connect(rig.address).unwrap();
    (0..5).for_each(|_| rig.turn());
    assert_eq!(rig.keys().len(), let_in.len(), "one counts, and that is the maximum");
    drop((let_in, late));
}

#[test]
fn a_successor_needs_room_for_the_listeners_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(Seqnum, &Config::default());
    let callers = Callers::on(TakeoverListener::bind(&directory.path().join("takeover")).unwrap());
    rig.reactor.sources.answer(rig.reactor.poll.registry(), callers).unwrap();
    let (channel, mut successor) = Channel::pair();
    let files_open = 7;
    let hello = Hello {
        wire_versions: WIRE_VERSIONS,
        build: String::new(),
        services: vec![Offer::of::<Seqnum>().0],
        files_max: files_open + RESERVED as u64,
        files_open,
        upgrade: None,
        tls_layout: 0,
    };
    rig.reactor.begin_departure(Greeting { channel, pid: 1, hello });
    let raw = successor.receive().unwrap().expect("it is refused");
    let Frame::Refuse(refuse) = raw.decode().unwrap() else { panic!("it is refused") };
    assert_eq!(refuse.reason, "the successor may open 39 files, 40 are needed");
}

mod flow;

#[cfg(feature = "tls")]
mod handshakes;
mod joined;
mod opened;
#[cfg(feature = "tls")]
mod opened_tls;
mod rounds;
#[cfg(feature = "tls")]
mod tickets;
