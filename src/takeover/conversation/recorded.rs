//! Whole conversations, as released versions had them: `tests/golden/wire-N/conversations/`.
//!
//! Each half is played alone, against what the other half said in the recording, and must say what it said then, byte
//! for byte. Only the name of the build, which nobody decides by, and the wire versions and the layout of TLS of a Hello are
//! those of the day.
//!
//! A line of a recording is `> kind frame` for what the successor says, `< kind frame + descriptors` for what the
//! predecessor says, `* event` for what happens to the predecessor's peers meanwhile, and `#` for a comment. An event is
//! one of the first lane, unless it begins with `lane 1: `.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reactord_process::channel::{TO_PREDECESSOR_BYTES_MAX, TO_SUCCESSOR_BYTES_MAX};
use reactord_process::frame::RawFrame;
use slab::Slab;

use super::super::admission::{Estate, greet};
use super::super::pieces::Written;
use super::super::predecessor::{Accepted, Committed, Copying, Decision, Frozen, Heard, Outgoing};
use super::super::successor::{self, Action, Called, Receiving};
use super::super::wire::{At, Listener, Listeners, SocketFile};
use super::super::wire::{Frame, Offer, Serving, Versions};
use super::peers::Map;
use super::turns::{KINDS, committed};
use super::world::{FREEZE_TIMEOUT, FROZEN_AT_NS, PREDECESSOR_PID, estate, listeners, offers};
use crate::originals::Originals;
use crate::peer::Backlog;
use crate::peer::record::{Phase, Record, SecuredRecord};
use crate::peer::ties::{Dial, Holds, Joined, Outflow, Ties};
use crate::recipient::Recipient;
use crate::service::Entries;

/// Between any two lines of a recording.
const LINE: Duration = Duration::from_millis(1);

/// More than there are peers at the beginning of any recording.
const KEYS_END: usize = 300;

/// An instant to which others are added: `CLOCK_MONOTONIC`, ns.
const DAY_NS: u64 = 86_400_000_000_000;

/// What is saved of each lane.
const SHARED_STATES: [&[u8]; 2] = [b"the state that all peers share", b"and that of the second lane"];

/// What happens in a recording.
struct Scenario {
    name: &'static str,
    /// How many lanes the predecessor has.
    lanes: usize,
    offers: fn() -> Vec<Offer>,
    /// What happens at the predecessor before the line with this number.
    events: fn(usize) -> Vec<String>,
    /// How the successor's part ends: with Accept, or with what it is told.
    outcome: Result<(), &'static str>,
}

const SCENARIOS: [Scenario; 8] = [
    Scenario { name: "nobody", lanes: 1, offers, events: |_| Vec::new(), outcome: Ok(()) },
    Scenario { name: "quiet", lanes: 1, offers, events: |line| at_first(line, 2), outcome: Ok(()) },
    Scenario { name: "lively", lanes: 1, offers, events: lively, outcome: Ok(()) },
    Scenario { name: "entries", lanes: 1, offers, events: keyed, outcome: Ok(()) },
    Scenario { name: "crowd", lanes: 1, offers, events: |line| at_first(line, 260), outcome: Ok(()) },
    Scenario { name: "secured", lanes: 1, offers, events: secured, outcome: Ok(()) },
    Scenario { name: "lanes", lanes: 2, offers, events: tied, outcome: Ok(()) },
    Scenario {
        name: "refused",
        lanes: 1,
        offers: || vec![Offer { service: "seqnum".to_owned(), state_versions: Versions { oldest: 3, newest: 4 } }],
        events: |line| at_first(line, 1),
        outcome: Err("refused: seqnum has state version 2, the successor restores versions 3 to 4"),
    },
];

fn at_first(line: usize, peers: usize) -> Vec<String> {
    if line == 0 { vec!["accept".to_owned(); peers] } else { Vec::new() }
}

/// Peers of every phase, which come, change and leave all the time.
fn lively(line: usize) -> Vec<String> {
    match line {
        0 => at_first(0, 8),
        _ => vec![format!("change {}", line % 5), "accept".to_owned(), format!("close {}", line * 3 % 11)],
    }
}

/// Two peers who share entries, which come and go all the time.
fn keyed(line: usize) -> Vec<String> {
    let mut events = at_first(line, 2);
    events.extend((0..3).map(|number| format!("entries {}", line * 3 + number)));
    events
}

/// Peers whose bytes go through something, which comes to the end of a record now and then.
fn secured(line: usize) -> Vec<String> {
    match line {
        0 => vec!["secured".to_owned(); 3],
        3 => vec!["secured".to_owned(), "change 0".to_owned()],
        _ => vec![format!("change {}", line % 2), format!("close {}", line * 5)],
    }
}

/// Two lanes, whose peers are tied in every way, and entries in both.
fn tied(line: usize) -> Vec<String> {
    let events: &[&str] = match line {
        0 => &["accept", "accept", "accept", "dial", "join 2 3", "lane 1: accept", "lane 1: accept", "lane 1: accept"],
        1 => &["lane 1: couple 0 1", "lane 1: hold 2", "lane 1: entries 8"],
        3 => &["connected 3", "change 2", "lane 1: dial", "entries 5"],
        5 => &["finish 2", "lane 1: release 2", "lane 1: entries 9"],
        7 => &["abort 0", "lane 1: change 1", "lane 1: finish 1", "lane 1: accept"],
        9 => &["close 1", "entries 12", "lane 1: close 0", "lane 1: connected 3"],
        11 => &["accept", "lane 1: hold 4", "lane 1: entries 18"],
        _ => &[],
    };
    events.iter().copied().map(str::to_owned).collect()
}

/// What the predecessor serves, in so many lanes.
fn estates(lanes: &[LaneOfPeers]) -> Vec<Estate> {
    let peers = |lane: usize| lanes[lane].peers.len() as u64;
    let [first] = estate(peers(0));
    let second = (lanes.len() > 1).then(|| Estate { service: "line", state_version: 1, peers: peers(1) });
    [first].into_iter().chain(second).collect()
}

/// What it listens on: the second lane on a Unix socket.
fn listeners_of(lanes: usize) -> Listeners {
    let file = SocketFile { path: b"/run/socket".to_vec(), device: 1, inode: 3 };
    let second = (lanes > 1).then(|| Listener {
        at: At::Unix(file),
        lane: 1,
        name: "neighbours".to_owned(),
        is_leftover: false,
        is_borrowed: false,
        tls: None,
    });
    let mut all = listeners();
    all.services.extend(second);
    all
}

// ── The predecessor ────────────────────────────────────────────────────────────────────────────────────────────────

/// A peer of which only what its record says is left.
#[derive(Default)]
struct Peer {
    cookie: u64,
    changes: u32,
    inbound: Backlog,
    outbound: Backlog,
    /// What has come of a record, if its bytes go through something.
    partial: Option<Backlog>,
    /// `None` if nothing has ever tied it.
    ties: Option<Ties<'static>>,
}

impl Peer {
    fn new(cookie: u64) -> Self {
        Self { cookie, inbound: Backlog::at(0, &vec![7; cookie as usize % 4]), ..Self::default() }
    }

    /// Something happens to it, every other time also to its session. Says whether it did.
    fn change(&mut self) -> bool {
        self.changes += 1;
        self.inbound.advance(self.inbound.len() / 2);
        self.inbound.push(&vec![7; self.changes as usize % 3]);
        self.outbound.advance(self.outbound.len() / 2);
        self.outbound.push(&vec![0xff; self.changes as usize * 5 % 32]);
        if let Some(partial) = &mut self.partial {
            partial.advance(if self.changes.is_multiple_of(4) { partial.len() } else { 0 });
            partial.push(&vec![0x17; self.changes as usize % 6]);
        }
        self.changes.is_multiple_of(2)
    }

    fn record(&self) -> Record<'_> {
        let cookie = self.cookie;
        let address = match cookie % 3 {
            0 => format!("[fe80::1%{cookie}]:80"),
            _ => format!("127.0.0.1:{}", 1024 + cookie),
        };
        let phase = match (self.ties, (cookie + u64::from(self.changes)) % 8) {
            (Some(Ties { dial: Some(_), .. }), _) => Phase::Connecting,
            (Some(_), _) => Phase::Open,
            (None, 0) => Phase::Ended,
            (None, 1) => Phase::Closing,
            (None, 2) => Phase::Lingering,
            (None, _) => Phase::Open,
        };
        let address = address.parse::<SocketAddr>().expect("an address").into();
        // Whoever is being closed has none, unless it was reached.
        let deadline_ns = match phase {
            Phase::Open | Phase::Ended | Phase::Connecting => {
                (cookie % 4 == 1).then_some(DAY_NS + u64::from(self.changes))
            }
            Phase::Closing | Phase::Lingering => (cookie % 4 == 1).then_some(0),
        };
        let (inbound, outbound) = (self.inbound.stretch(), self.outbound.stretch());
        Record {
            cookie,
            address,
            phase,
            session: &[],
            secured: self
                .partial
                .as_ref()
                .map(|partial| SecuredRecord { partial: partial.stretch(), ..Default::default() }),
            inbound,
            outbound,
            parting: None,
            deadline_ns,
            since_s: 0,
            ties: self.ties.unwrap_or_default(),
        }
    }

    /// A service does that to it, and to the other peer that is named.
    fn tie(&mut self, how: &str, other: u64) {
        let ties = self.ties.get_or_insert_default();
        match how {
            "dial" => ties.dial = Some(Dial { until_ns: DAY_NS + self.cookie, path: Some(b"/run/other"), tls: None }),
            "connected" => ties.dial = None,
            "hold" => ties.holds = ties.holds.with(Holds::ASKED),
            "release" => ties.holds = ties.holds.without(Holds::ASKED),
            "finish" => ties.outflow = Outflow::Finishing,
            "abort" => ties.outflow = Outflow::Reset,
            "couple" => ties.writer = Some(other),
            "join" => {
                let partner = NonZeroU64::new(other).expect("no cookie is 0");
                ties.joined = Some(Joined { partner, idle_ns: NonZeroU64::new(DAY_NS), moved_ns: self.cookie });
            }
            _ => panic!("{how} is no event"),
        }
    }
}

/// The peers of a lane, and the entries that they share.
#[derive(Default)]
struct LaneOfPeers {
    peers: Slab<Peer>,
    maps: Vec<Map>,
}

impl LaneOfPeers {
    fn share(&mut self, key: u32) {
        if self.maps.is_empty() {
            self.maps.push(Map::default());
        }
        self.maps[0].insert(key, vec![7; key as usize % 5]);
        self.maps[0].remove(&(key / 2));
    }
}

impl Originals for LaneOfPeers {
    fn record(&self, key: usize) -> Option<Record<'_>> {
        self.peers.get(key).map(Peer::record)
    }

    fn save_session(&self, key: usize, saved: &mut Vec<u8>) {
        saved.extend((self.peers[key].changes / 2).to_be_bytes());
    }

    fn save_secured(&self, key: usize, saved: &mut Vec<u8>) {
        saved.extend([&b"keys "[..], &self.peers[key].changes.to_be_bytes()].concat());
    }

    fn save_facts(&self, _: usize, saved: &mut Vec<u8>) {
        saved.extend(b"what was agreed on");
    }

    fn timers(&self) -> Vec<(u32, u64)> {
        let timer = |peer: &Peer| (peer.changes, DAY_NS + peer.cookie);
        self.peers.iter().filter(|(_, peer)| peer.cookie % 5 == 2).map(|(_, peer)| timer(peer)).collect()
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        self.maps.get_mut(map).map(|map| map as &mut dyn Entries)
    }
}

fn originals(lanes: &mut [LaneOfPeers]) -> Vec<&mut dyn Originals> {
    lanes.iter_mut().map(|lane| lane as &mut dyn Originals).collect()
}

struct Predecessor {
    lanes: Vec<LaneOfPeers>,
    cookies: u64,
    now: Instant,
    /// Frames that are to be sent whatever comes, with their descriptors.
    to_say: VecDeque<(Vec<u8>, usize)>,
    step: PredecessorStep,
}

#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum PredecessorStep {
    Listening,
    Copying(Copying),
    Committed(Committed),
    Retired(Accepted),
    Over,
}

impl Predecessor {
    fn new(lanes: usize) -> Self {
        let lanes = (0..lanes).map(|_| LaneOfPeers::default()).collect();
        Self { lanes, cookies: 0, now: Instant::now(), to_say: VecDeque::new(), step: PredecessorStep::Listening }
    }

    fn happen(&mut self, event: &str) {
        let of_lane = event.strip_prefix("lane ").and_then(|event| event.split_once(": "));
        let (lane, event) = of_lane.map_or((0, event), |(lane, event)| (lane.parse().unwrap(), event));
        let (what, keys) = event.split_once(' ').unwrap_or((event, ""));
        let keys: Vec<usize> = keys.split_whitespace().map(|key| key.parse().unwrap()).collect();
        match (what, keys.as_slice()) {
            ("accept", []) => self.insert(lane, |_| {}),
            ("secured", []) => self.insert(lane, |peer| peer.partial = Some(Backlog::at(0, &[0x17, 3]))),
            ("dial", []) => self.insert(lane, |peer| peer.tie("dial", 0)),
            ("entries", &[key]) => self.lanes[lane].share(u32::try_from(key).unwrap()),
            ("close", &[key]) => self.close(lane, key),
            ("change", &[key]) => self.touch(lane, key, Peer::change),
            (how, &[key]) => self.tie(lane, how, key, 0),
            ("join", &[one, other]) => {
                let [cookie_of_one, cookie_of_other] = [one, other].map(|key| self.lanes[lane].peers[key].cookie);
                self.tie(lane, "join", one, cookie_of_other);
                self.tie(lane, "join", other, cookie_of_one);
            }
            (how, &[key, other]) => self.tie(lane, how, key, self.lanes[lane].peers[other].cookie),
            _ => panic!("{event} is no event"),
        }
    }

    fn insert(&mut self, lane: usize, tie: impl FnOnce(&mut Peer)) {
        self.cookies += 1;
        let mut peer = Peer::new(self.cookies);
        tie(&mut peer);
        let key = self.lanes[lane].peers.insert(peer);
        self.touch(lane, key, |_| true);
    }

    fn tie(&mut self, lane: usize, how: &str, key: usize, other: u64) {
        self.touch(lane, key, |peer| {
            peer.tie(how, other);
            false
        });
    }

    /// Something happens to a peer, if it is there; `act` says whether that changes its session.
    fn touch(&mut self, lane: usize, key: usize, act: impl FnOnce(&mut Peer) -> bool) {
        let Some(peer) = self.lanes[lane].peers.get_mut(key) else { return };
        let session_changed = act(peer);
        if let PredecessorStep::Copying(copying) = &mut self.step {
            copying.mirror_mut(lane).touched(key, session_changed);
        }
    }

    fn close(&mut self, lane: usize, key: usize) {
        let Some(peer) = self.lanes[lane].peers.try_remove(key) else { return };
        if let PredecessorStep::Copying(copying) = &mut self.step {
            copying.mirror_mut(lane).closed(key, peer.cookie);
        }
    }

    /// Whether it still serves, so that something can happen to its peers.
    fn serves(&self) -> bool {
        !matches!(self.step, PredecessorStep::Committed(_) | PredecessorStep::Retired(_))
    }

    fn say(&mut self) -> Option<(Vec<u8>, usize)> {
        self.now += LINE;
        if let Some(said) = self.to_say.pop_front() {
            return Some(said);
        }
        let PredecessorStep::Copying(copying) = &mut self.step else {
            return None;
        };
        let outgoing = copying.next(&mut originals(&mut self.lanes)).unwrap()?;
        let said = match &outgoing {
            Outgoing::Batch(batch) => (batch.frame.to_vec(), batch.descriptor_keys().count()),
            Outgoing::Entries(Written { frame, .. }) | Outgoing::Round { frame, .. } => (frame.clone(), 0),
        };
        copying.sent(outgoing, self.now);
        Some(said)
    }

    fn hear(&mut self, mut bytes: Vec<u8>) {
        self.now += LINE;
        let raw = RawFrame::take(&mut bytes, TO_PREDECESSOR_BYTES_MAX).unwrap().expect("a line is a whole frame");
        let frame = raw.decode().unwrap();
        self.step = match (std::mem::replace(&mut self.step, PredecessorStep::Over), frame) {
            (PredecessorStep::Listening, Frame::Hello(hello)) => {
                match greet(&hello, &estates(&self.lanes), PREDECESSOR_PID) {
                    Ok(welcome) => {
                        self.to_say.push_back((Frame::Welcome(welcome).encode(), 0));
                        let lanes = self.lanes.len();
                        self.to_say.push_back((Frame::Listeners(listeners_of(lanes)).encode(), lanes + 1));
                        PredecessorStep::Copying(Copying::new(
                            Recipient::Successor,
                            hello,
                            &vec![KEYS_END; lanes],
                            self.now,
                        ))
                    }
                    Err(refusal) => {
                        self.to_say.push_back((refusal.frame(), 0));
                        PredecessorStep::Over
                    }
                }
            }
            (PredecessorStep::Copying(copying), frame) => match copying.hear(frame, self.now).unwrap() {
                Heard::Copying(copying) => PredecessorStep::Copying(copying),
                Heard::Ready(ready) => {
                    match ready.decide(&mut originals(&mut self.lanes), FREEZE_TIMEOUT, self.now).unwrap() {
                        Decision::Copy(copying) => PredecessorStep::Copying(copying),
                        Decision::Freeze(ready, _) => self.commit(ready.freeze(self.now, FROZEN_AT_NS)),
                    }
                }
            },
            (PredecessorStep::Committed(committed), frame) => match committed.hear(frame).unwrap() {
                Some(accepted) => PredecessorStep::Retired(accepted),
                None => PredecessorStep::Committed(committed),
            },
            (PredecessorStep::Retired(accepted), Frame::Serving(_)) => PredecessorStep::Retired(accepted),
            (_, frame) => panic!("{frame:?} at the wrong time"),
        };
    }

    fn commit(&mut self, mut frozen: Frozen) -> PredecessorStep {
        while let Some(batch) = frozen.next(&originals(&mut self.lanes)).unwrap() {
            self.to_say.push_back((batch.frame.to_vec(), batch.descriptor_keys().count()));
            frozen.sent(batch);
        }
        while let Some(frame) = frozen.next_entries(&mut originals(&mut self.lanes)) {
            self.to_say.push_back((frame, 0));
        }
        let (frames, committed) = committed(frozen, &SHARED_STATES[..self.lanes.len()]);
        self.to_say.extend(frames.into_iter().map(|frame| (frame, 0)));
        PredecessorStep::Committed(committed)
    }
}

// ── The successor ──────────────────────────────────────────────────────────────────────────────────────────────────

struct Successor {
    /// How many lanes the predecessor has, as far as that is known.
    lanes: usize,
    to_say: VecDeque<Vec<u8>>,
    step: SuccessorStep,
}

enum SuccessorStep {
    Called(Called),
    Receiving(Receiving),
    Over(Result<(), String>),
}

impl Successor {
    fn new(offers: Vec<Offer>) -> Self {
        let (called, hello) = Called::new(None, offers, 20_000, 7);
        Self { lanes: 0, to_say: [hello].into(), step: SuccessorStep::Called(called) }
    }

    fn say(&mut self) -> Option<Vec<u8>> {
        self.to_say.pop_front()
    }

    fn hear(&mut self, mut bytes: Vec<u8>, descriptors: usize) {
        let raw = RawFrame::take(&mut bytes, TO_SUCCESSOR_BYTES_MAX).unwrap().expect("a line is a whole frame");
        let frame = raw.decode().unwrap();
        self.step = match std::mem::replace(&mut self.step, SuccessorStep::Over(Ok(()))) {
            SuccessorStep::Called(called) => match called.hear(frame) {
                Ok(welcome) => {
                    self.lanes = welcome.lanes.len();
                    SuccessorStep::Receiving(Receiving::expecting(&vec![0; self.lanes]))
                }
                Err(objection) => SuccessorStep::Over(Err(objection.to_string())),
            },
            SuccessorStep::Receiving(receiving) => match receiving.hear(frame).unwrap() {
                successor::Heard::On(receiving, action) => {
                    self.act(action, descriptors);
                    SuccessorStep::Receiving(receiving)
                }
                successor::Heard::Commit(accept) => {
                    assert_eq!(
                        (accept.states.as_slice(), descriptors),
                        (&SHARED_STATES.map(<[u8]>::to_vec)[..self.lanes], 0)
                    );
                    self.to_say.push_back(accept.frame);
                    self.to_say.push_back(Frame::Serving(Serving { pause_us: 180 }).encode());
                    SuccessorStep::Over(Ok(()))
                }
            },
            SuccessorStep::Over(_) => panic!("nothing comes after the end"),
        };
    }

    fn act(&mut self, action: Action<'_>, descriptors: usize) {
        let (answer, wanted) = match action {
            Action::Listen(arrived) => {
                assert_eq!(arrived, listeners_of(self.lanes));
                (None, self.lanes + 1)
            }
            Action::Adopt(peers, answer) => (Some(answer), peers.records.len()),
            Action::Answer(answer) | Action::GetReady(answer) => (Some(answer), 0),
            Action::Change(_)
            | Action::Discard(_)
            | Action::SetTimers(_)
            | Action::Enter { .. }
            | Action::TakeLicence
            | Action::Wait => (None, 0),
        };
        assert_eq!(descriptors, wanted, "it takes the descriptors that come");
        self.to_say.extend(answer);
    }
}

// ── Recordings ─────────────────────────────────────────────────────────────────────────────────────────────────────

/// A line that is no comment.
enum Line {
    Happens(String),
    ToPredecessor(Vec<u8>),
    ToSuccessor(Vec<u8>, usize),
}

fn kind_of(frame: &[u8]) -> String {
    format!(
        "{:?}",
        RawFrame::take(&mut frame.to_vec(), u32::MAX).unwrap().unwrap().decode::<Frame<'_>>().unwrap().kind()
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn parse(recording: &str) -> Vec<Line> {
    let frame = |kind_and_hex: &str| {
        let (kind, hex) = kind_and_hex.split_once(' ').unwrap();
        let bytes = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = bytes.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        assert_eq!(kind_of(&bytes), kind);
        bytes
    };
    let lines = recording.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| match line.split_at(2) {
            ("* ", event) => Line::Happens(event.to_owned()),
            ("> ", said) => Line::ToPredecessor(frame(said)),
            ("< ", said) => {
                let (said, descriptors) = said.split_once(" + ").unwrap_or((said, "0"));
                Line::ToSuccessor(frame(said), descriptors.parse().unwrap())
            }
            _ => panic!("{line} is no line of a recording"),
        })
        .collect()
}

fn record(scenario: &Scenario) -> String {
    let mut recording = format!("# A takeover of wire version 1: {}.\n", scenario.name);
    let (mut predecessor, mut successor) = (Predecessor::new(scenario.lanes), Successor::new((scenario.offers)()));
    for number in 0.. {
        if predecessor.serves() {
            for event in (scenario.events)(number) {
                writeln!(recording, "* {event}").unwrap();
                predecessor.happen(&event);
            }
        }
        if let Some(frame) = successor.say() {
            writeln!(recording, "> {} {}", kind_of(&frame), hex(&frame)).unwrap();
            predecessor.hear(frame);
        } else if let Some((frame, descriptors)) = predecessor.say() {
            let with = if descriptors == 0 { String::new() } else { format!(" + {descriptors}") };
            writeln!(recording, "< {} {}{with}", kind_of(&frame), hex(&frame)).unwrap();
            successor.hear(frame, descriptors);
        } else {
            break;
        }
    }
    recording
}

fn path(name: &str) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wire-1/conversations");
    PathBuf::from(directory).join(name).with_extension("txt")
}

fn recording(scenario: &Scenario) -> Vec<Line> {
    let path = path(scenario.name);
    parse(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The frame without what is of the day.
fn undated(frame: &[u8]) -> Vec<u8> {
    let raw = RawFrame::take(&mut frame.to_vec(), u32::MAX).unwrap().unwrap();
    match raw.decode().unwrap() {
        Frame::Hello(mut hello) => {
            hello.build.clear();
            hello.wire_versions = Versions { oldest: 0, newest: 0 };
            hello.tls_layout = 0;
            Frame::Hello(hello).encode()
        }
        Frame::Welcome(mut welcome) => {
            welcome.build.clear();
            Frame::Welcome(welcome).encode()
        }
        _ => frame.to_vec(),
    }
}

#[track_caller]
fn assert_said(said: &[u8], recorded: &[u8], line: usize) {
    assert_eq!(hex(&undated(said)), hex(&undated(recorded)), "line {line}");
}

#[test]
fn a_predecessor_says_what_it_said_in_every_recorded_conversation() {
    for scenario in &SCENARIOS {
        let mut predecessor = Predecessor::new(scenario.lanes);
        for (number, line) in recording(scenario).into_iter().enumerate() {
            match line {
                Line::Happens(event) => predecessor.happen(&event),
                Line::ToPredecessor(frame) => predecessor.hear(frame),
                Line::ToSuccessor(frame, descriptors) => {
                    let (said, with) = predecessor.say().expect("it says something");
                    assert_said(&said, &frame, number);
                    assert_eq!(with, descriptors, "line {number}");
                }
            }
        }
        assert!(predecessor.say().is_none(), "{}: it says no more", scenario.name);
        match predecessor.step {
            PredecessorStep::Retired(Accepted { peers, .. }) => {
                let all = predecessor.lanes.iter().map(|lane| lane.peers.len() as u64);
                assert_eq!(peers, all.sum::<u64>());
            }
            _ => assert!(scenario.outcome.is_err(), "{}", scenario.name),
        }
    }
}

#[test]
fn a_successor_says_what_it_said_in_every_recorded_conversation() {
    for scenario in &SCENARIOS {
        let mut successor = Successor::new((scenario.offers)());
        for (number, line) in recording(scenario).into_iter().enumerate() {
            match line {
                Line::Happens(_) => {}
                Line::ToPredecessor(frame) => {
                    assert_said(&successor.say().expect("it says something"), &frame, number);
                }
                Line::ToSuccessor(frame, descriptors) => {
                    assert!(successor.say().is_none(), "line {number}: it says no more for now");
                    successor.hear(frame, descriptors);
                }
            }
        }
        let SuccessorStep::Over(outcome) = successor.step else { panic!("{}: it has ended", scenario.name) };
        assert_eq!(outcome, scenario.outcome.map_err(str::to_owned), "{}", scenario.name);
    }
}

#[test]
fn recorded_conversations_hold_every_kind_of_frame() {
    let frames = SCENARIOS.iter().flat_map(recording).filter_map(|line| match line {
        Line::Happens(_) => None,
        Line::ToPredecessor(frame) | Line::ToSuccessor(frame, _) => Some(kind_of(&frame)),
    });
    let kinds: BTreeSet<String> = frames.collect();
    assert_eq!(kinds.len(), KINDS.len(), "{kinds:?}");
}

/// Makes the recordings of a wire version that is about to be released. Those of released versions never change.
#[test]
#[ignore = "writes files; see tests/golden/README.md"]
fn record_conversations_that_are_not_recorded_yet() {
    for scenario in &SCENARIOS {
        let path = path(scenario.name);
        if !path.exists() {
            std::fs::write(path, record(scenario)).unwrap();
        }
    }
}
