//! Names with numbers: those of the file first, and then those that a predecessor had besides and that have connections still.
//!
//! A number means the same in this process as long as it lives, and nothing to another.

use std::cell::{Ref, RefCell};

use indexmap::IndexSet;

/// The number of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Rolled(u16);

impl Rolled {
    /// The name's place among all.
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The same of a place.
    pub(super) fn at(index: usize) -> Self {
        Self(u16::try_from(index).expect("there are no more names than the roll has room for"))
    }
}

/// What those are called that are left out of a roll which is full.
const OTHERS: &str = "others";

/// How many names there may be: `OTHERS` has the last number.
const NAMES_MAX: usize = u16::MAX as usize;

/// All names. More may come while sessions are restored, which changes nothing else.
#[derive(Debug, Default)]
pub(super) struct Roll(RefCell<IndexSet<Box<str>>>);

/// The names, to be looked up.
pub(super) struct Names<'r>(Ref<'r, IndexSet<Box<str>>>);

impl Roll {
    /// These names, with numbers from 0 on.
    pub(super) fn of<N: Into<Box<str>>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(RefCell::new(names.into_iter().map(Into::into).collect()))
    }

    /// The number of a name, which is new if it has none. In a roll that is full, one for all others.
    pub(super) fn number(&self, name: &str) -> Rolled {
        let mut names = self.0.borrow_mut();
        let index = names.get_index_of(name).unwrap_or_else(|| {
            let name = if names.len() < NAMES_MAX { name } else { OTHERS };
            names.insert_full(name.into()).0
        });
        Rolled::at(index)
    }

    /// The number of a name that has one.
    pub(super) fn find(&self, name: &str) -> Option<Rolled> {
        self.0.borrow().get_index_of(name).map(Rolled::at)
    }

    /// The names.
    pub(super) fn names(&self) -> Names<'_> {
        Names(self.0.borrow())
    }

    /// The name with this number, to be kept.
    pub(super) fn name(&self, number: Rolled) -> Box<str> {
        self.names().of(number).into()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

impl Names<'_> {
    /// The name with this number.
    pub(super) fn of(&self, number: Rolled) -> &str {
        self.0.get_index(number.index()).expect("numbers are those of names")
    }
}
