//! Whatever happens between two steps of a takeover, in any order.

use proptest::prelude::*;

use super::world::{PEERS_IN_FLIGHT_MAX, Successor, Whose, World};

/// What happens between the steps of a takeover.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Accept,
    Change(usize),
    Close(usize),
    Entry(usize),
    ChangeAll,
    Predecessor,
    ChannelFull,
    Successor,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Accept),
        4 => (0..1000usize).prop_map(Event::Change),
        4 => (0..1000usize).prop_map(Event::Close),
        4 => (0..10_000usize).prop_map(Event::Entry),
        1 => Just(Event::ChangeAll),
        6 => Just(Event::Predecessor),
        1 => Just(Event::ChannelFull),
        6 => Just(Event::Successor),
    ]
}

impl World {
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Accept => self.accept(),
            Event::Change(choice) => self.change(choice),
            Event::Close(choice) => self.close(choice),
            Event::Entry(choice) => self.change_entry(choice),
            Event::ChangeAll => (0..self.peers.len()).for_each(|choice| self.change(choice)),
            Event::Predecessor => self.predecessor_turn(false),
            Event::ChannelFull => self.predecessor_turn(true),
            Event::Successor => self.successor_turn(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_schedule_ends_with_the_same_records_on_both_sides(
        peers in prop_oneof![Just(0usize), Just(1), Just(250), Just(251), 0..400usize],
        entries in 0..3000usize,
        events in proptest::collection::vec(event(), 0..250),
    ) {
        let mut world = World::with_entries(peers, entries, 100);
        // Again and again, so that the end of the takeover is under way as well.
        for event in &events {
            world.apply(*event);
        }
        let mut events = events.iter().cycle();
        world.finish(|world| if let Some(event) = events.next() { world.apply(*event) });
        world.assert_taken_over();
        prop_assert!(world.in_flight_most <= PEERS_IN_FLIGHT_MAX);
    }

    #[test]
    fn any_schedule_that_is_cut_short_leaves_one_owner(
        peers in 0..300usize,
        events in proptest::collection::vec(event(), 0..250),
        end in 0..4,
    ) {
        let mut world = World::with_entries(peers, 1000, 100);
        for event in events {
            world.apply(event);
        }
        let accepted_before = matches!(world.successor, Successor::Owner(_));
        match end {
            0 => world.kill_successor(),
            1 => world.kill_predecessor(),
            2 => world.stop_successor(),
            _ => world.stop_predecessor(),
        }
        // While the predecessor is stopped, what is on its way may suffice to accept.
        let accepted = accepted_before || matches!(world.successor, Successor::Owner(_));
        world.finish(|_| {});
        let expected = match (end, accepted) {
            (0, true) | (1, false) => Whose::Nobody,
            (_, true) => Whose::Successor,
            (_, false) => Whose::Predecessor,
        };
        prop_assert_eq!(world.owner(), expected);
    }
}
