//! What a standby that serves on says of the death that it has survived.

/// The figures of that line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Told {
    /// Who has died.
    pub(crate) pid: u32,
    pub(crate) served_on: u64,
    pub(crate) reset: u64,
    /// Those that had ended before.
    pub(crate) over: u64,
    /// From there to the first poll of whoever serves on.
    pub(crate) unserved_us: u64,
}

impl Told {
    /// Reads `0.2.0 (pid 7, generation 3) has died: 1993 peers are served on, 7 are reset (2 are not where they can be, of 5 it cannot
    /// be told, and 0 were joined to one of these), 0 were over; nobody served for 812 us`. `None` if it is another line.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (who, rest) = line.split_once(" has died: ")?;
        let (_, pid) = who.rsplit_once("(pid ")?;
        let words: Vec<&str> = rest.split([' ', ',', ';', '(', ')']).filter(|word| !word.is_empty()).collect();
        let number_before = |words_after: &[&str]| {
            let at = words.windows(words_after.len()).position(|some| some == words_after)?;
            words.get(at.checked_sub(1)?)?.parse().ok()
        };
        Some(Self {
            pid: pid.split([',', ')']).next()?.parse().ok()?,
            served_on: number_before(&["peers", "are", "served", "on"])?,
            reset: number_before(&["are", "reset"])?,
            over: number_before(&["were", "over"])?,
            unserved_us: match words.as_slice() {
                [.., "for", unserved_us, "us"] => unserved_us.parse().ok()?,
                _ => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_survivor_is_read_with_all_its_figures() {
        let line = "2026-01-01T00:00:00.000Z WARN  [reactord::takeover] 0.2.0 (pid 7, generation 3) has died: 1993 peers are served on, \
                    7 are reset (2 are not where they can be, of 5 it cannot be told, and 0 were joined to one of these), 1 were over; \
                    nobody served for 812 us";
        let expected = Told { pid: 7, served_on: 1993, reset: 7, over: 1, unserved_us: 812 };
        assert_eq!(Told::of_line(line), Some(expected));
        let line = "0.2.0 (pid 7, generation 3) has died: 2000 peers are served on, 0 are reset, 0 were over; nobody served for 81 us";
        assert_eq!(Told::of_line(line), Some(Told { served_on: 2000, reset: 0, over: 0, unserved_us: 81, ..expected }));
        assert_eq!(Told::of_line("Standby reactord 0.2.0 (pid 8) is armed, with 7 peers"), None);
        assert_eq!(Told::of_line(&line.replace(" for 81 us", "")), None);
    }
}
