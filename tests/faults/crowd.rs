//! Clients of every kind, that live through a takeover and know every byte that is to come.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use procfs::net::TcpState;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use tempfile::TempDir;

use crate::asked::{ASKED, LITTLE_BYTES, SLOW, answers};
use crate::harness::{Lost, PATIENCE, Peer, Server};
use crate::secured::{self, Secured};

/// How many there are of each kind that comes in numbers.
const EACH: usize = 3;

/// The same of those that are idle, leave, have said half a line, and are busy, where all have to move in one step, with those that speak
/// TLS, some that do not read, and one that passes.
const OF_ONE_STEP: [usize; 4] = [3, 3, 0, 1];

/// A move takes so many in one step.
const PEERS_PER_BATCH: usize = 16;

// Three that end their direction or do not read, and one that passes.
const _: () = assert!(
    OF_ONE_STEP[0] + OF_ONE_STEP[1] + OF_ONE_STEP[2] + OF_ONE_STEP[3] + 3 + 1 + Secured::FEW <= PEERS_PER_BATCH
);

/// From one line of a busy client to the next, so that many crowds can be there at once.
const PACE: Duration = Duration::from_millis(1);

/// Why there is somebody who is probed.
const PROBED: &str = "one of the idle stays idle";

/// After how long deadlines pass: before, while and after the peers are copied.
const DUE_AFTER_MS: [u64; EACH] = [50, 300, 1200];

/// A client of the service `counted` whose lines are all different, and different from anybody else's.
pub(crate) struct Talker {
    pub(crate) peer: Peer,
    said: u64,
    /// How many files the server has open for it.
    files: usize,
}

impl Talker {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Lost> {
        Ok(Self { peer: Peer::try_connect(address)?, said: 0, files: 1 })
    }

    /// One who is joined to a connection that leads back into the server.
    #[track_caller]
    fn connect_by(Relay { relayed, counted }: Relay) -> Self {
        let peer = Peer::connect(relayed);
        peer.send(format!("{counted}\n").as_bytes());
        Self { peer, said: 0, files: 3 }
    }

    fn connect_many(address: SocketAddr, number: usize) -> Vec<Self> {
        (0..number).map(|_| Self::connect(address).expect("the server has just started")).collect()
    }

    fn line(&self) -> Vec<u8> {
        format!("line {} of {}\n", self.said, self.peer.address()).into_bytes()
    }

    pub(crate) fn exchange(&mut self) -> Result<(), Lost> {
        self.say()?;
        self.hear()
    }

    /// Says a line, whose answer is to be heard before the next.
    pub(crate) fn say(&self) -> Result<(), Lost> {
        self.peer.try_send(&self.line())
    }

    /// Hears the line that was said, and nothing else.
    pub(crate) fn hear(&mut self) -> Result<(), Lost> {
        self.peer.try_expect(&self.line())?;
        self.said += 1;
        Ok(())
    }

    /// Asks to be given to somebody else, and says a line behind it; hears that, from whoever has it then.
    pub(crate) fn ask_for_another(&mut self) -> Result<(), Lost> {
        self.peer.try_send(&[b"Steal\n", &*self.line()].concat())?;
        let nobody = b"nobody is waiting\n";
        let first = self.peer.try_receive(1)?;
        if first == nobody[..1] {
            self.peer.try_expect(&nobody[1..])?;
            self.hear()
        } else {
            assert_eq!(first, self.line()[..1], "what was asked for is not answered");
            self.peer.try_expect(&self.line()[1..])?;
            self.said += 1;
            Ok(())
        }
    }

    /// Asks to be told when so many milliseconds are over.
    fn ask_for_deadline(&self, after_ms: u64) -> Result<(), Lost> {
        let line = format!("in {after_ms}\n").into_bytes();
        self.peer.try_send(&line)?;
        self.peer.try_expect(&line)
    }

    /// Is told once, whoever serves by then.
    fn hear_deadline(&mut self) -> Result<(), Lost> {
        self.peer.try_expect(b"due\n")?;
        self.exchange()
    }

    /// Nobody answers that, so it does not matter whether anybody is there.
    pub(crate) fn say_half(&self) {
        let line = self.line();
        let _ = self.peer.try_send(&line[..line.len() / 2]);
    }

    pub(crate) fn say_the_rest(&mut self) -> Result<(), Lost> {
        let line = self.line();
        self.peer.try_send(&line[line.len() / 2..])?;
        self.hear()
    }
}

/// A client who does not read its answers, so that they fill all buffers, and how much it has sent.
pub(crate) struct Full {
    pub(crate) peer: Peer,
    sent: usize,
}

impl Full {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Lost> {
        let peer = Peer::try_connect(address)?;
        peer.keep_little();
        let sent = peer.try_send_until_slow(SLOW, &ASKED[..ASKED.len() - LITTLE_BYTES])?;
        Ok(Self { peer, sent })
    }

    /// Ends its last line, reads all answers, and goes on as one of the others. What is answered is whole, so the line that is
    /// half sent is sent to its end.
    pub(crate) fn read(self) -> Result<Talker, Lost> {
        let Self { peer, sent } = self;
        let rest = answers(sent + LITTLE_BYTES);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| peer.try_send(&rest[sent..]));
            peer.try_expect(rest).and(sending.join().expect("a client can send"))
        })?;
        Ok(Talker { peer, said: 0, files: 1 })
    }

    /// Gets no byte that is not its own, or one twice, and then its connection ends.
    pub(crate) fn expect_loss(&self) {
        // What was in the kernel may still come.
        if self.peer.try_expect(answers(self.sent)).is_ok() {
            self.peer.expect_loss();
        }
    }
}

/// Where a server listens for those who are connected on, and for those who talk.
#[derive(Clone, Copy)]
struct Relay {
    relayed: SocketAddr,
    counted: SocketAddr,
}

impl Relay {
    #[track_caller]
    fn of(server: &Server) -> Self {
        Self { relayed: server.address_as("relayed"), counted: server.address_as("counted") }
    }
}

/// A client who is to be connected on to a Unix socket that lets nobody in before it is told to.
struct Waiter {
    peer: Peer,
    listener: UnixListener,
    /// It alone is in the queue of those who may come in.
    _first: UnixStream,
    _directory: TempDir,
}

impl Waiter {
    #[track_caller]
    fn connect_by(relay: Relay) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).expect("the path is free");
        rustix::net::listen(&listener, 0).expect("a queue may be short");
        set_socket_timeout(&listener, Timeout::Recv, Some(PATIENCE)).expect("a timeout can be set");
        let first = UnixStream::connect(&path).expect("there is room for one");
        let peer = Peer::connect(relay.relayed);
        peer.send(format!("{}\nhello", path.display()).as_bytes());
        Self { peer, listener, _first: first, _directory: directory }
    }

    /// The listener lets in whoever waits: once, with all that was said by then.
    fn let_in(self) -> Result<(), Lost> {
        let Self { peer, listener, .. } = self;
        drop(listener.accept().expect("the first one has long come"));
        let (mut stream, _) = listener.accept().map_err(|error| Lost(format!("nobody is connected on: {error}")))?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let mut said = [0; 5];
        stream.read_exact(&mut said).map_err(|error| Lost(format!("nothing is passed on: {error}")))?;
        assert_eq!(said, *b"hello");
        stream.write_all(&said).map_err(|error| Lost(format!("nothing can be passed back: {error}")))?;
        peer.try_expect(&said)?;
        listener.set_nonblocking(true).expect("a listener need not block");
        assert!(listener.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "one connects once");
        Ok(())
    }
}

/// A client who is to be connected on to a TCP listener that lets nobody in. The kernel knocks again after 1 s, 3 s, 7 s
/// and so on, which nobody waits for.
struct Knocker {
    peer: Peer,
    address: SocketAddr,
    _listener: TcpListener,
    _first: TcpStream,
}

impl Knocker {
    /// The connection is under way when somebody has been answered who came later. To look for it among all sockets again
    /// and again would take the processor from those who have it come about.
    #[track_caller]
    fn connect_by(relay: Relay) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports");
        rustix::net::listen(&listener, 0).expect("a queue may be short");
        let address = listener.local_addr().expect("it is bound");
        let first = TcpStream::connect(address).expect("there is room for one");
        let peer = Peer::connect(relay.relayed);
        peer.send(format!("{address}\n").as_bytes());
        Self { peer, address, _listener: listener, _first: first }
    }

    /// The connection is under way still, and is given up with its client.
    fn leave(self) -> Result<(), Lost> {
        if !is_under_way(self.address) {
            return Err(Lost(format!("nobody is connecting to {} any more", self.address)));
        }
        self.peer.reset();
        Ok(())
    }
}

/// Whether somebody is connecting to this address.
fn is_under_way(address: SocketAddr) -> bool {
    let sockets = procfs::net::tcp().expect("the kernel lists its sockets");
    sockets.iter().any(|socket| socket.remote_address == address && socket.state == TcpState::SynSent)
}

/// Clients of every kind.
pub(crate) struct Crowd {
    /// Open, and silent.
    idle: Vec<Talker>,
    /// Half-way through a line.
    half: Vec<Talker>,
    /// Are to leave when they are told to.
    leaving: Vec<Talker>,
    /// Does not read, so that its answers fill all buffers.
    full: Option<Full>,
    /// Joined to connections that the server has opened, and silent.
    relayed: Vec<Talker>,
    /// Wait for a deadline.
    due: Vec<Talker>,
    /// Are being connected on.
    waiting: Option<(Waiter, Knocker)>,
    /// Speak TLS.
    secured: Option<Secured>,
    /// Have sent so much and will send no more, and have not read the answers: one whose answers are on their way, and
    /// one whose answers fill all buffers.
    half_closed: Vec<(Peer, usize)>,
    /// Say a line, hear it, and say the next.
    busy: JoinHandle<Result<Vec<Talker>, Lost>>,
    /// Connect, talk, and leave, in one way or another.
    passing: JoinHandle<Result<(), Lost>>,
    stopping: Arc<AtomicBool>,
}

impl Crowd {
    /// All have been served when this returns, and keep the server busy from now on.
    #[track_caller]
    pub(crate) fn gather(server: &Server) -> Self {
        let relay = Relay::of(server);
        let mut secured = Secured::gather(server);
        secured.fill_buffers();
        let mut crowd = Self { secured: Some(secured), ..Self::gather_around(relay.counted, Some(relay)) };
        crowd.waiting = Some((Waiter::connect_by(relay), Knocker::connect_by(relay)));
        crowd.fill_buffers(relay.counted);
        crowd
    }

    /// So many as move in one step, at a server that has nothing but a service of lines: nobody is connected on, and nobody has a deadline.
    #[track_caller]
    pub(crate) fn gather_of_lines(server: &Server) -> Self {
        let address = server.address_as("line");
        let secured = Some(Secured::gather_few(server));
        let mut crowd = Self { secured, ..Self::gather_around(address, None) };
        crowd.fill_buffers(address);
        crowd
    }

    /// Adds those that do not read their answers.
    fn fill_buffers(&mut self, address: SocketAddr) {
        let [full, held] = std::array::from_fn(|_| Full::connect(address).expect("the server serves"));
        held.peer.end_sending();
        self.half_closed.push((held.peer, held.sent));
        self.full = Some(full);
    }

    /// The same without those that fill all buffers or are not let in, which takes a while.
    #[track_caller]
    pub(crate) fn gather_light(server: &Server) -> Self {
        let relay = Relay::of(server);
        let secured = Some(Secured::gather(server));
        Self { secured, ..Self::gather_around(relay.counted, Some(relay)) }
    }

    #[track_caller]
    fn gather_around(address: SocketAddr, relay: Option<Relay>) -> Self {
        let numbers = if relay.is_some() { [EACH; 4] } else { OF_ONE_STEP };
        let [mut idle, mut leaving, half, mut busy] = numbers.map(|number| Talker::connect_many(address, number));
        let mut relayed: Vec<Talker> = relay.iter().flat_map(|relay| [*relay; EACH]).map(Talker::connect_by).collect();
        busy.extend(relay.map(Talker::connect_by));
        let mut talking = idle[1..].iter_mut().chain(&mut leaving).chain(&mut relayed);
        talking.try_for_each(Talker::exchange).expect("the server serves");
        half.iter().for_each(Talker::say_half);
        let due = relay.map(|_| Talker::connect_many(address, EACH)).unwrap_or_default();
        let mut asking = due.iter().zip(DUE_AFTER_MS);
        asking.try_for_each(|(talker, after_ms)| talker.ask_for_deadline(after_ms)).expect("the server serves");

        let answered = Peer::connect(address);
        answered.send(&ASKED[..LITTLE_BYTES]);
        answered.end_sending();

        let stopping = Arc::<AtomicBool>::default();
        let stop = stopping.clone();
        let busy = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                busy.iter_mut().try_for_each(Talker::exchange)?;
                std::thread::sleep(PACE);
            }
            Ok(busy)
        });
        let stop = stopping.clone();
        let passing = std::thread::spawn(move || {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                pass(address, number)?;
                std::thread::sleep(PACE);
            }
            Ok(())
        });
        let half_closed = vec![(answered, LITTLE_BYTES)];
        let (full, waiting, secured) = (None, None, None);
        Self { idle, half, leaving, full, relayed, due, waiting, secured, half_closed, busy, passing, stopping }
    }

    /// Some of them leave at once, each in its own way, whether they are served or not; and one of those who stay says half a
    /// line, so that there is something to be known of it by then.
    pub(crate) fn leave(&mut self) {
        // The first one has never said anything, and the last is asked who owns it.
        let hesitant = self.idle.remove(1);
        hesitant.say_half();
        self.half.push(hesitant);
        for (number, leaving) in self.leaving.drain(..).enumerate() {
            match number % EACH {
                0 => leaving.peer.reset(),
                1 => leaving.say_half(),
                _ => {}
            }
        }
    }

    /// Somebody serves, or the connections are gone.
    pub(crate) fn probe(&mut self) -> Result<(), Lost> {
        self.idle.last_mut().expect(PROBED).exchange()
    }

    /// The one that is probed.
    pub(crate) fn probed(&self) -> &Peer {
        &self.idle.last().expect(PROBED).peer
    }

    /// Each has every byte that was due to it. Returns those that stay.
    ///
    /// # Errors
    /// If one has lost its connection.
    pub(crate) fn finish(self) -> Result<Crew, Lost> {
        self.finish_while(true)
    }

    /// The same. Unless somebody listens where they have connected, those who come and go do not matter.
    pub(crate) fn finish_while(self, listens: bool) -> Result<Crew, Lost> {
        let Self { mut idle, mut half, leaving, full, mut relayed, mut due, waiting, secured, half_closed, .. } = self;
        let (busy, passing, stopping) = (self.busy, self.passing, self.stopping);
        drop(leaving);
        stopping.store(true, Ordering::Relaxed);
        let (busy, passing) = (busy.join().expect("busy clients hear what they say"), passing.join());
        let passed = passing.expect("passing clients hear what they say");
        passed.or_else(|lost| if listens { Err(lost) } else { Ok(()) })?;
        idle.iter_mut().try_for_each(Talker::exchange)?;
        half.iter_mut().try_for_each(Talker::say_the_rest)?;
        relayed.iter_mut().try_for_each(Talker::exchange)?;
        due.iter_mut().try_for_each(Talker::hear_deadline)?;
        if let Some((waiter, knocker)) = waiting {
            knocker.leave()?;
            waiter.let_in()?;
        }

        let mut staying: Vec<Talker> = idle.into_iter().chain(half).chain(relayed).chain(due).chain(busy?).collect();
        if let Some(full) = full {
            staying.push(full.read()?);
        }
        for (peer, sent) in half_closed {
            peer.try_expect(answers(sent))?;
            peer.expect_end();
        }
        let secured = secured.map_or(Ok(Vec::new()), |secured| secured.finish_while(listens))?;
        Ok(Crew { plain: staying, secured })
    }

    /// Each sees its connection end, and none gets a byte that is not its own, or one twice.
    #[track_caller]
    pub(crate) fn expect_loss(self) {
        self.expect_loss_while(false);
    }

    /// The same, where perhaps somebody else still listens where they have connected.
    #[track_caller]
    pub(crate) fn expect_loss_while(self, listens: bool) {
        let Self { idle, half, full, relayed, due, waiting, secured, half_closed, .. } = self;
        secured.into_iter().for_each(|secured| secured.expect_loss_while(listens));
        idle.iter().chain(&half).chain(&relayed).for_each(|talker| talker.peer.expect_loss());
        waiting.iter().flat_map(|(waiter, knocker)| [&waiter.peer, &knocker.peer]).for_each(Peer::expect_loss);
        for talker in due {
            // It may have been told before.
            if talker.peer.try_expect(b"due\n").is_ok() {
                talker.peer.expect_loss();
            }
        }
        let half_closed = half_closed.into_iter().map(|(peer, sent)| Full { peer, sent });
        half_closed.chain(full).for_each(|full| full.expect_loss());
        assert!(self.busy.join().expect("busy clients hear what they say").is_err(), "somebody serves on");
        self.stopping.store(listens, Ordering::Relaxed);
        let passed = self.passing.join().expect("passing clients hear what they say");
        assert_eq!(passed.is_ok(), listens, "{passed:?}");
    }
}

/// The clients that stay.
pub(crate) struct Crew {
    plain: Vec<Talker>,
    secured: Vec<secured::Talker>,
}

impl Crew {
    /// How many files the server has open for them.
    pub(crate) fn files(&self) -> usize {
        self.plain.iter().map(|talker| talker.files).sum::<usize>() + self.secured.len()
    }

    #[track_caller]
    pub(crate) fn exchange(&mut self) {
        let plain = self.plain.iter_mut().try_for_each(Talker::exchange);
        let mut secured = || self.secured.iter_mut().try_for_each(secured::Talker::exchange);
        plain.and_then(|()| secured()).expect("all connections are open");
    }

    /// Those that do not speak TLS, and the others.
    pub(crate) fn into_both(self) -> (Vec<Peer>, Vec<secured::Talker>) {
        let Self { plain, secured } = self;
        (plain.into_iter().map(|talker| talker.peer).collect(), secured)
    }

    /// Those that do not speak TLS. The others leave.
    pub(crate) fn into_peers(self) -> impl Iterator<Item = Peer> {
        self.plain.into_iter().map(|talker| talker.peer)
    }
}

/// A client that comes and goes.
fn pass(address: SocketAddr, number: u32) -> Result<(), Lost> {
    let mut passing = Talker::connect(address)?;
    match number % 5 {
        0 => {
            passing.exchange()?;
            passing.peer.end_sending();
            passing.peer.try_expect_end()?;
        }
        // An answer is under way to somebody who is gone.
        1 => passing.peer.try_send(&passing.line())?,
        2 => {
            passing.exchange()?;
            passing.say_half();
            passing.peer.reset();
        }
        3 => passing.exchange()?,
        _ => {}
    }
    Ok(())
}
