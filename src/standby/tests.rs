//! Both sides of a standby in one process, with real connections, and a death at any point. Everybody is served on, and sees what it would
//! have seen of one process: its answers in a row, and what others have sent to it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use reactord_process::channel::Channel;

use super::followed::{Followed, Turn};
use super::follower::Follower;
use super::survival::Survival;
use crate::clock::monotonic_ns;
use crate::config::Config;
use crate::lane::{AnyLane, Lane, Surviving};
use crate::lanes::{And, Lanes};
use crate::peer::{Marks, PeerId};
use crate::reactor::Reactor;
use crate::recipient::Recipient;
use crate::service::{Accepted, Closed, Context, Entries, Keyed, RestoreError, Save, Service, Violation};
use crate::sources::Sources;
use crate::table::Table;
use crate::takeover::arriving::Arriving;
use crate::takeover::departure::Departure;
use crate::takeover::successor::Receiving;
use crate::takeover::wire::{Hello, Process};

/// What begins an answer, and what begins a gift; a number follows.
const ANSWER: u8 = 0;
const GIFT: u8 = 1;
const WORD_BYTES: usize = 5;

/// What begins a message that its service cannot bear.
const POISON: u8 = 255;

/// Messages of two bytes. Each is answered with how many there were of this peer; one that begins with [`GIFT`] has something sent
/// to whoever came last, with how often that was so. What a peer has said is known twice, and must be the same.
#[derive(Default)]
struct Ledger {
    counts: Keyed<PeerId, (u32, u32)>,
    /// Who came last: 0 if it has left.
    last: u64,
    /// How often there was room again for somebody, in this process.
    drained: u32,
}

impl Service for Ledger {
    type Session = u32;
    const NAME: &'static str = "ledger";
    const STATE_VERSION: u32 = 1;

    fn open(&mut self, context: &mut Context<'_, Self>) -> u32 {
        self.counts.insert(context.peer(), (0, 0));
        self.last = context.peer().into();
        0
    }

    fn boundary(&self, _: &mut u32, input: &[u8], _: usize) -> Result<Option<usize>, Violation> {
        Ok((input.len() >= 2).then_some(2))
    }

    fn message(&mut self, said: &mut u32, message: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        assert_ne!(message[0], POISON, "this is what it dies of");
        let Some((known, _)) = self.counts.get_mut(&context.peer()).filter(|(known, _)| known == said) else {
            return Err(Violation::new(format!("{said} is not what is shared")));
        };
        *known += 1;
        *said += 1;
        context.reply(&word(ANSWER, *said));
        if message[0] == GIFT {
            self.give(context);
        }
        Ok(())
    }

    fn drained(&mut self, _: &mut u32, _: &mut Context<'_, Self>) {
        self.drained += 1;
    }

    fn closed(&mut self, _: u32, _: &Closed, context: &mut Context<'_, Self>) {
        self.counts.remove(&context.peer());
        if self.last == u64::from(context.peer()) {
            self.last = 0;
        }
        self.give(context);
    }

    fn save_session(&self, said: &u32, record: &mut Vec<u8>) {
        said.save(record);
    }

    fn restore_session(&self, version: u32, record: &[u8]) -> Result<u32, RestoreError> {
        Save::restore(version, record)
    }

    fn save(&self, record: &mut Vec<u8>) {
        self.last.save(record);
    }

    fn restore(&mut self, version: u32, record: &[u8]) -> Result<(), RestoreError> {
        self.last = Save::restore(version, record)?;
        Ok(())
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        (map == 0).then_some(&mut self.counts)
    }
}

impl Ledger {
    /// Whoever came last gets a gift, also when somebody leaves.
    fn give(&mut self, context: &mut Context<'_, Self>) {
        let last = PeerId::from(self.last);
        if let Some((_, gifts)) = self.counts.get_mut(&last) {
            *gifts += 1;
            // Whoever is about to leave gets none.
            let _ = context.send(last, &word(GIFT, *gifts));
        }
    }
}

fn word(what: u8, number: u32) -> [u8; WORD_BYTES] {
    let [a, b, c, d] = number.to_be_bytes();
    [what, a, b, c, d]
}

/// A client, which knows what is to come.
struct Client {
    stream: TcpStream,
    is_open: bool,
    sent_bytes: u32,
    heard: Vec<u8>,
    answers: u32,
    gifts: u32,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        Self { stream, is_open: true, sent_bytes: 0, heard: Vec::new(), answers: 0, gifts: 0 }
    }

    fn say(&mut self, bytes: &[u8]) {
        match self.stream.write(bytes) {
            Ok(sent) => self.sent_bytes += u32::try_from(sent).unwrap(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.is_open = false,
        }
    }

    /// Hears what has come, which must be what is due.
    fn hear(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.is_open = false,
                Ok(bytes) => {
                    self.heard.extend_from_slice(&buffer[..bytes]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.is_open = false,
            }
            break;
        }
        while let Some((heard, rest)) = self.heard.split_first_chunk::<WORD_BYTES>() {
            let last = if heard[0] == ANSWER { &mut self.answers } else { &mut self.gifts };
            *last += 1;
            assert_eq!(*heard, word(heard[0], *last), "what comes is in a row");
            self.heard = rest.to_vec();
        }
    }

    fn has_all_answers(&self) -> bool {
        self.answers == self.sent_bytes / 2
    }
}

type Alone = Reactor<And<Ledger, ()>>;

fn lanes() -> (Poll, And<Ledger, ()>) {
    let poll = Poll::new().unwrap();
    let config = Config::default();
    let table = Table::new(0, poll.registry().try_clone().unwrap(), Marks::from(&config), config.close_timeout, 0);
    (poll, And { before: (), lane: Lane::new(Ledger::default(), table, 0) })
}

fn reactor(poll: Poll, lanes: And<Ledger, ()>) -> Alone {
    let mut reactor = Reactor::new(poll, lanes, Sources::none(), &Config::default(), usize::MAX);
    reactor.begin(Instant::now());
    reactor
}

/// The active, whoever follows it, and clients.
struct World {
    random: fastrand::Rng,
    listener: TcpListener,
    clients: Vec<Client>,
    active: Alone,
    /// How many came since the standby was told of any.
    newcomers: usize,
    /// How many deaths were in the middle of a read.
    reads_under_way: usize,
    followed: Option<Followed>,
    follower: Option<Follower<And<Ledger, ()>>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (poll, lanes) = lanes();
        Self {
            random: fastrand::Rng::with_seed(seed),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            clients: Vec::new(),
            active: reactor(poll, lanes),
            newcomers: 0,
            reads_under_way: 0,
            followed: None,
            follower: None,
        }
    }

    fn look(&mut self) {
        self.active.look(&mut Events::with_capacity(64), Instant::now()).unwrap();
    }

    fn come(&mut self) {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (socket, address) = self.listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let lane = &mut self.active.lanes_mut().lane;
        lane.open(mio::net::TcpStream::from_std(socket), address.into(), &Accepted::anyhow());
        self.clients.push(Client::new(client));
        self.newcomers += 1;
    }

    /// From now on there is a standby.
    fn follow(&mut self) {
        let (ours, theirs) = Channel::pair();
        let lanes = self.active.lanes_mut();
        lanes.watch(Recipient::Standby);
        self.followed = {
            let departure =
                Departure::of_peers(ours, Recipient::Standby, Hello::with_room(), &lanes.keys_end(), Instant::now());
            Some(Followed::begin(departure, std::io::pipe().unwrap().0.into()))
        };
        let (poll, lanes) = self::lanes();
        let (arriving, receiving): (_, Receiving) = Arriving::of_peers(theirs, poll, lanes, &[1]);
        let process = Process { pid: std::process::id(), ..Process::default() };
        self.follower = Some(Follower::begin(arriving, receiving, process, std::process::id(), None).unwrap());
    }

    /// The active's part between two turns of its loop: late enough for another mark.
    fn turn(&mut self) {
        let Some(followed) = self.followed.take() else { return };
        let now = Instant::now() + Duration::from_secs(1);
        let account = |_: &And<Ledger, ()>| crate::account::Account::open();
        let lanes = self.active.lanes_mut();
        match followed.turn(lanes, account, Duration::from_secs(1), now) {
            Turn::On(mut followed) | Turn::Armed(mut followed) => {
                self.newcomers = 0;
                followed.hear_of_everything();
                self.followed = Some(followed);
            }
            Turn::Lost(_, failure) => panic!("{failure}"),
        }
    }

    /// What happens next.
    fn step(&mut self) {
        let clients = self.clients.len();
        match self.random.u8(..12) {
            0 if clients < 12 => self.come(),
            1..=4 if clients > 0 => {
                let length = self.random.usize(1..=5);
                let bytes: Vec<u8> = (0..length).map(|_| self.random.u8(..3)).collect();
                let client = self.random.usize(..clients);
                self.clients[client].say(&bytes);
            }
            5 if clients > 0 => {
                let client = self.random.usize(..clients);
                self.clients[client].hear();
            }
            6 if clients > 3 => drop(self.clients.swap_remove(self.random.usize(..clients))),
            7 | 8 => self.turn(),
            9 => self.follower.iter_mut().for_each(|follower| follower.hear_out()),
            _ => self.look(),
        }
    }

    /// The active dies here, and its standby serves on if it is armed; otherwise nothing happens. Returns how many it served on, and
    /// how many it reset.
    fn die(&mut self) -> Option<(u64, u64)> {
        let mut survival = self.survive()?;
        let told = survival.told(monotonic_ns());
        for suspect in survival.go_on(self.active.lanes_mut()) {
            self.active.lanes_mut().lane.take_up_suspect(suspect);
        }
        Some((told.served_on, told.reset))
    }

    /// The same, up to where the standby begins to serve.
    fn survive(&mut self) -> Option<Survival> {
        let mut follower = self.follower.take()?;
        follower.hear_out();
        // What it had written is in the channel, and there is no more of it.
        drop(self.followed.take());
        if !follower.is_armed() {
            self.active.lanes_mut().unwatch(Recipient::Standby);
            return None;
        }
        if self.random.bool() && follower.find_last_read_under_way() {
            self.reads_under_way += 1;
        }
        let (poll, lanes, survival) = follower.survive(monotonic_ns());
        let before = std::mem::replace(&mut self.active, reactor(poll, lanes));
        drop(before);
        Some(survival)
    }

    /// Somebody follows who could serve on.
    fn follow_until_armed(&mut self) {
        self.follow();
        while self.follower.as_ref().is_some_and(|follower| !follower.is_armed()) {
            self.turn();
            self.follower.as_mut().unwrap().hear_out();
        }
    }

    /// Everybody says the rest of what it has begun, and one message more, and has all answers.
    fn settle(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.is_open) {
            let rest = if client.sent_bytes % 2 == 1 { 3 } else { 2 };
            client.say(&[ANSWER, GIFT, ANSWER][..rest]);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.clients.iter().any(|client| client.is_open && !client.has_all_answers()) {
            assert!(Instant::now() < deadline, "an answer is missing");
            self.look();
            self.clients.iter_mut().for_each(Client::hear);
        }
    }

    fn open_clients(&self) -> usize {
        self.clients.iter().filter(|client| client.is_open).count()
    }
}

#[test]
fn everybody_outlives_a_death_and_sees_what_one_process_would_have_done() {
    let (mut served_on, mut reads_under_way) = (0, 0);
    for seed in 0..150 {
        let mut world = World::new(seed);
        for _deaths in 0..2 {
            world.follow();
            for _ in 0..world.random.usize(20..250) {
                world.step();
            }
            let (clients, newcomers) = (world.open_clients(), world.newcomers);
            let Some((of_these, others)) = world.die() else { continue };
            served_on += of_these;
            assert_eq!(others, 0, "seed {seed}: {of_these} are served on");
            world.settle();
            assert!(world.open_clients() + newcomers >= clients, "seed {seed}: only who has just come may be lost");
            world.clients.retain(|client| client.is_open);
        }
        world.settle();
        reads_under_way += world.reads_under_way;
    }
    assert!(
        served_on > 100 && reads_under_way > 10,
        "{served_on} were served on, {reads_under_way} deaths were in a read"
    );
}

#[test]
fn what_waits_is_known_before_it_is_written_and_forgotten_afterwards() {
    let mut world = World::new(0);
    world.come();
    world.follow_until_armed();
    // A commit tells what waits, and lets it out; the next tells that it is written, and what waits by then.
    for says in [true, true, false] {
        if says {
            world.clients[0].say(&[ANSWER; 2]);
            while world.active.lanes().lane.table().peers().iter().all(|peer| peer.talk.pending_bytes() == 0) {
                world.look();
            }
        }
        world.turn();
        let pending_bytes = if says { WORD_BYTES } else { 0 };
        assert_eq!(world.follower.as_mut().unwrap().pending_bytes(), pending_bytes);
    }
    world.clients[0].hear();
    assert!(world.clients[0].has_all_answers());
}

#[test]
fn what_was_kept_of_somebodys_input_is_put_aside_if_the_active_dies_of_it() {
    let mut world = World::new(0);
    world.come();
    world.come();
    world.follow_until_armed();
    // So many answers wait that the rest is kept, and what the service dies of is in there.
    let marks = Config::default().outbound_high_bytes;
    let messages = marks / WORD_BYTES + 1000;
    let mut input = vec![ANSWER; 2 * messages];
    input.extend([POISON; 2]);
    for piece in input.chunks(32 * 1024) {
        world.clients[0].say(piece);
        world.look();
    }
    let said = |world: &World| world.active.lanes().lane.table().tally().received_bytes;
    assert_eq!(said(&world), input.len() as u64, "all is read");
    world.turn();
    // Somebody else was read from last.
    world.clients[1].say(&[ANSWER; 2]);
    let dies = |world: &mut World| {
        while world.clients[1].answers < 2 {
            world.clients[0].hear();
            world.look();
        }
    };
    catch_unwind(AssertUnwindSafe(|| dies(&mut world))).expect_err("the service dies of it");
    let mut survival = world.survive().unwrap();
    let suspects = survival.go_on(world.active.lanes_mut());
    let [suspect] = suspects[..] else { panic!("{suspects:?}") };
    world.clients[1].say(&[ANSWER; 2]);
    while !world.clients[1].has_all_answers() {
        world.look();
        world.clients[1].hear();
    }
    let takes_up = || world.active.lanes_mut().lane.take_up_suspect(suspect);
    catch_unwind(AssertUnwindSafe(takes_up)).expect_err("nobody has handled it since");
}

#[test]
fn what_was_sent_to_somebody_in_anothers_turn_is_told_with_how_far_its_connection_has_come() {
    let mut world = World::new(0);
    world.come();
    world.come();
    world.follow_until_armed();
    let table = world.active.lanes_mut().lane.table_mut();
    let gifted = table.peers().handles()[1];
    let id = table.peers().of_handle(gifted).unwrap().id();
    table.peers_mut().send(id, &word(GIFT, 1)).unwrap();
    table.touch_unsettled();
    assert_eq!((table.unsettled(), table.deferred()), (1, 1));
    let told = table.take_offsets();
    assert_eq!(told.iter().map(|offset| offset.cookie).collect::<Vec<_>>(), [u64::from(id)]);
}

#[test]
fn whose_output_was_full_is_told_that_there_is_room_though_the_active_had_written_it() {
    let mut world = World::new(0);
    world.come();
    world.follow_until_armed();
    let high_bytes = Config::default().outbound_high_bytes;
    let input = vec![ANSWER; 2 * (high_bytes / WORD_BYTES + 1000)];
    for piece in input.chunks(32 * 1024) {
        world.clients[0].say(piece);
        world.look();
    }
    let pending_bytes = |world: &World| {
        world.active.lanes().lane.table().peers().iter().map(|peer| peer.talk.pending_bytes()).sum::<usize>()
    };
    assert!(pending_bytes(&world) > high_bytes);
    // It is told, and written at once. That it was is not told any more.
    world.turn();
    assert_eq!(pending_bytes(&world), 0);
    assert_eq!(world.active.lanes().lane.service().drained, 0);
    world.die().unwrap();
    world.look();
    assert_eq!(world.active.lanes().lane.service().drained, 1);
}
