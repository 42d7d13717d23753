//! What all peers of the active share besides entries, and its timers, as they were at the last commit. Pure.

use std::mem::take;

use crate::table::LANES_MAX;
use crate::takeover::successor::Objection;
use crate::takeover::wire::{State, Timers};

#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Of each lane: its state, and its timers.
    lanes: Vec<Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    state: Vec<u8>,
    timers: Vec<Timers>,
    /// What the commit that is being read says, if it says something.
    next_state: Option<Vec<u8>>,
    next_timers: Option<Vec<Timers>>,
}

impl Shared {
    fn lane(&mut self, number: u32) -> Result<&mut Lane, Objection> {
        let index = number as usize;
        if index >= LANES_MAX {
            return Err(Objection::Lane { lane: number, lanes: LANES_MAX });
        }
        if index >= self.lanes.len() {
            self.lanes.resize_with(index + 1, Lane::default);
        }
        Ok(&mut self.lanes[index])
    }

    /// A part of a state, which is another one from the next commit on.
    pub(super) fn hear_state(&mut self, State { part, lane }: State<'_>) -> Result<(), Objection> {
        self.lane(lane)?.next_state.get_or_insert_default().extend_from_slice(part);
        Ok(())
    }

    /// The same of timers.
    pub(super) fn hear_timers(&mut self, timers: Timers) -> Result<(), Objection> {
        self.lane(timers.lane)?.next_timers.get_or_insert_default().push(timers);
        Ok(())
    }

    /// What was heard is so.
    pub(super) fn commit(&mut self) {
        for lane in &mut self.lanes {
            lane.state = lane.next_state.take().unwrap_or_else(|| take(&mut lane.state));
            lane.timers = lane.next_timers.take().unwrap_or_else(|| take(&mut lane.timers));
        }
    }

    /// The size of all states.
    pub(super) fn state_bytes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.state.len() as u64).sum()
    }

    /// How many timers there are.
    pub(super) fn timers(&self) -> u64 {
        self.lanes.iter().flat_map(|lane| &lane.timers).map(|timers| timers.timers.len() as u64).sum()
    }

    /// The state of each lane, and all timers.
    pub(super) fn into_parts(self) -> (Vec<Vec<u8>>, Vec<Timers>) {
        let (mut states, mut timers) = (Vec::new(), Vec::new());
        for lane in self.lanes {
            states.push(lane.state);
            timers.extend(lane.timers);
        }
        (states, timers)
    }
}
