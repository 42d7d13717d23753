//! The figures of a takeover, as the line tells them in which a successor says that it serves.

/// What one takeover took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) peers: u64,
    pub(crate) predecessor_pid: u32,
    pub(crate) successor_pid: u32,
    pub(crate) rounds: u64,
    pub(crate) dirty: u64,
    pub(crate) bytes: u64,
    pub(crate) copy_us: u64,
    pub(crate) pause_us: u64,
}

impl Summary {
    /// Reads `Took over 10000 peers from pid 1 to pid 2: 43 batches, 2 rounds, 4 dirty, 204785 bytes, copy 33213 us,
    /// pause 199 us` out of a line. `None` if it is another line.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (_, summary) = line.split_once("Took over ")?;
        let words: Vec<&str> = summary.split([' ', ',', ':']).filter(|word| !word.is_empty()).collect();
        // A figure stands after its name or before it.
        let after = |name: &str| number(words.get(words.iter().position(|word| *word == name)? + 1)?);
        let before = |name: &str| number(words.get(words.iter().position(|word| *word == name)?.checked_sub(1)?)?);
        let mut pids = words.windows(2).filter(|pair| pair[0] == "pid").filter_map(|pair| pair[1].parse().ok());
        Some(Self {
            peers: before("peers")?,
            predecessor_pid: pids.next()?,
            successor_pid: pids.next()?,
            rounds: before("rounds")?,
            dirty: before("dirty")?,
            bytes: before("bytes")?,
            copy_us: after("copy")?,
            pause_us: after("pause")?,
        })
    }
}

fn number(word: &&str) -> Option<u64> {
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_with_all_its_figures() {
        let line = "2026-01-01T00:00:00.000Z INFO  [reactord::takeover::arrival] Took over 10000 peers from pid 18253 \
                    to pid 18267: 43 batches, 2 rounds, 4 dirty, 204785 bytes, copy 33213 us, pause 199 us";
        let expected = Summary {
            peers: 10_000,
            predecessor_pid: 18_253,
            successor_pid: 18_267,
            rounds: 2,
            dirty: 4,
            bytes: 204_785,
            copy_us: 33_213,
            pause_us: 199,
        };
        assert_eq!(Summary::of_line(line), Some(expected));
    }

    #[test]
    fn another_line_is_none() {
        assert_eq!(Summary::of_line("Starting TCP server on [127.0.0.1]:1"), None);
        assert_eq!(Summary::of_line("Took over nothing"), None);
    }
}
