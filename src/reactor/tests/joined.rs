//! Peers that are joined or coupled by their service, with takeovers in between.

use std::net::TcpListener as Upstream;

use super::opened::handed_over;
use super::*;
use crate::peer::ties::Holds;
use crate::service::{Closed, Connect};

/// A proxy: whoever comes is joined to a connection to the upstream.
pub(super) struct Forward {
    pub(super) upstream: Target,
    pub(super) idle: Option<Duration>,
    /// The same once one direction has ended.
    pub(super) idle_half_closed: Option<Duration>,
    pub(super) ends: Vec<String>,
}

/// Where no test listens.
impl Default for Forward {
    fn default() -> Self {
        let upstream = Target::Tcp(([0, 0, 0, 0], 0).into());
        Self { upstream, idle: None, idle_half_closed: None, ends: Vec::new() }
    }
}

impl StreamService for Forward {
    /// Of a connection to the upstream: whose it is.
    type Session = Option<PeerId>;
    const NAME: &'static str = "forward";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, context: &mut Context<'_, Self>) -> Option<PeerId> {
        let client = context.peer();
        if context.connect(&Connect::to(self.upstream.clone()), Some(client)).is_err() {
            context.close();
        }
        None
    }

    /// What comes before the upstream is there waits for it.
    fn input(
        &mut self,
        _: &mut Option<PeerId>,
        _: &[u8],
        _: usize,
        _: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        Ok(0)
    }

    fn ended(&mut self, _: &mut Option<PeerId>, _: &mut Context<'_, Self>) {}

    fn connected(&mut self, client: &mut Option<PeerId>, context: &mut Context<'_, Self>) {
        context.reply(b"PROXY\n");
        let client = client.expect("it was opened for somebody");
        if context.join(client, context.peer(), self.idle).is_err() {
            context.close();
        }
    }

    fn half_closed(&mut self, client: &mut Option<PeerId>, context: &mut Context<'_, Self>) {
        if self.idle_half_closed.is_some() {
            self.ends.push(format!("{} half-closed", if client.is_none() { "client" } else { "upstream" }));
            context.set_idle(context.peer(), self.idle_half_closed);
        }
    }

    fn closed(&mut self, client: Option<PeerId>, how: &Closed, _: &mut Context<'_, Self>) {
        self.ends.push(format!("{}: {how}", if client.is_none() { "client" } else { "upstream" }));
    }

    fn save_session(&self, client: &Option<PeerId>, record: &mut Vec<u8>) {
        record.extend(client.iter().flat_map(|client| u64::from(*client).to_be_bytes()));
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<Option<PeerId>, RestoreError> {
        Ok(record.try_into().ok().map(|client| PeerId::from(u64::from_be_bytes(client))))
    }
}

/// A proxy between marks that are easily reached.
pub(super) fn forward(idle: Option<Duration>) -> (Rig<Forward>, Upstream, Config) {
    let upstream = Upstream::bind("127.0.0.1:0").unwrap();
    let config = Config { outbound_high_bytes: 128 << 10, outbound_low_bytes: 32 << 10, ..Config::default() };
    let service = Forward { upstream: Target::Tcp(upstream.local_addr().unwrap()), idle, ..Forward::default() };
    (Rig::new(service, &config), upstream, config)
}

impl Rig<Forward> {
    /// A client, and its connection at the upstream, at which the first line has been read.
    pub(super) fn pair(&mut self, upstream: &Upstream) -> (Client, Client) {
        let (client, _) = self.connect();
        upstream.set_nonblocking(true).unwrap();
        let mut accepted = None;
        self.turn_until(|_| {
            accepted = upstream.accept().ok();
            accepted.is_some()
        });
        let (mut server, _) = accepted.unwrap();
        server.set_nonblocking(true).unwrap();
        assert_eq!(self.receive(&mut server, 6), b"PROXY\n");
        (client, server)
    }

    pub(super) fn ends(&self) -> Vec<String> {
        let mut ends = self.reactor.lanes.lane.service().ends.clone();
        ends.sort();
        ends
    }

    #[track_caller]
    pub(super) fn assert_bounded(&self) {
        for peer in self.reactor.lanes.lane.table().peers().iter() {
            let pending_bytes = peer.talk.pending_bytes() + peer.talk.inbound.len();
            assert!(pending_bytes <= READ_BYTES, "{pending_bytes} bytes of {peer:?}");
        }
    }
}

/// A stream of bytes in which each place looks different.
pub(super) fn stream(bytes: std::ops::Range<usize>, salt: usize) -> Vec<u8> {
    bytes.map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ salt as u8).collect()
}

/// Of a joined peer, what was read at once at most is kept.
const READ_BYTES: usize = 64 << 10;

/// One direction of a pair of sockets.
pub(super) struct Direction {
    from: Client,
    to: Client,
    salt: usize,
    pub(super) sent: usize,
    pub(super) received: usize,
    is_shut: bool,
    is_ended: bool,
}

impl Direction {
    /// One that does not end.
    pub(super) fn endless(from: &Client, to: &Client, salt: usize) -> Self {
        let [from, to] = [from, to].map(|socket| socket.try_clone().unwrap());
        Self { from, to, salt, sent: 0, received: 0, is_shut: true, is_ended: false }
    }

    /// Sends all it can, and receives a little.
    pub(super) fn go_on(&mut self, bytes: usize, receive_max: usize) {
        while self.sent < bytes {
            let chunk = stream(self.sent..bytes.min(self.sent + (64 << 10)), self.salt);
            match self.from.write(&chunk) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("after {} bytes: {error}", self.sent),
            }
        }
        if self.sent == bytes && !std::mem::replace(&mut self.is_shut, true) {
            self.from.shutdown(Shutdown::Write).unwrap();
        }
        let mut buffer = vec![0; receive_max];
        match self.to.read(&mut buffer) {
            Ok(0) => self.is_ended = true,
            Ok(read) => {
                assert!(buffer[..read] == stream(self.received..self.received + read, self.salt));
                self.received += read;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("after {} bytes: {error}", self.received),
        }
    }
}

#[test]
fn a_joined_peer_is_read_from_while_it_does_not_read() {
    const BYTES: usize = 2 << 20;
    let (mut rig, upstream, _) = forward(None);
    let (mut client, mut server) = rig.pair(&upstream);
    // Neither side reads before it has written: as much as fits between them is on its way to the upstream.
    let mut sent = 0;
    for _ in 0..50 {
        while let Ok(bytes) = client.write(&stream(sent..sent + (64 << 10), 1)) {
            sent += bytes;
        }
        rig.turn();
    }
    assert!(rig.reactor.lanes.lane.table().peers().iter().any(|peer| peer.talk.waits_to_write()), "{sent} bytes");
    let mut echo = Direction {
        from: server.try_clone().unwrap(),
        to: client,
        salt: 2,
        sent: 0,
        received: 0,
        is_shut: true,
        is_ended: false,
    };
    rig.turn_until(|_| {
        echo.go_on(BYTES, 64 << 10);
        echo.received == BYTES
    });
    rig.assert_bounded();
    let mut received = Vec::new();
    rig.turn_until(|_| {
        let mut buffer = vec![0; 64 << 10];
        if let Ok(bytes) = server.read(&mut buffer) {
            received.extend_from_slice(&buffer[..bytes]);
        }
        received.len() == sent
    });
    assert!(received == stream(0..sent, 1));
}

#[test]
fn slow_readers_get_every_byte_through_several_takeovers_with_one_read_of_each_in_memory() {
    const BYTES: usize = 8 << 20;
    const TAKEOVERS: usize = 6;
    let (mut rig, upstream, config) = forward(Some(Duration::from_secs(600)));
    let mut directions = Vec::new();
    for salt in 0..3 {
        let (client, server) = rig.pair(&upstream);
        let [from, to] = [&client, &server].map(|socket| socket.try_clone().unwrap());
        let direction =
            |from, to, salt| Direction { from, to, salt, sent: 0, received: 0, is_shut: false, is_ended: false };
        directions.extend([direction(from, to, salt), direction(server, client, salt + 100)]);
    }
    let mut takeovers = 0;
    for step in 0.. {
        for direction in &mut directions {
            direction.go_on(BYTES, 48 << 10);
        }
        rig.turn();
        rig.assert_bounded();
        let received: usize = directions.iter().map(|direction| direction.received).sum();
        if received > BYTES * 6 * (takeovers + 1) / (TAKEOVERS + 2) {
            rig = handed_over(rig, &config);
            takeovers += 1;
        }
        if directions.iter().all(|direction| direction.is_ended) {
            break;
        }
        assert!(step < 100_000, "{received} bytes");
    }
    assert!(directions.iter().all(|direction| direction.received == BYTES));
    assert!(takeovers >= TAKEOVERS);
    rig.turn_until(|rig| rig.keys().is_empty());
    assert!(rig.ends().iter().all(|end| end.ends_with(": it has ended")), "{:?}", rig.ends());
}

#[test]
fn what_came_before_the_join_comes_first_and_half_closes_are_passed_on() {
    let (mut rig, upstream, config) = forward(None);
    let mut client = Client::connect(rig.address).unwrap();
    client.write_all(b"request").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut server = None;
    upstream.set_nonblocking(true).unwrap();
    rig.turn_until(|_| {
        server = upstream.accept().ok();
        server.is_some()
    });
    let (mut server, _) = server.unwrap();
    server.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    rig.turn_until(|_| server.read_to_end(&mut received).is_ok());
    assert_eq!(received, b"PROXY\nrequest");
    let mut rig = handed_over(rig, &config);
    client.set_nonblocking(true).unwrap();
    server.write_all(b"answer").unwrap();
    assert_eq!(rig.receive(&mut client, 6), b"answer");
    drop(server);
    let mut rest = Vec::new();
    rig.turn_until(|_| client.read_to_end(&mut rest).is_ok());
    assert!(rest.is_empty());
    rig.turn_until(|rig| rig.ends() == ["client: it has ended", "upstream: it has ended"]);
}

#[test]
fn a_reset_that_another_process_has_read_is_one_still() {
    let (mut rig, upstream, _) = forward(None);
    let (client, mut server) = rig.pair(&upstream);
    let port = client.local_addr().unwrap().port();
    rustix::net::connect_unspec(&client).unwrap();
    let keys = rig.keys();
    let key = keys.into_iter().find(|key| rig.peer(*key).address().to_string().ends_with(&format!(":{port}"))).unwrap();
    // The kernel tells it once.
    let theirs = std::net::TcpStream::from(rig.peer(key).as_fd().try_clone_to_owned().unwrap());
    while theirs.take_error().unwrap().is_none() {
        std::thread::yield_now();
    }
    rig.turn_until(|_| match server.read(&mut [0; 8]) {
        Ok(0) => panic!("it looks as if all had been said"),
        read => read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
    });
}

#[test]
fn a_reset_of_one_side_is_passed_on_to_the_other() {
    for takes_over in [false, true] {
        let (mut rig, upstream, config) = forward(None);
        let (client, mut server) = rig.pair(&upstream);
        if takes_over {
            rig = handed_over(rig, &config);
        }
        rustix::net::connect_unspec(&client).unwrap();
        let mut ended = None;
        rig.turn_until(|_| match server.read(&mut [0; 8]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            read => {
                ended = Some(read);
                true
            }
        });
        assert_eq!(ended.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
        rig.turn_until(|rig| rig.keys().is_empty());
        let ends = rig.ends();
        assert!(ends[0].starts_with("client: lost") && ends[1].starts_with("upstream: lost"), "{ends:?}");
    }
}

#[test]
fn both_are_closed_when_nothing_has_moved_for_too_long_and_not_before() {
    let idle = Duration::from_secs(60);
    let (mut rig, upstream, config) = forward(Some(idle));
    let (mut client, mut server) = rig.pair(&upstream);
    rig.ahead = idle * 3 / 4;
    client.write_all(b"hello").unwrap();
    assert_eq!(rig.receive(&mut server, 5), b"hello");
    let mut rig = handed_over(rig, &config);
    rig.ahead = idle * 3 / 2;
    rig.turn();
    rig.turn();
    assert!(rig.ends().is_empty(), "{:?}", rig.ends());
    rig.ahead = idle * 2;
    rig.turn_until(|_| matches!(client.read(&mut [0; 8]), Ok(0)));
    rig.turn_until(|_| matches!(server.read(&mut [0; 8]), Ok(0)));
    drop((client, server));
    rig.turn_until(|rig| rig.ends() == ["client: its deadline was reached", "upstream: its deadline was reached"]);
}

#[test]
fn who_is_silent_has_no_more_time_with_each_takeover() {
    let idle = Duration::from_secs(60);
    let (mut rig, upstream, config) = forward(Some(idle));
    let (mut client, server) = rig.pair(&upstream);
    client.set_nonblocking(true).unwrap();
    for _ in 0..20 {
        rig = handed_over(rig, &config);
        rig.turn();
    }
    // What the first has told is later by an eighth at most.
    rig.ahead = idle * 9 / 8 + Duration::from_secs(1);
    rig.turn_until(|_| matches!(client.read(&mut [0; 8]), Ok(0)));
    drop((client, server));
    rig.turn_until(|rig| rig.ends() == ["client: its deadline was reached", "upstream: its deadline was reached"]);
}

#[test]
fn once_one_direction_has_ended_another_time_counts_also_for_a_successor() {
    for takes_over in [false, true] {
        let (mut rig, upstream, config) = forward(None);
        rig.reactor.lanes.lane.service_mut().idle_half_closed = Some(Duration::from_secs(60));
        let (mut client, mut server) = rig.pair(&upstream);
        client.shutdown(Shutdown::Write).unwrap();
        rig.turn_until(|_| matches!(server.read(&mut [0; 8]), Ok(0)));
        assert_eq!(rig.ends(), ["client half-closed"]);
        client.set_nonblocking(true).unwrap();
        if takes_over {
            rig = handed_over(rig, &config);
        }
        rig.ahead = Duration::from_secs(50);
        rig.turn();
        rig.turn();
        assert!(rig.ends().iter().all(|end| end.ends_with("half-closed")), "{:?}", rig.ends());
        rig.ahead = Duration::from_secs(70);
        rig.turn_until(|_| matches!(client.read(&mut [0; 8]), Ok(0)));
        drop((client, server));
        rig.turn_until(|rig| rig.ends().iter().filter(|end| end.ends_with(": its deadline was reached")).count() == 2);
    }
}

#[test]
fn a_successor_looks_at_who_is_joined_once_however_often_it_is_told_of_changes() {
    let (mut rig, upstream, config) = forward(Some(Duration::from_secs(60)));
    let _pair = rig.pair(&upstream);
    let (mut successor, known) = rig.successor(&config);
    for _ in 0..100 {
        for (key, ends) in &known {
            let change = rig.reactor.lanes.lane.record(*key).unwrap();
            successor.lanes.lane.follow(&change.since(*ends, None, usize::MAX), 1).unwrap();
        }
    }
    assert_eq!(successor.lanes.lane.table().alarms(), 1, "one for both");
}

#[test]
fn when_something_last_moved_is_told_by_the_clock_of_all_processes() {
    let (mut rig, upstream, _) = forward(Some(Duration::from_secs(60)));
    let (mut client, mut server) = rig.pair(&upstream);
    rig.reactor.lanes.lane.table_mut().keep_time_of_another(1 << 60);
    client.write_all(b"hello").unwrap();
    assert_eq!(rig.receive(&mut server, 5), b"hello");
    for key in rig.keys() {
        let joined = rig.reactor.lanes.lane.record(key).unwrap().ties.joined.unwrap();
        assert!(joined.moved_ns <= monotonic_ns() + joined.idle_ns.unwrap().get(), "{joined:?}");
    }
}

/// Sends what the second peer says to the first, to which it is coupled.
#[derive(Default)]
struct Pour {
    first: Option<PeerId>,
}

impl StreamService for Pour {
    type Session = ();
    const NAME: &'static str = "pour";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, context: &mut Context<'_, Self>) {
        match self.first {
            None => self.first = Some(context.peer()),
            Some(first) => context.couple(context.peer(), first),
        }
    }

    fn input(
        &mut self,
        (): &mut (),
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        let first = self.first.expect("it came first");
        context.send(first, input).expect("who is coupled does not come when there is no room");
        Ok(input.len())
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn save(&self, record: &mut Vec<u8>) {
        record.extend(self.first.iter().flat_map(|first| u64::from(*first).to_be_bytes()));
    }

    fn restore(&mut self, _: u32, record: &[u8]) -> Result<(), RestoreError> {
        self.first = record.try_into().ok().map(|first| PeerId::from(u64::from_be_bytes(first)));
        Ok(())
    }
}

#[test]
fn who_is_coupled_is_not_read_from_while_too_much_is_pending_for_the_other() {
    const BYTES: usize = 16 << 20;
    let config = Config { outbound_high_bytes: 64 << 10, outbound_low_bytes: 16 << 10, ..Config::default() };
    let mut rig = Rig::new(Pour::default(), &config);
    let (first, key) = rig.connect();
    let (second, second_key) = rig.connect();
    let mut direction =
        Direction { from: second, to: first, salt: 0, sent: 0, received: 0, is_shut: false, is_ended: false };
    // The first one reads nothing until the second one is not read from. That it cannot send for a moment is no sign of that.
    while !rig.peer(key).talk.is_full() || rig.peer(second_key).talk.listens() {
        assert!(direction.sent < BYTES, "all was read, though the other does not read");
        direction.go_on(BYTES, 0);
        direction.is_ended = false;
        rig.turn();
    }
    assert!(rig.peer(key).talk.pending_bytes() <= config.outbound_high_bytes + (64 << 10));
    let mut rig = handed_over(rig, &config);
    assert!(!rig.peer(rig.keys()[1]).talk.listens());
    while direction.received < BYTES {
        direction.go_on(BYTES, 1 << 20);
        rig.turn();
    }
}

#[test]
fn who_is_coupled_to_another_or_leaves_is_no_reader_of_the_one_before() {
    let mut rig = Rig::new(Pour::default(), &Config::default());
    let (_first, _) = rig.connect();
    let (_second, second_key) = rig.connect();
    let (third, third_key) = rig.connect();
    let [second, reader] = [second_key, third_key].map(|key| rig.peer(key).id());
    assert_eq!(rig.reactor.lanes.lane.table().readers(), 2);
    rig.reactor.lanes.lane.table_mut().peers_mut().couple(reader, second);
    assert_eq!(rig.reactor.lanes.lane.table().readers(), 2);
    drop(third);
    rig.turn_until(|rig| rig.keys().len() == 2);
    assert_eq!(rig.reactor.lanes.lane.table().readers(), 1);
}

#[test]
fn who_was_coupled_both_ways_to_one_that_leaves_is_told_as_it_is_with_that() {
    let mut rig = Rig::new(Pour::default(), &Config::default());
    let (_first, _) = rig.connect();
    let (_second, key) = rig.connect();
    let (_third, third_key) = rig.connect();
    let [one, other] = [key, third_key].map(|key| rig.peer(key).id());
    let peers = rig.reactor.lanes.lane.table_mut().peers_mut();
    peers.couple(one, other);
    peers.couple(other, one);
    rig.turn();
    rig.reactor.lanes.watch(Recipient::Successor);
    // It leaves when all have had their turn.
    rig.reactor.lanes.lane.table_mut().peers_mut().abort(other);
    rig.turn();
    assert_eq!(rig.keys().len(), 2);
    let touches = rig.reactor.lanes.lane.table_mut().touches(Recipient::Successor);
    assert!(touches.iter().any(|touch| matches!(touch, Touch::Changed { key: changed, .. } if *changed == key)));
}

#[test]
fn who_was_coupled_both_ways_to_one_that_is_coupled_to_another_is_so_no_more() {
    let mut rig = Rig::new(Pour::default(), &Config::default());
    let clients: Vec<Client> = (0..3).map(|_| rig.connect().0).collect();
    let keys = rig.keys();
    let ids: Vec<PeerId> = keys.iter().map(|key| rig.peer(*key).id()).collect();
    let relayed = |rig: &Rig<Pour>| keys.iter().map(|key| rig.peer(*key).talk.holds().has(Holds::RELAYED)).collect();
    // The second and the third are coupled to the first.
    for (reader, writer, expected) in
        [(0, 1, [true, true, false]), (0, 1, [true, true, false]), (0, 2, [true, false, true]), (2, 1, [false; 3])]
    {
        rig.reactor.lanes.lane.table_mut().peers_mut().couple(ids[reader], ids[writer]);
        let held: Vec<bool> = relayed(&rig);
        assert_eq!(held, expected, "{reader} {writer}");
    }
    drop(clients);
}

#[test]
fn pairs_that_are_gone_leave_nothing_behind_for_their_time_to_come() {
    let (mut rig, upstream, _) = forward(Some(Duration::from_secs(3600)));
    for _ in 0..100 {
        let pair = rig.pair(&upstream);
        drop(pair);
        rig.turn_until(|rig| rig.reactor.lanes.is_empty());
    }
    let alarms = rig.reactor.lanes.lane.table().alarms();
    assert!(alarms <= 32, "{alarms} are left of 200 peers who are gone");
}
