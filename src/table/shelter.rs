//! Peers that go on also if this process dies: another one, the standby, has to know all that anybody could have seen.
//!
//! So nothing is written to a peer in whose turn it is said, or in another's. It is deferred, and what has become of all peers is
//! told; only then it is [written](super::Table::let_out). And what is read is where the standby finds it
//! ([`Mapping`]): it has the service handle that once more, of which nothing was seen.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::handle::PeerHandle;
use super::taken::take_with_room;
use super::told::ToldOffset;
use crate::by_key::ByKey;
use crate::fault::{self, StandbyStep as Step};
use crate::mapping::{Conveyed, Mapping, Reader};
use crate::peer::count::Count;
use crate::peer::counters::{self, Counting};
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
    /// How far peers have come, by keys.
    known: ByKey<Known>,
    /// What the standby is to be told of them.
    offsets: Vec<Offset>,
    /// To whom something is to be written, or done, when the standby knows it.
    deferred: Vec<PeerHandle>,
    /// It knows all by now, and those have their turn.
    lets_out: bool,
    /// How often it was told something, round and round.
    commits: u32,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// If the kernel has told.
    count: Option<Count>,
    /// How often it was asked.
    looks: u8,
    told: ToldOffset,
    is_deferred: bool,
    /// Nothing is passed on before the standby knows that it is joined.
    is_newly_joined: bool,
    /// It has sent something urgent, which is passed over and counted by nobody but the kernel.
    is_urgent: bool,
    /// After which commit something was written to it last that had waited. 0 if nothing was.
    written_after: u32,
}

const _: () = assert!(size_of::<Known>() <= 40, "there is one for each of a million peers");

impl Known {
    /// What the standby is to be told of a peer whose pending output begins at this position.
    fn offset(&self, start: u64) -> Option<u64> {
        self.count.map(|count| count.written.wrapping_sub(start))
    }

    /// How much was read from it, if that is known.
    fn read(&self) -> Option<u64> {
        self.count.filter(|_| !self.is_urgent).map(|count| count.read)
    }

    /// The standby is told this. False if that was told last.
    fn tell(&mut self, offset: Option<u64>) -> bool {
        let told = ToldOffset::new(offset);
        std::mem::replace(&mut self.told, told) != told
    }

    /// So many bytes more were read from it, and written to it.
    fn advance(&mut self, read: usize, written: usize) {
        if let Some(count) = &mut self.count {
            count.read = count.read.wrapping_add(read as u64);
            count.written = count.written.wrapping_add(written as u64);
        }
    }
}

/// How far the peer at `key` has come. Of a connection that does not stand yet, that is for later.
fn know<'k>(known: &'k mut ByKey<Known>, counting: &mut Counting, key: usize, peer: &Peer) -> &'k mut Known {
    let known = known.at(key);
    if known.count.is_none() && known.looks < LOOKS_MAX && peer.talk.phase() != Phase::Connecting {
        known.looks += 1;
        known.count = counting.look(peer).stands();
        known.is_urgent |= counters::has_urgent(peer);
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
            known: ByKey::default(),
            offsets: Vec::new(),
            deferred: Vec::new(),
            lets_out: false,
            commits: 0,
        })
    }

    fn know(&mut self, key: usize, peer: &Peer) -> &mut Known {
        know(&mut self.known, &mut self.counting, key, peer)
    }

    /// The peer at `key` may have come further than what was read and written: the kernel is asked anew.
    pub(super) fn look_anew(&mut self, key: usize) {
        let known = self.known.at(key);
        (known.count, known.looks, known.is_urgent) = (None, 0, true);
    }

    /// Whether what is to be written to peers, or done to their connections, has to wait.
    pub(super) fn defers(&self) -> bool {
        !self.lets_out
    }

    /// Something is to be written to the peer at `key`, or done to its connection, when the standby knows it.
    pub(super) fn defer(&mut self, key: usize, peer: &Peer) {
        let start = peer.talk.outbound().start;
        let known = self.know(key, peer);
        let (is_first, offset) = (!std::mem::replace(&mut known.is_deferred, true), known.offset(start));
        // A standby is not told of who ends with this process, and forgets what it is told then. They may be told of later.
        let is_to_be_told = !peer.is_ephemeral() && known.tell(offset);
        if is_first {
            self.deferred.push(PeerHandle::new(key, peer.stamp()));
        }
        if is_to_be_told {
            self.offsets.push(Offset { cookie: peer.id().into(), written: offset });
        }
    }

    /// The same of one that was joined to another just now.
    pub(super) fn defer_joined(&mut self, key: usize, peer: &Peer) {
        self.defer(key, peer);
        self.know(key, peer).is_newly_joined = true;
    }

    /// How many have to wait.
    pub(super) fn deferred(&self) -> usize {
        self.deferred.len()
    }

    /// The standby knows all: those who had to wait, who have their turn now.
    pub(super) fn let_out(&mut self) -> Vec<PeerHandle> {
        self.lets_out = true;
        take_with_room(&mut self.deferred)
    }

    /// They have had it.
    pub(super) fn have_let_out(&mut self) {
        self.lets_out = false;
    }

    /// The peer at `key` has its turn now for which it has waited.
    pub(super) fn release(&mut self, key: usize) {
        let known = self.known.at(key);
        (known.is_deferred, known.is_newly_joined) = (false, false);
    }

    /// What the standby is to be told of how far connections have come.
    pub(super) fn take_offsets(&mut self) -> Vec<Offset> {
        std::mem::take(&mut self.offsets)
    }

    /// It was told all that has happened.
    pub(super) fn have_committed(&mut self) {
        // 0 is none.
        self.commits = self.commits.checked_add(1).unwrap_or(1);
    }

    /// The peer at `key` is gone.
    pub(super) fn forget(&mut self, key: usize) {
        self.known.forget(key);
    }

    /// What the peer has said, and was put aside, is about to be handled.
    pub(super) fn try_again(&self, id: PeerId) {
        self.mapping.try_again(id.into());
    }

    /// What was kept of the peer's input is about to be handled; of nobody's if there is none.
    pub(super) fn handle_kept(&self, id: Option<PeerId>) {
        self.mapping.handle_kept(id.map_or(0, u64::from));
    }

    /// Reads once, into `buffer`.
    pub(super) fn receive(&mut self, key: usize, peer: &mut Peer, buffer: &mut [u8]) -> io::Result<Received> {
        if !self.mapping.takes_in(buffer.len()) {
            return Ok(Received::Later);
        }
        let Self { mapping, lane, counting, known, .. } = self;
        let known = know(known, counting, key, peer);
        let reader = Reader { lane: *lane, cookie: peer.id().into(), before: known.read() };
        let received = receive_by(|| mapping.read(peer.as_fd(), reader, buffer))?;
        if let Received::Bytes(bytes) = received {
            known.advance(bytes, 0);
            fault::here_while_sheltered(Step::Handle);
        }
        Ok(received)
    }

    /// So many bytes more were written to the peer at `key`, of those that waited.
    pub(super) fn have_written(&mut self, key: usize, bytes: usize) {
        if bytes > 0 {
            fault::here_while_sheltered(Step::HaveWritten);
            let known = self.known.at(key);
            known.advance(0, bytes);
            known.written_after = self.commits;
        }
    }

    /// Bytes that were peeked at are about to be written to another peer, and then to be taken off. False if that has to wait: the standby
    /// does not know yet that the two are joined.
    pub(super) fn convey(&mut self, from: (usize, &Peer), to: (usize, &Peer)) -> bool {
        let [one, other] = [from, to].map(|(key, peer)| *self.know(key, peer));
        // What was written last had a position, of which it has not been told that it is past.
        if one.is_newly_joined || other.is_newly_joined || (other.written_after == self.commits && self.commits > 0) {
            return false;
        }
        let counts = one.read().zip(other.count).map(|(read, to)| (read, to.written));
        let [from, to] = [from, to].map(|(_, peer)| peer.id().into());
        self.mapping.convey(Conveyed { from, to, counts });
        fault::here_while_sheltered(Step::Convey);
        true
    }

    /// So many were, from the peer at the one key to that at the other.
    pub(super) fn have_conveyed(&mut self, from: usize, to: usize, bytes: usize) {
        fault::here_while_sheltered(Step::HaveConveyed);
        self.mapping.have_conveyed();
        self.known.at(from).advance(bytes, 0);
        self.known.at(to).advance(0, bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn how_far_a_connection_has_come_is_told_with_who_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut peer = Peer::new(mio::net::TcpStream::from_std(socket), 1, 1.into(), address.into(), 0);
        let mut shelter = Shelter::new(Arc::new(Mapping::new().unwrap().0), 0).unwrap();
        peer.particulars_mut().ephemeral = true;
        peer.push(b"hello");
        shelter.defer(0, &peer);
        assert_eq!(shelter.take_offsets(), [], "nobody is told of it");
        peer.particulars_mut().ephemeral = false;
        shelter.defer(0, &peer);
        let told = shelter.take_offsets();
        assert_eq!(told.iter().map(|offset| offset.cookie).collect::<Vec<_>>(), [1]);
        shelter.defer(0, &peer);
        assert_eq!(shelter.take_offsets(), [], "that is known");
    }

    #[test]
    fn how_much_was_read_is_not_known_where_something_urgent_is_passed_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pairs = [1, 2].map(|id| {
            let client = TcpStream::connect(address).unwrap();
            let (socket, _) = listener.accept().unwrap();
            (client, Peer::new(mio::net::TcpStream::from_std(socket), 1, id.into(), address.into(), 0))
        });
        let [(client, one), (_other_client, other)] = &pairs;
        let conveyed = |shelter: &mut Shelter| {
            assert!(shelter.convey((0, one), (1, other)));
            shelter.mapping.conveyed().unwrap().counts
        };
        let shelter = || Shelter::new(Arc::new(Mapping::new().unwrap().0), 0).unwrap();
        let mut since_before = shelter();
        assert_eq!(conveyed(&mut since_before).map(|(read, _)| read), Some(0));
        rustix::net::send(client, b"!", rustix::net::SendFlags::OOB).unwrap();
        let mut looked = [PollFd::new(one.as_fd(), PollFlags::POLLPRI)];
        assert_eq!(poll(&mut looked, PollTimeout::NONE), Ok(1));
        since_before.look_anew(0);
        assert_eq!(conveyed(&mut since_before), None, "the loop was told");
        assert_eq!(conveyed(&mut shelter()), None, "it had come when this began");
    }

    #[test]
    fn whatever_is_another_offset_than_was_told_is_news() {
        let mut known = Known::default();
        // A position may be ahead of what the kernel has counted, and by one.
        for offset in [None, Some(0), Some(u64::MAX), None, Some(u64::MAX), Some(0)] {
            assert!(known.tell(offset), "{offset:?}");
            assert!(!known.tell(offset), "{offset:?}");
        }
    }
}
