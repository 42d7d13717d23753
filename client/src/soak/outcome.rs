//! What a soak brought to light: the verdict, the table, and the figures for machines.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::chain::{Chain, End};
use super::html;
use super::options::{Options, Target};
use super::picture;
use super::succession::Number;
use super::summary::Summary;
use super::usage::Usage;
use crate::options::Pace;
use crate::report::{Count, Report};
use crate::timeline::Timeline;

/// What came of one takeover.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    TookOver(Summary),
    /// The successor was killed, and the predecessor went on.
    Killed,
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
    }

    fn failed(&self) -> impl Iterator<Item = &Takeover> {
        self.takeovers.iter().filter(|takeover| matches!(takeover.fate, Fate::Failed(_)))
    }

    pub(crate) fn killed(&self) -> usize {
        self.takeovers.iter().filter(|takeover| takeover.fate == Fate::Killed).count()
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
        [
            ("between takeovers", &self.timeline.between_takeovers_ns),
            ("during takeovers", &self.timeline.during_takeovers_ns),
        ]
    }

    /// Writes the files that were asked for.
    pub(crate) fn write_files(&self) -> Result<(), String> {
        let write = |path: &Option<PathBuf>, text: &dyn Fn() -> Result<String, String>| match path {
            Some(path) => write_file(path, &text()?),
            None => Ok(()),
        };
        write(&self.options.json, &|| Ok(format!("{:#}\n", self.to_json())))?;
        write(&self.options.report, &|| {
            html::page(self).map_err(|error| format!("the page cannot be drawn: {error}"))
        })?;
        write(&self.options.picture, &|| {
            picture::standalone(self).map_err(|error| format!("the picture cannot be drawn: {error}"))
        })
    }

    fn to_json(&self) -> Value {
        let Options { target, demand, takeovers, interval, kill_share, seed, .. } = &self.options;
        let Pace::Clock { per_second } = demand.pace else { unreachable!("a soak is paced by the clock") };
        let slices: Vec<Value> = self
            .timeline
            .slices()
            .iter()
            .map(|slice| {
                json!([slice.index, slice.answers, microseconds(slice.median_ns), microseconds(slice.worst_ns)])
            })
            .collect();
        json!({
            "good": self.is_good(),
            "interrupted": self.interrupted,
            "death": self.death,
            "complaints": self.complaints,
            "options": {
                "attach": match target { Target::Attach(address) => Some(address.to_string()), Target::Start { .. } => None },
                "connections": demand.connections(),
                "active": demand.sending + demand.fragmenting,
                "fragmenting": demand.fragmenting,
                "slow_readers": demand.slow_readers,
                "rate": per_second,
                "churn": demand.churn_per_second,
                "takeovers": takeovers,
                "interval_s": interval.as_secs_f64(),
                "kill_successors": kill_share,
                "seed": seed,
            },
            "connections": self.counts().into_iter().map(|(kind, count)| {
                (kind.replace(' ', "_"), json!({ "opened": count.opened, "lost": count.lost }))
            }).collect::<serde_json::Map<_, _>>(),
            "messages": {
                "sent": self.report.sent,
                "answered": self.report.answered,
                "lost": self.report.lost(),
                "discontinuities": self.report.discontinuities,
                "per_second": self.report.per_second(),
            },
            "duration_s": self.report.duration.as_secs_f64(),
            "round_trips_us": self.distributions().into_iter().map(|(name, nanoseconds)| {
                (name.replace(' ', "_"), distribution(nanoseconds))
            }).collect::<serde_json::Map<_, _>>(),
            "takeovers": self.takeovers.iter().enumerate().map(|(number, takeover)| {
                self.takeover(number, takeover)
            }).collect::<Vec<_>>(),
            "chain": self.chain.map(|Chain { first, last, started, left, .. }| json!({
                "first": end(first),
                "last": end(last),
                "processes_started": started,
                "processes_left": left,
            })),
            "processes": self.samples.iter().map(|sample| json!({
                "at_s": sample.at.as_secs_f64(),
                "pid": sample.pid,
                "resident_bytes": sample.usage.resident_bytes,
                "open_files": sample.usage.open_files,
            })).collect::<Vec<_>>(),
            "timeline": {
                "slice_ms": self.timeline.slice().as_secs_f64() * 1e3,
                "columns": ["slice", "answers", "median_us", "worst_us"],
                "slices": slices,
            },
        })
    }

    fn takeover(&self, number: usize, takeover: &Takeover) -> Value {
        let mut value = json!({
            "begun_s": takeover.begun.as_secs_f64(),
            "ended_s": takeover.ended.as_secs_f64(),
            "fate": match takeover.fate {
                Fate::TookOver(_) => "took over",
                Fate::Killed => "killed",
                Fate::Failed(_) => "failed",
            },
            "spared": takeover.spared,
            "worst_round_trip_us": microseconds(self.worst_during_ns(number)),
        });
        match &takeover.fate {
            Fate::TookOver(summary) => {
                value["peers"] = summary.peers.into();
                value["predecessor_pid"] = summary.predecessor_pid.into();
                value["successor_pid"] = summary.successor_pid.into();
                value["rounds"] = summary.rounds.into();
                value["dirty"] = summary.dirty.into();
                value["bytes"] = summary.bytes.into();
                value["copy_us"] = summary.copy_us.into();
                value["pause_us"] = summary.pause_us.into();
            }
            Fate::Killed => {}
            Fate::Failed(reason) => value["reason"] = reason.as_str().into(),
        }
        value
    }
}

fn end(End { pid, other_files, resident_bytes }: End) -> Value {
    json!({ "pid": pid, "other_files": other_files, "resident_bytes": resident_bytes })
}

fn write_file(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// The quantiles that are told, and what they are called.
pub(crate) const QUANTILES: [(&str, f64); 4] = [("median", 0.5), ("99th", 0.99), ("99.9th", 0.999), ("worst", 1.0)];

fn distribution(nanoseconds: &Histogram<u64>) -> Value {
    let mut value = json!({ "count": nanoseconds.len() });
    if !nanoseconds.is_empty() {
        for (name, quantile) in QUANTILES {
            value[name] = microseconds(nanoseconds.value_at_quantile(quantile)).into();
        }
    }
    value
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in self.counts().into_iter().filter(|(_, count)| count.opened > 0) {
            let label = format!("connections {kind}");
            writeln!(formatter, "{label:<26}{:>12} opened, {} lost", count.opened, count.lost)?;
        }
        let Report { sent, answered, discontinuities, duration, .. } = &self.report;
        writeln!(formatter, "{:<26}{sent:>12} sent, {answered} answered, {} lost", "messages", self.report.lost())?;
        writeln!(formatter, "{:<26}{discontinuities:>12}", "discontinuities")?;
        writeln!(formatter, "{:<26}{:>12.1}", "messages a second", self.report.per_second())?;
        writeln!(formatter, "{:<26}{:>12.2} s", "duration", duration.as_secs_f64())?;
        for (name, nanoseconds) in self.distributions() {
            if nanoseconds.is_empty() {
                continue;
            }
            write!(formatter, "{:<26}", format!("round trips {}", name.split(' ').next().unwrap_or(name)))?;
            for (quantile_name, quantile) in QUANTILES {
                let value = microseconds(nanoseconds.value_at_quantile(quantile));
                let separator = if quantile_name == "median" { "" } else { ", " };
                write!(formatter, "{separator}{quantile_name} {value:.0} µs")?;
            }
            writeln!(formatter)?;
        }
        self.write_takeovers(formatter)?;
        if let Some(chain) = &self.chain {
            chain.fmt(formatter)?;
        }
        for complaint in self.complaints.iter().chain(&self.death) {
            writeln!(formatter, "{complaint}")?;
        }
        write!(formatter, "{} lost, {discontinuities} discontinuities", self.report.lost())?;
        let failed = self.failed().count();
        for (number, what) in [(self.report.connections_lost(), "connections lost"), (failed, "takeovers failed")] {
            if number > 0 {
                write!(formatter, ", {number} {what}")?;
            }
        }
        writeln!(formatter, "{}", if self.death.is_some() { ", server died" } else { "" })
    }
}

impl Outcome {
    fn write_takeovers(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { takeovers, seed, .. } = self.options;
        if takeovers == 0 {
            return Ok(());
        }
        let done = self.carried_through().count();
        write!(formatter, "{:<26}{done:>12} of {takeovers} carried through", "takeovers")?;
        let spared = self.takeovers.iter().filter(|takeover| takeover.spared).count();
        for (number, what) in [(self.killed(), "successors killed"), (spared, "spared because they were done")] {
            if number > 0 {
                write!(formatter, ", {number} {what}")?;
            }
        }
        writeln!(formatter, "{} (seed {seed})", if self.interrupted { ", interrupted" } else { "" })?;
        writeln!(
            formatter,
            "{:>4}{:>10}{:>10}{:>14}{:>12}{:>20}",
            "#", "at", "peers", "copy", "pause", "worst round trip"
        )?;
        for (number, takeover) in self.takeovers.iter().enumerate() {
            write!(formatter, "{:>4}{:>8.2} s", number + 1, takeover.begun.as_secs_f64())?;
            let worst_us = microseconds(self.worst_during_ns(number));
            match &takeover.fate {
                Fate::TookOver(Summary { peers, copy_us, pause_us, .. }) => {
                    write!(formatter, "{peers:>10}{copy_us:>11} µs{pause_us:>9} µs{worst_us:>17.0} µs")?;
                }
                Fate::Killed => write!(formatter, "{:>36}{worst_us:>17.0} µs", "killed, predecessor went on")?,
                Fate::Failed(reason) => write!(formatter, "  {reason}")?,
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::options::Demand;

    fn took_over(begun_ms: u64) -> Takeover {
        let summary = Summary {
            peers: 100,
            predecessor_pid: 1,
            successor_pid: 2,
            rounds: 2,
            dirty: 4,
            bytes: 2048,
            copy_us: 1500,
            pause_us: 42,
        };
        let begun = Duration::from_millis(begun_ms);
        let fate = Fate::TookOver(summary);
        Takeover { begun, ended: begun + Duration::from_millis(5), fate, spared: false }
    }

    fn outcome(takeovers: Vec<Takeover>) -> Outcome {
        let start = Instant::now();
        let mut timeline = Timeline::new(start);
        timeline.record(start, start + Duration::from_micros(25));
        timeline.takeover_begins();
        timeline.record(start, start + Duration::from_micros(70));
        Outcome {
            options: Options {
                target: Target::Start { program: None },
                demand: Demand {
                    sending: 10,
                    fragmenting: 0,
                    idle: 90,
                    slow_readers: 0,
                    pace: Pace::Clock { per_second: 10.0 },
                    churn_per_second: 0.0,
                },
                takeovers: takeovers.len(),
                interval: Duration::from_secs(1),
                kill_share: 0.5,
                duration: Duration::from_secs(10),
                drain: Duration::from_secs(10),
                seed: 7,
                json: None,
                report: None,
                picture: None,
                verbose: false,
            },
            report: Report {
                sending: Count { opened: 10, lost: 0 },
                fragmenting: Count::default(),
                idle: Count { opened: 90, lost: 0 },
                slow_readers: Count::default(),
                passing: Count::default(),
                sent: 300,
                answered: 300,
                discontinuities: 0,
                duration: Duration::from_secs(2),
                answered_within_duration: 200,
                round_trips_ns: Histogram::new(3).unwrap(),
            },
            timeline,
            takeovers,
            chain: None,
            samples: Vec::new(),
            complaints: Vec::new(),
            death: None,
            interrupted: false,
        }
    }

    #[test]
    fn a_good_soak_is_a_table_that_ends_with_zeros() {
        let killed = Takeover { fate: Fate::Killed, ..took_over(250) };
        let outcome = outcome(vec![took_over(100), killed, Takeover { spared: true, ..took_over(1000) }]);
        assert!(outcome.is_good());
        let expected = "\
connections sending                 10 opened, 0 lost
connections idle                    90 opened, 0 lost
messages                           300 sent, 300 answered, 0 lost
discontinuities                      0
messages a second                100.0
duration                          2.00 s
round trips between       median 25 µs, 99th 25 µs, 99.9th 25 µs, worst 25 µs
round trips during        median 70 µs, 99th 70 µs, 99.9th 70 µs, worst 70 µs
takeovers                            2 of 3 carried through, 1 successors killed, 1 spared because they were done (seed 7)
   #        at     peers          copy       pause    worst round trip
   1    0.10 s       100       1500 µs       42 µs               70 µs
   2    0.25 s         killed, predecessor went on                0 µs
   3    1.00 s       100       1500 µs       42 µs                0 µs
0 lost, 0 discontinuities
";
        assert_eq!(outcome.to_string(), expected);
    }

    #[test]
    fn whatever_went_wrong_is_in_the_last_line_and_in_the_verdict() {
        let good = || outcome(vec![took_over(100)]);
        let failed = Takeover { fate: Fate::Failed("refused".to_owned()), ..took_over(100) };
        let mut lossy = good();
        lossy.report.answered = 298;
        lossy.report.idle.lost = 1;
        for (outcome, last_line) in [
            (lossy, "2 lost, 0 discontinuities, 1 connections lost"),
            (outcome(vec![failed]), "0 lost, 0 discontinuities, 1 takeovers failed"),
            (Outcome { death: Some("gone".to_owned()), ..good() }, "0 lost, 0 discontinuities, server died"),
            (Outcome { complaints: vec!["late".to_owned()], ..good() }, "0 lost, 0 discontinuities"),
        ] {
            assert!(!outcome.is_good());
            assert_eq!(outcome.to_string().lines().last(), Some(last_line));
        }
    }

    #[test]
    fn a_page_is_drawn_of_next_to_nothing() {
        let mut nothing = outcome(Vec::new());
        nothing.report.duration = Duration::ZERO;
        nothing.timeline = Timeline::new(Instant::now());
        for outcome in [nothing, outcome(vec![took_over(100)])] {
            assert!(html::page(&outcome).unwrap().ends_with("</html>\n"));
            assert!(picture::standalone(&outcome).unwrap().starts_with("<svg"));
        }
    }
}
