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
    Copy(usize),
    /// The copy fails, and another one begins.
    BeginAnew,
}

fn happening() -> impl Strategy<Value = Happening> {
    let (key, value) = (0..24u8, prop::collection::vec(any::<u8>(), 0..8));
    prop_oneof![
        8 => (key.clone(), value).prop_map(|(key, value)| Happening::Insert(key, value)),
        4 => key.clone().prop_map(Happening::Change),
        2 => key.clone().prop_map(Happening::GetOrInsert),
        8 => key.prop_map(Happening::Remove),
        1 => any::<u8>().prop_map(Happening::Retain),
        1 => any::<u8>().prop_map(Happening::ForEach),
        1 => Just(Happening::Clear),
        1 => (0..16usize).prop_map(Happening::Churn),
        8 => (0..64usize).prop_map(Happening::Copy),
        1 => Just(Happening::BeginAnew),
    ]
}

/// A map, what it should be, and a copy.
struct World {
    map: Map,
    model: BTreeMap<u8, Vec<u8>>,
    copy: Map,
}

impl World {
    /// The copy's side had entries of its own before.
    fn new() -> Self {
        let map = Map::from_iter([(1, vec![1]), (2, vec![2])]);
        let model = map.iter().map(|(key, value)| (*key, value.clone())).collect();
        Self { map, model, copy: Map::from_iter([(2, Vec::new()), (99, Vec::new())]) }
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
            Happening::Copy(bytes) => drop(self.copy(bytes)),
            Happening::BeginAnew => {
                map.begin_copy();
                self.copy = Map::default();
            }
        }
        self.assert_the_book_is_small();
    }

    /// No more positions wait than there ever were entries, and no more keys than entries and some.
    fn assert_the_book_is_small(&self) {
        let Some(unsent) = &self.map.unsent else { return };
        let (removed, queued) = (unsent.removed().len(), unsent.queued());
        assert!(removed <= 25 + REMOVED_SPARE, "{removed} keys");
        assert!(queued <= 25, "{queued} positions");
    }

    /// Copies a piece; says how many entries that were.
    fn copy(&mut self, bytes: usize) -> usize {
        let before = self.map.pending();
        let mut piece = Vec::new();
        let told = self.map.copy_next(bytes, &mut piece);
        assert_eq!(self.map.pending(), before - told);
        self.copy.restore(1, &piece).unwrap();
        told
    }

    fn assert_all_alike(&mut self) {
        let sorted = |map: &Map| map.iter().map(|(key, value)| (*key, value.clone())).collect::<BTreeMap<_, _>>();
        assert_eq!(sorted(&self.map), self.model);
        assert_eq!(sorted(&self.copy), self.model);
        assert_eq!(self.copy.len(), self.model.len());
        self.model.iter().for_each(|(key, value)| assert_eq!(self.copy.get(key), Some(value)));
    }
}

proptest! {
    #[test]
    fn a_copy_equals_its_original_whatever_happens_between_its_pieces(
        before in prop::collection::vec(happening(), 0..30),
        during in prop::collection::vec(happening(), 0..200),
    ) {
        let mut world = World::new();
        before.into_iter().filter(|happening| !matches!(happening, Happening::Copy(_))).for_each(|it| world.happen(it));
        world.map.begin_copy();
        during.into_iter().for_each(|happening| world.happen(happening));
        let (bytes, mut piece) = (world.map.pending_bytes(), Vec::new());
        let before = world.map.pending();
        world.map.copy_next(usize::MAX / 2, &mut piece);
        prop_assert!(piece.len() <= bytes + 1, "{} bytes, {bytes} were told of", piece.len());
        world.copy.restore(1, &piece).unwrap();
        prop_assert_eq!(world.map.pending(), 0, "{} were pending", before);
        world.assert_all_alike();
    }

    #[test]
    fn any_bytes_are_a_piece_or_refused(piece in prop::collection::vec(0..4u8, 0..64)) {
        let _whichever = Map::default().restore(1, &piece);
    }
}

#[test]
fn a_map_that_is_not_copied_keeps_no_book() {
    let mut world = World::new();
    world.map.begin_copy();
    assert_eq!(world.map.pending(), 3, "two entries, and that all others are gone");
    world.map.end_copy();
    world.map.insert(3, Vec::new());
    world.map.remove(&1);
    assert!(world.map.unsent.is_none());
}

#[test]
fn a_map_that_takes_the_place_of_another_one_is_copied_as_a_whole() {
    let mut maps = [Map::from_iter([(1, vec![1]), (2, vec![2])]), Map::from_iter([(3, vec![3])])];
    let mut copies = [Map::default(), Map::default()];
    let mut copy = |maps: &mut [Map; 2]| {
        for (map, copy) in maps.iter_mut().zip(&mut copies) {
            let mut piece = Vec::new();
            assert_eq!(map.pending(), map.copy_next(usize::MAX / 2, &mut piece));
            copy.restore(1, &piece).unwrap();
            let sorted = |map: &Map| map.iter().map(|(key, value)| (*key, value.clone())).collect::<BTreeMap<_, _>>();
            assert_eq!(sorted(copy), sorted(map));
            assert_eq!((map.pending(), map.pending_bytes()), (0, 0));
        }
    };
    maps.iter_mut().for_each(Map::begin_copy);
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
    map.begin_copy();
    map.for_each_mut(|_, value| **value = 1);
    assert_eq!(map.pending(), 1001);
    assert_eq!(map.copy_next(usize::MAX / 2, &mut Vec::new()), 1001);
    *map.get_mut(&500).unwrap() = 2;
    *map.get_mut(&500).unwrap() = 3;
    let mut piece = Vec::new();
    assert_eq!(map.copy_next(usize::MAX / 2, &mut piece), 1);
    assert_eq!(piece, [&[1][..], &[0, 0, 0, 4], &500u32.to_be_bytes(), &[0, 0, 0, 4], &3u32.to_be_bytes()].concat());
}

/// A map of 100 entries of which each key is new and leaves soon; before each change, so many entries are copied.
fn churned(copied_at_once: usize) -> Keyed<u32, u32> {
    let mut map: Keyed<u32, u32> = (0..100).map(|key| (key, 0)).collect();
    map.begin_copy();
    map.copy_next(usize::MAX / 2, &mut Vec::new());
    for key in 100..50_000 {
        assert!((0..copied_at_once).all(|_| map.copy_next(1, &mut Vec::new()) <= 1));
        map.insert(key, 0);
        map.remove(&(key - 100));
    }
    map
}

#[test]
fn the_book_of_a_map_that_changes_all_the_time_is_small_also_if_little_or_nothing_is_sent() {
    for copied_at_once in [0, 1, 2] {
        let map = churned(copied_at_once);
        let unsent = map.unsent.as_ref().unwrap();
        assert!(unsent.removed().len() <= 100 + REMOVED_SPARE, "{} keys", unsent.removed().len());
        assert!(unsent.queued() <= 101, "{} positions", unsent.queued());
        assert!(map.pending() <= 2 * 101 + REMOVED_SPARE, "{} pending", map.pending());
    }
}

#[test]
fn a_piece_ends_as_soon_as_it_is_as_large_as_it_may_be() {
    let mut map: Keyed<u32, [u8; 100]> = (0..1000).map(|key| (key, [0; 100])).collect();
    map.begin_copy();
    let mut piece = Vec::new();
    map.copy_next(1000, &mut piece);
    assert!((1000..1000 + 113).contains(&piece.len()), "{} bytes", piece.len());
}

#[test]
fn memory_is_told_from_a_sample() {
    let map: Keyed<u32, Vec<u8>> = (0..10_000).map(|key| (key, vec![0; 100])).collect();
    let bytes = map.memory_bytes();
    assert!((1_000_000..3_000_000).contains(&bytes), "{bytes} bytes");
    assert_eq!(Map::default().memory_bytes(), 0);
}
