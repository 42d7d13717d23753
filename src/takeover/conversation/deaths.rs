//! Either side is killed or stopped at every step.

use std::time::Duration;

use super::super::predecessor::SILENCE_MAX;
use super::world::{PART_BYTES, Predecessor, Successor, Whose, World};

impl World {
    /// The successor is stopped for so long that the predecessor gives it up, and is continued then.
    pub(super) fn stop_successor(&mut self) {
        for _ in 0..1000 {
            self.predecessor_turn(false);
        }
        match &self.predecessor {
            Predecessor::Copying(copying) => {
                let deadline = copying.deadline();
                assert!(deadline <= self.now + SILENCE_MAX);
                self.now = deadline - Duration::from_nanos(1);
                self.predecessor_turn(false);
                assert!(matches!(self.predecessor, Predecessor::Copying(_)), "the deadline is not over yet");
                self.now = deadline;
                self.predecessor_turn(false);
                let Predecessor::Thawed(why) = &self.predecessor else { panic!("the deadline is over") };
                assert_eq!(why, "the successor was silent for 10000 ms");
            }
            Predecessor::Ending(_) => self.freeze_timeout(),
            _ => {}
        }
    }

    /// The predecessor is stopped for so long that the successor gives it up, and is continued then.
    pub(super) fn stop_predecessor(&mut self) {
        while (!self.to_successor.is_empty() && self.successor_listens())
            || matches!(self.successor, Successor::Accepting(_))
        {
            self.successor_turn();
        }
        if self.successor_listens() {
            self.successor = self.give_up(&"the predecessor was silent");
        }
    }

    /// A takeover that is lively at every step, up to so many steps.
    fn lively(steps: usize) -> Self {
        // One entry is larger than a frame.
        let mut world = Self::with_entries(300, 1000, 100);
        world.maps[1].insert(0, vec![4; PART_BYTES]);
        world.shared_state = vec![1; PART_BYTES + 1];
        (0..steps).for_each(|step| world.lively_step(step));
        world
    }

    fn lively_step(&mut self, step: usize) {
        self.accept();
        self.change(step * 7919);
        self.close(step * 15_485_863);
        self.change_entry(step * 7919);
        if step.is_multiple_of(2) {
            self.predecessor_turn(false);
        } else {
            self.successor_turn();
        }
    }

    /// How many steps it takes until the successor's Accept is in the channel, and until the takeover is over.
    fn lively_steps() -> (usize, usize) {
        let mut world = Self::lively(0);
        let mut accepted = None;
        for steps in 0.. {
            if matches!(world.successor, Successor::Owner(_)) {
                accepted = accepted.or(Some(steps));
            }
            if world.is_over() {
                return (accepted.expect("it ends with Accept"), steps);
            }
            world.lively_step(steps);
        }
        unreachable!("it is over some day");
    }

    /// The predecessor serves on with all its peers, and the next successor gets them.
    pub(super) fn assert_thawed(&mut self) {
        assert_eq!(self.owner(), Whose::Predecessor);
        self.call();
        self.finish(|_| {});
        self.assert_taken_over();
    }
}

#[test]
fn successor_killed_before_accept_leaves_peers_with_predecessor() {
    let (accepted, over) = World::lively_steps();
    for steps in 0..=over {
        let mut world = World::lively(steps);
        world.kill_successor();
        world.finish(|_| {});
        if steps < accepted {
            world.assert_thawed();
        } else {
            assert!(matches!(world.predecessor, Predecessor::Retired(_)), "after Accept there is no way back");
            assert_eq!(world.owner(), Whose::Nobody);
        }
    }
}

#[test]
fn successor_stopped_before_accept_leaves_peers_with_predecessor_and_finds_out_later() {
    let (accepted, over) = World::lively_steps();
    for steps in 0..=over {
        let mut world = World::lively(steps);
        world.stop_successor();
        world.finish(|_| {});
        if steps < accepted {
            let Successor::Gone(why) = &world.successor else { panic!("the successor has not accepted") };
            let reasons = ["the channel has ended", "too late", "refused: the successor was silent"];
            assert!(reasons.contains(&why.as_str()), "{why}");
            world.assert_thawed();
        } else {
            world.assert_taken_over();
        }
    }
}

#[test]
fn predecessor_killed_before_accept_leaves_peers_with_nobody() {
    let (accepted, over) = World::lively_steps();
    for steps in 0..=over {
        let mut world = World::lively(steps);
        world.kill_predecessor();
        world.finish(|_| {});
        let expected = if steps < accepted { Whose::Nobody } else { Whose::Successor };
        assert_eq!(world.owner(), expected);
    }
}

#[test]
fn predecessor_stopped_before_accept_keeps_its_peers_and_retires_later_after_it() {
    let (_, over) = World::lively_steps();
    for steps in 0..=over {
        let mut world = World::lively(steps);
        world.stop_predecessor();
        // What was on its way may have sufficed to accept.
        let accepted = matches!(world.successor, Successor::Owner(_));
        world.finish(|_| {});
        if accepted {
            world.assert_taken_over();
        } else {
            world.assert_thawed();
        }
    }
}
