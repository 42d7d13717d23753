//! Properties that hold for any bytes, each a function that panics where it does not hold. The targets in `fuzz/` call
//! them with what the fuzzer finds, the tests with what proptest makes up and with the fuzzer's corpus.
//!
//! Bytes from the other side of a takeover are frames as they are on the wire. Where it says so, their checksums are
//! [mended](mended) first: hardly anything that was made up would get past them otherwise, and a liar can compute them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reactord_process::channel::{TO_PREDECESSOR_BYTES_MAX, TO_SUCCESSOR_BYTES_MAX};
use reactord_process::frame::{HEADER_BYTES, RawFrame, WireError};
use slab::Slab;

use crate::originals::Originals;
use crate::peer::Backlog;
use crate::peer::record::{Phase, Record, Stretch};
use crate::peer::ties::Ties;
use crate::recipient::Recipient;
use crate::service::{Entries, Keyed, Service};
use crate::services::{Line, Seqnum};
use crate::takeover::admission::{Estate, greet};
use crate::takeover::drive::{Drive, PredecessorEnd, Stepped};
use crate::takeover::mirror::Batch;
use crate::takeover::pieces::Written;
use crate::takeover::predecessor::{Accepted, Copying, Decision, Frozen, Heard, Mistake, Outgoing, Ready};
use crate::takeover::successor::{self, Action, Called, Receiving};
use crate::takeover::wire::{Commit, Digested, Frame, OfLane, Offer, Round, Versions, chained};

pub use crate::reactor::script::take_over_anywhere;

/// What a log line about the other side may have at most.
const LINE_BYTES_MAX: usize = 1000;

/// Whatever came from the other side, what is said about it is one line.
fn assert_one_line(said: &dyn std::fmt::Display) {
    let line = said.to_string();
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(line.len() <= LINE_BYTES_MAX, "{} bytes: {line}", line.len());
}

/// The same frames, each with the checksum that fits it. What follows the last whole one stays as it is.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let mut at = 0;
    while let Some(header) = mended[at..].first_chunk::<HEADER_BYTES>() {
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = mended.get(at + HEADER_BYTES..at + HEADER_BYTES + length) else {
            break;
        };
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&header[4..5]);
        checksum.update(body);
        let checksum = checksum.finalize().to_be_bytes();
        mended[at + 5..at + HEADER_BYTES].copy_from_slice(&checksum);
        at += HEADER_BYTES + length;
    }
    mended
}

// ── Frames ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Any bytes, with their checksums mended or not, are frames up to a point, and the same ones however they are cut. A
/// frame that can be decoded says the same when it has been encoded again.
pub fn decode_frames(bytes: &[u8]) {
    for bytes in [bytes, &mended(bytes)] {
        for bytes_max in [TO_PREDECESSOR_BYTES_MAX, TO_SUCCESSOR_BYTES_MAX] {
            let whole = take_all([bytes].into_iter(), bytes_max);
            assert_eq!(take_all(pieces(bytes), bytes_max), whole);
            for raw in &whole.0 {
                match raw.decode() {
                    Ok(frame) => assert_encodes_alike(&frame),
                    Err(error) => assert_one_line(&error),
                }
            }
        }
    }
}

/// All frames, and what is left: why nothing more is a frame, or the beginning of the next one.
fn take_all<'b>(pieces: impl Iterator<Item = &'b [u8]>, bytes_max: u32) -> (Vec<RawFrame>, Result<Vec<u8>, WireError>) {
    let (mut received, mut frames) = (Vec::new(), Vec::new());
    for piece in pieces {
        received.extend_from_slice(piece);
        loop {
            match RawFrame::take(&mut received, bytes_max) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(received))
}

/// Pieces whose lengths the bytes themselves choose.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(*rest.last()?) % 37 + 1;
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}

fn assert_encodes_alike(frame: &Frame<'_>) {
    let encoded = frame.encode();
    let raw = RawFrame::take(&mut encoded.clone(), u32::MAX).expect("it is a frame").expect("it is whole");
    let decoded: Frame<'_> = raw.decode().expect("it was encoded here");
    assert_eq!(decoded.kind(), frame.kind());
    assert_eq!(decoded.encode(), encoded);
}

// ── The predecessor ────────────────────────────────────────────────────────────────────────────────────────────────

/// How many peers there are at first, by the length of what is heard: fewer than a successor may claim to have, more
/// than a batch, more than a window.
const PEERS: [u64; 3] = [3, 300, 1300];

/// What the window promises.
const PEERS_IN_FLIGHT_MAX: u64 = 1000;

/// A predecessor that hears any frames, with their checksums mended, ends the takeover or goes on; it sends no more
/// than a window, what it sends is what an honest successor accepts, and it holds the successor for the owner only if
/// that has said Accept after Commit.
pub fn predecessor_hears(bytes: &[u8]) {
    let mut predecessor = Predecessor::new(PEERS[bytes.len() % PEERS.len()], mended(bytes));
    loop {
        match predecessor.turn() {
            Ok(true) => predecessor.assert_consistent(),
            Ok(false) => return,
            Err(why) => return assert_one_line(&why),
        }
    }
}

/// A predecessor of whose peers only the records are left.
/// The peers of a predecessor with what they share, beside whatever else is borrowed of it.
macro_rules! shared {
    ($predecessor:ident) => {
        Shared { peers: &$predecessor.peers, entries: &mut $predecessor.entries }
    };
}

struct Predecessor {
    /// What it has yet to hear.
    received: Vec<u8>,
    step: Step,
    /// Cookie, and how often it has changed.
    peers: Slab<(u64, u32)>,
    /// What they share.
    entries: Keyed<u64, u32>,
    peers_at_first: u64,
    cookies: u64,
    peers_sent: u64,
    peers_acknowledged: u64,
    /// A successor that hears all that is sent, and says nothing, up to Commit.
    honest: Option<Receiving>,
    /// It would accept.
    accepted_by_honest: bool,
    /// It has said Accept since Commit was sent.
    accepts: bool,
    now: Instant,
}

enum Step {
    Listening,
    Copying(Copying),
    Ending(Drive<String>),
    Retired,
    /// It goes on, and the takeover does not.
    Serving,
}

impl Predecessor {
    fn new(peers: u64, received: Vec<u8>) -> Self {
        let peers_at_first = peers;
        let peers = (0..peers).map(|cookie| (cookie as usize, (cookie, 0))).collect();
        Self {
            received,
            step: Step::Listening,
            peers,
            entries: (0..50).map(|key| (key, 0)).collect(),
            peers_at_first,
            cookies: peers_at_first,
            peers_sent: 0,
            peers_acknowledged: 0,
            honest: Some(Receiving::expecting(&[0])),
            accepted_by_honest: false,
            accepts: false,
            now: Instant::now(),
        }
    }

    fn receive(&mut self) -> Result<Option<RawFrame>, String> {
        RawFrame::take(&mut self.received, TO_PREDECESSOR_BYTES_MAX).map_err(|error| error.to_string())
    }

    /// Takes a step of the end, or hears a frame. False if nothing is left to hear.
    fn turn(&mut self) -> Result<bool, String> {
        self.step = match std::mem::replace(&mut self.step, Step::Serving) {
            Step::Ending(drive) => match drive.step(self) {
                Stepped::On(drive) => Step::Ending(drive),
                Stepped::HandedOver(Accepted { peers, .. }) => {
                    assert!(self.accepts, "only Accept moves the peers");
                    assert_eq!(peers, self.peers.len() as u64);
                    Step::Retired
                }
                Stepped::Thaw(why) => {
                    assert!(!self.accepts, "an Accept that is there is found: {why}");
                    return Err(why);
                }
            },
            step => match self.receive()? {
                Some(raw) => self.hear(step, raw.decode().map_err(|error| error.to_string())?)?,
                None => return Ok(false),
            },
        };
        Ok(true)
    }

    fn hear(&mut self, step: Step, frame: Frame<'_>) -> Result<Step, String> {
        self.now += Duration::from_millis(1);
        match (step, frame) {
            (Step::Listening, Frame::Hello(hello)) => {
                let estate = Estate { service: Seqnum::NAME, state_version: 1, peers: self.peers.len() as u64 };
                greet(&hello, &[estate], 1).map_err(|refusal| refusal.to_string())?;
                self.tell_honest(&listeners());
                self.copy(Copying::new(Recipient::Successor, hello, &[self.peers.capacity()], self.now))
            }
            (Step::Listening, frame) => Err(format!("{:?} is no greeting", frame.kind())),
            (Step::Copying(mut copying), frame) => {
                self.live(&mut copying);
                let claimed = if let Frame::Copied(copied) = &frame { copied.peers } else { 0 };
                match copying.hear(frame, self.now).map_err(|mistake| mistake.to_string())? {
                    Heard::Copying(copying) => {
                        assert!(claimed <= self.peers_sent, "{claimed} claimed, {} sent", self.peers_sent);
                        self.peers_acknowledged = self.peers_acknowledged.max(claimed);
                        self.copy(copying)
                    }
                    Heard::Ready(ready) => self.decide(ready),
                }
            }
            (step, _) => Ok(step),
        }
    }

    /// Peers and entries come, change and leave while the copy goes on.
    fn live(&mut self, copying: &mut Copying) {
        self.cookies += 1;
        let came = self.peers.insert((self.cookies, 0));
        copying.mirror_mut(0).touched(came, true);
        let busy = (self.cookies * 7919 % self.peers_at_first) as usize;
        if let Some((_, changes)) = self.peers.get_mut(busy) {
            *changes += 1;
            copying.mirror_mut(0).touched(busy, true);
        }
        let leaving = (self.cookies * 104_729 % self.peers_at_first) as usize;
        self.entries.insert(self.cookies * 7919 % 100, 1);
        self.entries.remove(&(self.cookies * 104_729 % 100));
        if let Some((cookie, _)) = self.peers.try_remove(leaving) {
            copying.mirror_mut(0).closed(leaving, cookie);
        }
    }

    /// Sends all that there is to send.
    fn copy(&mut self, mut copying: Copying) -> Result<Step, String> {
        while let Some(outgoing) = copying.next(&mut [&mut shared!(self)]).map_err(|mistake| mistake.to_string())? {
            match &outgoing {
                Outgoing::Batch(batch) => {
                    self.peers_sent += batch.descriptor_keys().count() as u64;
                    let frame = batch.frame.to_vec();
                    self.tell_honest(&frame);
                }
                Outgoing::Entries(Written { frame, .. }) | Outgoing::Round { frame, .. } => self.tell_honest(frame),
            }
            copying.sent(outgoing, self.now);
        }
        Ok(Step::Copying(copying))
    }

    fn decide(&mut self, ready: Ready) -> Result<Step, String> {
        let decision = ready.decide(&mut [&mut shared!(self)], Duration::from_secs(1), self.now);
        match decision.map_err(|mistake| mistake.to_string())? {
            Decision::Copy(copying) => self.copy(copying),
            Decision::Freeze(ready, _) => Ok(Step::Ending(Drive::new(ready))),
        }
    }

    fn tell_honest(&mut self, frame: &[u8]) {
        let raw =
            RawFrame::take(&mut frame.to_vec(), TO_SUCCESSOR_BYTES_MAX).expect("it is a frame").expect("it is whole");
        let honest = self.honest.take().expect("nothing follows Commit");
        match honest.hear(raw.decode().expect("it was encoded here")).expect("what is sent is in order") {
            successor::Heard::On(honest, _) => self.honest = Some(honest),
            successor::Heard::Commit(_) => self.accepted_by_honest = true,
        }
    }

    fn assert_consistent(&self) {
        let (ends, committed) = match &self.step {
            Step::Ending(drive) => (true, drive.has_committed()),
            Step::Retired => (true, true),
            _ => (false, false),
        };
        assert!(self.accepted_by_honest || !committed, "what is committed to can be accepted");
        assert!(ends || !self.accepted_by_honest, "who accepts was committed to");
        assert!(self.peers_sent - self.peers_acknowledged <= PEERS_IN_FLIGHT_MAX || ends);
    }
}

/// The predecessor's peers with what they share.
struct Shared<'o> {
    peers: &'o Slab<(u64, u32)>,
    entries: &'o mut Keyed<u64, u32>,
}

impl PredecessorEnd for Predecessor {
    type Failure = String;

    fn freeze(&mut self, ready: Ready) -> Result<Frozen, String> {
        Ok(ready.freeze(self.now, 77))
    }

    fn next_batch(&mut self, frozen: &mut Frozen) -> Result<Option<Batch>, String> {
        frozen.next(&[&mut shared!(self)]).map_err(String::from)
    }

    fn send_batch(&mut self, batch: &Batch) -> Result<(), String> {
        self.send_part(&batch.frame)
    }

    fn next_entries(&mut self, frozen: &mut Frozen) -> Result<Option<Vec<u8>>, String> {
        Ok(frozen.next_entries(&mut [&mut shared!(self)]))
    }

    fn save(&mut self) -> Result<Vec<Vec<u8>>, String> {
        Ok(vec![b"shared".to_vec()])
    }

    fn send_part(&mut self, frame: &[u8]) -> Result<(), String> {
        self.tell_honest(frame);
        Ok(())
    }

    fn send_commit(&mut self, frame: &[u8]) -> Result<(), String> {
        self.send_part(frame)
    }

    /// All that is left comes after Commit.
    fn arrived(&mut self) -> Result<Option<RawFrame>, String> {
        Ok(None)
    }

    fn check_time(&self) -> Result<(), String> {
        Ok(())
    }

    fn hear(&mut self) -> Result<Option<RawFrame>, String> {
        let raw = self.receive()?.ok_or("nothing more comes")?;
        self.accepts |= raw.decode() == Ok(Frame::Accept);
        Ok(Some(raw))
    }

    fn out_of_patience(&self) -> Option<Mistake> {
        None
    }

    fn say_last(&mut self, failure: &String) {
        assert_one_line(failure);
    }

    fn shut_down(&mut self) {}

    fn look(&mut self) -> Option<RawFrame> {
        let raw = self.receive().ok().flatten()?;
        self.accepts |= raw.decode() == Ok(Frame::Accept);
        Some(raw)
    }
}

impl From<Mistake> for String {
    fn from(mistake: Mistake) -> Self {
        mistake.to_string()
    }
}

fn listeners() -> Vec<u8> {
    use crate::takeover::wire::{At, Listener, Listeners};
    let at = At::Tcp(([127, 0, 0, 1], 1234).into());
    let services =
        vec![Listener { at, lane: 0, name: "clients".to_owned(), is_leftover: false, is_borrowed: false, tls: None }];
    let listeners = Listeners {
        services,
        takeover_path: b"/run/path".to_vec(),
        takeover_device: 1,
        takeover_inode: 2,
        queue_tls: None,
        has_queue: false,
    };
    Frame::Listeners(listeners).encode()
}

impl Originals for Shared<'_> {
    fn record(&self, key: usize) -> Option<Record<'_>> {
        let (cookie, _) = self.peers.get(key)?;
        let (address, nothing) = (([127, 0, 0, 1], 1).into(), Stretch::default());
        let (inbound, outbound) = (nothing, nothing);
        let phase = Phase::Open;
        Some(Record {
            cookie: *cookie,
            address,
            phase,
            session: &[],
            secured: None,
            inbound,
            outbound,
            parting: None,
            deadline_ns: None,
            since_s: 0,
            ties: Ties::default(),
        })
    }

    fn save_session(&self, key: usize, saved: &mut Vec<u8>) {
        saved.extend(self.peers[key].1.to_be_bytes());
    }

    fn save_secured(&self, _: usize, _: &mut Vec<u8>) {}

    fn save_facts(&self, _: usize, _: &mut Vec<u8>) {}

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        (map == 0).then_some(self.entries)
    }
}

// ── The successor ──────────────────────────────────────────────────────────────────────────────────────────────────

/// A successor that hears any frames, with their checksums mended, ends the takeover or goes on; it acknowledges what
/// has come, knows each peer once, and accepts only what was committed to: so many peers, with these records, and so
/// many bytes of state.
pub fn successor_hears(bytes: &[u8]) {
    let mut received = mended(bytes);
    let offers = [(Seqnum::NAME, 2), (Line::NAME, 1)]
        .map(|(service, newest)| Offer { service: service.to_owned(), state_versions: Versions { oldest: 1, newest } });
    let mut called = Some(Called::new(None, offers.to_vec(), 20_000, 7).0);
    let mut successor = Successor::default();
    let mut receiving = Receiving::expecting(&[]);
    loop {
        let raw = match RawFrame::take(&mut received, TO_SUCCESSOR_BYTES_MAX) {
            Ok(Some(raw)) => raw,
            Ok(None) => return,
            Err(error) => return assert_one_line(&error),
        };
        let heard = match (raw.decode(), called.take()) {
            (Err(error), _) => return assert_one_line(&error),
            (Ok(frame), Some(called)) => match called.hear(frame) {
                Ok(welcome) => {
                    receiving = Receiving::expecting(&vec![0; welcome.lanes.len()]);
                    continue;
                }
                Err(objection) => Err(objection.to_string()),
            },
            (Ok(frame), None) => successor.hear(receiving, frame),
        };
        match heard {
            Ok(Some(next)) => receiving = next,
            Ok(None) => return,
            Err(why) => return assert_one_line(&why),
        }
    }
}

/// A successor, and what it should know by what it has heard.
#[derive(Default)]
struct Successor {
    /// Each peer, by cookie: its digest, and what waits in either direction.
    known: BTreeMap<u64, (u32, [Backlog; 2])>,
    peers_adopted: u64,
    rounds: u32,
    /// The state of each lane.
    states: BTreeMap<u32, Vec<u8>>,
    timers: u64,
    maps: BTreeMap<(u32, u32), Keyed<String, u32>>,
}

impl Successor {
    /// What it is, having heard the frame. `None` if that was Commit.
    fn hear(&mut self, receiving: Receiving, frame: Frame<'_>) -> Result<Option<Receiving>, String> {
        if let Frame::State(state) = &frame {
            self.states.entry(state.lane).or_default().extend_from_slice(state.part);
        }
        let (committed, round) = match &frame {
            Frame::Commit(commit) => (Some(commit.clone()), None),
            Frame::Round(round) => (None, Some(round.clone())),
            _ => (None, None),
        };
        match receiving.hear(frame).map_err(|objection| objection.to_string())? {
            successor::Heard::On(receiving, action) => {
                self.act(action, round)?;
                Ok(Some(receiving))
            }
            successor::Heard::Commit(accept) => {
                let Commit { peers, digest, state_bytes, timers, .. } =
                    committed.expect("it is Commit that is accepted");
                assert_eq!((accept.peers, peers), (peers, self.known.len() as u64));
                let sum = self.known.values().fold(0u64, |sum, (digest, _)| sum.wrapping_add(u64::from(*digest)));
                assert_eq!((digest, timers), (sum, self.timers));
                assert_eq!(state_bytes, accept.states.iter().map(|state| state.len() as u64).sum::<u64>());
                for (lane, state) in (0..).zip(&accept.states) {
                    assert_eq!(state, self.states.get(&lane).unwrap_or(&Vec::new()), "lane {lane}");
                }
                Ok(None)
            }
        }
    }

    fn act(&mut self, action: Action<'_>, round: Option<Round>) -> Result<(), String> {
        match action {
            Action::Adopt(OfLane { records, .. }, answer) => {
                self.peers_adopted += records.len() as u64;
                for Digested { value: record, digest } in records {
                    let backlogs = [record.inbound, record.outbound].map(|all| Backlog::at(all.start, all.bytes));
                    let twice = self.known.insert(record.cookie, (digest, backlogs));
                    assert!(twice.is_none(), "a peer is adopted once");
                    restore(record.session);
                }
                self.assert_acknowledged(&answer);
            }
            Action::Change(OfLane { records: changes, .. }) => {
                for Digested { value: change, digest } in changes {
                    let (known, backlogs) =
                        self.known.get_mut(&change.cookie).expect("a peer that changes was adopted");
                    *known = chained(*known, digest);
                    change.session.map(restore);
                    for (backlog, shift) in backlogs.iter_mut().zip([change.inbound, change.outbound]) {
                        backlog.shift(shift).map_err(|misplaced| misplaced.to_string())?;
                        assert_eq!(backlog.stretch().end(), shift.appended.end());
                    }
                }
            }
            Action::Discard(closed) => {
                for cookie in closed.cookies {
                    assert!(self.known.remove(&cookie).is_some(), "a peer that leaves was adopted");
                }
            }
            Action::Answer(answer) => {
                self.rounds = round.expect("only a round is answered so").number;
                self.assert_acknowledged(&answer);
            }
            Action::GetReady(answer) => {
                let round = round.expect("the last round is followed by it");
                assert!(round.last);
                self.rounds = round.number;
                assert_eq!(decoded(&answer), Some(Frame::Ready.encode()));
            }
            Action::SetTimers(timers) => self.timers += timers.timers.len() as u64,
            Action::Enter { of, piece } => {
                let map = self.maps.entry((of.lane, of.map)).or_default();
                map.restore(Seqnum::STATE_VERSION, &piece).map_err(|error| error.to_string())?;
            }
            Action::Listen(_) | Action::TakeLicence | Action::Wait => {}
        }
        Ok(())
    }

    fn assert_acknowledged(&self, answer: &[u8]) {
        let raw = RawFrame::take(&mut answer.to_vec(), TO_PREDECESSOR_BYTES_MAX).expect("it is a frame");
        let raw = raw.expect("it is whole");
        let Ok(Frame::Copied(copied)) = raw.decode() else { panic!("batches and rounds are acknowledged") };
        assert_eq!((copied.peers, copied.rounds), (self.peers_adopted, self.rounds));
    }
}

/// A session that cannot be restored is an error, and never more than that.
fn restore(record: &[u8]) {
    match Seqnum.restore_session(Seqnum::STATE_VERSION, record) {
        Ok(session) => {
            let mut saved = Vec::new();
            Seqnum.save_session(&session, &mut saved);
            assert_eq!(saved, record);
        }
        Err(error) => assert_one_line(&error),
    }
}

fn decoded(frame: &[u8]) -> Option<Vec<u8>> {
    let raw = RawFrame::take(&mut frame.to_vec(), TO_PREDECESSOR_BYTES_MAX).ok()??;
    raw.decode().ok().map(|frame: Frame<'_>| frame.encode())
}

#[cfg(test)]
mod tests;
