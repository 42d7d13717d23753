//! Where each peer stands when the active has died: what it was told, and what the memory that both share says, is compared with what the
//! kernel has counted.

use super::judgement::{self, Doubt};
use super::offsets::KnownOffsets;
use super::survival::{Judged, Rest, Verdict};
use crate::lanes::Lanes;
use crate::mapping::{Conveyed, Mapping, Read};
use crate::peer::count::Sight;
use crate::peer::counters::{self, Counting};
use crate::peer::ties::Holds;
use crate::peer::{Peer, Phase};

/// All that is looked at.
pub(super) struct Inquest<'f, L> {
    pub(super) lanes: &'f mut L,
    pub(super) counting: &'f mut Counting,
    pub(super) offsets: &'f KnownOffsets,
    pub(super) mapping: &'f Mapping,
    /// The kernel is not asked.
    pub(super) is_blind: bool,
}

impl<L: Lanes> Inquest<'_, L> {
    /// Finds where each peer stands about which something was under way.
    pub(super) fn hold(mut self) -> Judged {
        let mut judged = Judged::default();
        self.judge_written(&mut judged);
        self.judge_conveyed(&mut judged);
        self.judge_read(&mut judged);
        let kept_from = self.mapping.kept_from().and_then(|cookie| self.lanes.find(cookie.into()));
        kept_from.into_iter().for_each(|handle| judged.keep_from(handle));
        judged.end_partners(self.lanes);
        judged
    }

    /// Whether what waits for each peer is what has not been written.
    fn judge_written(&mut self, judged: &mut Judged) {
        for lane in 0..L::COUNT {
            for handle in self.lanes.lane(lane).table().peers().handles() {
                judged.peers += 1;
                let peer = self.lanes.peer(handle).expect("the handle is from the table");
                if peer.talk.holds().has(Holds::SUSPECT) && !peer.talk.is_closing() {
                    if self.mapping.was_tried(peer.id().into()) {
                        judged.end_poisonous(handle, peer.address());
                        continue;
                    }
                    judged.suspect(handle);
                }
                match written(peer, self.offsets.get(handle), self.counting, self.is_blind) {
                    Ok(0) => {}
                    Ok(bytes) => self.lanes.lane_mut(lane).have_written(handle, bytes),
                    Err(verdict) => judged.end(handle, verdict),
                }
            }
        }
    }

    /// What was passed from one peer to another, and is still to be taken off.
    fn judge_conveyed(&mut self, judged: &mut Judged) {
        let Self { lanes, counting, mapping, .. } = self;
        let Some(Conveyed { from, to, counts }) = mapping.conveyed() else { return };
        let (Some(from), Some(to)) = (lanes.find(from.into()), lanes.find(to.into())) else { return };
        let written = lanes.peer(to).and_then(|peer| counting.look(peer).stands()).map(|count| count.written);
        let read = lanes.peer(from).and_then(|peer| match counting.look(peer) {
            Sight::Stands(count) => Some(count.read),
            // What came before that is still to be passed on.
            Sight::Over => counters::read_of_ended(peer),
            Sight::Unknown => None,
        });
        let known = counts.zip(written.zip(read)).ok_or(Doubt::NotTold);
        let left = known.and_then(|((read_before, written_before), (written, read))| {
            judgement::conveyed((written_before, written), (read_before, read))
        });
        match left {
            Ok(0) => {}
            Ok(bytes) => judged.leave(from, Rest::TakeOff(bytes)),
            Err(doubt) => judged.end(from, Verdict::Doubt(doubt)),
        }
    }

    /// What was read, and is to be handled once more.
    fn judge_read(&mut self, judged: &mut Judged) {
        let Self { lanes, counting, mapping, is_blind, .. } = self;
        for Read { reader, mut bytes, was_under_way } in mapping.reads() {
            // Somebody may end with the active.
            let Some(handle) = lanes.find(reader.cookie.into()) else { continue };
            if was_under_way && !*is_blind {
                let now = lanes.peer(handle).map_or(Sight::Unknown, |peer| counting.look(peer));
                let came = match (now, reader.before) {
                    (Sight::Over, _) => Err(Verdict::Over),
                    (Sight::Stands(now), Some(before)) => {
                        judgement::read(before, bytes.len(), now).map_err(Verdict::Doubt)
                    }
                    (_, _) => Err(Verdict::Doubt(Doubt::NotTold)),
                };
                match came {
                    Ok(count) => bytes.truncate(count),
                    Err(verdict) => judged.end(handle, verdict),
                }
                if came.is_err() {
                    continue;
                }
            }
            if !bytes.is_empty() {
                judged.leave(handle, Rest::TakeUp(bytes));
            }
        }
    }
}

/// How much of what waits for a peer was written before the active died, or why it cannot be served on.
fn written(
    peer: &Peer,
    offset: Option<Option<u64>>,
    counting: &mut Counting,
    is_blind: bool,
) -> Result<usize, Verdict> {
    let outbound = peer.talk.outbound();
    if peer.talk.phase() == Phase::Connecting {
        return Err(Verdict::Doubt(Doubt::NotTold));
    }
    if outbound.bytes.is_empty() || is_blind {
        return Ok(0);
    }
    // If nothing was told of it, nobody has written to it since it was copied.
    let Some(offset) = offset else { return Ok(0) };
    match (offset, counting.look(peer)) {
        (Some(offset), Sight::Stands(now)) => {
            judgement::written(outbound, offset, peer.talk.is_ending(), now).map_err(Verdict::Doubt)
        }
        (Some(_), Sight::Over) => Err(Verdict::Over),
        (_, _) => Err(Verdict::Doubt(Doubt::NotTold)),
    }
}
