//! How fast it goes, and whether it comes to an end: the window of what is on its way, the rounds, the deadlines.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use slab::Slab;

use super::super::predecessor::{Copying, Heard, Mistake, Outgoing, SILENCE_MAX};
use super::super::wire::{Copied, Frame, Hello};
use super::turns::{CopyStep, copying, send_round};
use super::{
    Event, FILES_RESERVED, FROZEN_AT_NS, FakePeer, NOBODY, PEERS_IN_FLIGHT_MAX, Predecessor, ROUNDS_MAX, World, hello,
};

// ── The window ─────────────────────────────────────────────────────────────────────────────────────────────────────

/// How many peers are on their way to a successor that never acknowledges any.
fn sent_to_a_silent_successor(session_bytes: usize) -> u64 {
    let mut world = World::with_sessions(5000, session_bytes);
    for _ in 0..100 {
        world.predecessor_turn(false);
    }
    assert!(matches!(world.predecessor, Predecessor::Copying(_)));
    world.peers_sent
}

#[test]
fn a_silent_successor_gets_a_window_of_peers_and_no_more() {
    assert_eq!(sent_to_a_silent_successor(4), PEERS_IN_FLIGHT_MAX);
}

#[test]
fn a_silent_successor_gets_no_more_than_a_window_of_peers_with_large_records() {
    for session_bytes in [300, 1000, 5000] {
        let sent = sent_to_a_silent_successor(session_bytes);
        assert!(sent <= PEERS_IN_FLIGHT_MAX, "{sent} peers with sessions of {session_bytes} bytes");
    }
}

#[test]
fn acknowledged_peers_make_room_in_the_window() {
    let mut world = World::new(5000);
    for _ in 0..100 {
        world.predecessor_turn(false);
    }
    // Welcome and Listeners, then one batch.
    for _ in 0..3 {
        world.successor_turn();
    }
    for _ in 0..100 {
        world.predecessor_turn(false);
    }
    assert_eq!(world.peers_sent, PEERS_IN_FLIGHT_MAX + 250);
    world.finish(|_| {});
    world.assert_taken_over();
    assert!(world.in_flight_most <= PEERS_IN_FLIGHT_MAX);
}

#[test]
fn a_successor_that_claims_more_than_was_sent_is_mistaken() {
    for step in [CopyStep::Sending, CopyStep::RoundSent, CopyStep::LastRoundSent] {
        let rounds_sent = match step {
            CopyStep::Sending => 0,
            CopyStep::RoundSent => 1,
            CopyStep::LastRoundSent => 2,
        };
        let claims = [(0, rounds_sent + 1), (1, rounds_sent), (u64::MAX, 0), (0, u32::MAX)];
        for (peers, rounds) in claims {
            let mistake = copying(step).hear(Frame::Copied(Copied { peers, rounds }), Instant::now()).unwrap_err();
            assert_eq!(mistake, Mistake::Copied { peers, peers_sent: 0, rounds, rounds_sent });
        }
        let exact = Frame::Copied(Copied { peers: 0, rounds: rounds_sent });
        assert!(copying(step).hear(exact, Instant::now()).is_ok());
    }
    let mistake = Mistake::Copied { peers: 9, peers_sent: 8, rounds: 1, rounds_sent: 2 };
    assert_eq!(mistake.to_string(), "the successor claims 9 peers and 1 rounds, 8 and 2 were sent");
}

#[test]
fn a_successor_that_takes_back_what_it_acknowledged_changes_nothing() {
    let mut world = World::new(1250);
    for _ in 0..100 {
        world.predecessor_turn(false);
    }
    for frame in [Copied { peers: 1000, rounds: 0 }, Copied { peers: 0, rounds: 0 }] {
        world.to_predecessor.extend(Frame::Copied(frame).encode());
    }
    world.predecessor_turn(false);
    assert_eq!(world.peers_sent, 1250);
}

#[test]
fn peers_that_come_during_the_copy_are_refused_when_the_successor_has_no_room_for_them() {
    let files_max = 7 + FILES_RESERVED + 2;
    let hello = Hello { files_max, ..hello() };
    let mut peers = Slab::new();
    for cookie in 1..=3 {
        peers.insert(FakePeer::new(cookie, 4));
    }
    let mut copying = Copying::new(hello, peers.capacity(), Instant::now());
    let mistake = copying.next(&peers).unwrap_err();
    assert_eq!(mistake, Mistake::Room { files_max, files_needed: files_max + 1 });
}

#[test]
fn peers_that_come_before_the_freeze_are_refused_when_the_successor_has_no_room_for_them() {
    let now = Instant::now();
    let files_max = 7 + FILES_RESERVED + 2;
    let mut copying = Copying::new(Hello { files_max, ..hello() }, 0, now);
    send_round(&mut copying, false);
    let Ok(Heard::Copying(mut copying)) = copying.hear(Frame::Copied(Copied { peers: 0, rounds: 1 }), now) else {
        panic!("the copy goes on");
    };
    send_round(&mut copying, true);
    let mut peers = Slab::new();
    for cookie in 1..=3 {
        let key = peers.insert(FakePeer::new(cookie, 4));
        copying.mirror_mut().touched(key, true);
    }
    let Ok(Heard::Ready(ready)) = copying.hear(Frame::Ready, now) else { panic!("the last round was sent") };
    let mistake = ready.freeze(now, FROZEN_AT_NS).next(&peers).unwrap_err();
    assert_eq!(mistake, Mistake::Room { files_max, files_needed: files_max + 1 });
}

// ── Rounds ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Copies `dirty.len()` rounds or fewer, in each of which so many peers change; returns how many rounds it took.
fn rounds(dirty: impl IntoIterator<Item = usize>) -> u32 {
    let mut peers: Slab<FakePeer> = Slab::new();
    for cookie in 1..=2000 {
        peers.insert(FakePeer::new(cookie, 4));
    }
    let now = Instant::now();
    let mut copying = Copying::new(hello(), peers.capacity(), now);
    let mut dirty = dirty.into_iter();
    let mut peers_sent = 0;
    let mut number = 1;
    loop {
        // What changes in a round is pending at its end, also what changes early in it.
        let changed = dirty.next().unwrap_or(0);
        let mut at_the_end_of_the_walk = true;
        while let Some(outgoing) = copying.next(&peers).unwrap() {
            if let Outgoing::Batch(batch) = &outgoing {
                peers_sent += batch.descriptor_keys().count() as u64;
                copying.sent(outgoing, Instant::now());
                let copied = Frame::Copied(Copied { peers: peers_sent, rounds: number - 1 });
                let Ok(Heard::Copying(next)) = copying.hear(copied, now) else { panic!("the copy goes on") };
                copying = next;
                continue;
            }
            if std::mem::take(&mut at_the_end_of_the_walk) {
                copying.unsent(outgoing);
                for key in 0..changed.min(peers.len()) {
                    let session_changed = peers[key].change();
                    copying.mirror_mut().touched(key, session_changed);
                }
                continue;
            }
            let Outgoing::Round { last, .. } = outgoing else { unreachable!("batches are done with") };
            copying.sent(outgoing, Instant::now());
            if last {
                return number;
            }
        }
        let copied = Frame::Copied(Copied { peers: peers_sent, rounds: number });
        let Ok(Heard::Copying(next)) = copying.hear(copied, now) else { panic!("the copy goes on") };
        copying = next;
        number += 1;
    }
}

#[test]
fn rounds_end_when_little_is_pending() {
    assert_eq!(rounds([]), 2);
    assert_eq!(rounds([2000, 16]), 2);
    assert_eq!(rounds([2000, 17, 16]), 3);
    assert_eq!(rounds([2000, 500, 100, 3]), 4);
}

#[test]
fn rounds_end_when_they_do_not_make_it_less() {
    assert_eq!(rounds(std::iter::repeat(2000)), 2, "everything is dirty all the time");
    assert_eq!(rounds([2000, 1500]), 2);
    assert_eq!(rounds([2000, 1499, 1200]), 3);
}

#[test]
fn rounds_end_at_their_maximum_while_each_still_makes_it_less() {
    let fewer = std::iter::successors(Some(2000), |dirty| Some(dirty * 7 / 10));
    assert!(fewer.clone().nth(ROUNDS_MAX as usize - 1).unwrap() > 16);
    assert_eq!(rounds(fewer), ROUNDS_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rounds_end_whatever_is_dirty(dirty in proptest::collection::vec(0..2000usize, 0..20)) {
        let rounds = rounds(dirty);
        prop_assert!((2..=ROUNDS_MAX).contains(&rounds));
    }
}

#[test]
fn a_takeover_ends_even_if_everything_is_dirty_all_the_time() {
    let mut world = World::new(700);
    let mut steps = 0;
    world.finish(|world| {
        steps += 1;
        world.apply(Event::ChangeAll);
    });
    world.assert_taken_over();
    assert!(steps < 200, "{steps} steps");
}

// ── Deadlines ───────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn each_frame_that_the_channel_takes_moves_the_deadline() {
    let now = Instant::now();
    let mut copying = Copying::new(hello(), 0, now);
    let later = now + Duration::from_secs(3);
    let outgoing = copying.next(&NOBODY).unwrap().expect("the round has an end");
    copying.unsent(outgoing);
    assert_eq!(copying.deadline(), now + SILENCE_MAX, "a frame that it does not take changes nothing");
    let outgoing = copying.next(&NOBODY).unwrap().expect("the round has an end");
    copying.sent(outgoing, later);
    assert_eq!(copying.deadline(), later + SILENCE_MAX);
}

#[test]
fn only_an_answer_that_acknowledges_more_moves_the_deadline() {
    let now = Instant::now();
    let later = |seconds| now + Duration::from_secs(seconds);
    let mut peers = Slab::new();
    for cookie in 1..=2 {
        peers.insert(FakePeer::new(cookie, 4));
    }
    let mut copying = Copying::new(hello(), peers.capacity(), now);
    let batch = copying.next(&peers).unwrap().expect("there are peers");
    copying.sent(batch, now);
    let round = copying.next(&peers).unwrap().expect("the round has an end");
    copying.sent(round, now);
    // What a successor says again and again must not keep a takeover alive.
    for (peers, rounds, seconds, deadline) in
        [(0, 0, 1, now), (1, 0, 2, later(2)), (1, 0, 3, later(2)), (0, 0, 4, later(2)), (2, 1, 5, later(5))]
    {
        let Ok(Heard::Copying(goes_on)) = copying.hear(Frame::Copied(Copied { peers, rounds }), later(seconds)) else {
            panic!("the copy goes on");
        };
        assert_eq!(goes_on.deadline(), deadline + SILENCE_MAX, "after {seconds} s");
        copying = goes_on;
    }
}
