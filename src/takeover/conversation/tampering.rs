//! What a successor makes of a conversation from which something is missing, in which something comes twice, or in which
//! something was changed.

use std::collections::BTreeMap;

use super::super::successor::{Action, Fault, Receiving};
use super::super::wire::{
    Commit, Copied, Frame, Kind, RawFrame, RecordsKind, RecordsWriter, Round, TO_PREDECESSOR_BYTES_MAX,
    TO_SUCCESSOR_BYTES_MAX,
};
use super::turns::{ReceiveStep, receiving};
use super::{PART_BYTES, World, encoded};

/// All that a predecessor said after Welcome in a takeover with everything in it, and the records in the end.
fn recorded() -> (Vec<Vec<u8>>, BTreeMap<u64, Vec<u8>>) {
    let mut world = World::new(600);
    world.shared_state = (0..2 * PART_BYTES + 5).map(|at| (at % 251) as u8).collect();
    let mut step = 0;
    world.finish(|world| {
        step += 1;
        for choice in 0..20 {
            world.change(step * 31 + choice);
        }
        world.accept();
        world.close(step * 17);
    });
    world.assert_taken_over();
    let frames = world.sent.split_off(1);
    let kinds: Vec<Kind> = frames.iter().map(|frame| frame[4].try_into().unwrap()).collect();
    for kind in [Kind::Peers, Kind::Changed, Kind::Closed, Kind::Round, Kind::State] {
        let count = kinds.iter().filter(|other| **other == kind).count();
        assert!(count >= 2, "{count} times {kind:?}");
    }
    (frames, world.adopted)
}

/// What a successor makes of these frames: the records that it ends with, if it accepts.
fn replay(frames: &[Vec<u8>]) -> Result<Option<BTreeMap<u64, Vec<u8>>>, Fault> {
    let mut receiving = Receiving::default();
    let mut adopted = BTreeMap::new();
    for frame in frames {
        let raw = RawFrame::take(&mut frame.clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
        match receiving.hear(raw.decode().unwrap())? {
            Action::Adopt(records, _) | Action::Change(records) => {
                adopted.extend(records.iter().map(|record| (record.record.cookie, encoded(&record.record))));
            }
            Action::Discard(cookies) => adopted.retain(|cookie, _| !cookies.contains(cookie)),
            Action::Accept(_) => return Ok(Some(adopted)),
            Action::Listen(_) | Action::Answer(_) | Action::GetReady(_) | Action::Wait => {}
        }
    }
    Ok(None)
}

fn kind_of(frame: &[u8]) -> Kind {
    frame[4].try_into().unwrap()
}

#[test]
fn an_untouched_recording_is_accepted() {
    let (frames, records) = recorded();
    assert_eq!(replay(&frames), Ok(Some(records)));
}

#[test]
fn a_lost_frame_is_noticed() {
    let (frames, records) = recorded();
    for lost in 0..frames.len() {
        let mut left = frames.clone();
        let kind = kind_of(&left.remove(lost));
        match (kind, replay(&left)) {
            (Kind::Listeners, Err(Fault::OutOfTurn { kind: Kind::Peers, .. })) => {}
            (Kind::Peers, Err(Fault::Unknown { .. } | Fault::Incomplete { .. })) => {}
            (Kind::Changed, Err(Fault::Incomplete { what: "digest", .. })) => {}
            // Every record in it was sent again later.
            (Kind::Changed, Ok(Some(arrived))) => assert_eq!(arrived, records),
            (Kind::Closed, Err(Fault::Incomplete { what: "number of peers", .. })) => {}
            (Kind::Round, Err(Fault::Round { .. } | Fault::OutOfTurn { .. })) => {}
            (Kind::State, Err(Fault::Incomplete { what: "size of the shared state", .. })) => {}
            (Kind::Commit, Ok(None)) => {}
            (kind, result) => panic!("without frame {lost}, {kind:?}: {:?}", result.map(|_| "accepted")),
        }
    }
}

#[test]
fn a_repeated_frame_is_noticed() {
    let (frames, records) = recorded();
    for repeated in 0..frames.len() {
        let mut more = frames.clone();
        more.insert(repeated, frames[repeated].clone());
        match (kind_of(&frames[repeated]), replay(&more)) {
            (Kind::Listeners, Err(Fault::OutOfTurn { kind: Kind::Listeners, .. })) => {}
            (Kind::Peers, Err(Fault::Twice { .. })) => {}
            // The same records once more are the same records.
            (Kind::Changed | Kind::Commit, Ok(Some(arrived))) => assert_eq!(arrived, records),
            (Kind::Closed, Err(Fault::Unknown { .. })) => {}
            (Kind::Round, Err(Fault::Round { .. } | Fault::OutOfTurn { .. })) => {}
            (Kind::State, Err(Fault::Incomplete { what: "size of the shared state", .. })) => {}
            (kind, result) => panic!("with frame {repeated} twice, {kind:?}: {:?}", result.map(|_| "accepted")),
        }
    }
}

#[test]
fn a_record_that_was_changed_on_its_way_is_noticed() {
    let (frames, _) = recorded();
    let mut noticed = 0;
    for changed in 0..frames.len() {
        let kind = match kind_of(&frames[changed]) {
            Kind::Peers => RecordsKind::Peers,
            Kind::Changed => RecordsKind::Changed,
            _ => continue,
        };
        let raw = RawFrame::take(&mut frames[changed].clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
        let (Frame::Peers(mut records) | Frame::Changed(mut records)) = raw.decode().unwrap() else { unreachable!() };
        let last = records.last_mut().expect("a batch is not empty");
        last.record.outbound = b"a byte more";
        let mut writer = RecordsWriter::new(kind);
        for record in &records {
            writer.push(&record.record);
        }
        let cookie = records.last().unwrap().record.cookie;
        let mut tampered = frames.clone();
        tampered[changed] = writer.finish();
        match replay(&tampered) {
            Err(Fault::Incomplete { what: "digest", .. }) => noticed += 1,
            // It was sent again later, or left.
            Ok(Some(arrived)) => assert_ne!(arrived.get(&cookie), Some(&encoded(&records.last().unwrap().record))),
            result => panic!("with a record of frame {changed} changed: {:?}", result.map(|_| "accepted")),
        }
    }
    assert!(noticed >= 2);
}

#[test]
fn a_round_that_skips_a_number_is_noticed() {
    let (mut receiving, _) = receiving(ReceiveStep::Copying);
    let round = |number| Frame::Round(Round { number, last: false });
    for number in [0, 2, u32::MAX] {
        assert_eq!(receiving.hear(round(number)), Err(Fault::Round { number, expected: 1 }));
    }
    let Ok(Action::Answer(mut answer)) = receiving.hear(round(1)) else { panic!("the round is the next") };
    let raw = RawFrame::take(&mut answer, TO_PREDECESSOR_BYTES_MAX).unwrap().unwrap();
    assert_eq!(raw.decode().unwrap(), Frame::Copied(Copied { peers: 1, rounds: 1 }));
    assert_eq!(receiving.hear(round(1)), Err(Fault::Round { number: 1, expected: 2 }));
}

#[test]
fn a_commit_that_differs_in_one_figure_is_refused_with_both() {
    let (_, to_hear) = receiving(ReceiveStep::AfterState);
    let raw = RawFrame::take(&mut to_hear[0].clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
    let Frame::Commit(commit) = raw.decode().unwrap() else { panic!("Commit comes last") };
    let Commit { peers, digest, state_bytes, .. } = commit;
    let wrong = [
        (Commit { peers: 2, ..commit.clone() }, ("number of peers", peers, 2)),
        (Commit { digest: digest + 1, ..commit.clone() }, ("digest", digest, digest + 1)),
        (Commit { state_bytes: 4, ..commit.clone() }, ("size of the shared state", state_bytes, 4)),
    ];
    for (commit, (what, arrived, sent)) in wrong {
        let (mut receiving, _) = receiving(ReceiveStep::AfterState);
        assert_eq!(receiving.hear(Frame::Commit(commit)), Err(Fault::Incomplete { what, arrived, sent }));
    }
}
