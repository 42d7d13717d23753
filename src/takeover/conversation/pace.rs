//! How fast it goes, and whether it comes to an end: the window of what is on its way, the rounds, the deadlines.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use slab::Slab;

use super::super::predecessor::{Copying, Decision, Heard, Mistake, Outgoing, SILENCE_MAX};
use super::super::wire::{Copied, Frame, Hello};
use super::peers::FakePeer;
use super::random::Event;
use super::turns::{CopyStep, copying, send_round};
use super::world::{
    FILES_RESERVED, FREEZE_TIMEOUT, FROZEN_AT_NS, PEERS_IN_FLIGHT_MAX, Predecessor, World, hello, nobody,
};
use crate::recipient::Recipient;

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
            let mistake = copying(step)
                .hear(Frame::Copied(Copied { peers, rounds, handshakes: false }), Instant::now())
                .unwrap_err();
            assert_eq!(mistake, Mistake::Copied { peers, peers_sent: 0, rounds, rounds_sent });
        }
        let exact = Frame::Copied(Copied { peers: 0, rounds: rounds_sent, handshakes: false });
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
    for frame in
        [Copied { peers: 1000, rounds: 0, handshakes: false }, Copied { peers: 0, rounds: 0, handshakes: false }]
    {
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
    let mut copying = Copying::new(Recipient::Successor, hello, &[peers.capacity()], Instant::now());
    let mistake = copying.next(&mut [&mut peers]).unwrap_err();
    assert_eq!(mistake, Mistake::Room { files_max, files_needed: files_max + 1 });
}

#[test]
fn peers_that_come_before_the_freeze_are_refused_when_the_successor_has_no_room_for_them() {
    let now = Instant::now();
    let files_max = 7 + FILES_RESERVED + 2;
    let mut copying = Copying::new(Recipient::Successor, Hello { files_max, ..hello() }, &[0], now);
    send_round(&mut copying, false);
    let Ok(Heard::Copying(mut copying)) =
        copying.hear(Frame::Copied(Copied { peers: 0, rounds: 1, handshakes: false }), now)
    else {
        panic!("the copy goes on");
    };
    send_round(&mut copying, true);
    let mut peers = Slab::new();
    for cookie in 1..=3 {
        let key = peers.insert(FakePeer::new(cookie, 4));
        copying.mirror_mut(0).touched(key, true);
    }
    let Ok(Heard::Ready(ready)) = copying.hear(Frame::Ready, now) else { panic!("the last round was sent") };
    let mistake = ready.freeze(now, FROZEN_AT_NS).next(&[&mut peers]).unwrap_err();
    assert_eq!(mistake, Mistake::Room { files_max, files_needed: files_max + 1 });
}

// ── Rounds ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// How long a round takes.
const ROUND: Duration = Duration::from_millis(10);

/// How many rounds it takes until the predecessor freezes, or fails, if so many peers change in each, for good; and
/// whether it freezes with more pending than should be.
fn rounds(dirty: impl IntoIterator<Item = usize>) -> Result<(u32, bool), Mistake> {
    let mut peers: Slab<FakePeer> = (0..2000).map(|key| (key, FakePeer::new(key as u64, 4))).collect();
    let mut dirty = dirty.into_iter();
    let change = |copying: &mut Copying, peers: &mut Slab<FakePeer>, count: usize| {
        for key in 0..count {
            let session_changed = peers[key].change();
            copying.mirror_mut(0).touched(key, session_changed);
        }
    };
    rounds_of(&mut peers, |copying, peers| change(copying, peers, dirty.next().unwrap_or(0)))
}

/// The same, whatever happens in each round.
fn rounds_of(
    peers: &mut Slab<FakePeer>,
    happen: impl FnMut(&mut Copying, &mut Slab<FakePeer>),
) -> Result<(u32, bool), Mistake> {
    rounds_within(Recipient::Successor, FREEZE_TIMEOUT, peers, happen)
}

fn rounds_within(
    to: Recipient,
    freeze_timeout: Duration,
    peers: &mut Slab<FakePeer>,
    mut happen: impl FnMut(&mut Copying, &mut Slab<FakePeer>),
) -> Result<(u32, bool), Mistake> {
    let mut now = Instant::now();
    let mut copying = Copying::new(to, hello(), &[peers.capacity()], now);
    let mut peers_sent = 0;
    for number in 1.. {
        let last = loop {
            let outgoing = copying.next(&mut [&mut *peers])?.expect("nothing is waited for");
            let Outgoing::Batch(batch) = &outgoing else {
                copying.unsent(outgoing);
                // What changes in a round is pending at its end, also what changes early in it.
                happen(&mut copying, peers);
                let Some(outgoing @ Outgoing::Round { last, .. }) = copying.next(&mut [&mut *peers])? else {
                    panic!("what is pending by now is for the next round")
                };
                copying.sent(outgoing, now);
                break last;
            };
            peers_sent += batch.descriptor_keys().count() as u64;
            copying.sent(outgoing, now);
            let copied = Frame::Copied(Copied { peers: peers_sent, rounds: number - 1, handshakes: false });
            let Heard::Copying(goes_on) = copying.hear(copied, now)? else { panic!("the copy goes on") };
            copying = goes_on;
        };
        now += ROUND;
        let answer = if last {
            Frame::Ready
        } else {
            Frame::Copied(Copied { peers: peers_sent, rounds: number, handshakes: false })
        };
        copying = match copying.hear(answer, now)? {
            Heard::Copying(goes_on) => goes_on,
            Heard::Ready(ready) => match ready.decide(&mut [&mut *peers], freeze_timeout, now)? {
                Decision::Copy(goes_on) => goes_on,
                Decision::Freeze(_, strain) => return Ok((number, strain.is_some())),
            },
        };
    }
    unreachable!("it freezes or fails some day");
}

#[test]
fn rounds_end_when_little_is_pending() {
    assert_eq!(rounds([]), Ok((2, false)));
    assert_eq!(rounds([2000, 16]), Ok((2, false)));
    assert_eq!(rounds([2000, 17, 16]), Ok((3, false)), "17 may be less after another round, and is");
    assert_eq!(rounds([2000, 500, 100, 3]), Ok((4, false)));
}

#[test]
fn rounds_end_when_they_do_not_make_less_what_may_be_pending() {
    assert_eq!(rounds(std::iter::repeat(128)), Ok((3, false)));
    assert_eq!(rounds([2000, 120, 80, 17, 16]), Ok((5, false)));
}

#[test]
fn what_does_not_get_less_is_waited_for_and_then_sent_although_it_is_too_much() {
    let (rounds, strained) = rounds(std::iter::repeat(1000)).unwrap();
    assert!(strained);
    // A second, and then three times as long as it takes to raise the bound to twice as much: 128, 256, 512, 1024.
    assert!((175..180).contains(&rounds), "{rounds} rounds");
}

#[test]
fn what_gets_less_after_a_while_is_waited_for() {
    let busy_for_a_while = std::iter::repeat_n(1000, 50).chain(std::iter::repeat_n(20, 10));
    let (rounds, strained) = rounds(busy_for_a_while).unwrap();
    assert!(!strained);
    assert!((50..55).contains(&rounds), "{rounds} rounds");
}

#[test]
fn few_peers_with_many_bytes_are_as_much_as_many() {
    let mut peers: Slab<FakePeer> = (0..3).map(|key| (key, FakePeer::new(key as u64 + 1, 4))).collect();
    let append = |bytes: usize| {
        move |copying: &mut Copying, peers: &mut Slab<FakePeer>| {
            for key in 0..3 {
                let pending = peers[key].outbound.len();
                peers[key].outbound.advance(pending);
                peers[key].outbound.push(&vec![1; bytes]);
                copying.mirror_mut(0).touched(key, false);
            }
        }
    };
    assert_eq!(rounds_of(&mut peers, append(40_000)), Ok((3, false)));
    let (rounds, strained) = rounds_of(&mut peers, append(100_000)).unwrap();
    assert!(strained && rounds > 100, "{rounds} rounds");
}

/// Far too much of each of three peers is pending whenever a round ends.
fn rounds_of_restless(to: Recipient) -> Result<(u32, bool), Mistake> {
    let mut peers: Slab<FakePeer> = (0..3).map(|key| (key, FakePeer::new(key as u64 + 1, 4))).collect();
    // A round sends at most 256 KiB of a peer in ten milliseconds, and half of one is allowed.
    rounds_within(to, Duration::from_millis(1), &mut peers, |copying, peers| {
        for key in 0..3 {
            let pending = peers[key].outbound.len();
            peers[key].outbound.advance(pending);
            peers[key].outbound.push(&vec![1; (key + 1) << 18]);
            copying.mirror_mut(0).touched(key, false);
        }
    })
}

#[test]
fn peers_that_change_faster_than_can_be_sent_in_time_are_named() {
    let said = rounds_of_restless(Recipient::Successor).unwrap_err().to_string();
    assert!(said.starts_with("peers change faster than they are copied: "), "{said}");
    assert!(said.contains(" bytes of 3 peers, 786472 of them of [127.0.0.1]:1, are pending"), "{said}");
    assert!(said.ends_with("0 ms are allowed, half the freeze timeout"), "{said}");
}

#[test]
fn a_standby_is_followed_however_fast_peers_change() {
    assert_eq!(rounds_of_restless(Recipient::Standby), Ok((2, false)));
    let mut peers: Slab<FakePeer> = (0..3).map(|key| (key, FakePeer::new(key as u64 + 1, 4))).collect();
    let (rounds, strained) = rounds_within(Recipient::Standby, FREEZE_TIMEOUT, &mut peers, |copying, peers| {
        for key in 0..3 {
            let pending = peers[key].outbound.len();
            peers[key].outbound.advance(pending);
            peers[key].outbound.push(&vec![1; 2 << 20]);
            copying.mirror_mut(0).touched(key, false);
        }
    })
    .unwrap();
    assert!(
        !strained && (100..110).contains(&rounds),
        "what is more than that is waited for for a second: {rounds} rounds"
    );
}

#[test]
fn sessions_that_are_large_count_by_what_they_are() {
    let mut peers: Slab<FakePeer> = (0..3).map(|key| (key, FakePeer::new(key as u64 + 1, 60_000))).collect();
    let (rounds, strained) = rounds_of(&mut peers, |copying, _| copying.mirror_mut(0).touched(1, true)).unwrap();
    assert_eq!((rounds, strained), (3, false), "one of them fits");
    let change_all = |copying: &mut Copying, _: &mut Slab<FakePeer>| {
        (0..3).for_each(|key| copying.mirror_mut(0).touched(key, true));
    };
    let (rounds, strained) = rounds_of(&mut peers, change_all).unwrap();
    assert!(strained && rounds > 100, "{rounds} rounds");

    // Also those that were small when they were sent last.
    let mut peers: Slab<FakePeer> = (0..3).map(|key| (key, FakePeer::new(key as u64 + 1, 4))).collect();
    let grow_all = |copying: &mut Copying, peers: &mut Slab<FakePeer>| {
        (0..3).for_each(|key| {
            peers[key].session = vec![7; 60_000];
            copying.mirror_mut(0).touched(key, true);
        });
    };
    let (rounds, strained) = rounds_of(&mut peers, grow_all).unwrap();
    assert!(strained && rounds > 100, "{rounds} rounds");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rounds_end_whatever_is_dirty(dirty in proptest::collection::vec(0..2000usize, 0..20)) {
        let (rounds, strained) = rounds(dirty).unwrap();
        prop_assert!((2..=25).contains(&rounds) && !strained);
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
    assert!(world.strained);
    assert!(steps < 1000, "{steps} steps");
}

// ── Deadlines ───────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn each_frame_that_the_channel_takes_moves_the_deadline() {
    let now = Instant::now();
    let mut copying = Copying::new(Recipient::Successor, hello(), &[0], now);
    let later = now + Duration::from_secs(3);
    let outgoing = copying.next(&mut [&mut nobody()]).unwrap().expect("the round has an end");
    copying.unsent(outgoing);
    assert_eq!(copying.deadline(), now + SILENCE_MAX, "a frame that it does not take changes nothing");
    let outgoing = copying.next(&mut [&mut nobody()]).unwrap().expect("the round has an end");
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
    let mut copying = Copying::new(Recipient::Successor, hello(), &[peers.capacity()], now);
    let batch = copying.next(&mut [&mut peers]).unwrap().expect("there are peers");
    copying.sent(batch, now);
    let round = copying.next(&mut [&mut peers]).unwrap().expect("the round has an end");
    copying.sent(round, now);
    // What a successor says again and again must not keep a takeover alive.
    for (peers, rounds, seconds, deadline) in
        [(0, 0, 1, now), (1, 0, 2, later(2)), (1, 0, 3, later(2)), (0, 0, 4, later(2)), (2, 1, 5, later(5))]
    {
        let Ok(Heard::Copying(goes_on)) =
            copying.hear(Frame::Copied(Copied { peers, rounds, handshakes: false }), later(seconds))
        else {
            panic!("the copy goes on");
        };
        assert_eq!(goes_on.deadline(), deadline + SILENCE_MAX, "after {seconds} s");
        copying = goes_on;
    }
}
