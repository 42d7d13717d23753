//! What a soak brought to light, and the verdict.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::chain::Chain;
use super::killing::death::Deaths;
use super::moving::moved::Moves;
use super::options::Options;
use super::succession::Number;
use super::summary::Summary;
use super::unfit::Unfit;
use super::usage::Usage;
use crate::report::{Count, Report};
use crate::timeline::Timeline;

/// What came of one takeover.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    TookOver(Summary),
    /// The successor was killed, and the predecessor went on.
    Killed,
    /// The successor was one that cannot take over; that was answered with the right reason, and the predecessor went on.
    Declined(Unfit),
    /// The successor gave up, and the predecessor went on.
    Failed(String),
}

/// One takeover, from the start of the successor to the exit of whichever process it left without peers. The instants
/// count from the beginning of the load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Takeover {
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    pub(crate) fate: Fate,
    /// Whether the successor was to be killed, and had all peers before it could be.
    pub(crate) spared: bool,
}

impl fmt::Display for Takeover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fate {
            Fate::TookOver(Summary { peers, predecessor_pid, successor_pid, copy_us, pause_us, .. }) => write!(
                formatter,
                "{peers} peers from pid {predecessor_pid} to pid {successor_pid}, copy {copy_us} us, pause {pause_us} us"
            ),
            Fate::Killed => {
                let after_ms = (self.ended - self.begun).as_secs_f64() * 1e3;
                write!(formatter, "the successor was killed within {after_ms:.1} ms, the predecessor goes on")
            }
            Fate::Declined(unfit) => write!(formatter, "a successor that {}, the predecessor goes on", unfit.name()),
            Fate::Failed(reason) => write!(formatter, "failed: {reason}"),
        }
    }
}

/// What a process used at one instant of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) process: Number,
    pub(crate) pid: u32,
    pub(crate) usage: Usage,
}

/// All that a soak brought to light.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) options: Options,
    pub(crate) report: Report,
    pub(crate) timeline: Timeline,
    pub(crate) takeovers: Vec<Takeover>,
    /// If connections were to move.
    pub(crate) moves: Option<Moves>,
    /// If the server was to be killed.
    pub(crate) deaths: Option<Deaths>,
    /// The first process and the last, if there was more than one and the last one lives.
    pub(crate) chain: Option<Chain>,
    pub(crate) samples: Vec<Sample>,
    /// What else went wrong, without loss.
    pub(crate) complaints: Vec<String>,
    pub(crate) death: Option<String>,
    pub(crate) interrupted: bool,
}

impl Outcome {
    /// Whether everything came back, and every takeover went as planned.
    pub(crate) fn is_good(&self) -> bool {
        self.report.everything_came_back()
            && self.complaints.is_empty()
            && self.death.is_none()
            && self.failed().next().is_none()
            && self.moves.as_ref().is_none_or(|moves| moves.failed() == 0)
            && self.deaths.as_ref().is_none_or(|deaths| deaths.failed() == 0)
    }

    pub(crate) fn failed(&self) -> impl Iterator<Item = &Takeover> {
        self.takeovers.iter().filter(|takeover| matches!(takeover.fate, Fate::Failed(_)))
    }

    pub(crate) fn killed(&self) -> usize {
        self.takeovers.iter().filter(|takeover| takeover.fate == Fate::Killed).count()
    }

    /// How many upgrades were answered as they should by a server that serves on.
    pub(crate) fn declined(&self) -> usize {
        self.takeovers.iter().filter(|takeover| matches!(takeover.fate, Fate::Declined(_))).count()
    }

    /// The takeovers that were carried through, with their figures.
    pub(crate) fn carried_through(&self) -> impl Iterator<Item = (&Takeover, &Summary)> {
        self.takeovers.iter().filter_map(|takeover| match &takeover.fate {
            Fate::TookOver(summary) => Some((takeover, summary)),
            _ => None,
        })
    }

    /// The worst round trip that this takeover fell into. Zero if no message was under way.
    pub(crate) fn worst_during_ns(&self, takeover: usize) -> u64 {
        self.timeline.worst_during_ns.get(takeover).copied().unwrap_or(0)
    }

    /// Each kind of connection by name.
    pub(crate) fn counts(&self) -> [(&'static str, Count); 5] {
        let Report { sending, fragmenting, idle, slow_readers, passing, .. } = self.report;
        [
            ("sending", sending),
            ("fragmenting", fragmenting),
            ("idle", idle),
            ("slow reading", slow_readers),
            ("passing", passing),
        ]
    }

    /// What the two sorts of round trips are called, and their distributions in ns.
    pub(crate) fn distributions(&self) -> [(&'static str, &Histogram<u64>); 2] {
        let [between, during] = match (&self.moves, &self.deaths) {
            (Some(_), _) => ["between moves", "during moves"],
            (_, Some(_)) => ["between deaths", "during deaths"],
            _ => ["between takeovers", "during takeovers"],
        };
        [(between, &self.timeline.between_takeovers_ns), (during, &self.timeline.during_takeovers_ns)]
    }
}

/// The quantiles that are told, and what they are called.
pub(crate) const QUANTILES: [(&str, f64); 4] = [("median", 0.5), ("99th", 0.99), ("99.9th", 0.999), ("worst", 1.0)];

pub(crate) fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}
