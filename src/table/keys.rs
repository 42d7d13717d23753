//! Where the peer with an id is. Of each peer only the key is kept here, since it has its id itself: an idle peer costs little.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use slab::Slab;

use crate::peer::{Peer, PeerId};

/// The keys of peers that are in the slab, by what their ids are there.
#[derive(Debug)]
pub(super) struct Keys(HashTable<u32>);

impl Keys {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(HashTable::with_capacity(capacity))
    }

    /// The key of the peer with this id.
    pub(super) fn find(&self, id: PeerId, peers: &Slab<Peer>) -> Option<usize> {
        self.0.find(hash(id), |key| peers[*key as usize].id() == id).map(|key| *key as usize)
    }

    /// From now on the peer at `key` is found, and nobody else with its id.
    ///
    /// # Panics
    /// If nobody is there.
    pub(super) fn insert(&mut self, key: usize, peers: &Slab<Peer>) {
        let (id, key) = (peers[key].id(), u32::try_from(key).expect("a handle has it"));
        match self.0.find_mut(hash(id), |other| peers[*other as usize].id() == id) {
            Some(place) => *place = key,
            None => drop(self.0.insert_unique(hash(id), key, |key| hash(peers[*key as usize].id()))),
        }
    }

    /// The peer at `key`, which has this id, is not found any more. Another one with that id is.
    pub(super) fn remove(&mut self, key: usize, id: PeerId) {
        if let Ok(entry) = self.0.find_entry(hash(id), |other| *other as usize == key) {
            entry.remove();
        }
    }
}

/// The kernel gives ids, so nobody can choose them to collide.
fn hash(id: PeerId) -> u64 {
    FxBuildHasher.hash_one(id)
}
