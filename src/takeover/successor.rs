//! The successor's half of the conversation. Pure: frames go in, what is to be done comes out.
//!
//! ```text
//! Called ──Welcome──▶ Receiving ──Commit──▶ Accept is sent: the successor owns the peers
//!    │                    │
//!  Objection                Objection                the predecessor owns them, and the successor exits
//! ```

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use reactord_process::frame::{Refuse, printable};

use super::digests::Digests;
use super::wire::{
    Closed, Commit, Copied, Digested, Entries, EntriesSent, Figures, Frame, Hello, Kind, Lane, Listeners, OfLane,
    Offer, Round, State, Timers, WIRE_VERSIONS, Welcome, chained,
};
use crate::account::Account;
use crate::build_id::BUILD;
use crate::peer::record::{Change, Record};
use crate::peer::secured::LAYOUT;

/// Why the takeover cannot be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// The predecessor says so, and why.
    Refused { reason: String },
    /// The predecessor chose what was not offered.
    Service { service: String, state_version: u32 },
    /// The predecessor has no lane, or two for one service.
    Lanes { services: Vec<String> },
    /// It speaks of a lane that it does not have.
    Lane { lane: u32, lanes: usize },
    /// The predecessor chose a wire version that was not offered.
    WireVersion { wire_version: u32 },
    /// It said something that is not its turn to say.
    OutOfTurn { kind: Kind, step: &'static str },
    /// The journal of an active has no frames between these positions.
    Journal { from: u64, to: u64 },
    /// Its descriptors have not come.
    Descriptors,
    /// It copied a peer that had been copied before.
    Twice { cookie: u64 },
    /// It speaks of a peer that was never copied.
    Unknown { cookie: u64 },
    /// A round is missing.
    Round { number: u32, expected: u32 },
    /// It listens itself, or does not, otherwise than this process is to.
    Listeners { count: usize, expected: usize },
    /// With its listeners and those that are new, this process would have more than it could hand over.
    TooManyListeners { count: usize, count_max: usize },
    /// Clients of this listener speak TLS, and this process was not told with which certificate.
    NoTls { listener: String },
    /// Clients of this listener are served in clear, and this process was given a certificate for them.
    InClear { listener: String },
    /// Something came with a batch that does not move.
    Shared,
    /// With those that it is to be given, this process would have more peers than it may.
    Room { peers: u64, peers_max: usize },
    /// It talks on, and a batch does not come to its end.
    Endless { copied_for: Duration },
    /// This process does not take anything any more.
    Leaving { reason: String },
    /// Whoever is followed is another process than the one that is seen to have opened the path, or is in another namespace.
    Unseen { pid: u32, seen_pid: u32 },
    /// A standby is in another network namespace than a listener of its active: nobody would tell it how far connections have come.
    Unheard { address: SocketAddr },
    /// Whoever is followed, or gives peers, has another clock.
    Clock { at_ns: u64, now_ns: u64 },
    /// Whoever is followed has ended the channel, and lives.
    Alive { pid: u32 },
    /// A piece of entries goes on with another map.
    Piece { of: Of, expected: Of },
    /// There is no memory for a piece of entries.
    Memory { bytes: usize },
    /// What has come is not what was sent.
    Incomplete { what: &'static str, arrived: u64, sent: u64 },
}

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { reason } => write!(f, "refused: {reason}"),
            Self::Service { service, state_version } => write!(
                f,
                "the predecessor chose service {} with state version {state_version}, which was not offered",
                printable(service)
            ),
            Self::Lanes { services } => {
                let services: Vec<String> = services.iter().map(|service| printable(service)).collect();
                write!(f, "the predecessor serves [{}], each service once is expected", printable(&services.join(", ")))
            }
            Self::Journal { from, to } => {
                write!(f, "the journal of the active has no whole frames from position {from} to {to}")
            }
            Self::Descriptors => f.write_str("the active tells of a peer whose descriptor has not come"),
            Self::Lane { lane, lanes } => write!(f, "the predecessor speaks of lane {lane}, and has {lanes}"),
            Self::WireVersion { wire_version } => {
                write!(f, "the predecessor chose wire version {wire_version}, offered were {WIRE_VERSIONS}")
            }
            Self::OutOfTurn { kind, step } => write!(f, "the predecessor sent {kind:?} {step}"),
            Self::Twice { cookie } => write!(f, "the peer with cookie {cookie} was copied twice"),
            Self::Unknown { cookie } => write!(f, "the peer with cookie {cookie} was never copied"),
            Self::Round { number, expected } => write!(f, "round {number} ended, {expected} was expected to"),
            Self::NoTls { listener } => write!(
                f,
                "the clients of the listener {} speak TLS, and this process was given no certificate",
                printable(listener)
            ),
            Self::InClear { listener } => write!(
                f,
                "the clients of the listener {} are served in clear, and this process was given a certificate for them",
                printable(listener)
            ),
            Self::Listeners { count, expected: 0 } => {
                write!(f, "the predecessor has {count} listeners, and a worker of a supervisor takes over none")
            }
            Self::Listeners { count, expected } => {
                write!(f, "the predecessor has {count} listeners, {expected} is expected")
            }
            Self::TooManyListeners { count, count_max } => {
                write!(f, "there would be {count} listeners, {count_max} are allowed")
            }
            Self::Shared => f.write_str(
                "the giver sent what its peers share, or where it listens, which does not move with a batch",
            ),
            Self::Room { peers, peers_max } => {
                write!(f, "there would be {peers} peers, {peers_max} are allowed")
            }
            Self::Endless { copied_for } => {
                write!(f, "the giver talks on, and has given nobody within {} ms", copied_for.as_millis())
            }
            Self::Leaving { reason } => f.write_str(reason),
            Self::Unseen { pid, seen_pid } => write!(
                f,
                "the process that is to be followed calls itself pid {pid}, and is seen as pid {seen_pid}: a standby is in the same \
                 PID namespace"
            ),
            Self::Unheard { address } => write!(
                f,
                "the kernel does not tell here how far connections have come that are accepted at {address}: a standby is in the same \
                 network namespace"
            ),
            Self::Clock { at_ns, now_ns } => write!(
                f,
                "the clock of the other process shows {at_ns} ns, and this one's {now_ns} ns: a standby is in the time namespace of \
                 whom it follows, and peers are moved within one"
            ),
            Self::Alive { pid } => write!(f, "pid {pid} has ended the channel without a word, and lives"),
            Self::Piece { of, expected } => write!(f, "a piece of entries of {expected} goes on with {of}"),
            Self::Memory { bytes } => write!(f, "there is no memory for {bytes} bytes of entries"),
            Self::Incomplete { what, arrived, sent } => {
                write!(f, "the {what} that arrived is {arrived}, {sent} was sent")
            }
        }
    }
}

impl std::error::Error for Objection {}

impl Objection {
    /// Why, without who says so.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Refused { reason } => reason,
            objection => objection.to_string(),
        }
    }
}

/// The successor has said Hello.
#[derive(Debug)]
pub(crate) struct Called {
    offers: Vec<Offer>,
}

impl Called {
    /// What the successor says first, and for which upgrade it was started, if it was.
    pub(crate) fn new(upgrade: Option<u64>, offers: Vec<Offer>, files_max: u64, files_open: u64) -> (Self, Vec<u8>) {
        let hello = Hello { upgrade, ..hello(offers.clone(), files_max, files_open) };
        (Self { offers }, Frame::Hello(hello).encode())
    }

    /// The same for one that follows.
    pub(crate) fn following(offers: Vec<Offer>, files_max: u64, files_open: u64) -> (Self, Vec<u8>) {
        (Self { offers: offers.clone() }, Frame::Follow(hello(offers, files_max, files_open)).encode())
    }

    /// One that only wants to know whether it could take over, and what it would say.
    pub(crate) fn checking(offers: Vec<Offer>, files_max: u64, files_open: u64) -> (Self, Hello) {
        (Self { offers: offers.clone() }, hello(offers, files_max, files_open))
    }

    /// The same, for whoever waits to be given peers.
    pub(crate) fn waiting(offers: Vec<Offer>, files_max: u64, files_open: u64) -> (Self, Vec<u8>) {
        (Self { offers: offers.clone() }, Frame::Wait(hello(offers, files_max, files_open)).encode())
    }

    /// The predecessor answers.
    ///
    /// # Errors
    /// If there will be no takeover.
    pub(crate) fn hear(self, frame: Frame<'_>) -> Result<Welcome, Objection> {
        match frame {
            Frame::Welcome(welcome) => {
                if !WIRE_VERSIONS.contains(welcome.wire_version) {
                    return Err(Objection::WireVersion { wire_version: welcome.wire_version });
                }
                self.check_lanes(&welcome.lanes)?;
                Ok(welcome)
            }
            Frame::Refuse(Refuse { reason, by }) => {
                let by = by.map(|by| format!("; {} serves on", printable(&by))).unwrap_or_default();
                Err(Objection::Refused { reason: printable(&reason) + &by })
            }
            frame => Err(Objection::OutOfTurn { kind: frame.kind(), step: "in answer to Hello" }),
        }
    }

    fn check_lanes(&self, lanes: &[Lane]) -> Result<(), Objection> {
        for Lane { service, state_version, .. } in lanes {
            let is_this = |offer: &Offer| offer.service == *service && offer.state_versions.contains(*state_version);
            if !self.offers.iter().any(is_this) {
                return Err(Objection::Service { service: service.clone(), state_version: *state_version });
            }
        }
        let once = |lane: &Lane| lanes.iter().filter(|other| other.service == lane.service).count() == 1;
        if lanes.is_empty() || !lanes.iter().all(once) {
            return Err(Objection::Lanes { services: lanes.iter().map(|lane| lane.service.clone()).collect() });
        }
        Ok(())
    }
}

fn hello(services: Vec<Offer>, files_max: u64, files_open: u64) -> Hello {
    Hello {
        wire_versions: WIRE_VERSIONS,
        build: BUILD.to_owned(),
        services,
        files_max,
        files_open,
        upgrade: None,
        tls_layout: LAYOUT,
    }
}

/// The successor takes in what the predecessor copies, and serves nobody. It is as far as the predecessor is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// The listeners come first.
    BeforeListeners(Book),
    /// Peers are copied, in rounds.
    Copying(Book),
    /// That round was the last one, unless another follows: the predecessor may freeze.
    Ready(Book),
    /// It has frozen, and sends what all peers of a lane share.
    Frozen(Book),
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Book {
    lanes: Vec<LaneBook>,
    digest: u64,
    copied: Copied,
    /// How many timers have come.
    timers: u64,
    entries: EntriesSent,
    /// A piece of entries that is not whole yet, and the map that it is of.
    piece: Option<Piece>,
}

/// What has come of a piece of entries.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    /// The map that it is of.
    of: Of,
    bytes: Vec<u8>,
}

/// The number of a lane, and of a map of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Of {
    pub(crate) lane: u32,
    pub(crate) map: u32,
}

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "map {} of lane {}", self.map, self.lane)
    }
}

/// What has come of one of the predecessor's lanes.
#[derive(Debug, PartialEq, Eq)]
struct LaneBook {
    /// The digest of each peer, by cookie.
    known: Digests,
    /// What its peers share.
    state: Vec<u8>,
}

/// What a frame has led to.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub(crate) enum Heard<'b> {
    /// Something is to be done, and more comes.
    On(Receiving, Action<'b>),
    /// All is there and verified: restore the shared state, send Accept, and own the peers.
    Commit(Box<Accept>),
}

/// What is to be done about a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<'b> {
    /// Take the descriptors of these listeners, and of the takeover listener.
    Listen(Listeners),
    /// Take a descriptor for each record, and adopt the two; then answer with the frame.
    Adopt(OfLane<Record<'b>>, Vec<u8>),
    /// Follow these changes, each from where its peer was.
    Change(OfLane<Change<'b>>),
    /// Let go of these peers.
    Discard(Closed),
    /// Set these timers.
    SetTimers(Timers),
    /// Apply this piece to the entries of this map of a lane.
    Enter { of: Of, piece: Cow<'b, [u8]> },
    /// Answer with the frame.
    Answer(Vec<u8>),
    /// Take the descriptor of the licence that the predecessor's standby has.
    TakeLicence,
    /// Get everything ready that takes time, and answer with the frame.
    GetReady(Vec<u8>),
    /// Nothing yet.
    Wait,
}

/// What the successor needs at the commit point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    /// The state that all peers share, of each of the predecessor's lanes.
    pub(crate) states: Vec<Vec<u8>>,
    /// How many peers there are.
    pub(crate) peers: u64,
    /// How many entries were sent.
    pub(crate) entries: u64,
    pub(crate) frozen_at_ns: u64,
    pub(crate) figures: Figures,
    pub(crate) account: Option<Account>,
    pub(crate) frame: Vec<u8>,
    /// To free it takes as long as there are peers, which is no matter for the pause.
    book: Book,
}

impl Accept {
    /// How many peers there are of the predecessor's first so many lanes.
    pub(crate) fn peers_of(&self, lanes: usize) -> u64 {
        self.book.lanes.iter().take(lanes).map(|lane| lane.known.len() as u64).sum()
    }
}

impl Receiving {
    /// Nothing has come yet; about so many peers will, of each of the predecessor's lanes.
    pub(crate) fn expecting(peers: &[usize]) -> Self {
        Self::BeforeListeners(Book::expecting(peers))
    }

    /// The same for some peers of one lane, whose giver goes on listening itself.
    pub(crate) fn of_batch() -> Self {
        Self::Copying(Book::expecting(&[0]))
    }

    /// The predecessor says something.
    ///
    /// # Errors
    /// If the takeover is over with that.
    pub(crate) fn hear<'b>(mut self, frame: Frame<'b>) -> Result<Heard<'b>, Objection> {
        let action = match (&mut self, frame) {
            (Self::Copying(book) | Self::Ready(book), Frame::Entries(entries)) => book.enter(&entries)?,
            (Self::Copying(book) | Self::Ready(book), frame) if book.piece.is_some() => {
                return Err(out_of_piece(frame));
            }
            (Self::Copying(book) | Self::Ready(book), Frame::Peers(records)) => book.adopt(records)?,
            (Self::Copying(book) | Self::Ready(book), Frame::Changed(changes)) => book.change(changes)?,
            (Self::Copying(book) | Self::Ready(book), Frame::Closed(closed)) => book.discard(closed)?,
            (Self::Ready(book), Frame::Timers(timers)) => book.set_timers(timers)?,
            (Self::Ready(_) | Self::Frozen(_), Frame::Licence) => Action::TakeLicence,
            #[cfg(all(feature = "wire-2", not(test)))]
            (Self::Ready(book) | Self::Frozen(book), Frame::Census(census)) => book.count(&census)?,
            (_, frame) => return self.advance(frame),
        };
        Ok(Heard::On(self, action))
    }

    /// The same for a frame that leads to another state, if its turn has come.
    fn advance(self, frame: Frame<'_>) -> Result<Heard<'static>, Objection> {
        match (self, frame) {
            (Self::BeforeListeners(book), Frame::Listeners(listeners)) => {
                Ok(Heard::On(Self::Copying(book), Action::Listen(listeners)))
            }
            (Self::Copying(book) | Self::Ready(book), Frame::Round(round)) => book.end_round(&round),
            (Self::Ready(mut book) | Self::Frozen(mut book), Frame::State(state)) => {
                book.append(&state)?;
                Ok(Heard::On(Self::Frozen(book), Action::Wait))
            }
            (Self::Ready(book) | Self::Frozen(book), Frame::Commit(commit)) => book.commit(&commit),
            (_, Frame::Refuse(refuse)) => Err(Objection::Refused { reason: printable(&refuse.reason) }),
            (receiving, frame) => Err(Objection::OutOfTurn { kind: frame.kind(), step: receiving.when() }),
        }
    }

    /// The same for a process that goes on with TLS handshakes that have been answered, or does not.
    pub(crate) fn with_answered_handshakes(mut self, goes_on: bool) -> Self {
        if let Self::Copying(book) = &mut self {
            book.copied.handshakes = goes_on;
        }
        self
    }

    /// The predecessor, which is followed, says what all comes to that it has told up to some instant, besides what all peers share and
    /// the timers, of which this is known.
    ///
    /// # Errors
    /// If something is missing.
    pub(crate) fn mark(&mut self, mark: &Commit, state_bytes: u64, timers: u64) -> Result<(), Objection> {
        let Self::Ready(book) = self else {
            return Err(Objection::OutOfTurn { kind: Kind::Mark, step: self.when() });
        };
        book.compare(mark, state_bytes, timers)?;
        book.copied.rounds = book.copied.rounds.wrapping_add(1);
        Ok(())
    }

    /// What there is at the end of a predecessor that is dead, which had said this last.
    ///
    /// # Panics
    /// If it was not followed.
    pub(crate) fn inherit(self, last: &Commit, states: Vec<Vec<u8>>) -> Box<Accept> {
        let Self::Ready(book) = self else { panic!("there was a mark") };
        let Commit { frozen_at_ns, figures, .. } = *last;
        let (peers, entries, account) = (book.peers(), last.entries.unwrap_or_default().entries, last.account.clone());
        Box::new(Accept { states, peers, entries, frozen_at_ns, figures, account, frame: Vec::new(), book })
    }

    /// How far it has come, as the predecessor is told.
    pub(crate) fn copied(&self) -> Vec<u8> {
        let (Self::BeforeListeners(book) | Self::Copying(book) | Self::Ready(book) | Self::Frozen(book)) = self;
        book.copied_frame()
    }

    fn when(&self) -> &'static str {
        match self {
            Self::BeforeListeners(_) => "before its listeners",
            Self::Copying(_) => "during the copy",
            Self::Ready(_) => "after the last round",
            Self::Frozen(_) => "after its state",
        }
    }
}

/// Why nothing but the rest of a piece may come.
fn out_of_piece(frame: Frame<'_>) -> Objection {
    match frame {
        Frame::Refuse(refuse) => Objection::Refused { reason: printable(&refuse.reason) },
        frame => Objection::OutOfTurn { kind: frame.kind(), step: "within a piece of entries" },
    }
}

/// What has come of the lane with this number.
fn of_lane(lanes: &mut [LaneBook], lane: u32) -> Result<&mut LaneBook, Objection> {
    let count = lanes.len();
    lanes.get_mut(lane as usize).ok_or(Objection::Lane { lane, lanes: count })
}

impl Book {
    fn expecting(peers: &[usize]) -> Self {
        let lanes = peers.iter().map(|&peers| LaneBook { known: Digests::with_capacity(peers), state: Vec::new() });
        Self {
            lanes: lanes.collect(),
            digest: 0,
            copied: Copied::default(),
            entries: EntriesSent::default(),
            piece: None,
            timers: 0,
        }
    }

    fn adopt<'b>(&mut self, came: OfLane<Record<'b>>) -> Result<Action<'b>, Objection> {
        of_lane(&mut self.lanes, came.lane)?;
        for Digested { value: record, digest } in &came.records {
            // A socket is that of one peer, in one lane.
            if self.lanes.iter().any(|lane| lane.known.get(record.cookie).is_some()) {
                return Err(Objection::Twice { cookie: record.cookie });
            }
            of_lane(&mut self.lanes, came.lane)?.known.insert(record.cookie, *digest);
            self.digest = self.digest.wrapping_add((*digest).into());
        }
        self.copied.peers += came.records.len() as u64;
        Ok(Action::Adopt(came, self.copied_frame()))
    }

    fn change<'b>(&mut self, came: OfLane<Change<'b>>) -> Result<Action<'b>, Objection> {
        let known = &mut of_lane(&mut self.lanes, came.lane)?.known;
        for Digested { value: change, digest } in &came.records {
            let known = known.get_mut(change.cookie).ok_or(Objection::Unknown { cookie: change.cookie })?;
            let before = *known;
            *known = chained(before, *digest);
            self.digest = self.digest.wrapping_sub(before.into()).wrapping_add((*known).into());
        }
        Ok(Action::Change(came))
    }

    fn enter<'b>(&mut self, entries: &Entries<'b>) -> Result<Action<'b>, Objection> {
        of_lane(&mut self.lanes, entries.lane)?;
        self.entries.note(entries.part.len(), entries.digest());
        let Entries { part, lane, map, last } = *entries;
        let of = Of { lane, map };
        match self.piece.take() {
            Some(Piece { of: expected, .. }) if expected != of => Err(Objection::Piece { of, expected }),
            None if last => Ok(Action::Enter { of, piece: Cow::Borrowed(part) }),
            begun => {
                let mut bytes = begun.map(|piece| piece.bytes).unwrap_or_default();
                bytes.try_reserve(part.len()).map_err(|_| Objection::Memory { bytes: part.len() })?;
                bytes.extend_from_slice(part);
                if last {
                    return Ok(Action::Enter { of, piece: Cow::Owned(bytes) });
                }
                self.piece = Some(Piece { of, bytes });
                Ok(Action::Wait)
            }
        }
    }

    fn discard(&mut self, closed: Closed) -> Result<Action<'static>, Objection> {
        let known = &mut of_lane(&mut self.lanes, closed.lane)?.known;
        for &cookie in &closed.cookies {
            let digest = known.remove(cookie).ok_or(Objection::Unknown { cookie })?;
            self.digest = self.digest.wrapping_sub(digest.into());
        }
        Ok(Action::Discard(closed))
    }

    fn set_timers(&mut self, timers: Timers) -> Result<Action<'static>, Objection> {
        of_lane(&mut self.lanes, timers.lane)?;
        self.timers += timers.timers.len() as u64;
        Ok(Action::SetTimers(timers))
    }

    #[cfg(all(feature = "wire-2", not(test)))]
    fn count(&self, census: &super::wire::Census) -> Result<Action<'static>, Objection> {
        let (arrived, sent) = (self.peers(), super::rehearsal::count(census));
        if arrived == sent {
            Ok(Action::Wait)
        } else {
            Err(Objection::Incomplete { what: "number of peers in the census", arrived, sent })
        }
    }

    fn append(&mut self, state: &State<'_>) -> Result<(), Objection> {
        of_lane(&mut self.lanes, state.lane)?.state.extend_from_slice(state.part);
        Ok(())
    }

    fn peers(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.known.len() as u64).sum()
    }

    fn end_round(mut self, round: &Round) -> Result<Heard<'static>, Objection> {
        let expected = self.copied.rounds + 1;
        if round.number != expected {
            return Err(Objection::Round { number: round.number, expected });
        }
        #[cfg(all(feature = "wire-2", not(test)))]
        super::rehearsal::note(round);
        self.copied.rounds = round.number;
        Ok(if round.last {
            Heard::On(Receiving::Ready(self), Action::GetReady(Frame::Ready.encode()))
        } else {
            let answer = Action::Answer(self.copied_frame());
            Heard::On(Receiving::Copying(self), answer)
        })
    }

    fn commit(mut self, commit: &Commit) -> Result<Heard<'static>, Objection> {
        let accept = self.verify(commit)?;
        Ok(Heard::Commit(Box::new(Accept { book: self, ..accept })))
    }

    /// Whether what has come is what was sent, and what there is at a commit point then.
    fn verify(&mut self, commit: &Commit) -> Result<Accept, Objection> {
        let states: Vec<Vec<u8>> = self.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.state)).collect();
        self.compare(commit, states.iter().map(|state| state.len() as u64).sum(), self.timers)?;
        let Commit { peers, frozen_at_ns, figures, .. } = *commit;
        let frame = Frame::Accept.encode();
        let (entries, account) = (commit.entries.unwrap_or_default().entries, commit.account.clone());
        let nothing = Self::expecting(&[]);
        Ok(Accept { states, peers, entries, frozen_at_ns, figures, account, frame, book: nothing })
    }

    /// Whether what has come is what was sent, and so much of state and timers besides.
    fn compare(&self, commit: &Commit, state_bytes: u64, timers: u64) -> Result<(), Objection> {
        let entries = commit.entries.unwrap_or_default();
        let pairs = [
            ("number of peers", self.peers(), commit.peers),
            ("digest", self.digest, commit.digest),
            ("size of the shared state", state_bytes, commit.state_bytes),
            ("number of timers", timers, commit.timers),
            ("size of the entries", self.entries.bytes, entries.bytes),
            ("digest of the entries", self.entries.digest.into(), entries.digest.into()),
        ];
        if let Some((what, arrived, sent)) = pairs.into_iter().find(|(_, arrived, sent)| arrived != sent) {
            return Err(Objection::Incomplete { what, arrived, sent });
        }
        Ok(())
    }

    fn copied_frame(&self) -> Vec<u8> {
        Frame::Copied(self.copied.clone()).encode()
    }
}
