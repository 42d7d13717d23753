//! The digests of peers by their cookies: of what a successor has of each. Pure.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// A digest for each peer.
#[derive(Debug)]
pub(super) struct Digests(HashTable<Entry>);

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
    /// Of nobody, with room for so many.
    pub(super) fn with_capacity(peers: usize) -> Self {
        Self(HashTable::with_capacity(peers))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, cookie: u64) -> Option<u32> {
        self.0.find(hash(cookie), is(cookie)).map(|entry| entry.digest)
    }

    pub(super) fn get_mut(&mut self, cookie: u64) -> Option<&mut u32> {
        self.0.find_mut(hash(cookie), is(cookie)).map(|entry| &mut entry.digest)
    }

    /// There is a peer with this cookie from now on, and there was none.
    pub(super) fn insert(&mut self, cookie: u64, digest: u32) {
        debug_assert!(self.get(cookie).is_none(), "a socket is that of one peer");
        let entry = Entry { cookie: cookie.to_ne_bytes(), digest };
        self.0.insert_unique(hash(cookie), entry, |entry| hash(entry.cookie()));
    }

    /// There is none any more. Returns what its digest was.
    pub(super) fn remove(&mut self, cookie: u64) -> Option<u32> {
        let entry = self.0.find_entry(hash(cookie), is(cookie)).ok()?;
        Some(entry.remove().0.digest)
    }
}

impl PartialEq for Digests {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.0.iter().all(|entry| other.get(entry.cookie()) == Some(entry.digest))
    }
}

impl Eq for Digests {}

fn is(cookie: u64) -> impl Fn(&Entry) -> bool {
    move |entry| entry.cookie() == cookie
}

/// The kernel gives cookies, so nobody can choose them to collide.
fn hash(cookie: u64) -> u64 {
    FxBuildHasher.hash_one(cookie)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_peer_has_the_digest_that_it_was_given_as_long_as_it_is_there(
            steps in proptest::collection::vec((0..30_u64, 0..3_u8, any::<u32>()), 0..200),
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
                for cookie in 0..30 {
                    prop_assert_eq!(digests.get(cookie), expected.get(&cookie).copied());
                }
            }
            let mut same = Digests::with_capacity(100);
            expected.iter().rev().for_each(|(cookie, digest)| same.insert(*cookie, *digest));
            prop_assert_eq!(&digests, &same);
            same.insert(30, 0);
            prop_assert_ne!(&digests, &same);
        }
    }
}
