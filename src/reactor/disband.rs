//! The end of a process that has handed over: what another owns by now is closed here, and nobody waits for that.

use std::time::{Duration, Instant};

use crate::lanes::Lanes;
use crate::table::PeerHandle;
use crate::takeover::fault::{self, PredecessorStep};

/// It waits a little, then closes so many peers, about 100 us of work, and rests, so often that it does not take long for
/// all that.
const DELAY: Duration = Duration::from_millis(50);
const CHUNK: usize = 64;
const REST: Duration = Duration::from_micros(100);
const RESTS_MAX: usize = 1000;

/// Closes what another process owns by now. It takes milliseconds in the kernel, in one piece if it is left to the end of
/// the process; the successor and its clients may want the processor, so this lets their first moments pass, and gives
/// the processor away again and again.
pub(super) fn disband(lanes: &mut impl Lanes) {
    fault::here(PredecessorStep::Disband);
    if lanes.peers() > CHUNK {
        rest(DELAY);
    }
    let handles: Vec<PeerHandle> = lanes.all().flat_map(|lane| lane.table().peers().handles()).collect();
    for (closed, handle) in handles.into_iter().enumerate() {
        lanes.lane_mut(handle.lane()).table_mut().let_go(handle.key());
        if closed % CHUNK == CHUNK - 1 && closed < CHUNK * RESTS_MAX {
            rest(REST);
        }
    }
}

/// Waits for so long, also while signals come: what is left of a sleep that they interrupt again and again does not become less.
fn rest(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}
