//! The figures of a load, and the verdict.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Add;
use std::time::Duration;

use hdrhistogram::Histogram;

/// How many connections of one kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Count {
    pub(crate) opened: usize,
    pub(crate) lost: usize,
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { opened: self.opened + other.opened, lost: self.lost + other.lost }
    }
}

/// What was lost because a server was killed that owned it, which is no fault of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct GoneWithServer {
    pub(crate) connections: usize,
    /// Those that were on their way.
    pub(crate) messages: u64,
}

/// What there is to say of TLS.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TlsFigures {
    pub(crate) handshakes: u64,
    /// Those that have resumed an earlier one.
    pub(crate) resumed: u64,
    /// How many there were with each suite.
    pub(crate) suites: BTreeMap<&'static str, u64>,
    /// How often this side has changed its keys, and had the server change its own.
    pub(crate) keys_changed: u64,
    /// How many connections have ended as they should: both sides have said that nothing more will come.
    pub(crate) closed: u64,
    /// How many nonces were seen in clear, and how many of them twice, which no connection survives as a secret.
    pub(crate) nonces: u64,
    pub(crate) nonces_repeated: u64,
}

impl TlsFigures {
    /// What is told of it, by name.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let Self { handshakes, resumed, keys_changed, closed, nonces, nonces_repeated, .. } = self;
        let mut lines = vec![("TLS handshakes", format!("{handshakes:>12} made, {resumed} of them resumed"))];
        if *keys_changed > 0 {
            lines.push(("TLS keys", format!("{keys_changed:>12} times changed")));
        }
        if *nonces > 0 {
            lines.push(("TLS nonces", format!("{nonces:>12} seen, {nonces_repeated} of them twice")));
        }
        lines.push(("TLS closed", format!("{closed:>12} by both sides")));
        lines
    }
}

/// All that a load brought to light.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) sending: Count,
    pub(crate) fragmenting: Count,
    pub(crate) idle: Count,
    pub(crate) slow_readers: Count,
    pub(crate) passing: Count,
    /// Neither these connections nor their messages count anywhere else.
    pub(crate) gone_with_server: GoneWithServer,
    /// If TLS was spoken.
    pub(crate) tls: Option<TlsFigures>,
    /// Messages on connections of all kinds.
    pub(crate) sent: u64,
    /// Those of them that were answered, each counted once.
    pub(crate) answered: u64,
    pub(crate) discontinuities: u64,
    /// How long the load lasted, without the wait for the last answers.
    pub(crate) duration: Duration,
    /// How many of the answers came within `duration`: those after it would make a server look faster than it is.
    pub(crate) answered_within_duration: u64,
    /// Nanoseconds from the write of a message to the read of its answer, on the sending connections, for the messages
    /// sent within `duration`.
    pub(crate) round_trips_ns: Histogram<u64>,
}

impl Report {
    /// Whether the server did all that it should.
    pub(crate) fn everything_came_back(&self) -> bool {
        let secret = self.tls.as_ref().is_none_or(|tls| tls.nonces_repeated == 0);
        self.lost() == 0 && self.discontinuities == 0 && self.connections_lost() == 0 && secret
    }

    pub(crate) fn lost(&self) -> u64 {
        self.sent - self.answered
    }

    pub(crate) fn connections_lost(&self) -> usize {
        let Self { sending, fragmenting, idle, slow_readers, passing, .. } = self;
        [sending, fragmenting, idle, slow_readers, passing].into_iter().map(|count| count.lost).sum()
    }

    pub(crate) fn per_second(&self) -> f64 {
        let seconds = self.duration.as_secs_f64();
        if seconds > 0.0 { self.answered_within_duration as f64 / seconds } else { 0.0 }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sending = self.sending + self.fragmenting;
        for (kind, count) in [("sending", sending), ("idle", self.idle), ("slow reading", self.slow_readers)] {
            writeln!(
                formatter,
                "{:<24}{:>12} opened, {} lost",
                format!("connections {kind}"),
                count.opened,
                count.lost
            )?;
        }
        writeln!(
            formatter,
            "{:<24}{:>12} sent, {} answered, {} lost",
            "messages",
            self.sent,
            self.answered,
            self.lost()
        )?;
        writeln!(formatter, "{:<24}{:>12}", "discontinuities", self.discontinuities)?;
        writeln!(formatter, "{:<24}{:>12.1}", "messages a second", self.per_second())?;
        writeln!(formatter, "{:<24}{:>12.2} s", "duration", self.duration.as_secs_f64())?;
        for (label, told) in self.tls.iter().flat_map(TlsFigures::lines) {
            writeln!(formatter, "{label:<24}{told}")?;
        }
        for (name, nanoseconds) in [
            ("median", self.round_trips_ns.value_at_quantile(0.5)),
            ("99th", self.round_trips_ns.value_at_quantile(0.99)),
            ("99.9th", self.round_trips_ns.value_at_quantile(0.999)),
            ("worst", self.round_trips_ns.max()),
        ] {
            let label = format!("round trip {name}");
            if self.round_trips_ns.is_empty() {
                writeln!(formatter, "{label:<24}{:>12}", "none")?;
            } else {
                writeln!(formatter, "{label:<24}{:>12.1} µs", nanoseconds as f64 / 1e3)?;
            }
        }
        write!(formatter, "{} lost, {} discontinuities", self.lost(), self.discontinuities)?;
        match self.connections_lost() {
            0 => writeln!(formatter),
            lost => writeln!(formatter, ", {lost} connections lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Report {
        let mut round_trips_ns = Histogram::new(3).unwrap();
        for microseconds in 1..=1000 {
            round_trips_ns.record(microseconds * 1000).unwrap();
        }
        Report {
            sending: Count { opened: 8, lost: 0 },
            fragmenting: Count { opened: 2, lost: 0 },
            idle: Count { opened: 2, lost: 0 },
            slow_readers: Count { opened: 1, lost: 0 },
            passing: Count::default(),
            gone_with_server: GoneWithServer::default(),
            tls: None,
            sent: 1002,
            answered: 1002,
            discontinuities: 0,
            duration: Duration::from_secs(4),
            answered_within_duration: 1000,
            round_trips_ns,
        }
    }

    #[test]
    fn a_clean_load_is_a_table_that_ends_with_zeros() {
        let report = clean();
        assert!(report.everything_came_back());
        let expected = "\
connections sending               10 opened, 0 lost
connections idle                   2 opened, 0 lost
connections slow reading           1 opened, 0 lost
messages                        1002 sent, 1002 answered, 0 lost
discontinuities                    0
messages a second              250.0
duration                        4.00 s
round trip median              500.2 µs
round trip 99th                990.2 µs
round trip 99.9th              999.4 µs
round trip worst              1000.4 µs
0 lost, 0 discontinuities
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn any_loss_is_in_the_last_line_and_in_the_verdict() {
        for (report, last_line) in [
            (Report { answered: 1000, ..clean() }, "2 lost, 0 discontinuities"),
            (Report { discontinuities: 3, ..clean() }, "0 lost, 3 discontinuities"),
            (Report { idle: Count { opened: 2, lost: 1 }, ..clean() }, "0 lost, 0 discontinuities, 1 connections lost"),
        ] {
            assert!(!report.everything_came_back());
            assert_eq!(report.to_string().lines().last(), Some(last_line));
        }
    }

    #[test]
    fn a_nonce_that_came_twice_is_told_and_is_in_the_verdict() {
        let tls = TlsFigures { handshakes: 13, resumed: 2, closed: 13, nonces: 400, ..TlsFigures::default() };
        let good = Report { tls: Some(tls.clone()), ..clean() };
        let expected = "\
TLS handshakes                    13 made, 2 of them resumed
TLS nonces                       400 seen, 0 of them twice
TLS closed                        13 by both sides
";
        assert!(good.everything_came_back() && good.to_string().contains(expected), "{good}");
        let bad = Report { tls: Some(TlsFigures { nonces_repeated: 1, ..tls }), ..clean() };
        assert!(!bad.everything_came_back() && bad.to_string().contains("1 of them twice"), "{bad}");
    }

    #[test]
    fn without_round_trips_there_are_no_figures_for_them() {
        let report = Report { round_trips_ns: Histogram::new(3).unwrap(), duration: Duration::ZERO, ..clean() };
        assert_eq!(report.to_string().lines().filter(|line| line.ends_with("none")).count(), 4);
        assert!(report.to_string().contains("messages a second                0.0"));
    }
}
