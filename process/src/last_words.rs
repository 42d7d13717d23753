//! The end of what a process says on its standard error: its last lines tell why it ends.

use std::collections::VecDeque;

use crate::frame::printable;

/// How much is kept of it.
const BYTES_MAX: usize = 8 * 1024;

/// What it has said last.
#[derive(Debug, Default)]
pub struct LastWords {
    bytes: VecDeque<u8>,
}

impl LastWords {
    /// It has said this.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(BYTES_MAX);
        self.bytes.drain(..excess);
    }

    /// Its last lines, whole, and without the priorities that they have for the journal.
    pub fn text(&mut self) -> String {
        let text = String::from_utf8_lossy(self.bytes.make_contiguous());
        // The first line may have lost its beginning.
        let is_whole = text.len() < BYTES_MAX;
        let lines = if is_whole { &*text } else { text.split_once('\n').map_or("", |(_, rest)| rest) };
        let lines: Vec<&str> = lines.trim_end().lines().map(without_priority).collect();
        lines.join("\n")
    }
}

/// A line without what tells the journal its priority: `<6>` (sd-daemon(3)).
fn without_priority(line: &str) -> &str {
    match line.as_bytes() {
        [b'<', b'0'..=b'7', b'>', ..] => &line[3..],
        _ => line,
    }
}

/// Why something has failed, with the last line of what a process has said about it, if it has said anything.
#[must_use]
pub fn with_last_line(why: &str, said: &str) -> String {
    match said.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!("{why}; it has said: {}", printable(line.trim())),
        None => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_much_that_is_said_the_last_lines_are_kept_whole() {
        let mut words = LastWords::default();
        (1..=1500).for_each(|number| words.keep(format!("line {number}.\n").as_bytes()));
        let text = words.text();
        assert!(text.len() <= BYTES_MAX && text.ends_with("line 1500."), "{text}");
        assert!(text.lines().all(|line| line.starts_with("line ") && line.ends_with('.')), "{text}");
    }

    #[test]
    fn priorities_are_the_journals_alone() {
        let mut words = LastWords::default();
        words.keep(b"<6>[reactord] one\n<x>\n<3>");
        assert_eq!(words.text(), "[reactord] one\n<x>\n");
    }

    #[test]
    fn a_reason_has_the_last_line_that_says_anything() {
        assert_eq!(with_last_line("it exited", "one\n  two\t\n \n"), "it exited; it has said: two");
        assert_eq!(with_last_line("it exited", " \n"), "it exited");
    }
}
