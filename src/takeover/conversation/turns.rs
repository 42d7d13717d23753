//! Whose turn it is: every frame in every state of either half.

use std::time::Instant;

use reactord_process::channel::TO_SUCCESSOR_BYTES_MAX;
use reactord_process::frame::{RawFrame, Refuse};

use super::super::admission::greet;
use super::super::predecessor::{
    Accepted, Committed, Conclusion, Copying, Frozen, Heard, Mistake, Outgoing, SILENCE_MAX, hear_before_commit,
};
use super::super::successor::{self, Action, Called, Objection, Of, Receiving};
use super::super::wire::{
    Answer, Ask, Closed, Commit, Copied, Descriptors, Entries, Figures, Flushed, Frame, Give, Kind, LogSet, Mark, Move,
    Moved, OfLane, Offered, Offsets, PeerList, RecordsKind, RecordsWriter, Round, Serving, SetLog, State, Tickets,
    Timer, Timers, WIRE_VERSIONS, Which,
};
use super::peers::FakePeer;
use super::world::{FROZEN_AT_NS, PREDECESSOR_PID, estate, hello, listeners, nobody, offers};
use crate::peer::record::Record;
use crate::recipient::Recipient;
use crate::status::Status;
use crate::takeover::wire;

pub(super) const KINDS: [Kind; 16] = [
    Kind::Hello,
    Kind::Refuse,
    Kind::Welcome,
    Kind::Listeners,
    Kind::Peers,
    Kind::Copied,
    Kind::Changed,
    Kind::Closed,
    Kind::Round,
    Kind::Ready,
    Kind::State,
    Kind::Commit,
    Kind::Accept,
    Kind::Serving,
    Kind::Timers,
    Kind::Entries,
];

/// The record of one peer, whose session is `version`, or the change to that, as a frame.
fn records_frame(kind: RecordsKind, cookie: u64, version: u32) -> Vec<u8> {
    let mut writer = RecordsWriter::new(kind, 0);
    let session = version.to_be_bytes();
    let peer = FakePeer::new(cookie, 0);
    let record = peer.record();
    match kind {
        RecordsKind::Peers => writer.push(&Record { session: &session, ..record.clone() }),
        RecordsKind::Changed => writer.push(&record.since(record.ends(), Some(&session), 0)),
    };
    writer.finish().into()
}

/// A frame of each kind, about the peer with this cookie, where it is about one.
fn frame(kind: Kind, cookie: u64) -> RawFrame {
    let mut bytes = match kind {
        Kind::Hello => Frame::Hello(hello()).encode(),
        Kind::Refuse => Frame::Refuse(Refuse::because(&"no\nmore")).encode(),
        Kind::Welcome => Frame::Welcome(greet(&hello(), &estate(0), PREDECESSOR_PID).unwrap()).encode(),
        Kind::Listeners => Frame::Listeners(listeners()).encode(),
        Kind::Peers => records_frame(RecordsKind::Peers, cookie, 0),
        Kind::Copied => Frame::Copied(Copied::default()).encode(),
        Kind::Changed => records_frame(RecordsKind::Changed, cookie, 1),
        Kind::Closed => Frame::Closed(Closed { cookies: vec![cookie], lane: 0 }).encode(),
        Kind::Round => Frame::Round(Round { number: 1, last: false }).encode(),
        Kind::Ready => Frame::Ready.encode(),
        Kind::State => Frame::State(State { part: b"state", lane: 0 }).encode(),
        Kind::Commit => Frame::Commit(nothing()).encode(),
        Kind::Accept => Frame::Accept.encode(),
        Kind::Serving => Frame::Serving(Serving { pause_us: 1 }).encode(),
        Kind::Timers => Frame::Timers(Timers { timers: vec![Timer { timer: 1, at_ns: 2 }], lane: 0 }).encode(),
        Kind::Entries => Frame::Entries(Entries { part: b"part", lane: 0, map: 0, last: false }).encode(),
        Kind::Wait => Frame::Wait(hello()).encode(),
        Kind::Give => Frame::Give(Give { wire_versions: WIRE_VERSIONS, build: "test".to_owned() }).encode(),
        Kind::Move => Frame::Move(Move { to: Vec::new(), which: Which::All }).encode(),
        Kind::Moved => Frame::Moved(Moved::default()).encode(),
        Kind::AskStatus => Frame::AskStatus.encode(),
        Kind::Status => Frame::Status(Status::default()).encode(),
        Kind::Upgrade => Frame::Upgrade(wire::Upgrade::default()).encode(),
        Kind::Upgrading => Frame::Upgrading(wire::Upgrading::default()).encode(),
        Kind::Upgraded => Frame::Upgraded(Box::default()).encode(),
        Kind::Check => Frame::Check(hello()).encode(),
        Kind::Checked => Frame::Checked(Box::default()).encode(),
        Kind::AskPeers => Frame::AskPeers.encode(),
        Kind::PeerList => {
            let (service, peers) = (String::new(), Vec::new());
            Frame::PeerList(PeerList { service, peers, is_last: true }).encode()
        }
        Kind::SetLog => Frame::SetLog(SetLog { level: String::new() }).encode(),
        Kind::Ask => Frame::Ask(Ask { service: String::new(), question: Vec::new() }).encode(),
        Kind::Answer => Frame::Answer(Answer { answer: Vec::new() }).encode(),
        Kind::Follow => Frame::Follow(hello()).encode(),
        Kind::Licence => Frame::Licence.encode(),
        Kind::Mark => Frame::Mark(Mark { commit: nothing(), position: 0 }).encode(),
        Kind::Descriptors => Frame::Descriptors(Descriptors { cookies: Vec::new() }).encode(),
        Kind::Flushed => Frame::Flushed(Flushed { cookies: Vec::new() }).encode(),
        Kind::Offered => Frame::Offered(Offered { cookies: Vec::new(), connections: Vec::new() }).encode(),
        Kind::Tickets => Frame::Tickets(Tickets { keys: Vec::new() }).encode(),
        Kind::Offsets => Frame::Offsets(Offsets { cookies: Vec::new(), written: Vec::new() }).encode(),
        Kind::Whole => Frame::Whole.encode(),
        Kind::Beat => Frame::Beat.encode(),
        Kind::LogSet => Frame::LogSet(LogSet { before: String::new(), level: String::new(), pid: 1 }).encode(),
    };
    RawFrame::take(&mut bytes, TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap()
}

/// What ends a takeover of nobody.
fn nothing() -> Commit {
    let figures = Figures::default();
    Commit { peers: 0, digest: 0, state_bytes: 0, frozen_at_ns: 0, figures, timers: 0, entries: None, account: None }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyStep {
    Sending,
    RoundSent,
    LastRoundSent,
}

/// A copy of no peers, in each of its steps.
pub(super) fn copying(step: CopyStep) -> Copying {
    let now = Instant::now();
    let mut copying = Copying::new(Recipient::Successor, hello(), &[0], now);
    if step != CopyStep::Sending {
        send_round(&mut copying, false);
    }
    if step == CopyStep::LastRoundSent {
        let copied = Frame::Copied(Copied { peers: 0, rounds: 1, handshakes: false });
        let Ok(Heard::Copying(next)) = copying.hear(copied, now) else { panic!("the copy goes on") };
        copying = next;
        send_round(&mut copying, true);
    }
    copying
}

pub(super) fn send_round(copying: &mut Copying, expected_last: bool) {
    let outgoing = copying.next(&mut [&mut nobody()]).unwrap().expect("the round has an end");
    assert!(matches!(outgoing, Outgoing::Round { last, .. } if last == expected_last));
    copying.sent(outgoing, Instant::now());
}

fn frozen() -> Frozen {
    let now = Instant::now();
    let Ok(Heard::Ready(ready)) = copying(CopyStep::LastRoundSent).hear(Frame::Ready, now) else {
        panic!("the successor may get ready now");
    };
    let mut frozen = ready.freeze(now, FROZEN_AT_NS);
    assert!(frozen.next(&[&mut nobody()]).unwrap().is_none());
    frozen
}

/// A predecessor that has sent the state of each of its lanes and Commit, and the frames that it took.
pub(super) fn committed(frozen: Frozen, states: &[&[u8]]) -> (Vec<Vec<u8>>, Committed) {
    let states = states.iter().map(|state| state.to_vec()).collect();
    let (mut frames, mut concluding) = (Vec::new(), frozen.conclude(states));
    loop {
        match concluding.next() {
            Conclusion::Part(frame, next) => {
                frames.push(frame);
                concluding = next;
            }
            Conclusion::Commit(frame, committed) => {
                frames.push(frame);
                return (frames, committed);
            }
        }
    }
}

#[test]
fn a_predecessor_that_copies_hears_what_it_waits_for_and_nothing_else() {
    for step in [CopyStep::Sending, CopyStep::RoundSent, CopyStep::LastRoundSent] {
        for kind in KINDS {
            let raw = frame(kind, 1);
            let heard = copying(step).hear(raw.decode().unwrap(), Instant::now());
            match (kind, step, heard) {
                (Kind::Copied, _, Ok(Heard::Copying(_))) => {}
                (Kind::Ready, CopyStep::LastRoundSent, Ok(Heard::Ready(_))) => {}
                (Kind::Refuse, _, Err(mistake)) => {
                    assert_eq!(mistake, Mistake::GaveUp { reason: r"no\nmore".to_owned() });
                }
                (_, _, Err(mistake)) => {
                    assert_eq!(mistake, Mistake::OutOfTurn { kind, step: "during the copy" });
                    let text = format!("the successor sent {kind:?} during the copy");
                    assert_eq!(mistake.to_string(), text);
                }
                (_, _, Ok(heard)) => panic!("{kind:?} led to {heard:?} in {step:?}"),
            }
        }
    }
}

#[test]
fn a_frozen_predecessor_hears_accept_after_commit_and_nothing_else() {
    let (frames, committed) = committed(frozen(), &[b"state"]);
    assert_eq!(frames.len(), 2);
    for kind in KINDS {
        let raw = frame(kind, 1);
        let frame = || raw.decode().unwrap();
        match (kind, hear_before_commit(frame()), committed.hear(frame())) {
            (Kind::Copied, Ok(()), Ok(None)) => {}
            (Kind::Accept, Err(mistake), Ok(Some(Accepted { peers: 0, .. }))) => {
                assert_eq!(mistake, Mistake::OutOfTurn { kind, step: "after the freeze" });
            }
            (Kind::Refuse, Err(before), Err(after)) => {
                let mistake = Mistake::GaveUp { reason: r"no\nmore".to_owned() };
                assert_eq!([before, after], [mistake.clone(), mistake]);
            }
            (_, Err(before), Err(after)) => {
                let mistake = Mistake::OutOfTurn { kind, step: "after the freeze" };
                assert_eq!([before, after], [mistake.clone(), mistake]);
            }
            (_, before, after) => panic!("{kind:?} led to {before:?} before Commit, and to {after:?} after it"),
        }
        // Whatever it was, it does not change what counts.
        assert!(committed.hear(Frame::Accept).is_ok_and(|heard| heard.is_some()), "after {kind:?}");
    }
}

#[test]
fn a_caller_hears_welcome_or_refuse_and_nothing_else() {
    for kind in KINDS {
        let (called, _) = Called::new(None, offers(), 20_000, 7);
        let raw = frame(kind, 1);
        match (kind, called.hear(raw.decode().unwrap())) {
            (Kind::Welcome, Ok(_)) => {}
            (Kind::Refuse, Err(objection)) => {
                assert_eq!(objection, Objection::Refused { reason: r"no\nmore".to_owned() })
            }
            (_, Err(objection)) => assert_eq!(objection, Objection::OutOfTurn { kind, step: "in answer to Hello" }),
            (_, Ok(welcome)) => panic!("{kind:?} led to {welcome:?}"),
        }
    }
}

/// The known peer, in the tests of what a successor hears.
const KNOWN: u64 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiveStep {
    BeforeListeners,
    Copying,
    AfterLastRound,
    AfterState,
}

/// What the predecessor says in a whole takeover of one peer, by the step in which the successor hears it.
fn takeover_of_one() -> [(ReceiveStep, Vec<u8>); 6] {
    let known = records_frame(RecordsKind::Peers, KNOWN, 0);
    let digest = digest(&known);
    let figures = Figures::default();
    let commit = Commit {
        peers: 1,
        digest,
        state_bytes: 5,
        frozen_at_ns: FROZEN_AT_NS,
        figures,
        timers: 0,
        entries: None,
        account: None,
    };
    [
        (ReceiveStep::BeforeListeners, Frame::Listeners(listeners()).encode()),
        (ReceiveStep::BeforeListeners, known),
        (ReceiveStep::Copying, Frame::Round(Round { number: 1, last: false }).encode()),
        (ReceiveStep::Copying, Frame::Round(Round { number: 2, last: true }).encode()),
        (ReceiveStep::AfterLastRound, Frame::State(State { part: b"state", lane: 0 }).encode()),
        (ReceiveStep::AfterState, Frame::Commit(commit).encode()),
    ]
}

fn digest(frame: &[u8]) -> u64 {
    let raw = RawFrame::take(&mut frame.to_vec(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
    let Frame::Peers(peers) = raw.decode().unwrap() else { panic!("no records") };
    peers.records.iter().map(|record| u64::from(record.digest)).sum()
}

/// Lets the successor hear frames, up to Commit or an objection.
fn hear_all(mut receiving: Receiving, frames: &[Vec<u8>]) -> Result<successor::Heard<'static>, Objection> {
    for frame in frames {
        let raw = RawFrame::take(&mut frame.clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
        match receiving.hear(raw.decode().unwrap())? {
            successor::Heard::On(next, _) => receiving = next,
            successor::Heard::Commit(accept) => return Ok(successor::Heard::Commit(accept)),
        }
    }
    Ok(successor::Heard::On(receiving, Action::Wait))
}

/// The successor accepts, having heard all that.
fn assert_accepts(receiving: Receiving, frames: &[Vec<u8>]) {
    let heard = hear_all(receiving, frames).unwrap();
    let successor::Heard::Commit(accept) = heard else { panic!("the rest ends with Commit") };
    assert_eq!(accept.states, [b"state"]);
}

/// What the successor is and does, having heard a frame that is not Commit.
fn hear(receiving: Receiving, frame: Frame<'_>) -> (Receiving, Action<'_>) {
    let successor::Heard::On(receiving, action) = receiving.hear(frame).unwrap() else { panic!("it is not Commit") };
    (receiving, action)
}

/// A successor in this step, and what it has yet to hear.
pub(super) fn receiving(step: ReceiveStep) -> (Receiving, Vec<Vec<u8>>) {
    let mut heard = takeover_of_one().to_vec();
    let to_hear = heard.split_off(match step {
        ReceiveStep::BeforeListeners => 0,
        ReceiveStep::Copying => 2,
        ReceiveStep::AfterLastRound => 4,
        ReceiveStep::AfterState => 5,
    });
    let frames = |steps: Vec<(ReceiveStep, Vec<u8>)>| steps.into_iter().map(|(_, frame)| frame).collect::<Vec<_>>();
    let heard = hear_all(Receiving::expecting(&[0]), &frames(heard)).unwrap();
    let successor::Heard::On(receiving, _) = heard else { panic!("Commit is the last") };
    (receiving, frames(to_hear))
}

#[test]
fn a_receiving_successor_hears_what_it_waits_for_and_nothing_else() {
    use ReceiveStep::{AfterLastRound, AfterState, BeforeListeners, Copying};
    for step in [BeforeListeners, Copying, AfterLastRound, AfterState] {
        let kinds = KINDS.into_iter().chain([Kind::Licence]);
        for (kind, cookie) in kinds.flat_map(|kind| [(kind, KNOWN), (kind, KNOWN + 1)]) {
            let (receiving, _) = receiving(step);
            let knows = step != BeforeListeners && cookie == KNOWN;
            let raw = frame(kind, cookie);
            let objection = match (kind, step, receiving.hear(raw.decode().unwrap())) {
                (Kind::Listeners, BeforeListeners, Ok(successor::Heard::On(_, Action::Listen(_)))) => continue,
                (Kind::Peers, Copying | AfterLastRound, Ok(successor::Heard::On(_, Action::Adopt(peers, _))))
                    if !knows && peers.records.len() == 1 =>
                {
                    continue;
                }
                (Kind::Changed, Copying | AfterLastRound, Ok(successor::Heard::On(_, Action::Change(changed))))
                    if knows && changed.records.len() == 1 =>
                {
                    continue;
                }
                (Kind::Closed, Copying | AfterLastRound, Ok(successor::Heard::On(_, Action::Discard(closed))))
                    if knows && closed.cookies == [KNOWN] =>
                {
                    continue;
                }
                (Kind::Entries, Copying | AfterLastRound, Ok(successor::Heard::On(_, Action::Wait))) => continue,
                (Kind::Round, Copying, Ok(successor::Heard::On(_, Action::Answer(_)))) => continue,
                (Kind::Timers, AfterLastRound, Ok(successor::Heard::On(_, Action::SetTimers(timers))))
                    if timers.timers.len() == 1 =>
                {
                    continue;
                }
                (Kind::State, AfterLastRound | AfterState, Ok(successor::Heard::On(_, Action::Wait))) => continue,
                (Kind::Licence, AfterLastRound | AfterState, Ok(successor::Heard::On(_, Action::TakeLicence))) => {
                    continue;
                }
                (_, _, Ok(action)) => panic!("{kind:?} led to {action:?} in {step:?}"),
                (_, _, Err(objection)) => objection,
            };
            match (kind, objection) {
                (Kind::Refuse, objection) => {
                    assert_eq!(objection, Objection::Refused { reason: r"no\nmore".to_owned() })
                }
                (Kind::Peers, objection) if knows && step != AfterState => {
                    assert_eq!(objection, Objection::Twice { cookie })
                }
                (Kind::Changed | Kind::Closed, Objection::Unknown { .. })
                    if matches!(step, Copying | AfterLastRound) => {}
                (Kind::Round, objection) if step == AfterLastRound => {
                    assert_eq!(objection, Objection::Round { number: 1, expected: 3 })
                }
                // It has a peer and no shared state, or a part of it; this one tells of neither.
                (Kind::Commit, Objection::Incomplete { .. }) if matches!(step, AfterLastRound | AfterState) => {}
                (_, objection) => {
                    let step = match step {
                        BeforeListeners => "before its listeners",
                        Copying => "during the copy",
                        AfterLastRound => "after the last round",
                        AfterState => "after its state",
                    };
                    assert_eq!(objection, Objection::OutOfTurn { kind, step });
                }
            }
        }
    }
}

#[test]
fn within_a_piece_of_entries_nothing_comes_but_its_rest() {
    use ReceiveStep::{AfterLastRound, Copying};
    let of = |map| Of { lane: 0, map };
    let part = |map, last| Frame::Entries(Entries { part: b"part", lane: 0, map, last });
    for step in [Copying, AfterLastRound] {
        let within = || hear(receiving(step).0, part(0, false)).0;
        for kind in KINDS {
            let raw = frame(kind, KNOWN);
            match (kind, within().hear(raw.decode().unwrap())) {
                (Kind::Entries, Ok(_)) => {}
                (Kind::Refuse, Err(Objection::Refused { .. })) => {}
                (_, Err(objection)) => {
                    assert_eq!(objection, Objection::OutOfTurn { kind, step: "within a piece of entries" })
                }
                (_, Ok(heard)) => panic!("{kind:?} led to {heard:?}"),
            }
        }
        assert_eq!(within().hear(part(1, true)), Err(Objection::Piece { of: of(1), expected: of(0) }));
        let (_, action) = hear(within(), part(0, true));
        assert_eq!(action, Action::Enter { of: of(0), piece: b"partpart".as_slice().into() });
    }
}

#[test]
fn every_step_leads_to_accept_with_what_has_yet_to_be_heard() {
    use ReceiveStep::{AfterLastRound, AfterState, BeforeListeners, Copying};
    for step in [BeforeListeners, Copying, AfterLastRound, AfterState] {
        let (receiving, to_hear) = receiving(step);
        assert_accepts(receiving, &to_hear);
    }
}

#[test]
fn after_a_last_round_another_one_may_follow() {
    let round = |number, last| Frame::Round(Round { number, last });
    let after_another = || hear(receiving(ReceiveStep::AfterLastRound).0, round(3, false));
    let (receiving, action) = after_another();
    assert!(matches!(action, Action::Answer(_)));
    let early = receiving.hear(Frame::State(State { part: b"state", lane: 0 }));
    assert_eq!(early, Err(Objection::OutOfTurn { kind: Kind::State, step: "during the copy" }));
    let (mut receiving, _) = after_another();
    for number in [4, 5] {
        let (next, action) = hear(receiving, round(number, true));
        assert_eq!(action, Action::GetReady(Frame::Ready.encode()));
        receiving = next;
    }
    assert_accepts(receiving, &self::receiving(ReceiveStep::AfterLastRound).1);
}

/// A successor of a predecessor with two lanes, whose listeners have come.
fn receiving_two_lanes() -> Receiving {
    let heard = Receiving::expecting(&[0, 0]).hear(Frame::Listeners(listeners()));
    let Ok(successor::Heard::On(receiving, _)) = heard else { panic!("the listeners come first") };
    receiving
}

#[test]
fn a_frame_of_a_lane_that_the_predecessor_does_not_have_ends_the_takeover() {
    let last_round = Frame::Round(Round { number: 1, last: true });
    let nobody = Frame::Peers(OfLane { lane: 2, records: Vec::new() });
    assert_eq!(receiving_two_lanes().hear(nobody).unwrap_err(), Objection::Lane { lane: 2, lanes: 2 });
    for kind in [Kind::Peers, Kind::Changed, Kind::Closed, Kind::Entries, Kind::Timers, Kind::State] {
        let raw = frame(kind, KNOWN);
        let of_lane = match raw.decode().unwrap() {
            Frame::Peers(peers) => Frame::Peers(OfLane { lane: 2, ..peers }),
            Frame::Changed(changed) => Frame::Changed(OfLane { lane: 2, ..changed }),
            Frame::Closed(closed) => Frame::Closed(Closed { lane: 2, ..closed }),
            Frame::Entries(entries) => Frame::Entries(Entries { lane: 2, ..entries }),
            Frame::Timers(timers) => Frame::Timers(Timers { lane: 2, ..timers }),
            Frame::State(state) => Frame::State(State { lane: 2, ..state }),
            frame => panic!("{frame:?} is of no lane"),
        };
        let receiving = match kind {
            Kind::Timers | Kind::State => hear(receiving_two_lanes(), last_round.clone()).0,
            _ => receiving_two_lanes(),
        };
        let objection = receiving.hear(of_lane).unwrap_err();
        assert_eq!(objection, Objection::Lane { lane: 2, lanes: 2 });
        assert_eq!(objection.to_string(), "the predecessor speaks of lane 2, and has 2");
    }
}

#[test]
fn a_peer_is_one_of_its_own_lane_alone() {
    let (first, changed, closed) = (frame(Kind::Peers, KNOWN), frame(Kind::Changed, KNOWN), frame(Kind::Closed, KNOWN));
    let hear = |frame| {
        let (receiving, _) = hear(receiving_two_lanes(), first.decode().unwrap());
        receiving.hear(frame).unwrap_err()
    };
    let Frame::Peers(peers) = first.decode().unwrap() else { unreachable!() };
    assert_eq!(hear(Frame::Peers(OfLane { lane: 1, ..peers })), Objection::Twice { cookie: KNOWN });
    let Frame::Changed(changed) = changed.decode().unwrap() else { unreachable!() };
    assert_eq!(hear(Frame::Changed(OfLane { lane: 1, ..changed })), Objection::Unknown { cookie: KNOWN });
    let Frame::Closed(closed) = closed.decode().unwrap() else { unreachable!() };
    assert_eq!(hear(Frame::Closed(Closed { lane: 1, ..closed })), Objection::Unknown { cookie: KNOWN });
}

#[test]
fn peers_before_the_listeners_are_out_of_turn() {
    let (receiving, _) = receiving(ReceiveStep::BeforeListeners);
    let raw = frame(Kind::Peers, KNOWN);
    let objection = receiving.hear(raw.decode().unwrap()).expect_err("the listeners come first");
    assert_eq!(objection, Objection::OutOfTurn { kind: Kind::Peers, step: "before its listeners" });
}

#[test]
fn faults_say_both_numbers() {
    let objection = Objection::Incomplete { what: "number of peers", arrived: 9, sent: 10 };
    assert_eq!(objection.to_string(), "the number of peers that arrived is 9, 10 was sent");
    assert_eq!(Objection::Round { number: 3, expected: 2 }.to_string(), "round 3 ended, 2 was expected to");
    let several = Objection::Listeners { count: 2, expected: 1 };
    assert_eq!(several.to_string(), "the predecessor has 2 listeners, 1 is expected");
    let unexpected = Objection::Listeners { count: 1, expected: 0 };
    let said = "the predecessor has 1 listeners, and a worker of a supervisor takes over none";
    assert_eq!(unexpected.to_string(), said);
    let mistake = Mistake::Room { files_max: 1024, files_needed: 1025 };
    assert_eq!(mistake.to_string(), "the successor may open 1024 files, 1025 are needed by now");
    assert_eq!(Mistake::Silent { silence: SILENCE_MAX }.to_string(), "the successor was silent for 10000 ms");
}
