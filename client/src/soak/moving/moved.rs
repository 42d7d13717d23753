//! What came of the moves of a soak.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::super::servers::Place;
use super::plan::Side;
use super::told::Told;

/// A pause that is longer counts as this: an hour.
const PAUSE_NS_MAX: u64 = 3_600_000_000_000;

/// One move, from the start of what had it made to the census after it. The instants count from the beginning of the load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Move {
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    pub(crate) from: Place,
    pub(crate) to: Place,
    /// Who was to move, as the command line said it.
    pub(crate) which: String,
    /// The figures of whoever had it made, if it was carried through or in part.
    pub(crate) told: Option<Told>,
    /// How many connections have another owner since.
    pub(crate) moved: u64,
    /// Who was killed, and how many connections went with it.
    pub(crate) killed: Option<(Side, usize)>,
    /// Whether somebody was to be killed, and it was done before.
    pub(crate) spared: bool,
    /// Why it is not as it should be.
    pub(crate) complaints: Vec<String>,
}

impl Move {
    pub(crate) fn is_good(&self) -> bool {
        self.complaints.is_empty()
    }
}

impl fmt::Display for Move {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, which, moved, .. } = self;
        write!(formatter, "{moved} connections from server {from} to server {to} ({which})")?;
        if let Some(Told { pause_us, .. }) = self.told {
            write!(formatter, ", pause {pause_us:.0} us")?;
        }
        if let Some((side, gone)) = self.killed {
            write!(formatter, ", the {} was killed and {gone} connections with it", side.name())?;
        }
        self.complaints.iter().try_for_each(|complaint| write!(formatter, "; {complaint}"))
    }
}

/// All moves of a soak.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Moves {
    /// How many there were to be.
    pub(crate) wanted: usize,
    pub(crate) servers: usize,
    pub(crate) all: Vec<Move>,
    /// How many processes were started, and how many are left at the end.
    pub(crate) started: usize,
    pub(crate) left: usize,
}

impl Moves {
    pub(crate) fn connections_moved(&self) -> u64 {
        self.all.iter().map(|made| made.moved).sum()
    }

    pub(crate) fn failed(&self) -> usize {
        self.all.iter().filter(|made| !made.is_good()).count()
    }

    pub(crate) fn spared(&self) -> usize {
        self.all.iter().filter(|made| made.spared).count()
    }

    /// In how many of them one side was killed.
    pub(crate) fn killed(&self, side: Side) -> usize {
        self.all.iter().filter(|made| made.killed.is_some_and(|(killed, _)| killed == side)).count()
    }

    /// The largest pause of a batch in each move that was not disturbed, in ns.
    pub(crate) fn pauses_ns(&self) -> Histogram<u64> {
        let mut pauses_ns = Histogram::new_with_bounds(1, PAUSE_NS_MAX, 3).expect("the bounds are constant");
        for told in self.all.iter().filter(|made| made.killed.is_none()).filter_map(|made| made.told) {
            pauses_ns.saturating_record((told.pause_us * 1e3) as u64);
        }
        pauses_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(pause_us: f64, killed: Option<(Side, usize)>) -> Move {
        let told = Some(Told { moved: 5, wanted: 5, seconds: 0.1, pause_us });
        let which = "--count 5".to_owned();
        let (begun, ended) = (Duration::from_millis(100), Duration::from_millis(120));
        Move { begun, ended, from: 0, to: 2, which, told, moved: 5, killed, spared: false, complaints: Vec::new() }
    }

    #[test]
    fn moves_that_were_disturbed_have_no_part_in_the_pauses() {
        let all = vec![made(100.0, None), made(300.0, None), made(9000.0, Some((Side::Taker, 7)))];
        let moves = Moves { wanted: 3, servers: 3, all, started: 7, left: 3 };
        let pauses_ns = moves.pauses_ns();
        assert_eq!((pauses_ns.len(), moves.connections_moved(), moves.failed()), (2, 15, 0));
        assert!((299_000..=301_000).contains(&pauses_ns.max()), "{}", pauses_ns.max());
        assert_eq!((moves.killed(Side::Giver), moves.killed(Side::Taker)), (0, 1));
    }

    #[test]
    fn a_move_is_told_in_one_line() {
        assert_eq!(
            made(210.4, Some((Side::Giver, 7))).to_string(),
            "5 connections from server 0 to server 2 (--count 5), pause 210 us, the giver was killed and 7 connections \
             with it"
        );
        let failed = Move { complaints: vec!["exit status: 3; it said nothing".to_owned()], ..made(1.0, None) };
        assert!(failed.to_string().ends_with("; exit status: 3; it said nothing"));
    }
}
