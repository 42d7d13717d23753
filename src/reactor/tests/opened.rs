//! Connections that a service opens: those that stand, those that never do, and takeovers at any moment of that.

use std::net::TcpStream;
use std::os::fd::OwnedFd;

use mio::net::TcpListener;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustix::net::{SocketAddrUnix, bind, listen};

use super::*;
use crate::peer::record::Ends;
use crate::recipient::Recipient;
use crate::service::{Accepted, Closed, Connect};

/// Peers by key, and the positions up to which a successor knows each.
pub(super) type Known = Vec<(usize, Ends)>;

/// Longer than any test waits, unless it moves its clock ahead.
const WITHIN: Duration = Duration::from_secs(600);

/// Connects where it is told to at once, and notes what becomes of that.
#[derive(Default)]
struct Dialler {
    said: Vec<String>,
    /// Where to connect to whenever a connection is over.
    again: Option<SocketAddr>,
}

impl StreamService for Dialler {
    type Session = String;
    const NAME: &'static str = "dialler";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) -> String {
        "accepted".to_owned()
    }

    /// Of a client: where to connect to. Of anybody else: noted.
    fn input(
        &mut self,
        name: &mut String,
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        let text = std::str::from_utf8(input).unwrap();
        if name == "opened" {
            self.said.push(format!("{name} says {text}"));
            return Ok(input.len());
        }
        let (flood, text) = text.strip_prefix("flood ").map_or((false, text), |text| (true, text));
        let (timed, text) = text.strip_prefix("timed ").map_or((false, text), |text| (true, text));
        let (ephemeral, to) = text.strip_prefix("ephemeral ").map_or((false, text), |to| (true, to));
        let to = to.parse().map_or_else(|_| Target::Unix(to.into()), Target::Tcp);
        let how = Connect { within: WITHIN, ephemeral, ..Connect::to(to) };
        match context.connect(&how, "opened".to_owned()) {
            Ok(peer) => {
                assert_eq!(context.session(peer).map(|name| name.as_str()), Some("opened"), "it is there at once");
                context.send(peer, b"first").unwrap();
                while flood && context.send(peer, &[b'f'; 4096]).is_ok() {}
                if timed {
                    context.set_deadline(peer, Some(Duration::from_secs(30)));
                }
            }
            Err((name, error)) => self.said.push(format!("{name}, at once: {:?}", error.kind())),
        }
        Ok(input.len())
    }

    fn connected(&mut self, name: &mut String, context: &mut Context<'_, Self>) {
        context.reply(b" connected");
        self.said.push(format!("{name} stands"));
    }

    fn drained(&mut self, name: &mut String, _: &mut Context<'_, Self>) {
        self.said.push(format!("{name} has drained"));
    }

    fn deadline(&mut self, _: &mut String, context: &mut Context<'_, Self>) {
        context.reply(b" waits");
    }

    fn closed(&mut self, name: String, how: &Closed, context: &mut Context<'_, Self>) {
        if let Some(to) = self.again {
            drop(context.connect(&Connect::to_tcp(to), "opened".to_owned()));
        }
        let how = match how {
            Closed::Unreachable(error) => format!("{:?}", error.kind()),
            how => how.to_string(),
        };
        self.said.push(format!("{name}: {how}"));
    }

    fn save_session(&self, name: &String, record: &mut Vec<u8>) {
        record.extend_from_slice(name.as_bytes());
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<String, RestoreError> {
        Ok(String::from_utf8_lossy(record).into_owned())
    }
}

impl Rig<Dialler> {
    fn said(&self) -> &[String] {
        &self.reactor.lanes.lane.service().said
    }

    /// Connects there, and returns the key of who comes to be, if it still is by the end of that turn.
    fn open(&mut self, driver: &mut Client, to: &str) -> Option<usize> {
        let before = self.keys();
        driver.write_all(to.as_bytes()).unwrap();
        self.turn_until(|rig| rig.keys() != before || !rig.said().is_empty());
        let opened = self.keys().into_iter().find(|key| !before.contains(key));
        assert!(opened.is_some() || !self.said().is_empty(), "{before:?} {:?}", self.keys());
        opened
    }
}

impl<S: StreamService + Default> Rig<S> {
    /// A successor that has adopted everybody, and the positions up to which it knows each.
    pub(super) fn successor(&self, config: &Config) -> (Reactor<And<S, ()>>, Known) {
        let mut successor = reactor(S::default(), config);
        let mut known = Vec::new();
        for key in self.keys() {
            let Some(record) = self.reactor.lanes.lane.record(key) else { continue };
            let mut session = Vec::new();
            self.reactor.lanes.lane.save_session(key, &mut session);
            let duplicate = self.peer(key).as_fd().try_clone_to_owned().unwrap();
            let record = Record { session: &session, ..record };
            successor.lanes.lane.adopt(duplicate.into(), &record, 1).unwrap();
            known.push((key, record.ends()));
        }
        (successor, known)
    }

    /// The successor hears of what has become of everybody, looks at its events, and owns them.
    fn commit(self, mut successor: Reactor<And<S, ()>>, known: &[(usize, Ends)], ids: &[PeerId]) -> Self {
        for ((key, ends), id) in known.iter().zip(ids) {
            if self.reactor.lanes.lane.table().peers().get(*key).is_none_or(|peer| peer.id() != *id) {
                successor.lanes.lane.discard(*id);
                continue;
            }
            let mut session = Vec::new();
            self.reactor.lanes.lane.save_session(*key, &mut session);
            let record = self.reactor.lanes.lane.record(*key).unwrap();
            successor.lanes.lane.follow(&record.since(*ends, Some(&session), usize::MAX), 1).unwrap();
        }
        self.succeeded_by(successor)
    }

    /// The successor knows all; it looks at its events, and owns everybody.
    pub(super) fn succeeded_by(mut self, mut successor: Reactor<And<S, ()>>) -> Self {
        sift(&mut successor.poll, &mut successor.lanes).unwrap();
        for key in self.keys() {
            self.reactor.lanes.lane.table_mut().let_go(key);
        }
        Self { reactor: successor, address: self.address, events: self.events, ahead: self.ahead }
    }

    fn ids(&self, known: &[(usize, Ends)]) -> Vec<PeerId> {
        known.iter().map(|(key, _)| self.peer(*key).id()).collect()
    }
}

/// A successor has taken over.
pub(super) fn handed_over<S: StreamService + Default>(rig: Rig<S>, config: &Config) -> Rig<S> {
    let (successor, known) = rig.successor(config);
    let ids = rig.ids(&known);
    let mut state = Vec::new();
    rig.reactor.lanes.lane.save(&mut state);
    let mut rig = rig.commit(successor, &known, &ids);
    rig.reactor.lanes.lane.restore(1, &state).unwrap();
    rig
}

/// A listener that lets nobody in: whoever connects is left to try again, which the kernel does after a second.
struct FullListener {
    listener: TcpListener,
    /// It takes the only place there is.
    _filler: TcpStream,
}

impl FullListener {
    fn new() -> Self {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&socket, 0).unwrap();
        let listener = TcpListener::from_std(socket.into());
        let filler = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Self { listener, _filler: filler }
    }

    fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// There is room, and who has waited is let in.
    fn let_in(&self) {
        self.listener.accept().unwrap();
    }

    fn accepted(&self) -> TcpStream {
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        };
        let stream = std::net::TcpStream::from(OwnedFd::from(stream));
        stream.set_nonblocking(false).unwrap();
        stream
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stands,
    Refused,
    TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    DuringTheCopy,
    BetweenFreezeAndAccept,
    AfterAccept,
}

/// Waits until the kernel has something to say of the connection, without asking what.
fn until_decided(socket: &OwnedFd) {
    let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    assert_eq!(nix::poll::poll(&mut sockets, PollTimeout::NONE), Ok(1));
}

/// Opens a connection that comes to this end at that moment of a takeover: either process's service is told, and once.
fn connect_across_a_takeover(end: End, when: When) {
    let mut full = Some(FullListener::new());
    let mut rig = Rig::new(Dialler::default(), &Config::default());
    let (mut driver, _) = rig.connect();
    let key = rig.open(&mut driver, &full.as_ref().unwrap().address());
    let key = key.unwrap_or_else(|| panic!("{:?}", rig.said()));
    assert_eq!(rig.peer(key).talk.phase(), Phase::Connecting, "{:?}", rig.said());
    let socket = rig.peer(key).as_fd().try_clone_to_owned().unwrap();
    let (successor, known) = rig.successor(&Config::default());
    let ids = rig.ids(&known);
    let mut come_to_its_end = |rig: &mut Rig<Dialler>| match end {
        End::Stands => full.as_ref().unwrap().let_in(),
        End::Refused => drop(full.take()),
        End::TimedOut => rig.ahead = WITHIN + Duration::from_secs(1),
    };
    let expected = match end {
        End::Stands => "opened stands",
        End::Refused => "opened: ConnectionRefused",
        End::TimedOut => "opened: TimedOut",
    };
    let mut said_before = Vec::new();
    match when {
        When::DuringTheCopy => {
            come_to_its_end(&mut rig);
            rig.turn_until(|rig| !rig.said().is_empty());
            said_before = rig.said().to_vec();
            rig = rig.commit(successor, &known, &ids);
        }
        When::BetweenFreezeAndAccept => {
            come_to_its_end(&mut rig);
            if end != End::TimedOut {
                until_decided(&socket);
            }
            rig = rig.commit(successor, &known, &ids);
        }
        When::AfterAccept => {
            rig = rig.commit(successor, &known, &ids);
            rig.turn();
            come_to_its_end(&mut rig);
        }
    }
    drop(socket);
    if said_before.is_empty() {
        rig.turn_until(|rig| !rig.said().is_empty());
    }
    for _ in 0..3 {
        rig.turn();
    }
    assert_eq!([said_before, rig.said().to_vec()].concat(), [expected], "{end:?} {when:?}");
    if end == End::Stands {
        let mut server = full.as_ref().unwrap().accepted();
        let mut received = [0; 15];
        server.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"first connected");
        server.write_all(b"hello").unwrap();
        rig.turn_until(|rig| rig.said().contains(&"opened says hello".to_owned()));
    } else {
        assert_eq!(rig.keys().len(), 1, "only the driver is there");
    }
}

#[test]
fn a_connection_that_stands_is_told_once_whenever_a_successor_takes_over() {
    for when in [When::DuringTheCopy, When::BetweenFreezeAndAccept, When::AfterAccept] {
        connect_across_a_takeover(End::Stands, when);
    }
}

#[test]
fn a_connection_that_is_refused_is_told_once_whenever_a_successor_takes_over() {
    for when in [When::DuringTheCopy, When::BetweenFreezeAndAccept, When::AfterAccept] {
        connect_across_a_takeover(End::Refused, when);
    }
}

#[test]
fn a_connection_that_is_given_up_is_told_once_whenever_a_successor_takes_over() {
    for when in [When::DuringTheCopy, When::BetweenFreezeAndAccept, When::AfterAccept] {
        connect_across_a_takeover(End::TimedOut, when);
    }
}

#[test]
fn a_unix_socket_whose_backlog_is_full_is_tried_again_by_whoever_serves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let (listener, _filler) = full_unix_listener(&path);
    let mut rig = Rig::new(Dialler::default(), &Config::default());
    let (mut driver, _) = rig.connect();
    let key = rig.open(&mut driver, path.to_str().unwrap()).unwrap();
    rig.turn();
    assert_eq!(rig.peer(key).talk.phase(), Phase::Connecting);
    let (successor, known) = rig.successor(&Config::default());
    let ids = rig.ids(&known);
    let mut rig = rig.commit(successor, &known, &ids);
    rig.turn();
    assert!(rig.said().is_empty());
    listener.accept().unwrap();
    rig.turn_until(|rig| rig.said() == ["opened stands"]);
    let (mut server, _) = listener.accept().unwrap();
    let mut received = [0; 15];
    server.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"first connected");
    drop(server);
    rig.turn_until(|rig| rig.said().last().unwrap() == "opened: it has ended");
}

/// A Unix socket whose backlog is full, and what fills it.
fn full_unix_listener(path: &std::path::Path) -> (std::os::unix::net::UnixListener, std::os::unix::net::UnixStream) {
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    (listener.into(), std::os::unix::net::UnixStream::connect(path).unwrap())
}

#[test]
fn what_is_answered_at_the_deadline_of_who_is_not_connected_yet_waits_for_that() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let (listener, _filler) = full_unix_listener(&path);
    let mut rig = Rig::new(Dialler::default(), &Config::default());
    let (mut driver, _) = rig.connect();
    let key = rig.open(&mut driver, &format!("timed {}", path.display())).unwrap();
    rig.ahead = Duration::from_secs(31);
    rig.turn();
    assert_eq!(rig.peer(key).talk.phase(), Phase::Connecting, "{:?}", rig.said());
    listener.accept().unwrap();
    rig.turn_until(|rig| rig.said() == ["opened stands"]);
    let mut received = [0; 21];
    listener.accept().unwrap().0.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"first waits connected");
}

#[test]
fn a_unix_socket_whose_backlog_is_full_is_not_tried_more_often_because_it_has_more_turns() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let (_listener, _filler) = full_unix_listener(&path);
    let mut rig = Rig::new(Dialler::default(), &Config::default());
    let (mut driver, _) = rig.connect();
    let key = rig.open(&mut driver, path.to_str().unwrap()).unwrap();
    let handle = rig.handle(key);
    for _ in 0..100 {
        rig.reactor.lanes.lane.serve(handle, Wake::Due);
    }
    let alarms = rig.reactor.lanes.lane.table().alarms();
    assert!(alarms <= 2, "{alarms}");
}

#[test]
fn who_was_refused_before_the_connection_stood_is_told_that_there_is_room() {
    let full = FullListener::new();
    let config = Config { outbound_high_bytes: 64 << 10, outbound_low_bytes: 16 << 10, ..Config::default() };
    let mut rig = Rig::new(Dialler::default(), &config);
    let (mut driver, _) = rig.connect();
    rig.open(&mut driver, &format!("flood {}", full.address())).unwrap();
    full.let_in();
    rig.turn_until(|rig| rig.said().len() == 2);
    assert_eq!(rig.said(), ["opened stands", "opened has drained"]);
}

#[test]
fn nothing_is_opened_any_more_while_the_server_stops() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::new(Dialler::default(), &Config::default());
    let (mut driver, _) = rig.connect();
    let to = listener.local_addr().unwrap();
    rig.open(&mut driver, &to.to_string()).unwrap();
    rig.turn_until(|rig| rig.said() == ["opened stands"]);
    rig.reactor.lanes.lane.service_mut().again = Some(to);
    drop(listener.accept().unwrap());
    drop(driver);
    rig.reactor.drain(Instant::now() + Duration::from_secs(600));
    rig.turn_until(|rig| rig.keys().is_empty());
}

#[test]
fn what_cannot_be_opened_at_once_gives_the_session_back() {
    let mut rig = Rig::new(Dialler::default(), &Config::default());
    let (mut driver, _) = rig.connect();
    assert_eq!(rig.open(&mut driver, "/nobody/is/there"), None);
    assert_eq!(rig.said(), ["opened, at once: NotFound"]);
}

#[test]
fn an_ephemeral_connection_ends_with_its_process_and_is_not_told_of() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::new(Dialler::default(), &Config::default());
    let (mut driver, _) = rig.connect();
    let to = format!("ephemeral {}", listener.local_addr().unwrap());
    rig.open(&mut driver, &to).unwrap();
    rig.turn_until(|rig| rig.said() == ["opened stands"]);
    let (mut server, _) = listener.accept().unwrap();
    rig.reactor.lanes.watch(Recipient::Successor);
    server.write_all(b"hello").unwrap();
    rig.turn_until(|rig| rig.said().len() == 2);
    assert_eq!(rig.reactor.lanes.lane.table_mut().touches(Recipient::Successor), [], "nobody who copies need look");
    let (successor, known) = rig.successor(&Config::default());
    let ids = rig.ids(&known);
    let mut rig = rig.commit(successor, &known, &ids);
    assert_eq!(rig.keys().len(), 1);
    assert_eq!(server.read_to_end(&mut Vec::new()).unwrap(), 15, "and then its end");
    rig.turn();
    assert!(rig.said().is_empty());
}
