//! What a successor makes of a conversation from which something is missing, in which something comes twice, or in which
//! something was changed.

use std::collections::BTreeMap;

use reactord_process::channel::{TO_PREDECESSOR_BYTES_MAX, TO_SUCCESSOR_BYTES_MAX};
use reactord_process::frame::RawFrame;

use super::super::successor::{Action, Heard, Objection, Receiving};
use super::super::wire::{Commit, Copied, Entries, EntriesSent, Frame, Kind, Round};
use super::peers::{Adopted, Map};
use super::turns::{ReceiveStep, receiving};
use super::world::{PART_BYTES, World, encoded, entries};
use crate::peer::backlog::Misplaced;
use crate::service::{Entries as _, RestoreError};

/// All that a predecessor said after Welcome in a takeover with everything in it, and the records in the end.
fn recorded() -> (Vec<Vec<u8>>, Arrived) {
    let mut world = World::with_entries(600, 2000, 50);
    world.maps[1].insert(0, vec![5; 2 * PART_BYTES]);
    world.shared_state = (0..2 * PART_BYTES + 5).map(|at| (at % 251) as u8).collect();
    let mut step = 0;
    world.finish(|world| {
        step += 1;
        for choice in 0..20 {
            world.change(step * 31 + choice);
        }
        world.accept();
        world.close(step * 17);
        world.change_entry(step * 31);
    });
    world.assert_taken_over();
    let records = (world.adopted_records(), entries(&world.entered));
    let frames = world.sent.split_off(1);
    let kinds: Vec<Kind> = frames.iter().map(|frame| frame[4].try_into().unwrap()).collect();
    for kind in [Kind::Peers, Kind::Changed, Kind::Closed, Kind::Round, Kind::State, Kind::Entries] {
        let count = kinds.iter().filter(|other| **other == kind).count();
        assert!(count >= 2, "{count} times {kind:?}");
    }
    (frames, records)
}

/// How a successor notices that something is wrong.
#[derive(Debug, PartialEq, Eq)]
enum Noticed {
    Objection(Objection),
    /// A change is about bytes that its peer does not have.
    Misplaced(Misplaced),
    /// A piece of entries is none.
    Entries(RestoreError),
}

/// The records of the peers, and the entries of each map.
type Arrived = (BTreeMap<u64, Vec<u8>>, Vec<BTreeMap<u32, Vec<u8>>>);

/// What a successor makes of these frames: what it ends with, if it accepts.
fn replay(frames: &[Vec<u8>]) -> Result<Option<Arrived>, Noticed> {
    let mut receiving = Receiving::expecting(&[0]);
    let mut adopted: BTreeMap<u64, Adopted> = BTreeMap::new();
    let mut maps = [Map::default(), Map::default()];
    for frame in frames {
        let raw = RawFrame::take(&mut frame.clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
        let action = match receiving.hear(raw.decode().unwrap()).map_err(Noticed::Objection)? {
            Heard::On(next, action) => {
                receiving = next;
                action
            }
            Heard::Commit(_) => {
                let records = adopted.iter().map(|(cookie, peer)| (*cookie, encoded(&peer.record())));
                return Ok(Some((records.collect(), entries(&maps))));
            }
        };
        match action {
            Action::Adopt(peers, _) => {
                adopted.extend(peers.records.iter().map(|record| (record.value.cookie, Adopted::of(&record.value))));
            }
            Action::Change(changed) => {
                for change in changed.records {
                    let peer = adopted.get_mut(&change.value.cookie).expect("the conversation knows whom it knows");
                    peer.follow(&change.value).map_err(Noticed::Misplaced)?;
                }
            }
            Action::Discard(closed) => adopted.retain(|cookie, _| !closed.cookies.contains(cookie)),
            Action::Enter { of, piece } => maps[of.map as usize].restore(1, &piece).map_err(Noticed::Entries)?,
            Action::Listen(_)
            | Action::Answer(_)
            | Action::GetReady(_)
            | Action::SetTimers(_)
            | Action::TakeLicence
            | Action::Wait => {}
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
            (Kind::Listeners, Err(Noticed::Objection(Objection::OutOfTurn { kind: Kind::Peers, .. }))) => {}
            (Kind::Peers, Err(Noticed::Objection(Objection::Unknown { .. } | Objection::Incomplete { .. }))) => {}
            (
                Kind::Changed,
                Err(Noticed::Misplaced(_) | Noticed::Objection(Objection::Incomplete { what: "digest", .. })),
            ) => {}
            // Every peer in it has left.
            (Kind::Changed, Ok(Some(arrived))) => assert_eq!(arrived, records),
            (Kind::Closed, Err(Noticed::Objection(Objection::Incomplete { what: "number of peers", .. }))) => {}
            (Kind::Round, Err(Noticed::Objection(Objection::Round { .. } | Objection::OutOfTurn { .. }))) => {}
            (Kind::State, Err(Noticed::Objection(Objection::Incomplete { what: "size of the shared state", .. }))) => {}
            (Kind::Timers, Err(Noticed::Objection(Objection::Incomplete { what: "number of timers", .. }))) => {}
            (Kind::Entries, Err(noticed)) => assert_entries_noticed(&noticed),
            (Kind::Commit, Ok(None)) => {}
            (kind, result) => panic!("without frame {lost}, {kind:?}: {:?}", result.map(|_| "accepted")),
        }
    }
}

/// An entry is missing, or there twice, or a piece has lost a part.
fn assert_entries_noticed(noticed: &Noticed) {
    match noticed {
        Noticed::Objection(Objection::Incomplete { what: "size of the entries", .. }) => {}
        Noticed::Objection(Objection::OutOfTurn { step: "within a piece of entries", .. }) => {}
        Noticed::Objection(Objection::Piece { .. }) | Noticed::Entries(_) => {}
        noticed => panic!("{noticed:?}"),
    }
}

#[test]
fn entries_that_come_in_another_order_or_were_changed_on_their_way_are_noticed() {
    let (frames, _) = recorded();
    let numbers: Vec<usize> = (0..frames.len()).filter(|number| kind_of(&frames[*number]) == Kind::Entries).collect();
    let altered = |number: usize| {
        let raw = RawFrame::take(&mut frames[number].clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
        let Frame::Entries(entries) = raw.decode().unwrap() else { panic!("it has entries") };
        let mut part = entries.part.to_vec();
        part.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
        let mut altered = frames.clone();
        altered[number] = Frame::Entries(Entries { part: &part, ..entries }).encode();
        altered
    };
    let swapped = numbers.windows(2).filter(|pair| frames[pair[0]] != frames[pair[1]]).map(|pair| {
        let mut swapped = frames.clone();
        swapped.swap(pair[0], pair[1]);
        swapped
    });
    for frames in swapped.chain(numbers.iter().map(|number| altered(*number))) {
        match replay(&frames) {
            Err(Noticed::Objection(Objection::Incomplete { what: "digest of the entries", .. })) => {}
            Err(Noticed::Entries(_) | Noticed::Objection(Objection::Piece { .. } | Objection::OutOfTurn { .. })) => {}
            result => panic!("{:?}", result.map(|_| "accepted")),
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
            (Kind::Listeners, Err(Noticed::Objection(Objection::OutOfTurn { kind: Kind::Listeners, .. }))) => {}
            (Kind::Peers, Err(Noticed::Objection(Objection::Twice { .. }))) => {}
            (
                Kind::Changed,
                Err(Noticed::Misplaced(_) | Noticed::Objection(Objection::Incomplete { what: "digest", .. })),
            ) => {}
            // Every peer in it has left; what follows the end is not heard.
            (Kind::Changed | Kind::Commit, Ok(Some(arrived))) => assert_eq!(arrived, records),
            (Kind::Closed, Err(Noticed::Objection(Objection::Unknown { .. }))) => {}
            (Kind::Round, Err(Noticed::Objection(Objection::Round { .. } | Objection::OutOfTurn { .. }))) => {}
            (Kind::State, Err(Noticed::Objection(Objection::Incomplete { what: "size of the shared state", .. }))) => {}
            (Kind::Timers, Err(Noticed::Objection(Objection::Incomplete { what: "number of timers", .. }))) => {}
            (Kind::Entries, Err(noticed)) => assert_entries_noticed(&noticed),
            (kind, result) => panic!("with frame {repeated} twice, {kind:?}: {:?}", result.map(|_| "accepted")),
        }
    }
}

/// The frame with a byte more in its last record or change, and whom that is about.
fn tampered(frame: &[u8]) -> Option<(Vec<u8>, u64)> {
    let raw = RawFrame::take(&mut frame.to_vec(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
    match raw.decode().unwrap() {
        Frame::Peers(mut peers) => {
            let last = &mut peers.records.last_mut().expect("a batch is not empty").value;
            last.outbound.bytes = b"a byte more";
            let cookie = last.cookie;
            Some((Frame::Peers(peers).encode(), cookie))
        }
        Frame::Changed(mut changed) => {
            let last = &mut changed.records.last_mut().expect("a batch is not empty").value;
            last.outbound.appended.bytes = b"a byte more";
            let cookie = last.cookie;
            Some((Frame::Changed(changed).encode(), cookie))
        }
        _ => None,
    }
}

#[test]
fn a_record_or_a_change_that_was_changed_on_its_way_is_noticed() {
    let (frames, _) = recorded();
    let mut noticed = 0;
    for changed in 0..frames.len() {
        let Some((frame, cookie)) = tampered(&frames[changed]) else { continue };
        let mut altered = frames.clone();
        altered[changed] = frame;
        match replay(&altered) {
            Err(Noticed::Misplaced(_) | Noticed::Objection(Objection::Incomplete { what: "digest", .. })) => {
                noticed += 1
            }
            Ok(Some(arrived)) => assert!(!arrived.0.contains_key(&cookie), "only who has left by then may differ"),
            result => panic!("with a record of frame {changed} changed: {:?}", result.map(|_| "accepted")),
        }
    }
    assert!(noticed >= 2);
}

#[test]
fn a_round_that_skips_a_number_is_noticed() {
    let copying = || receiving(ReceiveStep::Copying).0;
    let round = |number| Frame::Round(Round { number, last: false });
    for number in [0, 2, u32::MAX] {
        assert_eq!(copying().hear(round(number)), Err(Objection::Round { number, expected: 1 }));
    }
    let Ok(Heard::On(receiving, Action::Answer(mut answer))) = copying().hear(round(1)) else {
        panic!("the round is the next")
    };
    let raw = RawFrame::take(&mut answer, TO_PREDECESSOR_BYTES_MAX).unwrap().unwrap();
    assert_eq!(raw.decode::<Frame<'_>>().unwrap(), Frame::Copied(Copied { peers: 1, rounds: 1, handshakes: false }));
    assert_eq!(receiving.hear(round(1)), Err(Objection::Round { number: 1, expected: 2 }));
}

#[test]
fn a_commit_that_differs_in_one_figure_is_refused_with_both() {
    let (_, to_hear) = receiving(ReceiveStep::AfterState);
    let raw = RawFrame::take(&mut to_hear[0].clone(), TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
    let Frame::Commit(commit) = raw.decode().unwrap() else { panic!("Commit comes last") };
    let Commit { peers, digest, state_bytes, timers, .. } = commit;
    let told = Some(EntriesSent { bytes: 1, ..EntriesSent::default() });
    let wrong = [
        (Commit { entries: told, ..commit.clone() }, ("size of the entries", 0, 1)),
        (Commit { peers: 2, ..commit.clone() }, ("number of peers", peers, 2)),
        (Commit { digest: digest + 1, ..commit.clone() }, ("digest", digest, digest + 1)),
        (Commit { state_bytes: 4, ..commit.clone() }, ("size of the shared state", state_bytes, 4)),
        (Commit { timers: 1, ..commit.clone() }, ("number of timers", timers, 1)),
    ];
    for (commit, (what, arrived, sent)) in wrong {
        let (receiving, _) = receiving(ReceiveStep::AfterState);
        assert_eq!(receiving.hear(Frame::Commit(commit)), Err(Objection::Incomplete { what, arrived, sent }));
    }
}
