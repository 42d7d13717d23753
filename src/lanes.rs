//! All lanes of a server, each with another service: a list of types, so that no pointer is on the way of a message.
//!
//! A lane's number is how many were there before it. It is in the handle of each of its peers, which is how an event finds
//! the lane; whatever happens seldom goes to a [`AnyLane`].

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::lane::{AnyLane, Lane, Wake};
use crate::mapping::Mapping;
use crate::originals::Originals;
use crate::peer::ties::Holds;
use crate::peer::{Peer, PeerId};
use crate::recipient::Recipient;
use crate::service::StreamService;
use crate::table::{PeerHandle, Table};

/// All lanes of a server.
pub(crate) trait Lanes {
    /// How many there are.
    const COUNT: usize;

    /// Gives a peer its turn, unless it has left.
    fn serve(&mut self, handle: PeerHandle, wake: Wake);

    /// A turn of the loop begins.
    fn begin_turn(&mut self, now: Instant);

    /// Does what no event will ask for.
    fn finish_turn(&mut self);

    /// The lane with this number.
    ///
    /// # Panics
    /// If there is none.
    fn lane(&self, number: usize) -> &dyn AnyLane;

    /// The same, to change it.
    fn lane_mut(&mut self, number: usize) -> &mut dyn AnyLane;

    /// All of them, by their numbers.
    fn all(&self) -> impl Iterator<Item = &dyn AnyLane> {
        (0..Self::COUNT).map(|number| self.lane(number))
    }

    /// Does something to each of them, in the order of their numbers.
    fn each(&mut self, mut act: impl FnMut(&mut dyn AnyLane)) {
        (0..Self::COUNT).for_each(|number| act(self.lane_mut(number)));
    }

    /// How many peers there are.
    fn peers(&self) -> usize {
        self.all().map(AnyLane::peers).sum()
    }

    fn is_empty(&self) -> bool {
        self.peers() == 0
    }

    /// How many peers may come to the lane with this number, where `peers_max` may be in all, and `arriving` says how many have
    /// come to a lane who are no peers yet.
    fn room(&self, number: usize, peers_max: usize, arriving: impl Fn(usize) -> usize) -> usize {
        let beyond_max = |number: usize| self.lane(number).peers_beyond_max();
        let here = |number: usize| self.lane(number).peers() + arriving(number);
        let counted = (0..Self::COUNT).map(|number| here(number).saturating_sub(beyond_max(number))).sum();
        beyond_max(number).saturating_sub(here(number)).saturating_add(peers_max.saturating_sub(counted))
    }

    /// How many peers there may be of those who do not count.
    fn peers_beyond_max(&self) -> usize {
        self.all().map(AnyLane::peers_beyond_max).sum()
    }

    /// All peers.
    fn everybody(&self) -> impl Iterator<Item = &Peer> {
        self.all().flat_map(|lane| lane.table().peers().iter())
    }

    /// Those whose messages may have killed a process that served them, and are put aside.
    fn suspects(&self) -> Vec<PeerHandle> {
        // Hardly ever there is one.
        let with_some = self.all().map(AnyLane::table).filter(|table| table.tally().held.suspect > 0);
        let is_suspect = |peer: &Peer| peer.talk.holds().has(Holds::SUSPECT);
        with_some
            .map(Table::peers)
            .flat_map(|peers| {
                peers.handles().into_iter().filter(|handle| peers.of_handle(*handle).is_some_and(is_suspect))
            })
            .collect()
    }

    /// The peer with this id, whichever lane it is in.
    fn find(&self, id: PeerId) -> Option<PeerHandle> {
        self.all().find_map(|lane| lane.table().peers().handle(id))
    }

    /// The peer that a handle is for.
    fn peer(&self, handle: PeerHandle) -> Option<&Peer> {
        self.lane(handle.lane()).table().peers().of_handle(handle)
    }

    /// When somebody gets a turn, or a line is due, if no event comes before.
    fn due_at(&self) -> Option<Instant> {
        self.all().flat_map(|lane| [lane.table().due_at(), lane.limited().due()]).flatten().min()
    }

    /// Those who have left since this was last called.
    fn released(&mut self, mut tell: impl FnMut(PeerId)) {
        self.each(|lane| lane.released().into_iter().for_each(&mut tell));
    }

    /// Of each lane: all keys of its peers are below this.
    fn keys_end(&self) -> Vec<usize> {
        self.all().map(|lane| lane.table().peers().keys_end()).collect()
    }

    /// From now on it is kept what happens to whom, for whoever they are copied to.
    fn watch(&mut self, to: Recipient) {
        self.each(|lane| lane.table_mut().watch(to));
    }

    /// From now on nothing is written before a standby knows it, and what is read is in this memory.
    ///
    /// # Errors
    /// If the kernel cannot be asked how far connections have come.
    fn shelter(&mut self, mapping: &Arc<Mapping>) -> io::Result<()> {
        (0..Self::COUNT)
            .zip(0..)
            .try_for_each(|(number, lane)| self.lane_mut(number).table_mut().shelter(Arc::clone(mapping), lane))
    }

    /// To how many peers something is to be written, or done, when the standby knows it.
    fn deferred(&self) -> usize {
        self.all().map(|lane| lane.table().deferred()).sum()
    }

    /// That one does not want to know any more.
    fn unwatch(&mut self, to: Recipient) {
        self.each(|lane| {
            lane.table_mut().unwatch(to);
            lane.end_copy(to);
        });
    }

    /// About how many bytes of memory a successor will need for all entries.
    fn entries_bytes(&mut self) -> usize {
        let mut bytes = 0;
        self.each(|lane| bytes += lane.entries_bytes());
        bytes
    }

    /// The peers of each lane and what they share, for whoever copies them.
    fn originals(&mut self) -> Vec<&mut dyn Originals> {
        let mut all = Vec::with_capacity(Self::COUNT);
        self.append_originals(&mut all);
        all
    }

    /// Appends the originals of each lane.
    fn append_originals<'l>(&'l mut self, all: &mut Vec<&'l mut dyn Originals>);
}

/// No lane, from which the list begins.
impl Lanes for () {
    const COUNT: usize = 0;

    fn serve(&mut self, _: PeerHandle, _: Wake) {
        unreachable!("a peer has a lane");
    }

    fn begin_turn(&mut self, _: Instant) {}

    fn finish_turn(&mut self) {}

    fn lane(&self, _: usize) -> &dyn AnyLane {
        panic!("there is no such lane");
    }

    fn lane_mut(&mut self, _: usize) -> &mut dyn AnyLane {
        panic!("there is no such lane");
    }

    fn append_originals<'l>(&'l mut self, _: &mut Vec<&'l mut dyn Originals>) {}
}

/// One lane more than there were before.
pub struct And<S: StreamService, Before> {
    pub(crate) before: Before,
    pub(crate) lane: Lane<S>,
}

impl<S: StreamService, Before: Lanes> Lanes for And<S, Before> {
    const COUNT: usize = Before::COUNT + 1;

    #[inline]
    fn serve(&mut self, handle: PeerHandle, wake: Wake) {
        // Where there is one lane, there is no question.
        if Before::COUNT == 0 || handle.lane() == Before::COUNT {
            self.lane.serve(handle, wake);
        } else {
            self.before.serve(handle, wake);
        }
    }

    fn begin_turn(&mut self, now: Instant) {
        self.before.begin_turn(now);
        self.lane.begin_turn(now);
    }

    fn finish_turn(&mut self) {
        self.before.finish_turn();
        self.lane.finish_turn();
    }

    fn lane(&self, number: usize) -> &dyn AnyLane {
        if number == Before::COUNT { &self.lane } else { self.before.lane(number) }
    }

    fn lane_mut(&mut self, number: usize) -> &mut dyn AnyLane {
        if number == Before::COUNT { &mut self.lane } else { self.before.lane_mut(number) }
    }

    fn append_originals<'l>(&'l mut self, all: &mut Vec<&'l mut dyn Originals>) {
        self.before.append_originals(all);
        all.push(&mut self.lane);
    }
}
