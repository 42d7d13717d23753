//! Peers that change between loops which both go on.

mod unlucky;

use proptest::prelude::*;
use reactord_process::channel::Channel;

use super::*;
use crate::listen::Target;
use crate::service::{Closed, Connect, NobodyWaits};
use crate::takeover::wire::{Move, Which};

/// More than the kernel buffers for one connection (tcp(7), `tcp_wmem` and `tcp_rmem`).
const MUCH: usize = 12 << 20;

/// Lines that are echoed with the number of those before them; `GIVE` gives whoever says it away, `JOIN` joins the last two who
/// have come, `WAIT` sets a deadline after a minute, `TO:text` sends to the peer that has come first, `OPEN:address` opens an
/// ephemeral connection that whoever says it is coupled to, and `ACT` does what the test has asked for.
#[derive(Default)]
struct Counting {
    arrived: Vec<PeerId>,
    moved: Vec<PeerId>,
    kept: u32,
    first: Option<PeerId>,
    refused: u32,
    act: Option<Act>,
    act_when_moved: Option<Act>,
    act_when_kept: Option<Act>,
}

/// What is to be done in a call of the service.
type Act = Box<dyn FnMut(&mut Context<'_, Counting>)>;

impl Service for Counting {
    type Session = u32;
    const NAME: &'static str = "counting";
    const STATE_VERSION: u32 = 1;
    const MOVABLE: bool = true;

    fn open(&mut self, context: &mut Context<'_, Self>) -> u32 {
        self.first.get_or_insert(context.peer());
        0
    }

    fn boundary(&self, _: &mut u32, input: &[u8], _: usize) -> Result<Option<usize>, Violation> {
        Ok(memchr::memchr(b'\n', input).map(|newline| newline + 1))
    }

    fn message(&mut self, count: &mut u32, message: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        match message {
            b"GIVE\n" => {
                if let Err(NobodyWaits) = context.give_away(context.peer()) {
                    context.reply(b"nobody\n");
                }
                return Ok(());
            }
            b"JOIN\n" => {
                let peers = context.peers();
                context.join(peers[0], peers[1], None).unwrap();
                return Ok(());
            }
            b"WAIT\n" => context.set_deadline(context.peer(), Some(Duration::from_secs(60))),
            b"ACT\n" => self.act.as_mut().expect("there is something to do")(context),
            b"BIG\n" => context.reply(&vec![b'.'; MUCH]),
            text if text.starts_with(b"OPEN:") => {
                let to = std::str::from_utf8(&text[5..]).unwrap().trim().parse().unwrap();
                let how = Connect { ephemeral: true, ..Connect::to(Target::Tcp(to)) };
                let opened = context.connect(&how, 0).unwrap();
                context.couple(context.peer(), opened);
            }
            text if text.starts_with(b"TO:") => {
                let first = self.first.expect("somebody has come");
                self.refused += u32::from(context.send(first, text).is_err());
            }
            _ => {}
        }
        context.reply(format!("{count} ").as_bytes());
        context.reply(message);
        *count += 1;
        Ok(())
    }

    fn deadline(&mut self, _: &mut u32, context: &mut Context<'_, Self>) {
        context.reply(b"late\n");
    }

    fn arrived(&mut self, _: &mut u32, context: &mut Context<'_, Self>) {
        self.arrived.push(context.peer());
    }

    fn not_given(&mut self, _: &mut u32, context: &mut Context<'_, Self>) {
        self.kept += 1;
        context.reply(b"kept\n");
        if let Some(act) = &mut self.act_when_kept {
            act(context);
        }
    }

    fn closed(&mut self, _: u32, how: &Closed, context: &mut Context<'_, Self>) {
        if matches!(how, Closed::Moved) {
            self.moved.push(context.peer());
            if let Some(act) = &mut self.act_when_moved {
                act(context);
            }
        }
    }

    fn save_session(&self, count: &u32, record: &mut Vec<u8>) {
        record.extend(count.to_be_bytes());
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<u32, RestoreError> {
        record.try_into().map(u32::from_be_bytes).map_err(|_| RestoreError::new("four bytes are expected"))
    }
}

type Server = Rig<Counting>;

impl Server {
    fn counting() -> Self {
        Self::with(&Config::default())
    }

    fn with(config: &Config) -> Self {
        Self::new(Counting::default(), config)
    }

    fn service(&self) -> &Counting {
        self.reactor.lanes.lane.service()
    }

    /// What the service does when it gets the line `ACT`.
    fn on_act(&mut self, act: impl FnMut(&mut Context<'_, Counting>) + 'static) {
        self.reactor.lanes.lane.service_mut().act = Some(Box::new(act));
    }

    /// Waits to be given peers by another one.
    fn wait_for(&mut self, giver: &mut Self) {
        let (ours, theirs) = Channel::pair();
        let (_, taker, mut with) = self.reactor.moves();
        taker.begin(theirs, 7, &mut with).expect("it can be registered");
        let (giver, _, mut with) = giver.reactor.moves();
        giver.know(ours, 8, true, &mut with).expect("it can be registered");
    }

    /// Moves these to another one.
    fn order(&mut self, which: Which, taker: &mut Self) {
        let (ours, theirs) = Channel::pair();
        let (_, there, mut with) = taker.reactor.moves();
        there.begin(theirs, 7, &mut with).expect("it can be registered");
        let (giver, _, mut with) = self.reactor.moves();
        let key = giver.know(ours, 8, false, &mut with).expect("it can be registered");
        giver.begin_order_of(which, key, &mut with);
    }

    fn peers(&self) -> usize {
        self.reactor.lanes.peers()
    }

    fn is_frozen(&self) -> bool {
        self.reactor.giver.is_frozen()
    }
}

/// Gives all of them turns until it is so.
#[track_caller]
fn turn_all(servers: &mut [&mut Server], mut done: impl FnMut(&mut [&mut Server]) -> bool) {
    for _ in 0..TURNS_MAX {
        if done(servers) {
            return;
        }
        servers.iter_mut().for_each(|server| server.turn());
    }
    panic!("not in {TURNS_MAX} turns");
}

/// Gives both turns up to the freeze, which the taker does not know of yet.
#[track_caller]
fn freeze(giver: &mut Server, taker: &mut Server) {
    for _ in 0..TURNS_MAX {
        giver.turn();
        if giver.is_frozen() {
            return;
        }
        taker.turn();
    }
    panic!("not in {TURNS_MAX} turns");
}

/// The next line that a client receives.
#[track_caller]
fn line(client: &mut Client, servers: &mut [&mut Server]) -> String {
    let mut received = Vec::new();
    turn_all(servers, |_| {
        let mut byte = [0];
        while received.last() != Some(&b'\n') {
            match client.read(&mut byte) {
                Ok(0) => panic!("the connection ends after {received:?}"),
                Ok(_) => received.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("after {received:?}: {error}"),
            }
        }
        true
    });
    String::from_utf8(received).unwrap()
}

fn say(client: &mut Client, text: &str) {
    client.write_all(text.as_bytes()).unwrap();
}

#[test]
fn who_is_given_away_is_answered_by_whoever_has_waited_longest_with_all_that_it_has_sent() {
    let [mut here, mut first, mut second] = [Server::counting(), Server::counting(), Server::counting()];
    first.wait_for(&mut here);
    second.wait_for(&mut here);
    let (mut client, _) = here.connect();
    say(&mut client, "a\nGIVE\nb\nhal");
    let all = &mut [&mut here, &mut first, &mut second];
    assert_eq!(line(&mut client, all), "0 a\n");
    assert_eq!(line(&mut client, all), "1 b\n");
    say(&mut client, "f\n");
    assert_eq!(line(&mut client, all), "2 half\n");
    turn_all(&mut [&mut here, &mut first, &mut second], |all| all[0].peers() == 0);
    assert_eq!([first.peers(), second.peers()], [1, 0]);
    assert_eq!(here.service().moved, first.service().arrived);
    assert_eq!(first.service().arrived.len(), 1);
    // It has gone to the end of the line.
    let (mut other, _) = here.connect();
    say(&mut other, "GIVE\nc\n");
    assert_eq!(line(&mut other, &mut [&mut here, &mut first, &mut second]), "0 c\n");
    turn_all(&mut [&mut here, &mut first, &mut second], |all| all[0].peers() == 0);
    assert_eq!([first.peers(), second.peers()], [1, 1]);
}

#[test]
fn nobody_is_given_away_where_nobody_waits_or_who_has_waited_is_gone() {
    let mut here = Server::counting();
    let (mut client, _) = here.connect();
    say(&mut client, "GIVE\na\n");
    assert_eq!(line(&mut client, &mut [&mut here]), "nobody\n");
    assert_eq!(line(&mut client, &mut [&mut here]), "0 a\n");
    let mut gone = Server::counting();
    gone.wait_for(&mut here);
    turn_all(&mut [&mut here], |all| all[0].reactor.giver.waiting() == 1);
    drop(gone);
    say(&mut client, "GIVE\nb\n");
    let answer = line(&mut client, &mut [&mut here]);
    assert!(["nobody\n", "kept\n"].contains(&&*answer), "{answer}");
    assert_eq!(line(&mut client, &mut [&mut here]), "1 b\n");
}

#[test]
fn a_taker_that_says_nothing_holds_up_its_batch_and_nobody_else_and_not_for_long() {
    let config = Config { freeze_timeout: Duration::from_millis(50), ..Config::default() };
    let [mut here, mut there] = [Server::with(&config), Server::with(&config)];
    let (mut client, _) = here.connect();
    let (mut other, _) = here.connect();
    say(&mut client, "a\n");
    assert_eq!(line(&mut client, &mut [&mut here]), "0 a\n");
    let address = client.local_addr().unwrap();
    here.order(Which::From(vec![Address::from(address).to_string()]), &mut there);
    freeze(&mut here, &mut there);
    // From here on the taker is stopped.
    say(&mut client, "b\n");
    say(&mut other, "TO:x\n");
    assert_eq!(line(&mut other, &mut [&mut here]), "0 TO:x\n");
    assert_eq!(here.service().refused, 1, "it is out of reach");
    turn_all(&mut [&mut here], |all| !all[0].is_frozen());
    assert_eq!(line(&mut client, &mut [&mut here]), "1 b\n");
    assert_eq!((here.peers(), there.peers()), (2, 1), "the taker has not looked yet");
    turn_all(&mut [&mut there], |all| all[0].peers() == 0);
    say(&mut client, "c\n");
    assert_eq!(line(&mut client, &mut [&mut here, &mut there]), "2 c\n");
}

#[test]
fn a_takeover_by_another_waits_for_the_end_of_a_freeze_and_finds_everybody() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (mut client, _) = here.connect();
    here.order(Which::All, &mut there);
    freeze(&mut here, &mut there);
    let now = Instant::now();
    here.reactor.now = now;
    here.reactor.stop_moving(&Refusal::Stopping);
    assert!(!here.is_frozen());
    assert_eq!(here.reactor.lanes.lane.table().peers().handles().len(), 1, "nobody has accepted");
    turn_all(&mut [&mut there], |all| all[0].peers() == 0);
    say(&mut client, "a\n");
    assert_eq!(line(&mut client, &mut [&mut here]), "0 a\n");
}

#[test]
fn output_that_is_pending_and_a_deadline_go_along() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (mut client, key) = here.connect();
    say(&mut client, "WAIT\nBIG\nafter\n");
    here.turn_until(|rig| rig.peer(key).talk.is_full());
    here.order(Which::All, &mut there);
    turn_all(&mut [&mut here, &mut there], |all| all[0].peers() == 0);
    assert_eq!(line(&mut client, &mut [&mut here, &mut there]), "0 WAIT\n");
    let big = there.receive(&mut client, MUCH);
    assert!(big.len() == MUCH && big.iter().all(|byte| *byte == b'.'));
    assert_eq!(line(&mut client, &mut [&mut here, &mut there]), "1 BIG\n");
    assert_eq!(line(&mut client, &mut [&mut here, &mut there]), "2 after\n");
    there.ahead = Duration::from_secs(61);
    assert_eq!(line(&mut client, &mut [&mut there]), "late\n");
}

#[test]
fn all_who_are_there_move_whoever_comes_meanwhile() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (leaving, _) = here.connect();
    let (mut one, _) = here.connect();
    let (mut other, _) = here.connect();
    drop(leaving);
    turn_all(&mut [&mut here], |all| all[0].peers() == 2);
    here.order(Which::All, &mut there);
    // In the place of the one who has left.
    let (mut new, _) = here.connect();
    turn_all(&mut [&mut here, &mut there], |all| all[0].peers() == 0);
    for client in [&mut one, &mut other, &mut new] {
        say(client, "x\n");
        assert_eq!(line(client, &mut [&mut there]), "0 x\n");
    }
}

#[test]
fn those_who_are_joined_move_together() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (mut one, _) = here.connect();
    let (mut other, _) = here.connect();
    say(&mut one, "JOIN\n");
    say(&mut other, "x\n");
    assert_eq!(line(&mut one, &mut [&mut here]), "x\n");
    here.order(Which::Count(1), &mut there);
    turn_all(&mut [&mut here, &mut there], |all| all[0].peers() == 0);
    assert_eq!(there.peers(), 2);
    say(&mut one, "y\n");
    assert_eq!(line(&mut other, &mut [&mut here, &mut there]), "y\n");
    drop(here);
    say(&mut other, "z\n");
    assert_eq!(line(&mut one, &mut [&mut there]), "z\n");
}

#[test]
fn whoever_is_joined_to_one_of_a_batch_while_that_is_copied_moves_with_it() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (mut one, _) = here.connect();
    let (mut other, _) = here.connect();
    here.order(Which::Count(1), &mut there);
    turn_all(&mut [&mut here], |all| all[0].reactor.giver.has_begun());
    say(&mut one, "JOIN\n");
    say(&mut other, "x\n");
    assert_eq!(line(&mut one, &mut [&mut here]), "x\n");
    turn_all(&mut [&mut here, &mut there], |all| all[0].peers() == 0);
    assert_eq!(there.peers(), 2);
    say(&mut one, "y\n");
    assert_eq!(line(&mut other, &mut [&mut here, &mut there]), "y\n");
}

#[test]
fn whoever_is_coupled_to_one_that_ends_with_its_process_stays() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (mut client, _) = here.connect();
    let (mut other, _) = here.connect();
    say(&mut client, &format!("OPEN:{}\n", listener.local_addr().unwrap()));
    line(&mut client, &mut [&mut here]);
    assert_eq!(here.peers(), 3);
    here.order(Which::All, &mut there);
    turn_all(&mut [&mut here, &mut there], |all| !all[0].reactor.giver.has_orders());
    assert_eq!((here.peers(), there.peers()), (2, 1));
    say(&mut client, "a\n");
    assert_eq!(line(&mut client, &mut [&mut here]), "1 a\n");
    say(&mut other, "b\n");
    assert_eq!(line(&mut other, &mut [&mut there]), "0 b\n");
}

#[test]
fn nobody_is_moved_before_what_may_have_killed_the_process_before_is_handled() {
    let [mut here, mut there] = [Server::counting(), Server::counting()];
    let (_client, _) = here.connect();
    let later = Instant::now() + Duration::from_secs(60);
    here.reactor.suspects = Some((Vec::new(), later));
    let (ours, mut theirs) = Channel::pair();
    let request = Move { to: b"/nowhere".to_vec(), which: Which::All };
    here.reactor.answer(Request::Move(ours, 7, request));
    let raw = theirs.receive().unwrap().expect("it is refused at once");
    let Frame::Refuse(refuse) = raw.decode().unwrap() else { panic!("it is refused") };
    assert!(refuse.reason.starts_with("this server has just survived a death"), "{}", refuse.reason);

    // What was ordered all the same waits, and no turn is taken for it.
    here.order(Which::All, &mut there);
    (0..10).for_each(|_| [&mut there, &mut here].into_iter().for_each(|server| server.turn()));
    assert_eq!((here.peers(), there.peers()), (1, 0));
    assert!(here.reactor.timeout().is_none_or(|timeout| timeout > Duration::from_secs(1)));
    here.reactor.suspects = None;
    turn_all(&mut [&mut here, &mut there], |all| all[1].peers() == 1);
}

#[test]
fn a_server_whose_peers_cannot_do_without_one_another_moves_none() {
    let mut here = Rig::new(Commands::default(), &Config::default());
    here.connect();
    let (ours, mut theirs) = Channel::pair();
    let request = Move { to: b"/nowhere".to_vec(), which: Which::All };
    let (giver, _, mut with) = here.reactor.moves();
    giver.order(ours, 7, &request, &mut with);
    let raw = theirs.receive().unwrap().expect("it is refused at once");
    let frame = format!("{:?}", raw.decode::<Frame<'_>>().unwrap());
    assert!(frame.contains("the peers of commands cannot do without what they share"), "{frame}");
}

/// What happens next in a random run.
#[derive(Clone, Debug)]
enum Step {
    /// A client sends so many more bytes of its lines.
    Send { client: usize, bytes: usize },
    /// A server has so many turns.
    Turn { server: usize, turns: usize },
    /// Some of one server's peers are to go to another.
    Move { from: usize, to: usize, count: u64 },
    /// Two servers lose sight of each other, at whatever step they are.
    Cut { server: usize },
}

const SERVERS: usize = 3;
const CLIENTS: usize = 6;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..CLIENTS, 1..40usize).prop_map(|(client, bytes)| Step::Send { client, bytes }),
        6 => (0..SERVERS, 1..4usize).prop_map(|(server, turns)| Step::Turn { server, turns }),
        2 => (0..SERVERS, 1..SERVERS, 1..8u64)
            .prop_map(|(from, by, count)| Step::Move { from, to: (from + by) % SERVERS, count }),
        1 => (0..SERVERS).prop_map(|server| Step::Cut { server }),
    ]
}

/// Two of the servers, to be changed.
fn two(servers: &mut [Server], one: usize, other: usize) -> (&mut Server, &mut Server) {
    let (low, high) = servers.split_at_mut(one.max(other));
    if one < other { (&mut low[one], &mut high[0]) } else { (&mut high[0], &mut low[other]) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_answered_once_and_in_order_whoever_has_its_peer(steps in proptest::collection::vec(step(), 1..120)) {
        let mut servers: Vec<Server> = (0..SERVERS).map(|_| Server::counting()).collect();
        let mut clients: Vec<Client> = (0..CLIENTS).map(|number| servers[number % SERVERS].connect().0).collect();
        // No turn in here waits for what the kernel holds back.
        clients.iter().for_each(|client| client.set_nodelay(true).unwrap());
        let text: String = (0..2000).map(|number| format!("{number}\n")).collect();
        let mut sent = [0; CLIENTS];
        for step in steps {
            match step {
                Step::Send { client, bytes } => {
                    let end = (sent[client] + bytes).min(text.len());
                    clients[client].write_all(&text.as_bytes()[sent[client]..end]).unwrap();
                    sent[client] = end;
                }
                Step::Turn { server, turns } => (0..turns).for_each(|_| servers[server].look()),
                Step::Move { from, to, count } => {
                    let (from, to) = two(&mut servers, from, to);
                    from.order(Which::Count(count), to);
                }
                Step::Cut { server } => {
                    let reactor = &mut servers[server].reactor;
                    reactor.stop_moving(&Refusal::Stopping);
                }
            }
        }
        // All that is under way comes to its end, and each peer has one owner.
        for _ in 0..TURNS_MAX {
            servers.iter_mut().for_each(Server::look);
            let reached = |server: &Server| server.reactor.lanes.lane.table().peers().handles().len();
            if servers.iter().map(Server::peers).sum::<usize>() == CLIENTS
                && servers.iter().map(reached).sum::<usize>() == CLIENTS
                && servers.iter().all(|server| !server.reactor.giver.has_orders())
            {
                break;
            }
        }
        let reached: usize = servers.iter().map(|server| server.reactor.lanes.lane.table().peers().handles().len()).sum();
        prop_assert_eq!(reached, CLIENTS);
        for (client, sent) in clients.iter_mut().zip(sent) {
            let whole = text[..sent].rfind('\n').map_or(0, |end| end + 1);
            let expected: String = text[..whole].lines().map(|line| format!("{line} {line}\n")).collect();
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

impl Server {
    /// A turn that waits for nothing.
    fn look(&mut self) {
        self.reactor.look(&mut self.events, Instant::now()).unwrap();
    }
}
