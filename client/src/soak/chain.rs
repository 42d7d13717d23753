//! The two ends of a chain of takeovers, side by side: nothing may pass from process to process but the connections.

use std::fmt;

use super::usage::Usage;

/// How much more memory the last process may have than the first: a quarter and 1 MiB, as the allocator keeps pages as
/// it happens to need them, and what each slow reader may have filled since the first was looked at.
const RESIDENT_QUARTERS_MAX: u64 = 5;
const RESIDENT_BYTES_MORE: u64 = 1024 * 1024;
const SLOW_READER_BYTES: u64 = 512 * 1024;

/// A process at one end of a chain, with all connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) pid: u32,
    /// How many files it has open that are no connections. `None` if the kernel does not say.
    pub(crate) other_files: Option<u64>,
    pub(crate) resident_bytes: u64,
}

impl End {
    pub(crate) fn new(pid: u32, usage: Usage, connections: usize) -> Self {
        let other_files = usage.open_files.map(|files| files.saturating_sub(connections as u64));
        Self { pid, other_files, resident_bytes: usage.resident_bytes }
    }
}

/// What a chain of takeovers began with, and what it has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chain {
    pub(crate) first: End,
    pub(crate) last: End,
    pub(crate) slow_readers: usize,
    pub(crate) started: usize,
    /// How many processes were there at the end.
    pub(crate) left: usize,
}

impl Chain {
    /// What has passed on that should not have.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let Self { first, last, slow_readers, left, .. } = *self;
        let mut complaints = Vec::new();
        if left != 1 {
            complaints.push(format!("{left} processes are left at the end, 1 is expected"));
        }
        if let (Some(before), Some(after)) = (first.other_files, last.other_files)
            && before != after
        {
            complaints.push(format!(
                "the last process (pid {}) has {after} files open besides its connections, the first had {before}",
                last.pid
            ));
        }
        let bound = first.resident_bytes / 4 * RESIDENT_QUARTERS_MAX + RESIDENT_BYTES_MORE;
        let bound = bound + SLOW_READER_BYTES * slow_readers as u64;
        if last.resident_bytes > bound {
            complaints.push(format!(
                "the last process (pid {}) has {} KiB of memory, the first had {} KiB, at most {} KiB are expected",
                last.pid,
                last.resident_bytes / 1024,
                first.resident_bytes / 1024,
                bound / 1024
            ));
        }
        complaints
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, started, left, .. } = self;
        writeln!(formatter, "{:<26}{started:>12} started, {left} left at the end", "processes")?;
        if let (Some(before), Some(after)) = (first.other_files, last.other_files) {
            writeln!(formatter, "{:<26}{before:>12} in the first, {after} in the last", "files but connections")?;
        }
        let (before, after) = (first.resident_bytes / 1024, last.resident_bytes / 1024);
        writeln!(formatter, "{:<26}{before:>12} KiB in the first, {after} KiB in the last", "resident memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Chain {
        let first = End { pid: 1, other_files: Some(9), resident_bytes: 3_000 * 1024 };
        Chain { first, last: End { pid: 7, ..first }, slow_readers: 0, started: 7, left: 1 }
    }

    #[test]
    fn a_last_process_that_is_as_the_first_is_no_complaint() {
        assert_eq!(chain().complaints(), Vec::<String>::new());
        let mut grown = chain();
        grown.last.resident_bytes = 4_000 * 1024;
        assert_eq!(grown.complaints(), Vec::<String>::new());
        grown.last.resident_bytes = 6_000 * 1024;
        grown.slow_readers = 4;
        assert_eq!(grown.complaints(), Vec::<String>::new());
        let unknown = Chain { last: End { other_files: None, ..chain().last }, ..chain() };
        assert_eq!(unknown.complaints(), Vec::<String>::new());
    }

    #[test]
    fn whatever_the_last_process_has_too_much_is_told_with_both_numbers() {
        let mut leaking = chain();
        leaking.last.other_files = Some(10);
        leaking.last.resident_bytes = 6_000 * 1024;
        leaking.left = 2;
        let expected = [
            "2 processes are left at the end, 1 is expected",
            "the last process (pid 7) has 10 files open besides its connections, the first had 9",
            "the last process (pid 7) has 6000 KiB of memory, the first had 3000 KiB, at most 4774 KiB are expected",
        ];
        assert_eq!(leaking.complaints(), expected);
    }

    #[test]
    fn both_ends_are_told() {
        let expected = "\
processes                            7 started, 1 left at the end
files but connections                9 in the first, 9 in the last
resident memory                   3000 KiB in the first, 3000 KiB in the last
";
        assert_eq!(chain().to_string(), expected);
    }
}
