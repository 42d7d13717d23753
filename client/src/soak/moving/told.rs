//! What is said of a move: by whoever asked for it, and by the server that was given something.

/// The figures in the line with which `reactord move` ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) moved: u64,
    pub(crate) wanted: u64,
    pub(crate) seconds: f64,
    /// The largest pause of a batch.
    pub(crate) pause_us: f64,
}

impl Told {
    /// Reads `Moved 3200 of 3200 peers from pid 1 to pid 2 in 0.412 s (largest pause of a batch 0.21 ms)`. `None` if it is
    /// another line.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (_, line) = line.split_once("Moved ")?;
        let words: Vec<&str> = line.split([' ', '(', ')']).filter(|word| !word.is_empty()).collect();
        let after = |name: &str| words.get(words.iter().position(|word| *word == name)? + 1);
        Some(Self {
            moved: words.first()?.parse().ok()?,
            wanted: after("of")?.parse().ok()?,
            seconds: after("in")?.parse().ok()?,
            pause_us: after("batch")?.parse::<f64>().ok()? * 1e3,
        })
    }
}

/// How many peers a server says that it was given, in `Was given 64 peers by pid 1`, and by whom.
pub(crate) fn given(line: &str) -> Option<(u64, u32)> {
    let (_, line) = line.split_once("Was given ")?;
    let words: Vec<&str> = line.split([' ', ',', ':']).filter(|word| !word.is_empty()).collect();
    let pid = words.windows(2).find(|pair| pair[0] == "pid")?[1];
    Some((words.first()?.parse().ok()?, pid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_move_is_read_with_all_its_figures() {
        let line = "Moved 3200 of 4000 peers from pid 7 to pid 8 in 0.412 s (largest pause of a batch 0.21 ms)";
        let expected = Told { moved: 3200, wanted: 4000, seconds: 0.412, pause_us: 210.0 };
        assert_eq!(Told::of_line(line), Some(expected));
        assert_eq!(Told::of_line("Starting TCP server on [127.0.0.1]:1"), None);
    }

    #[test]
    fn the_line_of_a_taker_is_read() {
        let line = "2026-01-01T00:00:00.000Z INFO  [reactord::giving] Was given 64 peers by pid 12";
        assert_eq!(given(line), Some((64, 12)));
        assert_eq!(given("Was given nothing"), None);
    }
}
