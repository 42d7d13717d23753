//! What a successor does about the events that come before it serves.

use std::io;
use std::time::Duration;

use mio::{Events, Poll};

use crate::lanes::Lanes;
use crate::table::PeerHandle;

/// Events taken from one look at what has arrived for peers, and how often more is looked than is needed to see each once.
const EVENTS_SIFTED: usize = 1024;
const SIFTED_MORE: usize = 16;

/// Takes from the epoll set what has become of no interest since it was registered. Whatever arrived for a peer during
/// the copy has left an entry there, also where the predecessor has read it long ago, and the first poll would look at all
/// of them while nobody serves. Nothing is read from anybody: who has something to read becomes due.
pub(crate) fn sift<L: Lanes>(poll: &mut Poll, lanes: &mut L) -> io::Result<()> {
    // Often enough to see every peer once, and some more. Clients may send faster than this looks at them.
    for handle in take(poll, lanes.peers() / EVENTS_SIFTED + SIFTED_MORE)? {
        lanes.lane_mut(handle.lane()).table_mut().make_due(handle);
    }
    Ok(())
}

/// The same for a standby, while the active reads on: who has something to read now has most likely been read from before this process
/// serves, if ever it does, and stays in the epoll set. Where there are many, others have their turn the next time: the active is to be heard.
pub(crate) fn sift_and_keep<L: Lanes>(poll: &mut Poll, lanes: &mut L) -> io::Result<()> {
    for handle in take(poll, SIFTED_MORE)? {
        lanes.lane_mut(handle.lane()).table_mut().register_anew(handle)?;
    }
    Ok(())
}

/// Takes all events, looking so often at most, and returns those peers who have something to read.
fn take(poll: &mut Poll, looks_max: usize) -> io::Result<Vec<PeerHandle>> {
    let mut events = Events::with_capacity(EVENTS_SIFTED);
    let mut readable = Vec::new();
    for _ in 0..looks_max {
        match poll.poll(&mut events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        if events.is_empty() {
            break;
        }
        // Sources are all tended in the first turn in any case.
        readable.extend(events.iter().filter_map(|event| PeerHandle::from_token(event.token())));
    }
    Ok(readable)
}
