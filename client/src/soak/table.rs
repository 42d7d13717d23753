//! The table of a soak, as the terminal shows it.

use std::fmt;
use std::time::Duration;

use super::killing::death::{Death, Deaths};
use super::killing::told::Told;
use super::moving::moved::Moves;
use super::moving::plan::Side;
use super::options::Options;
use super::outcome::{Fate, Outcome, QUANTILES, microseconds};
use super::summary::Summary;
use crate::report::{Report, TlsFigures};

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
        for (label, told) in self.report.tls.iter().flat_map(TlsFigures::lines) {
            writeln!(formatter, "{label:<26}{told}")?;
        }
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
        self.write_moves(formatter)?;
        self.write_deaths(formatter)?;
        if let Some(chain) = &self.chain {
            chain.fmt(formatter)?;
        }
        for complaint in self.complaints.iter().chain(&self.death) {
            writeln!(formatter, "{complaint}")?;
        }
        write!(formatter, "{} lost, {discontinuities} discontinuities", self.report.lost())?;
        let failed_moves = self.moves.as_ref().map_or(0, Moves::failed);
        let failed_deaths = self.deaths.as_ref().map_or(0, Deaths::failed);
        for (number, what) in [
            (self.report.connections_lost(), "connections lost"),
            (self.failed().count(), "takeovers failed"),
            (failed_moves, "moves failed"),
            (failed_deaths, "deaths not survived as they should be"),
        ] {
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
        for (number, what) in [
            (self.killed(), "successors killed"),
            (self.declined(), "declined"),
            (spared, "spared because they were done"),
        ] {
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
                Fate::Declined(unfit) => write!(formatter, "{:>36}{worst_us:>17.0} µs", unfit.name())?,
                Fate::Failed(reason) => write!(formatter, "  {reason}")?,
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

impl Outcome {
    fn write_moves(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(moves) = &self.moves else { return Ok(()) };
        let (done, wanted, peers) = (moves.all.len(), moves.wanted, moves.connections_moved());
        write!(formatter, "{:<26}{done:>12} of {wanted} made between {} servers", "moves", moves.servers)?;
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        writeln!(formatter, ", {peers} connections moved{interrupted} (seed {})", self.options.seed)?;
        let pauses_ns = moves.pauses_ns();
        if !pauses_ns.is_empty() {
            write!(formatter, "{:<26}", "pauses of moves")?;
            for (number, (name, quantile)) in QUANTILES.into_iter().enumerate() {
                let separator = if number == 0 { "" } else { ", " };
                write!(formatter, "{separator}{name} {:.0} µs", microseconds(pauses_ns.value_at_quantile(quantile)))?;
            }
            writeln!(formatter)?;
        }
        let [givers, takers] = [Side::Giver, Side::Taker].map(|side| moves.killed(side));
        if givers + takers + moves.spared() > 0 {
            let gone = self.report.gone_with_server;
            write!(formatter, "{:<26}{:>12} givers, {takers} takers", "killed in moves", givers)?;
            write!(formatter, ", {} spared because they were done; with them went ", moves.spared())?;
            writeln!(formatter, "{} connections and {} messages on their way", gone.connections, gone.messages)?;
        }
        writeln!(formatter, "{:<26}{:>12} started, {} left at the end", "processes", moves.started, moves.left)?;
        for (number, made) in moves.all.iter().enumerate().filter(|(_, made)| !made.is_good()) {
            writeln!(formatter, "move {}: {made}", number + 1)?;
        }
        Ok(())
    }
}

impl Outcome {
    fn write_deaths(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(deaths) = &self.deaths else { return Ok(()) };
        let (done, wanted, reset) = (deaths.all.len(), deaths.wanted, deaths.connections_reset());
        write!(formatter, "{:<26}{done:>12} of {wanted}, {reset} connections reset", "deaths")?;
        write!(formatter, ", with {} messages on their way", self.report.gone_with_server.messages)?;
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        writeln!(formatter, "{interrupted} (seed {})", self.options.seed)?;
        for (name, times_ns) in deaths.times_ns().into_iter().filter(|(_, times_ns)| !times_ns.is_empty()) {
            let at = |quantile| times_ns.value_at_quantile(quantile) as f64 / 1e6;
            let (median, ninetieth, worst) = (at(0.5), at(0.9), at(1.0));
            writeln!(formatter, "{name:<26}median {median:.1} ms, 90th {ninetieth:.1} ms, worst {worst:.1} ms")?;
        }
        writeln!(
            formatter,
            "{:>4}{:>10}{:>11}{:>8}{:>13}{:>15}{:>14}{:>19}",
            "#", "at", "served on", "reset", "unserved", "first answer", "armed again", "worst round trip"
        )?;
        for (number, death) in deaths.all.iter().enumerate() {
            write_death(formatter, number, death, self.worst_during_ns(number))?;
        }
        Ok(())
    }
}

fn write_death(formatter: &mut fmt::Formatter<'_>, number: usize, death: &Death, worst_ns: u64) -> fmt::Result {
    let in_ms = |time: Option<Duration>| time.map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e3));
    let served_on = death.told.map_or("-".to_owned(), |Told { served_on, .. }| served_on.to_string());
    writeln!(
        formatter,
        "{:>4}{:>8.2} s{served_on:>11}{:>8}{:>10} ms{:>12} ms{:>11} ms{:>16.0} µs",
        number + 1,
        death.begun.as_secs_f64(),
        death.reset.all(),
        in_ms(death.unserved()),
        in_ms(death.answered_after),
        in_ms(death.armed_after),
        microseconds(worst_ns)
    )?;
    death.complaints.iter().try_for_each(|complaint| writeln!(formatter, "    {complaint}"))
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{deaths, moves, outcome, took_over};
    use super::super::outcome::Takeover;
    use super::*;
    use crate::report::GoneWithServer;

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
    fn moves_are_told_with_whoever_was_killed_and_what_went_with_it() {
        let mut outcome = outcome(Vec::new());
        outcome.report.gone_with_server = GoneWithServer { connections: 12, messages: 3 };
        outcome.moves = Some(moves());
        assert!(outcome.is_good());
        let table = outcome.to_string();
        let expected = "\
moves                                2 of 2 made between 3 servers, 15 connections moved (seed 7)
pauses of moves           median 210 µs, 99th 210 µs, 99.9th 210 µs, worst 210 µs
killed in moves                      1 givers, 0 takers, 0 spared because they were done; with them went 12 connections and \
                        3 messages on their way
processes                            6 started, 3 left at the end
0 lost, 0 discontinuities
";
        assert!(table.ends_with(expected), "{table}");
        outcome.moves.iter_mut().for_each(|moves| moves.all[0].complaints.push("late".to_owned()));
        assert!(!outcome.is_good());
        assert!(outcome.to_string().ends_with("; late\n0 lost, 0 discontinuities, 1 moves failed\n"), "{outcome}");
    }

    #[test]
    fn deaths_are_told_with_what_was_reset_and_how_long_they_took() {
        let mut outcome = outcome(Vec::new());
        outcome.report.gone_with_server = GoneWithServer { connections: 4, messages: 3 };
        outcome.deaths = Some(deaths());
        assert!(!outcome.is_good());
        let table = outcome.to_string();
        let expected = "\
deaths                               2 of 2, 4 connections reset, with 3 messages on their way (seed 7)
without service           median 0.8 ms, 90th 0.8 ms, worst 0.8 ms
kill to first answer      median 1.8 ms, 90th 1.8 ms, worst 1.8 ms
kill to armed again       median 31.0 ms, 90th 31.0 ms, worst 31.0 ms
   #        at  served on   reset     unserved   first answer   armed again   worst round trip
   1    0.30 s         98       2       0.8 ms         1.8 ms       31.0 ms              70 µs
   2    0.30 s          -       2         - ms           - ms          - ms               0 µs
    late
0 lost, 0 discontinuities, 1 deaths not survived as they should be
";
        assert!(table.ends_with(expected), "{table}");
        outcome.deaths.iter_mut().for_each(|deaths| drop(deaths.all.pop()));
        assert!(outcome.is_good() && outcome.to_string().ends_with("0 lost, 0 discontinuities\n"), "{outcome}");
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
}
