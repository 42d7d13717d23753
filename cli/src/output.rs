//! Standard output for as long as a program runs: lines that it does not wait for.

use std::fmt;
use std::io::{Stdout, stdout};

use crate::standard_error::StandardError;

/// Standard output, to which lines are written whole and at once, or not at all.
pub struct Output(StandardError<Stdout>);

impl Output {
    /// That of this process.
    #[must_use]
    pub fn standard() -> Self {
        Self(StandardError::on(stdout()))
    }

    /// Writes a line, with its newline. False if it could not all be written at once: who reads it does not, a disk is full.
    pub fn try_write(&self, line: &str) -> bool {
        self.0.try_write(line).is_ok()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}
