//! By how much what the kernel has counted as written to peers is ahead of the positions of what waits for them, as the standby was
//! told. Pure.

use crate::by_key::ByKey;
use crate::table::{PeerHandle, ToldOffset};

/// What was told of all peers.
#[derive(Debug, Default)]
pub(super) struct KnownOffsets {
    /// By the numbers of their lanes.
    lanes: Vec<ByKey<ToldOffset>>,
}

impl KnownOffsets {
    /// The offset of a peer, or that there is none to be had, if either was told.
    pub(super) fn get(&self, handle: PeerHandle) -> Option<Option<u64>> {
        self.lanes.get(handle.lane())?.get(handle.key()).get()
    }

    /// That is told.
    pub(super) fn tell(&mut self, handle: PeerHandle, offset: Option<u64>) {
        if self.lanes.len() <= handle.lane() {
            self.lanes.resize_with(handle.lane() + 1, ByKey::default);
        }
        *self.lanes[handle.lane()].at(handle.key()) = ToldOffset::new(offset);
    }

    /// The peer is gone.
    pub(super) fn forget(&mut self, handle: PeerHandle) {
        if let Some(lane) = self.lanes.get_mut(handle.lane()) {
            lane.forget(handle.key());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_peer_is_known_what_was_told_last() {
        let mut offsets = KnownOffsets::default();
        let [one, other] = [PeerHandle::new(3, 1), PeerHandle::new(3, 1 << 28 | 1)];
        assert_ne!(one.lane(), other.lane());
        // A position may be ahead of what the kernel has counted.
        for told in [Some(0), None, Some(1), Some(u64::MAX), None, Some(1 << 62), Some((1_u64 << 62).wrapping_neg())] {
            offsets.tell(one, told);
            assert_eq!((offsets.get(one), offsets.get(other)), (Some(told), None));
        }
        offsets.forget(other);
        offsets.forget(one);
        assert_eq!((offsets.get(one), offsets.get(other)), (None, None));
    }
}
