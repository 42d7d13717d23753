//! What a process uses, as `/proc` shows it (proc(5)).
//!
//! To list `/proc/PID/fd` would take 10 ms with 20,000 open files, in the way of what is measured. Its size is the
//! number of them since Linux 6.2, for the price of one `stat`.

use std::fs;

/// What a process uses at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    /// Resident memory of its own. What it shares with a standby is not: it is the same for whoever serves next, and no more of it than
    /// there is room for, but of that as much as it has happened to use.
    pub(crate) resident_bytes: u64,
    /// How many files it has open. `None` if the kernel does not say.
    pub(crate) open_files: Option<u64>,
    /// For how many open files its table has room.
    pub(crate) open_files_max: u64,
    /// Whether it is stopped by a signal.
    pub(crate) stopped: bool,
}

impl Usage {
    /// `None` if there is no such process, or nothing left of it.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let usage = Self::of_status(&status)?;
        let open_files = fs::metadata(format!("/proc/{pid}/fd")).ok()?.len();
        Some(Self { open_files: (open_files > 0).then_some(open_files), ..usage })
    }

    fn of_status(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?.strip_prefix(':')?;
            value.split_whitespace().next()
        };
        let kib = |name: &str| field(name)?.parse::<u64>().ok();
        Some(Self {
            resident_bytes: kib("VmRSS")?.saturating_sub(kib("RssShmem").unwrap_or(0)) * 1024,
            open_files: None,
            open_files_max: field("FDSize")?.parse().ok()?,
            stopped: field("State") == Some("T"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_read_from_the_status() {
        let status = "Name:\treactord\nState:\tT (stopped)\nFDSize:\t256\nVmHWM:\t    9000 kB\nVmRSS:\t    4096 kB\n";
        let expected = Usage { resident_bytes: 4096 * 1024, open_files: None, open_files_max: 256, stopped: true };
        assert_eq!(Usage::of_status(status), Some(expected));
        let shares = format!("{status}RssAnon:\t    1024 kB\nRssFile:\t     512 kB\nRssShmem:\t    2560 kB\n");
        assert_eq!(Usage::of_status(&shares), Some(Usage { resident_bytes: 1536 * 1024, ..expected }));
    }

    #[test]
    fn a_process_that_has_ended_uses_nothing() {
        assert_eq!(Usage::of_status("Name:\treactord\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 0 && !usage.stopped);
        assert!(usage.open_files.is_none_or(|count| 3 <= count && count <= usage.open_files_max));
    }
}
