//! What outlives a connection: how many there were, what was sent on those that are gone, and every round trip.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::connection::Connection;
use crate::demand::{Demand, Kind};
use crate::report::{Count, GoneWithServer, Report, TlsFigures};
use crate::stream::Agreed;
use crate::timeline::Timeline;

/// A round trip that takes longer counts as this.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(3600);

/// What outlives a connection.
pub(crate) struct Tally {
    round_trips_ns: Histogram<u64>,
    /// The same round trips in the order of time, if that is wanted.
    pub(crate) timeline: Option<Timeline>,
    /// When the first part of the load ended. What the second part writes, it writes all at once, so that the messages
    /// wait for each other: their round trips would say nothing about the server.
    sending_ended: Option<Instant>,
    discontinuities: u64,
    /// The messages of the connections that were lost or have gone.
    sent_on_gone: u64,
    answered_on_gone: u64,
    counts: [Count; Kind::COUNT],
    gone_with_server: GoneWithServer,
    tls: TlsFigures,
    duration: Duration,
    answered_within_duration: u64,
}

impl Tally {
    pub(crate) fn new(demand: &Demand) -> Self {
        let round_trip_ns_max = ROUND_TRIP_MAX.as_nanos() as u64;
        let mut counts = [Count::default(); Kind::COUNT];
        for (kind, opened) in demand.lasting() {
            counts[kind as usize].opened = opened;
        }
        Self {
            round_trips_ns: Histogram::new_with_bounds(1, round_trip_ns_max, 3).expect("the bounds are constant"),
            timeline: None,
            sending_ended: None,
            discontinuities: 0,
            sent_on_gone: 0,
            answered_on_gone: 0,
            counts,
            gone_with_server: GoneWithServer::default(),
            tls: TlsFigures::default(),
            duration: Duration::ZERO,
            answered_within_duration: 0,
        }
    }

    /// An answer has come to a message whose round trip is measured.
    pub(crate) fn record(&mut self, sent_at: Instant, now: Instant) {
        if self.sending_ended.is_some_and(|ended| sent_at >= ended) {
            return;
        }
        let round_trip_ns = u64::try_from(now.duration_since(sent_at).as_nanos()).unwrap_or(u64::MAX);
        self.round_trips_ns.saturating_record(round_trip_ns);
        if let Some(timeline) = &mut self.timeline {
            timeline.record(sent_at, now);
        }
    }

    /// An answer has come that is not the one expected.
    pub(crate) fn note_discontinuity(&mut self) {
        self.discontinuities += 1;
    }

    /// A connection is begun. Returns how many of its kind there were before.
    pub(crate) fn note_begun(&mut self, kind: Kind) -> usize {
        let opened = &mut self.counts[kind as usize].opened;
        *opened += 1;
        *opened - 1
    }

    /// A connection has ended that should not have, or could not be opened.
    pub(crate) fn note_lost(&mut self, kind: Kind) {
        self.counts[kind as usize].lost += 1;
    }

    /// A connection is gone: its messages still count.
    pub(crate) fn note_gone(&mut self, connection: &Connection) {
        self.sent_on_gone += connection.sent();
        self.answered_on_gone += connection.answered();
    }

    /// A connection is gone because the server that owned it was killed: what was not answered is no loss.
    pub(crate) fn note_gone_with_server(&mut self, connection: &Connection) {
        self.gone_with_server.connections += 1;
        self.gone_with_server.messages += connection.sent() - connection.answered();
        self.sent_on_gone += connection.answered();
        self.answered_on_gone += connection.answered();
    }

    /// A handshake is over.
    pub(crate) fn note_handshake(&mut self, agreed: Agreed) {
        self.tls.handshakes += 1;
        self.tls.resumed += u64::from(agreed.resumed);
        *self.tls.suites.entry(agreed.suite).or_default() += 1;
    }

    pub(crate) fn note_keys_changed(&mut self) {
        self.tls.keys_changed += 1;
    }

    /// Both sides of a connection have said that nothing more will come.
    pub(crate) fn note_closed(&mut self) {
        self.tls.closed += 1;
    }

    /// What a connection has shown: how many, and how many of them twice.
    pub(crate) fn note_nonces(&mut self, (seen, repeated): (u64, u64)) {
        self.tls.nonces += seen;
        self.tls.nonces_repeated += repeated;
    }

    /// The first part of the load is over, and took so long.
    pub(crate) fn note_duration(&mut self, duration: Duration, answered_by_live: u64) {
        self.duration = duration;
        self.answered_within_duration = self.answered_on_gone + answered_by_live;
    }

    /// What is sent from here on is not measured.
    pub(crate) fn end_measuring(&mut self, now: Instant) {
        self.sending_ended = Some(now);
    }

    /// How many connections are lost of those that were to last.
    pub(crate) fn lost_of_lasting(&self) -> usize {
        let [lasting @ .., _passing] = &self.counts;
        lasting.iter().map(|count| count.lost).sum()
    }

    /// All figures, when all connections are gone.
    pub(crate) fn into_report(self) -> Report {
        let [sending, fragmenting, idle, slow_readers, passing] = self.counts;
        Report {
            sending,
            fragmenting,
            idle,
            slow_readers,
            passing,
            gone_with_server: self.gone_with_server,
            tls: (self.tls.handshakes > 0).then_some(self.tls),
            sent: self.sent_on_gone,
            answered: self.answered_on_gone,
            discontinuities: self.discontinuities,
            duration: self.duration,
            answered_within_duration: self.answered_within_duration,
            round_trips_ns: self.round_trips_ns,
        }
    }
}
