//! Outcomes of soaks that never were, for tests.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::killing::death::{Death, Deaths, Ended};
use super::killing::told::Told as ToldOfDeath;
use super::moving::moved::{Move, Moves};
use super::moving::plan::Side;
use super::moving::told::Told;
use super::options::{Options, Target};
use super::outcome::{Fate, Outcome, Takeover};
use super::summary::Summary;
use crate::demand::{Demand, Pace};
use crate::report::{Count, GoneWithServer, Report};
use crate::timeline::Timeline;

/// A takeover that was carried through in 5 ms.
pub(crate) fn took_over(begun_ms: u64) -> Takeover {
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

/// Two moves, in one of which the giver was killed.
pub(crate) fn moves() -> Moves {
    let told = Told { moved: 10, wanted: 10, seconds: 0.01, pause_us: 210.0 };
    let (begun, ended) = (Duration::from_millis(300), Duration::from_millis(320));
    let which = "--share 10%".to_owned();
    let undisturbed = Move {
        begun,
        ended,
        from: 0,
        to: 1,
        which,
        told: Some(told),
        moved: 10,
        killed: None,
        spared: false,
        complaints: Vec::new(),
    };
    let killed = Move { told: None, moved: 5, killed: Some((Side::Giver, 12)), ..undisturbed.clone() };
    Moves { wanted: 2, servers: 3, all: vec![undisturbed, killed], started: 6, left: 3 }
}

/// Two deaths, of which the second was not as it should be.
pub(crate) fn deaths() -> Deaths {
    let told = ToldOfDeath { pid: 1, served_on: 98, reset: 2, over: 0, unserved_us: 800 };
    let good = Death {
        begun: Duration::from_millis(300),
        ended: Duration::from_millis(340),
        active_pid: 1,
        heir_pid: 2,
        told: Some(told),
        reset: Ended { sending: 2, ..Ended::default() },
        answered_after: Some(Duration::from_micros(1800)),
        armed_after: Some(Duration::from_millis(31)),
        complaints: Vec::new(),
    };
    let bad = Death { told: None, answered_after: None, armed_after: None, ..good.clone() };
    Deaths { wanted: 2, all: vec![good, Death { complaints: vec!["late".to_owned()], ..bad }] }
}

/// What came of a soak of 100 connections with these takeovers, in which nothing was lost.
pub(crate) fn outcome(takeovers: Vec<Takeover>) -> Outcome {
    let start = Instant::now();
    let mut timeline = Timeline::new(start);
    timeline.record(start, start + Duration::from_micros(25));
    timeline.takeover_begins();
    timeline.record(start, start + Duration::from_micros(70));
    Outcome {
        options: Options {
            target: Target::Start { program: None },
            tls: None,
            demand: Demand {
                sending: 10,
                fragmenting: 0,
                idle: 90,
                slow_readers: 0,
                pace: Pace::Clock { per_second: 10.0 },
                churn_per_second: 0.0,
            },
            takeovers: takeovers.len(),
            upgrade: false,
            unfit: 0,
            moves: 0,
            kill_active: 0,
            servers: 1,
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
            gone_with_server: GoneWithServer::default(),
            tls: None,
            sent: 300,
            answered: 300,
            discontinuities: 0,
            duration: Duration::from_secs(2),
            answered_within_duration: 200,
            round_trips_ns: Histogram::new(3).unwrap(),
        },
        timeline,
        takeovers,
        moves: None,
        deaths: None,
        chain: None,
        samples: Vec::new(),
        complaints: Vec::new(),
        death: None,
        interrupted: false,
    }
}
