//! Tables of a file, and the values of their keys, each with its place. What is wrong is noted, and reading goes on.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::config::keys::{self, Table};
use crate::config::mistakes::Wrong;

/// A value with its place.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// All that has been found wrong so far.
pub(super) struct Reading {
    wrong: RefCell<Vec<Wrong>>,
    /// Whether the file could be read to its end. If not, what seems to be missing may be where it could not.
    whole: bool,
}

impl Reading {
    pub(super) fn new(whole: bool) -> Self {
        Self { wrong: RefCell::default(), whole }
    }

    pub(super) fn note(&self, offset: usize, what: impl Into<String>) {
        self.wrong.borrow_mut().push(Wrong { offset, what: what.into() });
    }

    /// Notes that something is missing.
    pub(super) fn note_lack(&self, offset: usize, what: impl Into<String>) {
        if self.whole {
            self.note(offset, what);
        }
    }

    pub(super) fn into_wrong(self) -> Vec<Wrong> {
        self.wrong.into_inner()
    }

    /// What a value means, unless it is wrong.
    pub(super) fn meaning<T>(
        &self,
        value: &Value<'_>,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        read(value.get_ref()).map_err(|what| self.note(value.span().start, what)).ok()
    }
}

/// A table of the file whose keys are known.
#[derive(Clone, Copy)]
pub(super) struct Section<'a, 'i> {
    reading: &'a Reading,
    values: &'a DeTable<'i>,
    offset: usize,
    table: &'static Table,
}

impl<'a, 'i> Section<'a, 'i> {
    /// Opens a table. Keys that it may not have are noted.
    pub(super) fn open(reading: &'a Reading, values: &'a DeTable<'i>, offset: usize, table: &'static Table) -> Self {
        for key in values.keys().filter(|key| !table.keys.contains(&key.get_ref().as_ref())) {
            reading.note(key.span().start, keys::unknown(key.get_ref(), table));
        }
        Self { reading, values, offset, table }
    }

    /// The same for a value that should be a table.
    pub(super) fn of(reading: &'a Reading, value: &'a Value<'i>, table: &'static Table) -> Option<Self> {
        let Some(values) = value.get_ref().as_table() else {
            reading.note(value.span().start, unlike("a table", value.get_ref()));
            return None;
        };
        Some(Self::open(reading, values, value.span().start, table))
    }

    /// Notes that something is wrong with this table as a whole.
    pub(super) fn note(&self, what: impl Into<String>) {
        self.reading.note(self.offset, what);
    }

    /// Notes that something is wrong with what a key says, if it is there, and else with the table.
    pub(super) fn note_at(&self, key: &str, what: impl Into<String>) {
        self.reading.note(self.values.get(key).map_or(self.offset, |value| value.span().start), what);
    }

    /// Notes that something is missing in this table, or in what a key of it says.
    pub(super) fn note_lack(&self, key: &str, what: impl Into<String>) {
        self.reading.note_lack(self.values.get(key).map_or(self.offset, |value| value.span().start), what);
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub(super) fn value(&self, key: &'static str) -> Option<&'a Value<'i>> {
        debug_assert!(self.table.keys.contains(&key), "{} is to have {key}", self.table.heading);
        self.values.get(key)
    }

    /// What a key says, if it is there and right.
    pub(super) fn read<T>(&self, key: &'static str, read: impl FnOnce(&DeValue<'_>) -> Result<T, String>) -> Option<T> {
        self.reading.meaning(self.value(key)?, read)
    }

    /// What a key says, if it is there and right, in a string.
    pub(super) fn text<T>(&self, key: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.read(key, |value| text(value).and_then(read))
    }

    pub(super) fn count(&self, key: &'static str, allowed: RangeInclusive<u32>) -> Option<u32> {
        self.read(key, |value| count(value, allowed))
    }

    pub(super) fn is_true(&self, key: &'static str) -> Option<bool> {
        self.read(key, |value| value.as_bool().ok_or_else(|| unlike("true or false", value)))
    }

    /// The values of a list, or the one value where there is no list.
    pub(super) fn list(&self, key: &'static str) -> impl Iterator<Item = &'a Value<'i>> + use<'a, 'i> {
        let value = self.value(key);
        let values = value.and_then(|value| value.get_ref().as_array());
        let single = value.filter(|_| values.is_none());
        values.into_iter().flatten().chain(single)
    }

    /// What the strings of a list say, as far as they are right, each with its place.
    pub(super) fn texts<T>(&self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Vec<(usize, T)> {
        let each = |value: &'a Value<'i>| {
            let meaning = self.reading.meaning(value, |value| text(value).and_then(&read))?;
            Some((value.span().start, meaning))
        };
        self.list(key).filter_map(each).collect()
    }

    /// A table within this one.
    pub(super) fn section(&self, key: &'static str, table: &'static Table) -> Option<Self> {
        Section::of(self.reading, self.value(key)?, table)
    }

    /// The tables within this one that have names, such as `[listener.NAME]`.
    pub(super) fn named(&self, key: &'static str, table: &'static Table) -> Vec<(String, Self)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(values) = value.get_ref().as_table() else {
            self.reading
                .note(value.span().start, format!("{}, as in {}", unlike("a table", value.get_ref()), table.heading));
            return Vec::new();
        };
        let sections = values.iter().filter_map(|(name, value)| {
            let section = Section::of(self.reading, value, table)?;
            Some((self.checked_name(name), section))
        });
        sections.collect()
    }

    /// Names are seen in log lines and figures, and are typed.
    fn checked_name(&self, name: &Spanned<impl AsRef<str>>) -> String {
        let text = name.get_ref().as_ref();
        if text.is_empty() || !text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter)) {
            let what = format!("{text:?} is no name: letters, digits, -, _ and . are expected");
            self.reading.note(name.span().start, what);
        }
        text.to_owned()
    }

    /// What stands in a table whose keys may be anything, in the order of the file.
    pub(super) fn entries(&self, key: &'static str) -> Vec<(&'a Spanned<DeString<'i>>, &'a Value<'i>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(values) = value.get_ref().as_table() else {
            self.reading.note(value.span().start, unlike("a table", value.get_ref()));
            return Vec::new();
        };
        let mut entries: Vec<_> = values.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    pub(super) fn reading(&self) -> &'a Reading {
        self.reading
    }
}

pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| unlike("a string", value))
}

pub(super) fn count(value: &DeValue<'_>, allowed: RangeInclusive<u32>) -> Result<u32, String> {
    let integer = value.as_integer().ok_or_else(|| unlike("a number", value))?;
    let count = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
    count
        .filter(|count| allowed.contains(count))
        .ok_or_else(|| format!("a number from {} to {} is expected, not {integer}", allowed.start(), allowed.end()))
}

/// What is wrong with a value of the wrong kind.
pub(super) fn unlike(expected: &str, value: &DeValue<'_>) -> String {
    let is = match value {
        DeValue::Integer(integer) => return format!("{expected} is expected, not {integer}"),
        DeValue::Float(float) => return format!("{expected} is expected, not {float}"),
        DeValue::Boolean(is) => return format!("{expected} is expected, not {is}"),
        DeValue::String(text) => return format!("{expected} is expected, not {text:?}"),
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("{expected} is expected, not {is}")
}
