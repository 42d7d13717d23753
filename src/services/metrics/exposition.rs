//! How a server stands, in the text format of Prometheus 0.0.4. One table has all that there is.

use std::fmt::{Display, Write};

use crate::pauses::Pauses;
use crate::status::{HandshakesStatus, ServiceStatus, Status};

/// What a family of figures is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, over all takeovers.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many were of which size.
    Histogram,
}

impl Kind {
    /// As the format names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Figures of one name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Their name.
    pub(super) name: &'static str,
    /// What they are.
    pub(super) kind: Kind,
    /// Their labels.
    pub(super) labels: &'static [&'static str],
    /// What they say.
    pub(super) help: &'static str,
    write: fn(&Status, &mut Samples<'_>),
}

const fn family(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    write: fn(&Status, &mut Samples<'_>),
) -> Family {
    Family { name, kind, labels, help, write }
}

/// All figures that there are.
pub(super) const FAMILIES: &[Family] = &[
    family(
        "reactord_build_info",
        Kind::Gauge,
        &["program", "version"],
        "Which program serves; always 1.",
        |status, to| {
            let (program, version) = status.build.split_once(' ').unwrap_or((&status.build, ""));
            to.labelled(&[program, version], 1);
        },
    ),
    family(
        "reactord_generation",
        Kind::Gauge,
        &[],
        "Which of the processes that have been this server serves, from 1 on.",
        |status, to| to.plain(status.generation),
    ),
    family("reactord_pid", Kind::Gauge, &[], "The process id of who serves.", |status, to| to.plain(status.pid)),
    family(
        "reactord_began_timestamp_seconds",
        Kind::Gauge,
        &[],
        "When the first of its processes began to serve.",
        |status, to| to.plain(seconds_of_ms(status.began_unix_ms)),
    ),
    family(
        "reactord_serves_since_timestamp_seconds",
        Kind::Gauge,
        &[],
        "When this process began to serve.",
        |status, to| to.plain(seconds_of_ms(status.serves_since_unix_ms)),
    ),
    family("reactord_peers", Kind::Gauge, &["service"], "Connections now.", |status, to| {
        to.of_each(status, |service| service.peers);
    }),
    family("reactord_peers_max", Kind::Gauge, &[], "How many connections there may be.", |status, to| {
        to.plain(status.peers_max);
    }),
    family(
        "reactord_peers_held",
        Kind::Gauge,
        &["service", "reason"],
        "Connections that are not read from now: too much output is pending for them (output) or for whoever gets what they \
         send (partner), the service asked for it (asked), they are to be given away (given).",
        |status, to| status.services.iter().for_each(|service| held(service, to)),
    ),
    family("reactord_accepted_total", Kind::Counter, &["service"], "Connections that were let in.", |status, to| {
        to.of_each(status, |service| service.accepted);
    }),
    family(
        "reactord_received_bytes_total",
        Kind::Counter,
        &["service"],
        "Bytes read from connections.",
        |status, to| {
            to.of_each(status, |service| service.received_bytes);
        },
    ),
    family("reactord_sent_bytes_total", Kind::Counter, &["service"], "Bytes written to connections.", |status, to| {
        to.of_each(status, |service| service.sent_bytes);
    }),
    family(
        "reactord_tls_handshakes",
        Kind::Gauge,
        &[],
        "TLS handshakes under way; absent if there were none yet.",
        |status, to| {
            to.maybe(status.handshakes.map(|handshakes| handshakes.under_way));
        },
    ),
    family(
        "reactord_tls_handshakes_total",
        Kind::Counter,
        &["outcome"],
        "TLS handshakes that have led to a connection (done), have failed, took too long or were lost at a takeover (failed), had \
         to make room for others (crowded_out).",
        |status, to| status.handshakes.iter().for_each(|handshakes| outcomes(handshakes, to)),
    ),
    family(
        "reactord_given_peers_total",
        Kind::Counter,
        &[],
        "Connections that went to other servers.",
        |status, to| {
            to.plain(status.gave);
        },
    ),
    family(
        "reactord_taken_peers_total",
        Kind::Counter,
        &[],
        "Connections that came from other servers.",
        |status, to| {
            to.plain(status.took);
        },
    ),
    family("reactord_takeovers_total", Kind::Counter, &[], "Takeovers that have succeeded.", |status, to| {
        to.plain(status.generation.saturating_sub(1 + status.deaths_survived));
    }),
    family(
        "reactord_deaths_survived_total",
        Kind::Counter,
        &[],
        "Deaths of the process after which its standby has served on.",
        |status, to| to.plain(status.deaths_survived),
    ),
    family(
        "reactord_standby_armed",
        Kind::Gauge,
        &[],
        "Whether another process would serve on if this one died.",
        |status, to| {
            let is_armed = status.standby.as_ref().is_some_and(|standby| standby.armed_since_unix_ms.is_some());
            to.plain(u64::from(is_armed));
        },
    ),
    family(
        "reactord_takeovers_failed_total",
        Kind::Counter,
        &[],
        "Takeovers that were refused or have failed.",
        |status, to| to.plain(status.failed_takeovers),
    ),
    family(
        "reactord_takeover_pause_seconds",
        Kind::Histogram,
        &[],
        "How long nobody has served in a takeover.",
        |status, to| to.histogram(&status.pauses),
    ),
    family(
        "reactord_last_takeover_timestamp_seconds",
        Kind::Gauge,
        &[],
        "When this process took over; absent if it did not.",
        |status, to| to.maybe(status.takeover.as_ref().map(|takeover| seconds_of_ms(takeover.at_unix_ms))),
    ),
    family(
        "reactord_last_takeover_pause_seconds",
        Kind::Gauge,
        &[],
        "How long nobody served when this process took over.",
        |status, to| to.maybe(status.takeover.as_ref().and_then(|takeover| takeover.pause_us).map(seconds_of_us)),
    ),
    family(
        "reactord_last_takeover_copy_seconds",
        Kind::Gauge,
        &[],
        "How long the copy took before that, while the predecessor served.",
        |status, to| to.maybe(status.takeover.as_ref().map(|takeover| seconds_of_us(takeover.copy_us))),
    ),
    family(
        "reactord_last_takeover_peers",
        Kind::Gauge,
        &[],
        "How many connections were taken over then.",
        |status, to| to.maybe(status.takeover.as_ref().map(|takeover| takeover.peers)),
    ),
    family(
        "reactord_last_failed_takeover_timestamp_seconds",
        Kind::Gauge,
        &[],
        "When a takeover from this process was refused or failed last; absent if none was.",
        |status, to| to.maybe(status.failure.as_ref().map(|failure| seconds_of_ms(failure.at_unix_ms))),
    ),
    family("reactord_handing_over", Kind::Gauge, &[], "Whether a successor is taking over now.", |status, to| {
        to.plain(u8::from(status.successor_pid.is_some()));
    }),
    family("reactord_stopping", Kind::Gauge, &[], "Whether the server is stopping.", |status, to| {
        to.plain(u8::from(status.is_stopping));
    }),
];

/// All of them, as they are for this server.
pub(super) fn of(status: &Status) -> String {
    let mut text = String::with_capacity(8 * 1024);
    for Family { name, kind, labels, help, write } in FAMILIES {
        line(&mut text, format_args!("# HELP {name} {help}"));
        line(&mut text, format_args!("# TYPE {name} {}", kind.name()));
        write(status, &mut Samples { text: &mut text, name, labels });
    }
    text
}

/// Where the figures of a family are written.
struct Samples<'t> {
    text: &'t mut String,
    name: &'static str,
    labels: &'static [&'static str],
}

impl Samples<'_> {
    fn plain(&mut self, value: impl Display) {
        let name = self.name;
        line(self.text, format_args!("{name} {value}"));
    }

    fn maybe(&mut self, value: Option<impl Display>) {
        value.into_iter().for_each(|value| self.plain(value));
    }

    /// With these values of its labels, in order.
    fn labelled(&mut self, values: &[&str], value: impl Display) {
        let labelled = self.labels.iter().zip(values).map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
        let (name, labels) = (self.name, labelled.collect::<Vec<String>>().join(","));
        line(self.text, format_args!("{name}{{{labels}}} {value}"));
    }

    fn of_each(&mut self, status: &Status, figure: impl Fn(&ServiceStatus) -> u64) {
        status.services.iter().for_each(|service| self.labelled(&[&service.name], figure(service)));
    }

    fn histogram(&mut self, pauses: &Pauses) {
        let (name, total) = (self.name, pauses.total());
        let mut up_to = 0;
        for (place, bound_us) in Pauses::BOUNDS_US.into_iter().enumerate() {
            up_to += pauses.counts.get(place).copied().unwrap_or(0);
            let bound = seconds_of_us(bound_us);
            line(self.text, format_args!("{name}_bucket{{le=\"{bound}\"}} {up_to}"));
        }
        line(self.text, format_args!("{name}_bucket{{le=\"+Inf\"}} {total}"));
        line(self.text, format_args!("{name}_sum {}", seconds_of_us(pauses.sum_us)));
        line(self.text, format_args!("{name}_count {total}"));
    }
}

fn held(service: &ServiceStatus, to: &mut Samples<'_>) {
    let held = service.held;
    let reasons = [("output", held.output), ("partner", held.partner), ("asked", held.asked), ("given", held.given)];
    for (reason, count) in reasons {
        to.labelled(&[&service.name, reason], count);
    }
}

fn outcomes(handshakes: &HandshakesStatus, to: &mut Samples<'_>) {
    let HandshakesStatus { done, failed, crowded_out, .. } = *handshakes;
    for (outcome, count) in [("done", done), ("failed", failed), ("crowded_out", crowded_out)] {
        to.labelled(&[outcome], count);
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String does not fail");
}

/// A label's value, in which three characters stand for something else.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Whole as they are: a figure for people and programs, not rounded twice.
fn seconds_of_ms(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn seconds_of_us(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}
