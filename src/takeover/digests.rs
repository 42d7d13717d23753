//! The digests of peers by their cookies: of what a successor has of each. Pure.
//!
//! A hash table in one piece has up to twice the room that it needs, and is there twice while it grows; a standby has this one for as
//! long as it follows. So it is in many small pieces.

use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;

/// So many are in one bucket on average, at most.
const BUCKET_MAX: usize = 64;

/// So many more a bucket has room for when it is full.
const ROOM: usize = 8;

/// A digest for each peer.
#[derive(Debug)]
pub(super) struct Digests {
    /// As many as a power of two: the last bits of a cookie's hash say which it is in.
    buckets: Vec<Vec<Entry>>,
    count: usize,
}

/// The cookie is in bytes, so that there is no padding.
#[derive(Clone, Copy, Debug)]
struct Entry {
    cookie: [u8; 8],
    digest: u32,
}

const _: () = assert!(size_of::<Entry>() == 12, "there is one for each of a million peers");

impl Entry {
    fn cookie(self) -> u64 {
        u64::from_ne_bytes(self.cookie)
    }
}

impl Digests {
    /// Of nobody, for about so many.
    pub(super) fn with_capacity(peers: usize) -> Self {
        Self { buckets: vec![Vec::new(); peers.div_ceil(BUCKET_MAX).next_power_of_two()], count: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, cookie: u64) -> Option<u32> {
        let bucket = &self.buckets[self.number(cookie)];
        bucket.iter().find(|entry| entry.cookie() == cookie).map(|entry| entry.digest)
    }

    pub(super) fn get_mut(&mut self, cookie: u64) -> Option<&mut u32> {
        let entries = self.bucket(cookie).iter_mut();
        entries.map(|entry| (entry.cookie(), &mut entry.digest)).find(|(of, _)| *of == cookie).map(|(_, digest)| digest)
    }

    /// There is a peer with this cookie from now on, and there was none.
    pub(super) fn insert(&mut self, cookie: u64, digest: u32) {
        debug_assert!(self.get(cookie).is_none(), "a socket is that of one peer");
        if self.count == self.buckets.len() * BUCKET_MAX {
            self.split();
        }
        let bucket = self.bucket(cookie);
        if bucket.len() == bucket.capacity() {
            bucket.reserve_exact(ROOM);
        }
        bucket.push(Entry { cookie: cookie.to_ne_bytes(), digest });
        self.count += 1;
    }

    /// There is none any more. Returns what its digest was.
    pub(super) fn remove(&mut self, cookie: u64) -> Option<u32> {
        let bucket = self.bucket(cookie);
        let place = bucket.iter().position(|entry| entry.cookie() == cookie)?;
        let Entry { digest, .. } = bucket.swap_remove(place);
        self.count -= 1;
        Some(digest)
    }

    /// Has twice as many buckets, one after another.
    fn split(&mut self) {
        let count = self.buckets.len();
        for number in 0..count {
            let bucket = &mut self.buckets[number];
            let goes = |entry: &Entry| hash(entry.cookie()) & count != 0;
            let mut going: Vec<Entry> = bucket.iter().copied().filter(goes).collect();
            bucket.retain(|entry| !goes(entry));
            bucket.shrink_to_fit();
            going.shrink_to_fit();
            self.buckets.push(going);
        }
    }

    fn bucket(&mut self, cookie: u64) -> &mut Vec<Entry> {
        let number = self.number(cookie);
        &mut self.buckets[number]
    }

    fn number(&self, cookie: u64) -> usize {
        hash(cookie) & (self.buckets.len() - 1)
    }
}

impl PartialEq for Digests {
    fn eq(&self, other: &Self) -> bool {
        let is_there = |entry: &Entry| other.get(entry.cookie()) == Some(entry.digest);
        self.len() == other.len() && self.buckets.iter().flatten().all(is_there)
    }
}

impl Eq for Digests {}

/// The kernel gives cookies, so nobody can choose them to collide.
fn hash(cookie: u64) -> usize {
    FxBuildHasher.hash_one(cookie) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cookies_in_a_row_are_spread_over_all_buckets_and_little_room_is_left() {
        for step in [1, 2, 64, 4096] {
            let mut digests = Digests::with_capacity(0);
            (0..10_000).for_each(|number| digests.insert(number * step, 0));
            let (lengths, rooms): (Vec<_>, Vec<_>) = digests.buckets.iter().map(|b| (b.len(), b.capacity())).unzip();
            assert!(lengths.iter().all(|length| *length < 4 * BUCKET_MAX), "step {step}: {lengths:?}");
            assert!(rooms.iter().sum::<usize>() < 12_000, "step {step}: {rooms:?}");
        }
    }

    proptest! {
        #[test]
        fn each_peer_has_the_digest_that_it_was_given_as_long_as_it_is_there(
            steps in proptest::collection::vec((0..400_u64, 0..6_u8, any::<u32>()), 0..2000),
        ) {
            let (mut digests, mut expected) = (Digests::with_capacity(0), BTreeMap::new());
            for (cookie, step, digest) in steps {
                match step {
                    0 => prop_assert_eq!(digests.remove(cookie), expected.remove(&cookie)),
                    1 => {
                        let known = digests.get_mut(cookie).map(|known| *known = digest);
                        prop_assert_eq!(known, expected.get_mut(&cookie).map(|known| *known = digest));
                    }
                    _ if digests.get(cookie).is_none() => {
                        digests.insert(cookie, digest);
                        expected.insert(cookie, digest);
                    }
                    _ => {}
                }
                prop_assert_eq!(digests.len(), expected.len());
            }
            for cookie in 0..400 {
                prop_assert_eq!(digests.get(cookie), expected.get(&cookie).copied());
            }
            let mut same = Digests::with_capacity(1000);
            expected.iter().rev().for_each(|(cookie, digest)| same.insert(*cookie, *digest));
            prop_assert_eq!(&digests, &same);
            same.insert(400, 0);
            prop_assert_ne!(&digests, &same);
        }
    }
}
