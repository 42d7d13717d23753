//! What is wrong with a file, and where.

use std::error::Error;
use std::fmt;

/// All that is wrong with a file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The name of the file, as it was given.
    pub file: String,
    /// At least one.
    pub all: Vec<Mistake>,
}

/// One thing that is wrong, and what to do about it where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// In words.
    pub what: String,
}

/// One thing that is wrong at the byte of a text with this offset.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) offset: usize,
    pub(super) what: String,
}

impl Mistakes {
    pub(super) fn new(file: &str, text: &str, mut wrong: Vec<Wrong>) -> Self {
        wrong.sort_by_key(|wrong| wrong.offset);
        Self { file: file.to_owned(), all: wrong.into_iter().map(|wrong| wrong.in_text(text)).collect() }
    }
}

impl Wrong {
    fn in_text(self, text: &str) -> Mistake {
        let before = text.get(..self.offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Mistake {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what: self.what,
        }
    }
}

/// A line for each, as compilers have them: `FILE:LINE:COLUMN: what`.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { line, column, what }) in self.all.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{line}:{column}: {what}", self.file)?;
        }
        Ok(())
    }
}

impl Error for Mistakes {}
