//! Whole conversations, as released versions had them: `tests/golden/wire-N/conversations/`.
//!
//! Each half is played alone, against what the other half said in the recording, and must say what it said then, byte
//! for byte. Only the name of the build, which nobody decides by, and the wire versions of a Hello are those of the
//! day.
//!
//! A line of a recording is `> kind frame` for what the successor says, `< kind frame + descriptors` for what the
//! predecessor says, `* event` for what happens to the predecessor's peers meanwhile, and `#` for a comment.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use slab::Slab;

use super::super::pieces::Written;
use super::super::predecessor::{Accepted, Committed, Copying, Decision, Frozen, Heard, Outgoing, greet};
use super::super::successor::{self, Action, Called, Receiving};
use super::super::wire::{Frame, Offer, RawFrame, Serving, TO_PREDECESSOR_BYTES_MAX, TO_SUCCESSOR_BYTES_MAX, Versions};
use super::peers::{Map, With};
use super::turns::{KINDS, committed};
use super::{FREEZE_TIMEOUT, FROZEN_AT_NS, PREDECESSOR_PID, estate, listeners, offers};
use crate::originals::Originals;
use crate::peer::Backlog;
use crate::peer::record::{Phase, Record};
use crate::peer::ties::Ties;

/// Between any two lines of a recording.
const LINE: Duration = Duration::from_millis(1);

/// More than there are peers at the beginning of any recording.
const KEYS_END: usize = 300;

const SHARED_STATE: &[u8] = b"the state that all peers share";

/// What happens in a recording.
struct Scenario {
    name: &'static str,
    offers: fn() -> Vec<Offer>,
    /// What happens at the predecessor before the line with this number.
    events: fn(usize) -> Vec<String>,
    /// How the successor's part ends: with Accept, or with what it is told.
    outcome: Result<(), &'static str>,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario { name: "nobody", offers, events: |_| Vec::new(), outcome: Ok(()) },
    Scenario { name: "quiet", offers, events: |line| at_first(line, 2), outcome: Ok(()) },
    Scenario { name: "lively", offers, events: lively, outcome: Ok(()) },
    Scenario { name: "entries", offers, events: keyed, outcome: Ok(()) },
    Scenario { name: "crowd", offers, events: |line| at_first(line, 260), outcome: Ok(()) },
    Scenario {
        name: "refused",
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

// ── The predecessor ────────────────────────────────────────────────────────────────────────────────────────────────

/// A peer of which only what its record says is left.
#[derive(Default)]
struct Peer {
    cookie: u64,
    changes: u32,
    inbound: Backlog,
    outbound: Backlog,
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
        self.changes.is_multiple_of(2)
    }

    fn record(&self) -> Record<'_> {
        let cookie = self.cookie;
        let address = match cookie % 3 {
            0 => format!("[fe80::1%{cookie}]:80"),
            _ => format!("127.0.0.1:{}", 1024 + cookie),
        };
        let phase = match (cookie + u64::from(self.changes)) % 8 {
            0 => Phase::Ended,
            1 => Phase::Closing,
            2 => Phase::Lingering,
            _ => Phase::Open,
        };
        let address = address.parse::<SocketAddr>().expect("an address").into();
        // Whoever is being closed has none, unless it was reached.
        let deadline_ns = match phase {
            Phase::Open | Phase::Ended | Phase::Connecting => {
                (cookie % 4 == 1).then_some(86_400_000_000_000 + u64::from(self.changes))
            }
            Phase::Closing | Phase::Lingering => (cookie % 4 == 1).then_some(0),
        };
        let (inbound, outbound) = (self.inbound.stretch(), self.outbound.stretch());
        Record {
            cookie,
            address,
            phase,
            session: &[],
            inbound,
            outbound,
            parting: None,
            deadline_ns,
            ties: Ties::default(),
        }
    }
}

impl Originals for Slab<Peer> {
    fn record(&self, key: usize) -> Option<Record<'_>> {
        self.get(key).map(Peer::record)
    }

    fn save_session(&self, key: usize, saved: &mut Vec<u8>) {
        saved.extend((self[key].changes / 2).to_be_bytes());
    }

    fn timers(&self) -> Vec<(u32, u64)> {
        let timer = |peer: &Peer| (peer.changes, 86_400_000_000_000 + peer.cookie);
        self.iter().filter(|(_, peer)| peer.cookie % 5 == 2).map(|(_, peer)| timer(peer)).collect()
    }
}

struct Predecessor {
    peers: Slab<Peer>,
    maps: Vec<Map>,
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
    fn new() -> Self {
        let (peers, to_say) = (Slab::new(), VecDeque::new());
        Self { peers, maps: Vec::new(), cookies: 0, now: Instant::now(), to_say, step: PredecessorStep::Listening }
    }

    fn happen(&mut self, event: &str) {
        let (touched, session_changed) = match event.split_once(' ') {
            None if event == "accept" => {
                self.cookies += 1;
                (self.peers.insert(Peer::new(self.cookies)), true)
            }
            Some(("change", key)) => {
                let key = key.parse().unwrap();
                let Some(peer) = self.peers.get_mut(key) else { return };
                (key, peer.change())
            }
            Some(("entries", key)) => {
                if self.maps.is_empty() {
                    self.maps.push(Map::default());
                }
                let key: u32 = key.parse().unwrap();
                self.maps[0].insert(key, vec![7; key as usize % 5]);
                self.maps[0].remove(&(key / 2));
                return;
            }
            Some(("close", key)) => {
                let key = key.parse().unwrap();
                let Some(peer) = self.peers.try_remove(key) else { return };
                if let PredecessorStep::Copying(copying) = &mut self.step {
                    copying.mirror_mut(0).closed(key, peer.cookie);
                }
                return;
            }
            _ => panic!("{event} is no event"),
        };
        if let PredecessorStep::Copying(copying) = &mut self.step {
            copying.mirror_mut(0).touched(touched, session_changed);
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
        let outgoing = copying.next(&mut [&mut With { peers: &self.peers, maps: &mut self.maps }]).unwrap()?;
        let said = match &outgoing {
            Outgoing::Batch(batch) => (batch.frame.clone(), batch.descriptor_keys().count()),
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
                match greet(&hello, &estate(self.peers.len() as u64), PREDECESSOR_PID) {
                    Ok(welcome) => {
                        self.to_say.push_back((Frame::Welcome(welcome).encode(), 0));
                        self.to_say.push_back((Frame::Listeners(listeners()).encode(), 2));
                        PredecessorStep::Copying(Copying::new(hello, &[KEYS_END], self.now))
                    }
                    Err(refusal) => {
                        self.to_say.push_back((refusal.frame(), 0));
                        PredecessorStep::Over
                    }
                }
            }
            (PredecessorStep::Copying(copying), frame) => match copying.hear(frame, self.now).unwrap() {
                Heard::Copying(copying) => PredecessorStep::Copying(copying),
                Heard::Ready(ready) => match ready
                    .decide(&mut [&mut With { peers: &self.peers, maps: &mut self.maps }], FREEZE_TIMEOUT, self.now)
                    .unwrap()
                {
                    Decision::Copy(copying) => PredecessorStep::Copying(copying),
                    Decision::Freeze(ready, _) => self.commit(ready.freeze(self.now, FROZEN_AT_NS)),
                },
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
        while let Some(batch) = frozen.next(&[&mut With { peers: &self.peers, maps: &mut self.maps }]).unwrap() {
            self.to_say.push_back((batch.frame.clone(), batch.descriptor_keys().count()));
            frozen.sent(batch);
        }
        while let Some(frame) = frozen.next_entries(&mut [&mut With { peers: &self.peers, maps: &mut self.maps }]) {
            self.to_say.push_back((frame, 0));
        }
        let (frames, committed) = committed(frozen, SHARED_STATE);
        self.to_say.extend(frames.into_iter().map(|frame| (frame, 0)));
        PredecessorStep::Committed(committed)
    }
}

// ── The successor ──────────────────────────────────────────────────────────────────────────────────────────────────

struct Successor {
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
        let (called, hello) = Called::new(offers, 20_000, 7);
        Self { to_say: [hello].into(), step: SuccessorStep::Called(called) }
    }

    fn say(&mut self) -> Option<Vec<u8>> {
        self.to_say.pop_front()
    }

    fn hear(&mut self, mut bytes: Vec<u8>, descriptors: usize) {
        let raw = RawFrame::take(&mut bytes, TO_SUCCESSOR_BYTES_MAX).unwrap().expect("a line is a whole frame");
        let frame = raw.decode().unwrap();
        self.step = match std::mem::replace(&mut self.step, SuccessorStep::Over(Ok(()))) {
            SuccessorStep::Called(called) => match called.hear(frame) {
                Ok(_) => SuccessorStep::Receiving(Receiving::expecting(&[0])),
                Err(objection) => SuccessorStep::Over(Err(objection.to_string())),
            },
            SuccessorStep::Receiving(receiving) => match receiving.hear(frame).unwrap() {
                successor::Heard::On(receiving, action) => {
                    self.act(action, descriptors);
                    SuccessorStep::Receiving(receiving)
                }
                successor::Heard::Commit(accept) => {
                    assert_eq!((accept.states[0].as_slice(), descriptors), (SHARED_STATE, 0));
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
                assert_eq!(arrived, listeners());
                (None, 2)
            }
            Action::Adopt(peers, answer) => (Some(answer), peers.records.len()),
            Action::Answer(answer) | Action::GetReady(answer) => (Some(answer), 0),
            Action::Change(_) | Action::Discard(_) | Action::SetTimers(_) | Action::Enter { .. } | Action::Wait => {
                (None, 0)
            }
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
    format!("{:?}", RawFrame::take(&mut frame.to_vec(), u32::MAX).unwrap().unwrap().decode().unwrap().kind())
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
    let (mut predecessor, mut successor) = (Predecessor::new(), Successor::new((scenario.offers)()));
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
        let mut predecessor = Predecessor::new();
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
            PredecessorStep::Retired(Accepted { peers, .. }) => assert_eq!(peers, predecessor.peers.len() as u64),
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
