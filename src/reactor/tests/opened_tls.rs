//! Connections that a service opens and that speak TLS: when they stand, why they do not, and takeovers in the middle.

use reactord_process::frame::RawFrame;
use reactord_tls::{Acceptor, Certificate, End, Handshake, Pem, Progress, ServerSettings, Session, TicketKeys};

use super::opened::handed_over;
use super::*;
use crate::peer::connect::ConnectTls;
use crate::recipient::Recipient;
use crate::service::{Closed, Connect};
use crate::takeover::mirror::Mirror;
use crate::takeover::wire::{Digested, Which};
use crate::tls::{ClientSettings, Connectors, Roots};

const NAME: &str = "server.example";

const WITHIN: Duration = Duration::from_secs(600);

/// A server that is asked step by step, so that a takeover can come between any two.
struct Server {
    listener: std::net::TcpListener,
    acceptor: Acceptor,
}

/// A certificate that is its own authority, and its key, as PEM.
pub(super) fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("that is a name");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

impl Server {
    /// One that shows this.
    fn with((chain, key): &(String, String)) -> Self {
        let certificate = Certificate { chain: Pem::new("chain", chain.clone()), key: Pem::new("key", key.clone()) };
        let settings = ServerSettings { certificates: vec![certificate], ..ServerSettings::default() };
        let acceptor = Acceptor::new(&settings, TicketKeys::new().unwrap().into()).unwrap();
        Self { listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(), acceptor }
    }

    fn ask(&self, driver: &mut Client, name: &str) {
        driver.write_all(format!("{name} {}", self.listener.local_addr().unwrap()).as_bytes()).unwrap();
    }

    /// Whoever has connected.
    fn accept(&self) -> Accepting {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let handshake = Some(Handshake::accept(&self.acceptor).unwrap());
        Accepting { stream, handshake, session: None, wire: Vec::new(), plain: Vec::new() }
    }
}

/// The server's end of one connection.
struct Accepting {
    stream: Client,
    handshake: Option<Handshake>,
    session: Option<Session>,
    wire: Vec<u8>,
    plain: Vec<u8>,
}

impl Accepting {
    /// Takes what has come off the socket. Says whether it is the end.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(bytes) => self.wire.extend_from_slice(&buffer[..bytes]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        false
    }

    /// Answers what has come, as far as that goes.
    fn go_on(&mut self) {
        assert!(!self.receive(), "it ends");
        let mut out = Vec::new();
        if let Some(handshake) = &mut self.handshake {
            let (used, progress) = handshake.hear(&self.wire, &mut out).unwrap();
            self.wire.drain(..used);
            if progress == Progress::Done {
                self.session = Some(self.handshake.take().unwrap().finish().unwrap().session);
            }
        }
        if let Some(session) = &mut self.session {
            let used = session.open(&mut self.wire, &mut self.plain, &mut out).unwrap();
            self.wire.drain(..used);
        }
        self.stream.write_all(&out).unwrap();
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut out = Vec::new();
        self.session.as_mut().unwrap().seal(bytes, &mut out).unwrap();
        self.stream.write_all(&out).unwrap();
    }
}

/// Connects where it is told to, and notes what becomes of that.
#[derive(Default)]
struct Dialler(Vec<String>);

impl StreamService for Dialler {
    type Session = bool;
    const NAME: &'static str = "tls-dialler";
    const STATE_VERSION: u32 = 1;
    const MOVABLE: bool = true;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) -> bool {
        false
    }

    fn input(
        &mut self,
        is_opened: &mut bool,
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        let text = std::str::from_utf8(input).unwrap();
        if *is_opened {
            self.0.push(format!("says {text}"));
        } else {
            let (name, to) = text.split_once(' ').unwrap();
            let tls = ConnectTls { preface: b"in clear\n".to_vec(), ..ConnectTls::to(name, "test") };
            let how = Connect { within: WITHIN, tls: Some(tls), ..Connect::to_tcp(to.parse().unwrap()) };
            match context.connect(&how, true) {
                Ok(peer) => context.send(peer, b"first").unwrap(),
                Err((_, error)) => self.0.push(format!("at once: {error}")),
            }
        }
        Ok(input.len())
    }

    fn connected(&mut self, _: &mut bool, context: &mut Context<'_, Self>) {
        let facts = context.tls(context.peer()).expect("it speaks TLS");
        self.0.push(format!("stands, {} certificate", facts.certificates.len()));
        context.reply(b" connected");
    }

    fn ended(&mut self, _: &mut bool, context: &mut Context<'_, Self>) {
        context.close();
    }

    fn closed(&mut self, is_opened: bool, how: &Closed, context: &mut Context<'_, Self>) {
        if is_opened {
            let version = context.tls(context.peer()).map(|facts| facts.version().to_string());
            self.0.push(format!("{}: {how}", version.unwrap_or_default()));
        }
    }

    fn save_session(&self, is_opened: &bool, record: &mut Vec<u8>) {
        record.push(u8::from(*is_opened));
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<bool, RestoreError> {
        Ok(record == [1])
    }
}

impl Rig<Dialler> {
    fn said(&self) -> &[String] {
        &self.reactor.lanes.lane.service().0
    }

    #[track_caller]
    fn turn_until_said(&mut self, wanted: &str) {
        for _ in 0..TURNS_MAX {
            if self.said().last().is_some_and(|said| said.contains(wanted)) {
                return;
            }
            self.turn();
        }
        panic!("{wanted:?} is not said: {:?}", self.said());
    }

    /// Gives turns until the server is through with the handshake, and has got what was sent before it.
    #[track_caller]
    fn turn_until_heard(&mut self, server: &mut Accepting, wanted: &[u8]) {
        self.turn_until(|_| {
            server.go_on();
            server.plain == wanted
        });
    }
}

/// What a server believes that has this one's certificate.
fn config(roots: &(String, String)) -> Config {
    let roots = Roots::Authorities(Pem::new("roots", roots.0.clone()));
    let connectors = Connectors::new().with("test", &ClientSettings::new(roots)).unwrap();
    Config { connectors, ..Config::default() }
}

/// A server that shows `shown`, a rig that believes what `config` says, and whoever had it connect to that server by this name: the
/// connection is there, its preface has come, and its handshake is under way.
fn dialled(shown: &(String, String), config: &Config, name: &str) -> (Server, Rig<Dialler>, Client, Accepting) {
    let server = Server::with(shown);
    let mut rig = Rig::new(Dialler::default(), config);
    let (mut driver, _) = rig.connect();
    server.ask(&mut driver, name);
    rig.turn_until(|rig| rig.keys().len() == 2);
    let mut accepted = server.accept();
    hear_preface(&mut rig, &mut accepted);
    (server, rig, driver, accepted)
}

/// Takes what comes before the handshake.
fn hear_preface(rig: &mut Rig<Dialler>, server: &mut Accepting) {
    rig.turn_until(|_| {
        server.receive();
        server.wire.len() > 9
    });
    assert_eq!(server.wire.drain(..9).as_slice(), b"in clear\n");
}

#[test]
fn a_connection_stands_when_its_handshake_is_over_and_what_was_sent_before_comes_first() {
    let shown = certificate();
    let (_server, mut rig, _driver, mut accepted) = dialled(&shown, &config(&shown), NAME);
    assert!(rig.said().is_empty(), "{:?}", rig.said());
    rig.turn_until_heard(&mut accepted, b"first connected");
    assert_eq!(rig.said(), ["stands, 1 certificate"]);
    accepted.send(b"hello");
    rig.turn_until_said("says hello");
    let mut out = Vec::new();
    accepted.session.as_mut().unwrap().close(&mut out);
    accepted.stream.write_all(&out).unwrap();
    rig.turn_until_said("TLS 1.3: it has ended");
    while !accepted.receive() {}
    accepted.session.as_mut().unwrap().open(&mut accepted.wire, &mut Vec::new(), &mut Vec::new()).unwrap();
    assert_eq!(accepted.session.unwrap().end(), End::Orderly);
}

/// Tells a successor of all that has changed, by the book of what it knows. Returns of each whose bytes go through something whether
/// what was agreed on was told, too.
fn tell(rig: &mut Rig<Dialler>, mirror: &mut Mirror, successor: &mut Reactor<And<Dialler, ()>>) -> Vec<(PeerId, bool)> {
    for touch in rig.reactor.lanes.lane.table_mut().touches(Recipient::Successor) {
        let Touch::Changed { key, session } = touch else { panic!("{touch:?}: nobody leaves") };
        mirror.touched(key, session);
    }
    mirror.begin_round();
    let mut told = Vec::new();
    while let Some(batch) = mirror.next_batch(&rig.reactor.lanes.lane) {
        let raw = RawFrame::take(&mut batch.frame.to_vec(), u32::MAX).unwrap().unwrap();
        match raw.decode().unwrap() {
            Frame::Peers(peers) => {
                for (key, Digested { value: record, .. }) in batch.descriptor_keys().zip(&peers.records) {
                    let duplicate = rig.peer(key).as_fd().try_clone_to_owned().unwrap();
                    successor.lanes.lane.adopt(duplicate.into(), record, 1).unwrap();
                }
            }
            Frame::Changed(changed) => {
                for Digested { value: change, .. } in &changed.records {
                    let facts = change.secured.map(|secured| secured.facts.is_some());
                    told.extend(facts.map(|facts| (change.cookie.into(), facts)));
                    successor.lanes.lane.follow(change, 1).unwrap();
                }
            }
            frame => panic!("{frame:?}"),
        }
        mirror.sent(batch);
    }
    told
}

#[test]
fn a_connection_that_stands_while_it_is_copied_is_told_as_one_that_has_changed_with_what_was_agreed_on() {
    let shown = certificate();
    let config = config(&shown);
    let (_server, mut rig, _driver, mut accepted) = dialled(&shown, &config, NAME);
    let id = rig.keys().into_iter().map(|key| rig.peer(key).id()).max().unwrap();
    let mut mirror = Mirror::new(0, rig.reactor.lanes.lane.table().peers().keys_end());
    let mut successor = reactor(Dialler::default(), &config);
    rig.reactor.lanes.lane.table_mut().watch(Recipient::Successor);
    assert_eq!(tell(&mut rig, &mut mirror, &mut successor), []);
    assert_eq!(mirror.peers(), 2, "all are known, and the handshake is under way");
    rig.turn_until_heard(&mut accepted, b"first connected");
    assert!(!successor.lanes.lane.table().speaks_tls());
    assert_eq!(tell(&mut rig, &mut mirror, &mut successor), [(id, true)]);
    assert!(successor.lanes.lane.table().speaks_tls());
    accepted.send(b"hello");
    rig.turn_until_said("says hello");
    assert_eq!(tell(&mut rig, &mut mirror, &mut successor), [(id, false)], "that is told once");
    let mut rig = rig.succeeded_by(successor);
    accepted.send(b"again");
    rig.turn_until_said("says again");
}

/// What somebody says who may open many files, and restores TLS in another layout.
fn hello_in_another_layout() -> Hello {
    Hello {
        wire_versions: WIRE_VERSIONS,
        build: String::new(),
        services: vec![Offer::of::<Dialler>().0],
        files_max: 1000,
        files_open: 0,
        upgrade: None,
        tls_layout: 7,
    }
}

/// What is said to somebody who is refused.
#[track_caller]
fn refusal(channel: &mut Channel) -> Option<String> {
    channel.receive().unwrap().map(|raw| match raw.decode() {
        Ok(Frame::Refuse(refuse)) => refuse.reason,
        frame => panic!("{frame:?}"),
    })
}

#[test]
fn whoever_cannot_restore_tls_takes_nothing_over_from_who_may_open_connections_that_speak_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(Dialler::default(), &config(&certificate()));
    let callers = Callers::on(TakeoverListener::bind(&directory.path().join("takeover")).unwrap());
    rig.reactor.sources.answer(rig.reactor.poll.registry(), callers).unwrap();
    let (channel, mut successor) = Channel::pair();
    rig.reactor.begin_departure(Greeting { channel, pid: 1, hello: hello_in_another_layout() });
    let why = refusal(&mut successor).expect("it is refused");
    assert!(why.contains("the successor restores layout 0x7"), "{why}");
}

#[test]
fn whoever_cannot_restore_tls_is_given_nobody_whose_handshake_is_under_way() {
    let shown = certificate();
    let (_server, mut rig, _driver, _accepted) = dialled(&shown, &config(&shown), NAME);
    let (ours, mut taker) = Channel::pair();
    taker.post(&Frame::Wait(hello_in_another_layout()).encode()).unwrap();
    let (giver, _, mut with) = rig.reactor.moves();
    let key = giver.know(ours, 8, false, &mut with).expect("it can be registered");
    giver.begin_order_of(Which::All, key, &mut with);
    let mut why = None;
    rig.turn_until(|_| {
        why = refusal(&mut taker);
        why.is_some()
    });
    assert!(why.as_deref().is_some_and(|why| why.contains("restores layout 0x7")), "{why:?}");
}

#[test]
fn a_server_with_another_certificate_is_unreachable_and_is_told_why() {
    let [shown, other] = [certificate(), certificate()];
    let cases = [(&other, NAME, "invalid peer certificate"), (&shown, "another.example", "not valid for name")];
    for (roots, name, wanted) in cases {
        let (_server, mut rig, _driver, mut accepted) = dialled(&shown, &config(roots), name);
        accepted.go_on();
        rig.turn_until_said(wanted);
        let said = rig.said().last().unwrap();
        assert!(said.contains(&format!("unreachable: TLS with {name}: ")), "{said}");
        rig.turn_until(|_| accepted.receive());
        let failure = accepted.handshake.unwrap().hear(&accepted.wire, &mut Vec::new()).unwrap_err();
        assert!(failure.to_string().contains("received fatal alert"), "{failure}");
    }
}

#[test]
fn a_handshake_that_is_under_way_at_a_takeover_is_begun_anew_by_the_successor() {
    let shown = certificate();
    let config = config(&shown);
    let (server, rig, _driver, mut given_up) = dialled(&shown, &config, NAME);
    let id = rig.keys().into_iter().map(|key| rig.peer(key).id()).max().unwrap();
    let mut rig = handed_over(rig, &config);
    rig.turn();
    let mut accepted = server.accept();
    hear_preface(&mut rig, &mut accepted);
    rig.turn_until_heard(&mut accepted, b"first connected");
    assert_eq!(rig.said(), ["stands, 1 certificate"]);
    assert!(rig.keys().into_iter().any(|key| rig.peer(key).id() == id), "it is the same peer");
    let reset = std::iter::repeat_with(|| given_up.stream.read(&mut [0; 64])).find_map(Result::err);
    assert_eq!(reset.unwrap().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time_and_is_told_apart_from_one_that_leaves() {
    let shown = certificate();
    let (server, mut rig, mut driver, _silent) = dialled(&shown, &config(&shown), NAME);
    rig.ahead = WITHIN + Duration::from_secs(1);
    rig.turn_until_said("the handshake is not over in time");
    server.ask(&mut driver, NAME);
    rig.turn_until(|rig| rig.keys().len() == 2);
    drop(server.accept());
    rig.turn_until(|rig| rig.said().len() == 2);
    let said = rig.said().last().unwrap();
    assert!(said.contains("unreachable: ") && !said.contains("in time"), "{said}");
}

#[test]
fn a_server_without_such_settings_opens_no_connection_and_says_so() {
    let shown = certificate();
    let (server, config) = (Server::with(&shown), config(&shown));
    let mut rig = Rig::new(Dialler::default(), &Config::default());
    let (mut driver, _) = rig.connect();
    server.ask(&mut driver, NAME);
    rig.turn_until_said("at once: this server opens no connections with TLS of the name \"test\"");
    let mut rig = Rig::new(Dialler::default(), &config);
    let (mut driver, _) = rig.connect();
    server.ask(&mut driver, NAME);
    rig.turn_until(|rig| rig.keys().len() == 2);
    let mut rig = handed_over(rig, &Config::default());
    rig.turn_until_said("unreachable: this server opens no connections with TLS of the name \"test\"");
}
