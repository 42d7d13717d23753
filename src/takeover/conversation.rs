//! Tests of both halves of the conversation together: the real halves, the real wire, and no socket.
//!
//! A [world] holds a predecessor with a table of [peers] that are nothing but records, a successor, and the bytes that are
//! on their way between the two. Each side advances by one frame at a time, so that anything can happen in between.
//!
//! Here are whole takeovers. In `random` anything happens between their steps, in `deaths` a side is killed or stopped.
//! `greeting`, `turns`, `tampering`, `pace` and `ending` look at one thing each; `recorded` plays what released versions
//! said.

mod deaths;
mod ending;
mod greeting;
mod pace;
pub(crate) mod peers;
mod random;
mod recorded;
mod tampering;
mod turns;
mod world;

use super::predecessor::Accepted;
use super::wire::{Figures, Kind};
use world::{PART_BYTES, Predecessor, World};

#[test]
fn every_peer_arrives_as_it_is_however_many_there_are() {
    for peers in [0, 1, 249, 250, 251, 1000, 5000] {
        let mut world = World::new(peers);
        world.finish(|_| {});
        world.assert_taken_over();
        assert_eq!(world.adopted.len(), peers);
    }
}

#[test]
fn peers_that_come_change_and_leave_at_every_step_arrive_as_they_are() {
    for peers in [0, 1, 250, 251, 1000, 5000] {
        let mut world = World::new(peers);
        let mut step = 0;
        world.finish(|world| {
            step += 1;
            world.accept();
            world.change(step * 7919);
            world.change(step * 104_729);
            if step % 3 > 0 {
                world.close(step * 15_485_863);
            }
        });
        world.assert_taken_over();
    }
}

#[test]
fn shared_state_of_any_size_arrives_whole() {
    for (bytes, parts) in [(0, 0), (1, 1), (PART_BYTES, 1), (PART_BYTES + 1, 2), (3 * PART_BYTES + 1, 4)] {
        let mut world = World::new(3);
        world.shared_state = (0..bytes).map(|at| (at % 251) as u8).collect();
        world.finish(|_| {});
        world.assert_taken_over();
        let is_part = |frame: &&Vec<u8>| frame[4] == Kind::State as u8;
        assert_eq!(world.sent.iter().filter(is_part).count(), parts);
    }
}

#[test]
fn entries_of_any_number_and_size_arrive_as_they_are() {
    for (count, bytes) in [(0, 0), (1, 0), (1, 3 * PART_BYTES), (3, PART_BYTES), (5000, 100)] {
        let mut world = World::with_entries(3, count, bytes);
        world.finish(|_| {});
        world.assert_taken_over();
        let Predecessor::Retired(accepted) = &world.predecessor else { panic!("it has retired") };
        assert_eq!(accepted.entries, count as u64 + 2, "of either map it is told that all others are gone");
        assert_eq!(accepted.figures.dirty, 0);
    }
}

#[test]
fn entries_that_come_change_and_go_at_every_step_arrive_as_they_are() {
    let mut world = World::with_entries(3, 5000, 100);
    let mut step = 0;
    world.finish(|world| {
        for _ in 0..20 {
            step += 1;
            world.change_entry(step * 7919);
        }
    });
    world.assert_taken_over();
}

#[test]
fn entries_that_change_faster_than_they_are_copied_are_taken_over_after_some_time() {
    let mut world = World::with_entries(0, 2000, 10);
    world.finish(|world| {
        if world.serves() {
            world.maps[0].for_each_mut(|_, value| value.push(1));
        }
    });
    world.assert_taken_over();
    assert!(world.strained);
}

#[test]
fn a_quiet_takeover_ends_with_its_second_round_and_nothing_dirty() {
    let mut world = World::new(600);
    world.finish(|_| {});
    let Predecessor::Retired(Accepted { figures, .. }) = world.predecessor else { panic!("it has retired") };
    let Figures { batches, rounds, dirty, .. } = figures;
    assert_eq!((batches, rounds, dirty), (3, 2, 0));
}

#[test]
fn batches_of_large_records_are_cut_by_size_and_arrive() {
    let mut world = World::with_sessions(300, 5000);
    let mut step = 0;
    world.finish(|world| {
        step += 1;
        world.change(step);
    });
    world.assert_taken_over();
}
