use crate::recipient::Recipient;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::unsent::REMOVED_SPARE;
use super::*;

type Map = Keyed<u8, Vec<u8>>;

/// What can happen to a map and to its copy.
#[derive(Clone, Debug)]
enum Happening {
    Insert(u8, Vec<u8>),
    Change(u8),
    GetOrInsert(u8),
    Remove(u8),
    Retain(u8),
    ForEach(u8),
    Clear,
    /// All keys go and come again, so many times.
    Churn(usize),
    /// A piece of so many bytes is copied.
    Copy(Recipient, usize),
    /// The copy fails, or there is none yet, and another one begins.
    BeginAnew(Recipient),
}

fn happening() -> impl Strategy<Value = Happening> {
    let (key, value) = (0..24u8, prop::collection::vec(any::<u8>(), 0..8));
    let to = || prop::sample::select(&Recipient::ALL[..]);
    prop_oneof![
        8 => (key.clone(), value).prop_map(|(key, value)| Happening::Insert(key, value)),
        4 => key.clone().prop_map(Happening::Change),
        2 => key.clone().prop_map(Happening::GetOrInsert),
        8 => key.prop_map(Happening::Remove),
        1 => any::<u8>().prop_map(Happening::Retain),
        1 => any::<u8>().prop_map(Happening::ForEach),
        1 => Just(Happening::Clear),
        1 => (0..16usize).prop_map(Happening::Churn),
        8 => (to(), 0..64usize).prop_map(|(to, bytes)| Happening::Copy(to, bytes)),
        1 => to().prop_map(Happening::BeginAnew),
    ]
}

/// A map, what it should be, and a copy for each recipient.
struct World {
    map: Map,
    model: BTreeMap<u8, Vec<u8>>,
    copies: [Map; 2],
}

impl World {
    /// The copies' sides had entries of their own before.
    fn new() -> Self {
        let map = Map::from_iter([(1, vec![1]), (2, vec![2])]);
        let model = map.iter().map(|(key, value)| (*key, value.clone())).collect();
        let copies = [2, 3].map(|key| Map::from_iter([(key, Vec::new()), (99, Vec::new())]));
        Self { map, model, copies }
    }

    fn happen(&mut self, happening: Happening) {
        let Self { map, model, .. } = self;
        match happening {
            Happening::Insert(key, value) => assert_eq!(map.insert(key, value.clone()), model.insert(key, value)),
            Happening::Change(key) => {
                map.get_mut(&key).into_iter().for_each(|value| value.push(7));
                model.get_mut(&key).into_iter().for_each(|value| value.push(7));
            }
            Happening::GetOrInsert(key) => {
                map.get_or_insert_with(key, || vec![8]).push(9);
                model.entry(key).or_insert_with(|| vec![8]).push(9);
            }
            Happening::Remove(key) => assert_eq!(map.remove(&key), model.remove(&key)),
            Happening::Retain(bits) => {
                map.retain(|key, _| key & bits == 0);
                model.retain(|key, _| key & bits == 0);
            }
            Happening::ForEach(bits) => {
                map.for_each_mut(|key, value| {
                    if key & bits != 0 && !value.is_empty() {
                        value.clear();
                    }
                });
                model.iter_mut().filter(|(key, _)| *key & bits != 0).for_each(|(_, value)| value.clear());
            }
            Happening::Clear => {
                map.clear();
                model.clear();
            }
            Happening::Churn(times) => (0..24).cycle().take(24 * times).for_each(|key| {
                let value = model.remove(&key).unwrap_or_default();
                map.remove(&key);
                map.insert(key, value.clone());
                model.insert(key, value);
            }),
            Happening::Copy(to, bytes) => drop(self.copy(to, bytes)),
            Happening::BeginAnew(to) => {
                map.begin_copy(to);
                self.copies[to as usize] = Map::default();
            }
        }
        self.assert_the_book_is_small();
    }

    /// No more positions wait than there ever were entries, and no more keys than entries and some.
    fn assert_the_book_is_small(&self) {
        for unsent in Recipient::ALL.into_iter().filter_map(|to| self.map.book(to)) {
            let (removed, queued) = (unsent.removed().len(), unsent.queued());
            assert!(removed <= 25 + REMOVED_SPARE, "{removed} keys");
            assert!(queued <= 25, "{queued} positions");
        }
    }

    /// Copies a piece; says how many entries that were.
    fn copy(&mut self, to: Recipient, bytes: usize) -> usize {
        let before = self.map.pending(to);
        let mut piece = Vec::new();
        let told = self.map.copy_next(to, bytes, &mut piece);
        assert_eq!(self.map.pending(to), before - told);
        self.copies[to as usize].restore(1, &piece).unwrap();
        told
    }

    /// Copies all that is left.
    fn copy_rest(&mut self, to: Recipient) {
        let (bytes, before) = (self.map.pending_bytes(to), self.map.pending(to));
        let mut piece = Vec::new();
        self.map.copy_next(to, usize::MAX / 2, &mut piece);
        assert!(piece.len() <= bytes + 1, "{} bytes, {bytes} were told of", piece.len());
        self.copies[to as usize].restore(1, &piece).unwrap();
        assert_eq!(self.map.pending(to), 0, "{before} were pending");
    }

    fn assert_all_alike(&mut self) {
        let sorted = |map: &Map| map.iter().map(|(key, value)| (*key, value.clone())).collect::<BTreeMap<_, _>>();
        assert_eq!(sorted(&self.map), self.model);
        for copy in &self.copies {
            assert_eq!(sorted(copy), self.model);
            assert_eq!(copy.len(), self.model.len());
            self.model.iter().for_each(|(key, value)| assert_eq!(copy.get(key), Some(value)));
        }
    }
}

proptest! {
    #[test]
    fn each_copy_equals_the_original_whatever_happens_between_its_pieces(
        before in prop::collection::vec(happening(), 0..30),
        during in prop::collection::vec(happening(), 0..200),
    ) {
        let mut world = World::new();
        let is_copied = |happening: &Happening| matches!(happening, Happening::Copy(..) | Happening::BeginAnew(_));
        before.into_iter().filter(|happening| !is_copied(happening)).for_each(|it| world.happen(it));
        world.map.begin_copy(Recipient::Standby);
        // The other one's may begin meanwhile, or not before the end.
        during.into_iter().for_each(|happening| world.happen(happening));
        Recipient::ALL.into_iter().for_each(|to| world.copy_rest(to));
        world.assert_all_alike();
    }

    #[test]
    fn any_bytes_are_a_piece_or_refused(piece in prop::collection::vec(0..4u8, 0..64)) {
        let _whichever = Map::default().restore(1, &piece);
    }
}

#[test]
fn a_map_that_is_copied_to_nobody_keeps_no_book() {
    let mut world = World::new();
    Recipient::ALL.into_iter().for_each(|to| world.map.begin_copy(to));
    assert_eq!(world.map.pending(Recipient::Successor), 3, "two entries, and that all others are gone");
    Recipient::ALL.into_iter().for_each(|to| world.map.end_copy(to));
    world.map.insert(3, Vec::new());
    world.map.remove(&1);
    assert!(world.map.copies.is_none());
}

#[test]
fn a_map_that_takes_the_place_of_another_one_is_copied_as_a_whole() {
    let mut maps = [Map::from_iter([(1, vec![1]), (2, vec![2])]), Map::from_iter([(3, vec![3])])];
    let mut copies = [Map::default(), Map::default()];
    let mut copy = |maps: &mut [Map; 2]| {
        for (map, copy) in maps.iter_mut().zip(&mut copies) {
            let mut piece = Vec::new();
            assert_eq!(
                map.pending(Recipient::Successor),
                map.copy_next(Recipient::Successor, usize::MAX / 2, &mut piece)
            );
            copy.restore(1, &piece).unwrap();
            let sorted = |map: &Map| map.iter().map(|(key, value)| (*key, value.clone())).collect::<BTreeMap<_, _>>();
            assert_eq!(sorted(copy), sorted(map));
            assert_eq!((map.pending(Recipient::Successor), map.pending_bytes(Recipient::Successor)), (0, 0));
        }
    };
    maps.iter_mut().for_each(|map| map.begin_copy(Recipient::Successor));
    copy(&mut maps);
    let [young, old] = &mut maps;
    std::mem::swap(young, old);
    copy(&mut maps);
    maps[1] = std::mem::take(&mut maps[0]);
    maps[1].insert(4, vec![4]);
    copy(&mut maps);
    maps[1] = Map::from_iter([(5, vec![5])]);
    copy(&mut maps);
}

#[test]
fn a_change_that_comes_before_the_walk_is_sent_once() {
    let mut map: Keyed<u32, u32> = (0..1000).map(|key| (key, 0)).collect();
    map.begin_copy(Recipient::Successor);
    map.for_each_mut(|_, value| **value = 1);
    assert_eq!(map.pending(Recipient::Successor), 1001);
    assert_eq!(map.copy_next(Recipient::Successor, usize::MAX / 2, &mut Vec::new()), 1001);
    *map.get_mut(&500).unwrap() = 2;
    *map.get_mut(&500).unwrap() = 3;
    let mut piece = Vec::new();
    assert_eq!(map.copy_next(Recipient::Successor, usize::MAX / 2, &mut piece), 1);
    assert_eq!(piece, [&[1][..], &[0, 0, 0, 4], &500u32.to_be_bytes(), &[0, 0, 0, 4], &3u32.to_be_bytes()].concat());
}

/// A map of 100 entries of which each key is new and leaves soon; before each change, so many entries are copied.
fn churned(copied_at_once: usize) -> Keyed<u32, u32> {
    let mut map: Keyed<u32, u32> = (0..100).map(|key| (key, 0)).collect();
    map.begin_copy(Recipient::Successor);
    map.copy_next(Recipient::Successor, usize::MAX / 2, &mut Vec::new());
    for key in 100..50_000 {
        assert!((0..copied_at_once).all(|_| map.copy_next(Recipient::Successor, 1, &mut Vec::new()) <= 1));
        map.insert(key, 0);
        map.remove(&(key - 100));
    }
    map
}

#[test]
fn the_book_of_a_map_that_changes_all_the_time_is_small_also_if_little_or_nothing_is_sent() {
    for copied_at_once in [0, 1, 2] {
        let map = churned(copied_at_once);
        let unsent = map.copies.as_ref().unwrap().book_of_whatever_place(Recipient::Successor).unwrap();
        assert!(unsent.removed().len() <= 100 + REMOVED_SPARE, "{} keys", unsent.removed().len());
        assert!(unsent.queued() <= 101, "{} positions", unsent.queued());
        assert!(
            map.pending(Recipient::Successor) <= 2 * 101 + REMOVED_SPARE,
            "{} pending",
            map.pending(Recipient::Successor)
        );
    }
}

#[test]
fn a_piece_ends_as_soon_as_it_is_as_large_as_it_may_be() {
    let mut map: Keyed<u32, [u8; 100]> = (0..1000).map(|key| (key, [0; 100])).collect();
    map.begin_copy(Recipient::Successor);
    let mut piece = Vec::new();
    map.copy_next(Recipient::Successor, 1000, &mut piece);
    assert!((1000..1000 + 113).contains(&piece.len()), "{} bytes", piece.len());
}

#[test]
fn memory_is_told_from_a_sample() {
    let map: Keyed<u32, Vec<u8>> = (0..10_000).map(|key| (key, vec![0; 100])).collect();
    let bytes = map.memory_bytes();
    assert!((1_000_000..3_000_000).contains(&bytes), "{bytes} bytes");
    assert_eq!(Map::default().memory_bytes(), 0);
}
