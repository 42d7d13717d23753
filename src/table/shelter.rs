//! Peers that go on also if this process dies: another one, the standby, has to know all that anybody could have seen.
//!
//! So nothing is written to a peer in whose turn it is said, or in another's. It is held back, and what has become of all peers is
//! told; only then it is [written](super::Table::let_out). And what is read is where the standby finds it
//! ([`Mapping`]): it has the service handle that once more, of which nothing was seen.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::handle::PeerHandle;
use crate::mapping::{Conveyed, Mapping, Reader};
use crate::peer::count::Count;
use crate::peer::counters::Counting;
use crate::peer::{Peer, PeerId, Phase, Received, receive_by};

/// How often the kernel is asked about a connection of which it does not tell.
const LOOKS_MAX: u8 = 3;

/// For whom a byte was written that the service said at this position, as the kernel counts: this much later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) cookie: u64,
    /// What the kernel has counted as written, less the position of what is written next. `None` if it does not tell.
    pub(crate) written: Option<u64>,
}

/// What is known of peers while a standby follows.
#[derive(Debug)]
pub(super) struct Shelter {
    mapping: Arc<Mapping>,
    lane: u32,
    counting: Counting,
    /// How far those have come about whom something was to be known, by cookies.
    known: FxHashMap<u64, Known>,
    /// What the standby is to be told of them.
    offsets: Vec<Offset>,
    /// To whom something is to be written, or done, when the standby knows it.
    held: Vec<PeerHandle>,
    /// It knows all by now, and those have their turn.
    lets_out: bool,
    /// How often it was told something.
    commits: u64,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// `None` if the kernel has not told.
    count: Option<Count>,
    /// How often it was asked.
    looks: u8,
    /// What the standby was told of it last, if anything.
    told: Option<Option<u64>>,
    is_held: bool,
    /// Nothing is passed on before the standby knows that it is joined.
    is_newly_joined: bool,
    /// After which commit something was written to it last that had waited.
    written_after: Option<u64>,
    /// It has sent something urgent, which is passed over and counted by nobody but the kernel.
    is_urgent: bool,
}

impl Known {
    /// What the standby is to be told of a peer whose pending output begins at this position.
    fn offset(&self, start: u64) -> Option<u64> {
        self.count.map(|count| count.written.wrapping_sub(start))
    }

    /// So many bytes more were read from it, and written to it.
    fn advance(&mut self, read: usize, written: usize) {
        if let Some(count) = &mut self.count {
            count.read = count.read.wrapping_add(read as u64);
            count.written = count.written.wrapping_add(written as u64);
        }
    }
}

/// How far a peer has come. Of a connection that does not stand yet, that is for later.
fn know<'k>(known: &'k mut FxHashMap<u64, Known>, counting: &mut Counting, peer: &Peer) -> &'k mut Known {
    let known = known.entry(peer.id().into()).or_default();
    if known.count.is_none() && known.looks < LOOKS_MAX && peer.talk.phase() != Phase::Connecting {
        known.looks += 1;
        known.count = counting.look(peer).stands();
    }
    known
}

impl Shelter {
    /// # Errors
    /// If the kernel cannot be asked how far connections have come.
    pub(super) fn new(mapping: Arc<Mapping>, lane: u32) -> io::Result<Self> {
        Ok(Self {
            mapping,
            lane,
            counting: Counting::open()?,
            known: FxHashMap::default(),
            offsets: Vec::new(),
            held: Vec::new(),
            lets_out: false,
            commits: 0,
        })
    }

    fn know(&mut self, peer: &Peer) -> &mut Known {
        know(&mut self.known, &mut self.counting, peer)
    }

    /// It may have come further than what was read and written: the kernel is asked anew.
    pub(super) fn look_anew(&mut self, id: PeerId) {
        let known = self.known.entry(id.into()).or_default();
        (known.count, known.looks, known.is_urgent) = (None, 0, true);
    }

    /// Whether what is to be written to peers, or done to their connections, has to wait.
    pub(super) fn holds(&self) -> bool {
        !self.lets_out
    }

    /// Something is to be written to the peer at `key`, or done to its connection, when the standby knows it.
    pub(super) fn hold(&mut self, key: usize, peer: &Peer) {
        let start = peer.talk.outbound().start;
        let known = self.know(peer);
        let (is_news, offset) = (!std::mem::replace(&mut known.is_held, true), known.offset(start));
        let is_to_be_told = known.told.replace(offset) != Some(offset);
        if is_news {
            self.held.push(PeerHandle::new(key, peer.stamp()));
        }
        if is_to_be_told {
            self.offsets.push(Offset { cookie: peer.id().into(), written: offset });
        }
    }

    /// The same of one that was joined to another just now.
    pub(super) fn hold_joined(&mut self, key: usize, peer: &Peer) {
        self.hold(key, peer);
        self.know(peer).is_newly_joined = true;
    }

    /// How many have to wait.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// The standby knows all: those who had to wait, who have their turn now.
    pub(super) fn let_out(&mut self) -> Vec<PeerHandle> {
        self.lets_out = true;
        std::mem::take(&mut self.held)
    }

    /// They have had it.
    pub(super) fn have_let_out(&mut self) {
        self.lets_out = false;
    }

    /// The peer has its turn now for which it has waited.
    pub(super) fn release(&mut self, id: PeerId) {
        if let Some(known) = self.known.get_mut(&id.into()) {
            (known.is_held, known.is_newly_joined) = (false, false);
        }
    }

    /// What the standby is to be told of how far connections have come.
    pub(super) fn take_offsets(&mut self) -> Vec<Offset> {
        self.commits += 1;
        std::mem::take(&mut self.offsets)
    }

    /// The peer is gone.
    pub(super) fn forget(&mut self, id: PeerId) {
        self.known.remove(&id.into());
    }

    /// Reads once, into `buffer`.
    pub(super) fn receive(&mut self, peer: &mut Peer, buffer: &mut [u8]) -> io::Result<Received> {
        if !self.mapping.takes_in(buffer.len()) {
            return Ok(Received::Later);
        }
        let Self { mapping, lane, counting, known, .. } = self;
        let known = know(known, counting, peer);
        let before = known.count.filter(|_| !known.is_urgent).map(|count| count.read);
        let reader = Reader { lane: *lane, cookie: peer.id().into(), before };
        let received = receive_by(|| mapping.read(peer.as_fd(), reader, buffer))?;
        if let Received::Bytes(bytes) = received {
            known.advance(bytes, 0);
        }
        Ok(received)
    }

    /// So many bytes more were written to a peer, of those that waited.
    pub(super) fn have_written(&mut self, id: PeerId, bytes: usize) {
        if let Some(known) = self.known.get_mut(&id.into()).filter(|_| bytes > 0) {
            known.advance(0, bytes);
            known.written_after = Some(self.commits);
        }
    }

    /// Bytes that were peeked at are about to be written to another peer, and then to be taken off. False if that has to wait: the standby
    /// does not know yet that the two are joined.
    pub(super) fn convey(&mut self, from: &Peer, to: &Peer) -> bool {
        let [one, other] = [from, to].map(|peer| *self.know(peer));
        // What was written last had a position, of which it has not been told that it is past.
        if one.is_newly_joined || other.is_newly_joined || other.written_after == Some(self.commits) {
            return false;
        }
        let counts = one.count.zip(other.count).map(|(from, to)| (from.read, to.written));
        self.mapping.convey(Conveyed { from: from.id().into(), to: to.id().into(), counts });
        true
    }

    /// So many were.
    pub(super) fn have_conveyed(&mut self, from: PeerId, to: PeerId, bytes: usize) {
        self.mapping.have_conveyed();
        for (id, read, written) in [(from, bytes, 0), (to, 0, bytes)] {
            self.known.get_mut(&id.into()).into_iter().for_each(|known| known.advance(read, written));
        }
    }
}
