//! Who owns the peers when the end of a takeover goes wrong, whichever side is slow between any two steps of the other.

use super::world::{Predecessor, Successor, World};

impl World {
    /// A takeover that has come so far that the predecessor is about to end it, and has sent nothing of that.
    fn about_to_end() -> Self {
        let mut world = Self::new(3);
        while !matches!(world.predecessor, Predecessor::Ending(_)) {
            world.predecessor_turn(false);
            world.successor_turn();
        }
        world
    }

    /// The same, so many steps of the predecessor's later. The successor hears all, or nothing.
    fn ending(steps: usize, hears: bool) -> Self {
        let mut world = Self::about_to_end();
        for _ in 0..steps {
            world.predecessor_turn(false);
            (0..4).filter(|_| hears).for_each(|_| world.successor_turn());
        }
        world
    }

    fn has_committed(&self) -> bool {
        matches!(&self.predecessor, Predecessor::Ending(drive) if drive.has_committed())
    }

    /// How many steps it takes until Commit is in the channel.
    fn steps_to_commit() -> usize {
        (0..).find(|steps| Self::ending(*steps, false).has_committed()).expect("there is an end")
    }

    /// The takeover is over, and one side owns the peers.
    fn assert_one_owner(&mut self, when: &str) {
        self.finish(|_| {});
        match (&self.predecessor, &self.successor) {
            (Predecessor::Thawed(_), Successor::Gone(_)) | (Predecessor::Retired(_), Successor::Owner(_)) => {}
            (predecessor, successor) => panic!("{when}: {predecessor:?}, {successor:?}"),
        }
    }
}

#[test]
fn successor_that_goes_on_between_any_two_steps_of_a_failing_predecessor_leaves_one_owner() {
    let committed = World::steps_to_commit();
    let (mut handed_over, mut thawed) = (0, 0);
    for (before, at_once) in (0..8).flat_map(|before| (0..8).map(move |at_once| (before, at_once))) {
        for at_last in 0..8 - at_once {
            let mut world = World::ending(committed, false);
            (world.overdue, world.heard_at_last) = (true, at_last);
            (0..before).for_each(|_| world.predecessor_turn(false));
            (0..at_once).for_each(|_| world.successor_turn());
            world
                .assert_one_owner(&format!("{before} steps, then {at_once} of the successor's, and {at_last} at last"));
            let retired = matches!(world.predecessor, Predecessor::Retired(_));
            (handed_over, thawed) = (handed_over + u32::from(retired), thawed + u32::from(!retired));
        }
    }
    assert!(handed_over > 0 && thawed > 0, "{handed_over} times it was in time, {thawed} times too late");
}

#[test]
fn commit_whose_rest_goes_with_the_last_word_is_accepted_or_not_by_both() {
    let committed = World::steps_to_commit();
    for between in 0..8 {
        let mut world = World::ending(committed - 1, true);
        world.stuck = true;
        // Commit, which the channel does not take whole in time; the last word; and what the successor makes of both.
        (0..2).for_each(|_| world.predecessor_turn(false));
        (0..between).for_each(|_| world.successor_turn());
        world.assert_one_owner(&format!("{between} steps of the successor's after the last word"));
    }
}

#[test]
fn accept_that_is_there_before_commit_is_not_one() {
    use super::super::wire::Frame;
    for steps in 0..World::steps_to_commit() {
        let mut world = World::ending(steps, false);
        world.to_predecessor.extend(Frame::Accept.encode());
        while matches!(world.predecessor, Predecessor::Ending(_)) {
            world.predecessor_turn(false);
        }
        let Predecessor::Thawed(why) = &world.predecessor else {
            panic!("{:?} after {steps} steps", world.predecessor)
        };
        assert_eq!(why, "the successor sent Accept after the freeze");
        world.finish(|_| {});
        world.assert_thawed();
    }
}
