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
        let read = lanes.peer(from).and_then(|peer| look(peer, counting).stands()).map(|count| count.read);
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
                let now = lanes.peer(handle).map_or(Sight::Unknown, |peer| look(peer, counting));
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
    match (offset, look(peer, counting)) {
        (Some(offset), Sight::Stands(now)) => {
            judgement::written(outbound, offset, peer.talk.is_ending(), now).map_err(Verdict::Doubt)
        }
        (Some(_), Sight::Over) => Err(Verdict::Over),
        (_, _) => Err(Verdict::Doubt(Doubt::NotTold)),
    }
}

/// How far a peer has come, also one whose connection both sides have ended in order, of which the last may still be there. This side ends
/// none before its standby knows that it is to.
fn look(peer: &Peer, counting: &mut Counting) -> Sight {
    match counting.look(peer) {
        Sight::Over if peer.talk.is_ending() => counters::count_of_ended(peer).map_or(Sight::Over, Sight::Stands),
        sight => sight,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::peer::count::Count;

    const SAID: &[u8] = b"the last words";

    /// A peer to which something waits to be written that was written by who has died, and its client.
    fn pair() -> (Peer, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut socket, address) = listener.accept().unwrap();
        socket.write_all(SAID).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut peer = Peer::new(mio::net::TcpStream::from_std(socket), 1, 1.into(), address.into(), 0);
        peer.push(SAID);
        (peer, client)
    }

    fn wait_until_over(peer: &Peer, counting: &mut Counting) {
        let began = Instant::now();
        while counting.look(peer) != Sight::Over {
            assert!(began.elapsed() < Duration::from_secs(20), "it comes to its end");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_waits_for_who_has_ended_in_order_is_written_and_what_came_before_can_be_read() {
        for is_known_to_end in [true, false] {
            let mut counting = Counting::open().unwrap();
            let (mut peer, mut client) = pair();
            if is_known_to_end {
                peer.talk.close();
            }
            peer.end_output();
            client.read_exact(&mut [0; SAID.len()]).unwrap();
            client.write_all(b"thanks").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            wait_until_over(&peer, &mut counting);
            let (written, seen) = (written(&peer, Some(Some(0)), &mut counting, false), look(&peer, &mut counting));
            match is_known_to_end {
                true => {
                    // That it is ended counts as a byte.
                    let count = Count { read: 0, written: SAID.len() as u64 + 1 };
                    assert_eq!((written, seen), (Ok(SAID.len()), Sight::Stands(count)));
                }
                // Somebody has reset it, and the kernel has told that to whoever has died.
                false => assert_eq!((written, seen), (Err(Verdict::Over), Sight::Over)),
            }
        }
    }

    #[test]
    fn who_has_reset_the_connection_is_gone() {
        let mut counting = Counting::open().unwrap();
        let (mut peer, client) = pair();
        peer.talk.close();
        // It has not read what it was sent.
        drop(client);
        wait_until_over(&peer, &mut counting);
        assert_eq!(written(&peer, Some(Some(0)), &mut counting, false), Err(Verdict::Over));
        assert_eq!(look(&peer, &mut counting), Sight::Over);
    }
}
