//! What came of the deaths of a soak.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::told::Told;
use crate::demand::Kind;

/// Something that takes longer counts as this: an hour.
const NS_MAX: u64 = 3_600_000_000_000;

/// The connections that have ended with a server, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Ended {
    pub(crate) sending: usize,
    pub(crate) fragmenting: usize,
    pub(crate) idle: usize,
    pub(crate) slow_readers: usize,
}

impl Ended {
    pub(crate) fn note(&mut self, kind: Kind) {
        match kind {
            Kind::Sending => self.sending += 1,
            Kind::Fragmenting => self.fragmenting += 1,
            Kind::SlowReader => self.slow_readers += 1,
            Kind::Idle => self.idle += 1,
            Kind::Passing => unreachable!("whoever has just come is not known to a standby, so nobody comes"),
        }
    }

    pub(crate) fn all(&self) -> usize {
        self.sending + self.fragmenting + self.idle + self.slow_readers
    }
}

/// Compares what the survivor says of a death with what the load has seen, of so many connections that were open.
pub(crate) fn judge(told: &Told, ended: &Ended, open: usize) -> Vec<String> {
    let Told { served_on, reset, over, .. } = *told;
    let mut complaints = Vec::new();
    if served_on + reset + over != open as u64 {
        complaints.push(format!(
            "{open} connections were open, and {served_on} are said to be served on, {reset} to be reset, and {over} to have \
             been over"
        ));
    }
    if over > 0 {
        complaints.push(format!("{over} connections are said to have been over, and nobody has ended any"));
    }
    let seen = ended.all();
    if seen as u64 != reset {
        complaints.push(format!("{reset} connections are said to be reset, and {seen} have ended"));
    }
    if seen > 0 {
        complaints.push(format!("{seen} connections were reset, and nobody was to be"));
    }
    complaints
}

/// One death, from the kill to the next standby that is armed. The instants count from the beginning of the load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Death {
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    /// Who was killed, and who has served on.
    pub(crate) active_pid: u32,
    pub(crate) heir_pid: u32,
    /// What the latter says of it, if it does.
    pub(crate) told: Option<Told>,
    /// Which connections have ended.
    pub(crate) reset: Ended,
    /// From the kill to the first answer to something that was sent after it. `None` if there was none.
    pub(crate) answered_after: Option<Duration>,
    /// From the kill to the next standby that is armed, to the millisecond.
    pub(crate) armed_after: Option<Duration>,
    /// Why it is not as it should be.
    pub(crate) complaints: Vec<String>,
}

impl Death {
    pub(crate) fn is_good(&self) -> bool {
        self.complaints.is_empty()
    }
}

impl fmt::Display for Death {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { active_pid, heir_pid, reset, .. } = self;
        write!(formatter, "pid {active_pid} was killed, pid {heir_pid} serves on")?;
        if let Some(Told { served_on, unserved_us, .. }) = self.told {
            write!(formatter, " with {served_on} connections, nobody served for {unserved_us} us")?;
        }
        write!(formatter, "; {} reset", reset.all())?;
        for (what, after) in [("first answer", self.answered_after), ("armed again", self.armed_after)] {
            if let Some(after) = after {
                write!(formatter, ", {what} after {:.1} ms", after.as_secs_f64() * 1e3)?;
            }
        }
        self.complaints.iter().try_for_each(|complaint| write!(formatter, "; {complaint}"))
    }
}

/// All deaths of a soak.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Deaths {
    /// How many there were to be.
    pub(crate) wanted: usize,
    pub(crate) all: Vec<Death>,
}

impl Deaths {
    pub(crate) fn connections_reset(&self) -> usize {
        self.all.iter().map(|death| death.reset.all()).sum()
    }

    pub(crate) fn failed(&self) -> usize {
        self.all.iter().filter(|death| !death.is_good()).count()
    }

    /// The times that are told of deaths, by name, in ns.
    pub(crate) fn times_ns(&self) -> [(&'static str, Histogram<u64>); 3] {
        [
            ("without service", self.distribution(Death::unserved)),
            ("kill to first answer", self.distribution(|death| death.answered_after)),
            ("kill to armed again", self.distribution(|death| death.armed_after)),
        ]
    }

    fn distribution(&self, time: impl Fn(&Death) -> Option<Duration>) -> Histogram<u64> {
        let mut times_ns = Histogram::new_with_bounds(1, NS_MAX, 3).expect("the bounds are constant");
        let times = self.all.iter().filter_map(time);
        times.for_each(|time| times_ns.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)));
        times_ns
    }
}

impl Death {
    /// How long nobody served, from the instant at which the death was noticed, as the survivor says.
    pub(crate) fn unserved(&self) -> Option<Duration> {
        self.told.map(|told| Duration::from_micros(told.unserved_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(served_on: u64, reset: u64, over: u64) -> Told {
        Told { pid: 1, served_on, reset, over, unserved_us: 800 }
    }

    #[test]
    fn a_death_is_good_if_nobody_has_ended_and_nothing_else_is_said() {
        assert_eq!(judge(&told(200, 0, 0), &Ended::default(), 200), Vec::<String>::new());
        let mut ended = Ended::default();
        ended.note(Kind::Sending);
        ended.note(Kind::Idle);
        for (told, ended, reasons) in [
            (
                told(195, 0, 0),
                Ended::default(),
                &["200 connections were open, and 195 are said to be served on, 0 to be reset"][..],
            ),
            (told(199, 0, 1), Ended::default(), &["1 connections are said to have been over"]),
            (told(199, 1, 0), Ended::default(), &["1 connections are said to be reset, and 0 have ended"]),
            (told(198, 2, 0), ended, &["2 connections were reset, and nobody was to be"]),
            (
                told(200, 0, 0),
                ended,
                &["0 connections are said to be reset, and 2 have ended", "2 connections were reset"],
            ),
        ] {
            let complaints = judge(&told, &ended, 200);
            let fit = complaints.iter().zip(reasons).all(|(complaint, reason)| complaint.starts_with(reason));
            assert!(fit && complaints.len() == reasons.len(), "{complaints:?}");
        }
    }

    #[test]
    fn a_death_is_told_in_one_line() {
        let death = Death {
            begun: Duration::from_millis(300),
            ended: Duration::from_millis(340),
            active_pid: 1,
            heir_pid: 2,
            told: Some(told(196, 4, 0)),
            reset: Ended { sending: 4, ..Ended::default() },
            answered_after: Some(Duration::from_micros(1840)),
            armed_after: Some(Duration::from_millis(31)),
            complaints: vec!["late".to_owned()],
        };
        assert_eq!(
            death.to_string(),
            "pid 1 was killed, pid 2 serves on with 196 connections, nobody served for 800 us; 4 reset, first answer after \
             1.8 ms, armed again after 31.0 ms; late"
        );
    }
}
