//! Clients that speak TLS, in every state in which a takeover may meet them: silent, half-way through a record, with sealed output
//! that nobody reads, with keys that change, and with a handshake under way.
//!
//! None of them takes a record that is not the next one of its connection, so none would bear a number that two processes have sealed
//! with; nor one that has begun with a nonce of TLS 1.2 that has been.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reactord_tls::{Connector, Version};

use crate::asked::{ASKED, LITTLE_BYTES, SLOW, answers};
use crate::harness::{Authority, CertificateKey, Lost, Server, Shaking, TlsPeer, Why};

/// What the listener is called that they connect to.
const LISTENER: &str = "secured";

/// Each, and how long a handshake goes on in any case: one of TLS 1.2 cannot move once it is answered, and is waited for for a second.
const VERSIONS: [(Version, Duration); 2] = [(Version::Tls13, HANDSHAKE), (Version::Tls12, Duration::from_secs(1))];

/// How long a handshake may take that moves, as that of TLS 1.2 does until it is answered: ten seconds from the beginning of the turn in which
/// it was let in, and on a machine that stands still that was some time ago.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(9);

/// How far those have come whose handshakes are under way: how much of its first word each has said, and of the next, if it has heard
/// the answer.
const UNDER_WAY: [(Version, &[usize]); 4] =
    [(Version::Tls12, &[0]), (Version::Tls12, &[100]), (Version::Tls13, &[100]), (Version::Tls13, &[usize::MAX, 4])];

/// From one line of a busy client to the next.
const PACE: Duration = Duration::from_millis(10);

/// From the first one who comes and goes to the next. From then on it takes so much longer each time: a handshake costs as much as many
/// lines, and there are crowds that wait for long until somebody gives up.
const PACE_OF_HANDSHAKES: Duration = Duration::from_millis(100);

/// After how many lines a busy client changes its keys.
const LINES_OF_KEY: u64 = 4;

/// Who signs the certificate of every server, and what the options of each are.
struct Made {
    authority: Authority,
    options: [String; 4],
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults-tls");
    std::fs::create_dir_all(&directory).expect("there is room");
    let authority = Authority::new();
    let options = authority.options_in(&directory, CertificateKey::Ecdsa);
    let options: Vec<String> = options.split(' ').map(str::to_owned).collect();
    Made { authority, options: options.try_into().expect("two options with two files") }
});

/// The options of a server to which clients of this kind can connect, and of whoever takes over from it.
pub(crate) fn options() -> &'static [String; 4] {
    &MADE.options
}

/// The same as words of a command line.
pub(crate) fn words() -> String {
    options().join(" ")
}

/// Where a server lets them in that lets in others, too.
#[track_caller]
pub(crate) fn address_of(server: &Server) -> SocketAddr {
    server.address_as(LISTENER)
}

/// What clients of each version need that believe these servers.
pub(crate) fn connectors() -> [Connector; 2] {
    VERSIONS.map(|(version, _)| MADE.authority.connector(version))
}

/// Clients at this address, one of each version.
#[track_caller]
pub(crate) fn connect_each(address: SocketAddr) -> [TlsPeer; 2] {
    VERSIONS.map(|(version, _)| TlsPeer::connect(address, &MADE.authority.connector(version)))
}

/// One of TLS 1.3.
///
/// # Errors
/// If its connection is lost before its handshake is over.
pub(crate) fn try_connect(address: SocketAddr) -> Result<TlsPeer, Lost> {
    TlsPeer::try_connect(address, &MADE.authority.connector(Version::Tls13)).map_err(Why::loss)
}

/// A client whose lines are all different, and different from anybody else's.
pub(crate) struct Talker {
    pub(crate) peer: TlsPeer,
    name: String,
    said: u64,
}

impl Talker {
    /// # Errors
    /// If its connection is lost before its handshake is over.
    fn connect(address: SocketAddr, connector: &Connector, name: String) -> Result<Self, Lost> {
        Self::from(TlsPeer::try_connect(address, connector), name)
    }

    #[track_caller]
    fn from(connected: Result<TlsPeer, Why>, name: String) -> Result<Self, Lost> {
        connected.map(|peer| Self::new(peer, name)).map_err(Why::loss)
    }

    pub(crate) fn new(peer: TlsPeer, name: String) -> Self {
        Self { peer, name, said: 0 }
    }

    pub(crate) fn line(&self) -> Vec<u8> {
        format!("line {} of the secured {}\n", self.said, self.name).into_bytes()
    }

    pub(crate) fn exchange(&mut self) -> Result<(), Lost> {
        let line = self.line();
        self.peer.try_send(&line)?;
        self.hear(&line)
    }

    fn greet(mut self) -> Result<Self, Lost> {
        self.exchange()?;
        Ok(self)
    }

    pub(crate) fn hear(&mut self, line: &[u8]) -> Result<(), Lost> {
        self.peer.try_expect(line)?;
        self.said += 1;
        Ok(())
    }

    /// Says a line and hears it, and then changes its keys and has the server do so, too, if it is time for that.
    fn go_on(&mut self) -> Result<(), Lost> {
        self.exchange()?;
        if self.said.is_multiple_of(LINES_OF_KEY) { self.peer.try_update() } else { Ok(()) }
    }

    /// Its connection ends, and it has heard nothing that it has not been told.
    #[track_caller]
    fn expect_loss(mut self) {
        self.peer.expect_loss();
        assert_eq!(self.peer.unread(), b"", "{}", self.name);
    }
}

/// A client half-way through a record, and what is left of it.
struct Half {
    talker: Talker,
    rest: Vec<u8>,
}

impl Half {
    #[track_caller]
    fn from(mut talker: Talker) -> Self {
        let rest = talker.peer.send_half(&talker.line());
        Self { talker, rest }
    }

    fn say_the_rest(self) -> Result<Talker, Lost> {
        let Self { mut talker, rest } = self;
        talker.peer.try_send_raw(&rest)?;
        let line = talker.line();
        talker.hear(&line)?;
        Ok(talker)
    }
}

/// A client who does not read its answers, so that what is sealed for it fills all buffers; how much it has sealed itself, and what of
/// that it has not sent.
pub(crate) struct Full {
    pub(crate) talker: Talker,
    sealed: usize,
    rest: Vec<u8>,
}

impl Full {
    /// # Errors
    /// If its connection is lost before that.
    pub(crate) fn from(mut talker: Talker) -> Result<Self, Lost> {
        talker.peer.keep_little();
        let (sealed, rest) = talker.peer.try_seal_until_slow(SLOW, &ASKED[..ASKED.len() - LITTLE_BYTES])?;
        Ok(Self { talker, sealed, rest })
    }

    /// Ends its last line, reads all answers, and goes on as one of the others.
    pub(crate) fn read(self) -> Result<Talker, Lost> {
        let Self { mut talker, sealed, mut rest } = self;
        let all = answers(sealed + LITTLE_BYTES);
        talker.peer.seal(&all[sealed..], &mut rest);
        talker.peer.try_expect_while_sending(all, &rest)?;
        Ok(talker)
    }

    /// Gets no byte that is not its own, or one twice, and then its connection ends.
    #[track_caller]
    pub(crate) fn expect_loss(&mut self) {
        // What was in the kernel may still come.
        self.talker.peer.expect_loss();
        assert!(answers(self.sealed).starts_with(self.talker.peer.unread()), "other bytes came than were asked for");
    }
}

/// A client in the middle of its handshake, and when that began.
struct UnderWay {
    shaking: Shaking,
    began: Instant,
    name: String,
}

impl UnderWay {
    #[track_caller]
    fn begin(address: SocketAddr, connector: &Connector, said: &[usize], name: String) -> Self {
        let began = Instant::now();
        let mut shaking = Shaking::connect(address, connector);
        for (number, bytes) in said.iter().enumerate() {
            if number > 0 {
                shaking.hear();
            }
            shaking.say(*bytes);
        }
        Self { shaking, began, name }
    }

    /// Comes to the end of its handshake, and talks; or has taken too long for it, and is nobody.
    fn finish(self) -> Result<Option<Talker>, Lost> {
        let began = self.began;
        match self.try_finish() {
            Ok(talker) => Ok(Some(talker)),
            Err(_) if began.elapsed() >= HANDSHAKE => Ok(None),
            Err(lost) => Err(lost),
        }
    }

    fn try_finish(self) -> Result<Talker, Lost> {
        Talker::from(self.shaking.try_finish(), self.name).and_then(Talker::greet)
    }
}

/// Clients of every kind.
pub(crate) struct Secured {
    address: SocketAddr,
    connectors: [Connector; 2],
    /// Open, and silent.
    idle: Vec<Talker>,
    half: Vec<Half>,
    full: Option<Full>,
    under_way: Vec<UnderWay>,
    /// Say a line, hear it, and say the next, and change their keys.
    busy: JoinHandle<Result<Vec<Talker>, Lost>>,
    /// Shake hands, talk, and leave.
    passing: Option<JoinHandle<Result<(), Lost>>>,
    stopping: Arc<AtomicBool>,
}

impl Secured {
    /// How many few are.
    pub(crate) const FEW: usize = 5;

    /// All have been served when this returns, save those that have not come so far, and keep the server busy from now on.
    #[track_caller]
    pub(crate) fn gather(server: &Server) -> Self {
        let address = address_of(server);
        let connectors = connectors();
        let connect = |kind| connect_both(address, &connectors, kind, Talker::greet);
        let (mut idle, half, mut busy) = (connect("idle"), connect("half"), connect("busy"));
        for _ in 0..=LINES_OF_KEY {
            idle.iter_mut().chain(&mut busy).try_for_each(Talker::go_on).expect(SERVES);
        }
        idle.push(connect_in_time(address, any_of(&connectors), "silent", Ok));
        let under_way = begin_handshakes(address, &connectors);
        let stopping = Arc::<AtomicBool>::default();
        let stop = stopping.clone();
        let busy = std::thread::spawn(move || be_busy(busy, &stop));
        let (stop, passing) = (stopping.clone(), connectors.clone());
        let passing = Some(std::thread::spawn(move || come_and_go(address, &passing, &stop)));
        let half = half.into_iter().map(Half::from).collect();
        Self { address, connectors, idle, half, full: None, under_way, busy, passing, stopping }
    }

    /// The same with [so many](Self::FEW) of them, all of whom stay: some of either version by turns, and nobody whose handshake is not
    /// over, since it is no peer before.
    #[track_caller]
    pub(crate) fn gather_few(server: &Server) -> Self {
        let address = address_of(server);
        let connectors = connectors();
        let connect = |kind| connect_in_time(address, any_of(&connectors), kind, Talker::greet);
        let (mut idle, half) = (vec![connect("idle")], vec![Half::from(connect("half"))]);
        let mut busy = connect_both(address, &connectors, "busy", Talker::greet);
        for _ in 0..=LINES_OF_KEY {
            idle.iter_mut().chain(&mut busy).try_for_each(Talker::go_on).expect(SERVES);
        }
        let stopping = Arc::<AtomicBool>::default();
        let stop = stopping.clone();
        let busy = std::thread::spawn(move || be_busy(busy, &stop));
        let mut few =
            Self { address, connectors, idle, half, full: None, under_way: Vec::new(), busy, passing: None, stopping };
        few.fill_buffers();
        few
    }

    /// Adds one that does not read its answers, which takes a while.
    #[track_caller]
    pub(crate) fn fill_buffers(&mut self) {
        let full = connect_in_time(self.address, any_of(&self.connectors), "full", Talker::greet);
        self.full = Some(Full::from(full).expect(SERVES));
    }

    /// Each has every byte that was due to it. Returns those that stay. Unless somebody listens where they have connected, those who
    /// come and go do not matter, nor those whose handshakes are under way there.
    ///
    /// # Errors
    /// If one has lost its connection.
    pub(crate) fn finish_while(self, listens: bool) -> Result<Vec<Talker>, Lost> {
        let Self { mut idle, half, full, under_way, busy, passing, stopping, .. } = self;
        stopping.store(true, Ordering::Relaxed);
        let busy = busy.join().expect(HEARS);
        let passed = passing.map_or(Ok(()), |passing| passing.join().expect(HEARS));
        let come: Result<Vec<Option<Talker>>, Lost> = under_way.into_iter().map(UnderWay::finish).collect();
        let come = passed.and(come).or_else(|lost| if listens { Err(lost) } else { Ok(Vec::new()) })?;
        idle.iter_mut().try_for_each(Talker::exchange)?;
        let half: Vec<Talker> = half.into_iter().map(Half::say_the_rest).collect::<Result<_, Lost>>()?;
        let full = full.map(Full::read).transpose()?;
        let come = come.into_iter().flatten();
        Ok(idle.into_iter().chain(half).chain(full).chain(busy?).chain(come).collect())
    }

    /// Each sees its connection end, and none gets a byte that is not its own, or one twice; perhaps somebody else still listens where
    /// they have connected.
    #[track_caller]
    pub(crate) fn expect_loss_while(self, listens: bool) {
        let Self { idle, half, full, under_way, busy, passing, stopping, .. } = self;
        idle.into_iter().chain(half.into_iter().map(|half| half.talker)).for_each(Talker::expect_loss);
        full.into_iter().for_each(|mut full| full.expect_loss());
        assert!(busy.join().expect(HEARS).is_err(), "somebody serves on");
        for under_way in under_way {
            let come = if listens { under_way.finish().map(drop) } else { under_way.try_finish().map(drop) };
            assert_eq!(come.is_ok(), listens, "{come:?}");
        }
        stopping.store(listens, Ordering::Relaxed);
        if let Some(passing) = passing {
            let passed = passing.join().expect(HEARS);
            assert_eq!(passed.is_ok(), listens, "{passed:?}");
        }
    }
}

const SERVES: &str = "the server serves";
const HEARS: &str = "clients hear what they say";

/// What a client does first.
type First = fn(Talker) -> Result<Talker, Lost>;

/// One version or the other, by turns: to have both everywhere takes too long.
fn any_of(connectors: &[Connector; 2]) -> &Connector {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    // A whole crowd takes two, and a few take three.
    let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
    &connectors[(taken / 2 + taken) % 2]
}

/// Clients of one kind, one of each version.
#[track_caller]
fn connect_both(address: SocketAddr, connectors: &[Connector; 2], kind: &str, first: First) -> Vec<Talker> {
    let both = connectors.iter().enumerate();
    both.map(|(number, connector)| connect_in_time(address, connector, &format!("{kind} {number}"), first)).collect()
}

/// One that tries again if it takes too long, which may be on a busy machine.
#[track_caller]
fn connect_in_time(address: SocketAddr, connector: &Connector, name: &str, first: First) -> Talker {
    loop {
        let began = Instant::now();
        match Talker::connect(address, connector, name.to_owned()).and_then(first) {
            Err(_) if began.elapsed() >= HANDSHAKE => {}
            come => return come.expect(SERVES),
        }
    }
}

#[track_caller]
fn begin_handshakes(address: SocketAddr, connectors: &[Connector; 2]) -> Vec<UnderWay> {
    let begin = |(number, (version, said)): (usize, (Version, &'static [usize]))| {
        let connector = &connectors[usize::from(version == Version::Tls12)];
        UnderWay::begin(address, connector, said, format!("late {number}"))
    };
    UNDER_WAY.into_iter().enumerate().map(begin).collect()
}

fn be_busy(mut busy: Vec<Talker>, stop: &AtomicBool) -> Result<Vec<Talker>, Lost> {
    while !stop.load(Ordering::Relaxed) {
        busy.iter_mut().try_for_each(Talker::go_on)?;
        std::thread::sleep(PACE);
    }
    Ok(busy)
}

/// Has somebody come again and again, whose handshake is under way whenever something happens. Nobody is lost who does not take too
/// long for that.
fn come_and_go(address: SocketAddr, connectors: &[Connector; 2], stop: &AtomicBool) -> Result<(), Lost> {
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (which, began) = (number as usize % VERSIONS.len(), Instant::now());
        let goes_on_for = VERSIONS[which].1;
        // With TLS 1.3 the client's handshake is over before the server's.
        let come = Talker::connect(address, &connectors[which], format!("passing {number}"));
        match come.and_then(Talker::greet) {
            Ok(passing) => passing.peer.try_end()?,
            Err(lost) if began.elapsed() < goes_on_for => return Err(lost),
            Err(_) => {}
        }
        std::thread::sleep(PACE_OF_HANDSHAKES * (number + 1));
    }
    Ok(())
}
