//! The figures of a soak for machines, as JSON.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::chain::{Chain, End};
use super::killing::death::{Death, Deaths};
use super::moving::moved::{Move, Moves};
use super::options::{Options, Target};
use super::outcome::{Fate, Outcome, QUANTILES, Takeover, microseconds};
use crate::demand::Pace;
use crate::report::TlsFigures;
use crate::timeline::Timeline;
use crate::tls::Version;

/// All figures.
pub(crate) fn figures(outcome: &Outcome) -> Value {
    let Outcome { options, report, timeline, takeovers, moves, deaths, chain, samples, complaints, death, interrupted } =
        outcome;
    json!({
        "good": outcome.is_good(),
        "interrupted": interrupted,
        "death": death,
        "complaints": complaints,
        "options": asked_for(options),
        "connections": by_name(outcome.counts(), |count| json!({ "opened": count.opened, "lost": count.lost })),
        "messages": {
            "sent": report.sent,
            "answered": report.answered,
            "lost": report.lost(),
            "discontinuities": report.discontinuities,
            "gone_with_server": report.gone_with_server.messages,
            "per_second": report.per_second(),
        },
        "duration_s": report.duration.as_secs_f64(),
        "round_trips_us": by_name(outcome.distributions(), distribution),
        "tls": report.tls.as_ref().map(tls),
        "takeovers": takeovers.iter().enumerate().map(|(number, takeover)| {
            self::takeover(takeover, outcome.worst_during_ns(number))
        }).collect::<Vec<_>>(),
        "moves": moves.as_ref().map(self::moves),
        "deaths": deaths.as_ref().map(|deaths| self::deaths(deaths, outcome)),
        "connections_gone_with_server": report.gone_with_server.connections,
        "chain": chain.map(ends),
        "processes": samples.iter().map(|sample| json!({
            "at_s": sample.at.as_secs_f64(),
            "pid": sample.pid,
            "resident_bytes": sample.usage.resident_bytes,
            "open_files": sample.usage.open_files,
        })).collect::<Vec<_>>(),
        "timeline": slices(timeline),
    })
}

fn asked_for(options: &Options) -> Value {
    let Options { target, tls, demand, takeovers, upgrade, unfit, moves, servers, kill_active, .. } = options;
    let Options { interval, kill_share, seed, .. } = options;
    let kill = |wanted: bool| if wanted { *kill_share } else { 0.0 };
    let Pace::Clock { per_second } = demand.pace else { unreachable!("a soak is paced by the clock") };
    let attach = match target {
        Target::Attach(address) => Some(address.to_string()),
        Target::Start { .. } => None,
    };
    json!({
        "attach": attach,
        "tls": tls.is_some(),
        "tls_version": tls.as_ref().and_then(|tls| tls.version).map(Version::name),
        "connections": demand.connections(),
        "active": demand.sending + demand.fragmenting,
        "fragmenting": demand.fragmenting,
        "slow_readers": demand.slow_readers,
        "rate": per_second,
        "churn": demand.churn_per_second,
        "takeovers": takeovers,
        "upgrade": upgrade,
        "unfit": unfit,
        "interval_s": interval.as_secs_f64(),
        "moves": moves,
        "servers": servers,
        "kill_active": kill_active,
        "kill_successors": kill(*moves == 0),
        "kill_movers": kill(*moves > 0),
        "seed": seed,
    })
}

fn tls(figures: &TlsFigures) -> Value {
    let TlsFigures { handshakes, resumed, suites, keys_changed, closed, nonces, nonces_repeated } = figures;
    json!({
        "handshakes": handshakes,
        "resumed": resumed,
        "suites": suites,
        "keys_changed": keys_changed,
        "closed": closed,
        "nonces": nonces,
        "nonces_repeated": nonces_repeated,
    })
}

/// An object whose fields are named as people are told them, without blanks.
fn by_name<T>(named: impl IntoIterator<Item = (&'static str, T)>, value: impl Fn(T) -> Value) -> Map<String, Value> {
    named.into_iter().map(|(name, figure)| (name.replace(' ', "_"), value(figure))).collect()
}

fn takeover(takeover: &Takeover, worst_round_trip_ns: u64) -> Value {
    let mut value = json!({
        "begun_s": takeover.begun.as_secs_f64(),
        "ended_s": takeover.ended.as_secs_f64(),
        "fate": match takeover.fate {
            Fate::TookOver(_) => "took over",
            Fate::Killed => "killed",
            Fate::Declined(_) => "declined",
            Fate::Failed(_) => "failed",
        },
        "spared": takeover.spared,
        "worst_round_trip_us": microseconds(worst_round_trip_ns),
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
        Fate::Declined(unfit) => value["successor"] = unfit.name().into(),
        Fate::Failed(reason) => value["reason"] = reason.as_str().into(),
    }
    value
}

fn moves(moves: &Moves) -> Value {
    json!({
        "connections_moved": moves.connections_moved(),
        "processes_started": moves.started,
        "processes_left": moves.left,
        "all": moves.all.iter().map(made).collect::<Vec<_>>(),
    })
}

fn made(made: &Move) -> Value {
    let Move { begun, ended, from, to, which, told, moved, killed, spared, complaints } = made;
    json!({
        "begun_s": begun.as_secs_f64(),
        "ended_s": ended.as_secs_f64(),
        "from": from,
        "to": to,
        "which": which,
        "moved": moved,
        "wanted": told.map(|told| told.wanted),
        "took_s": told.map(|told| told.seconds),
        "pause_us": told.map(|told| told.pause_us),
        "killed": killed.map(|(side, _)| side.name()),
        "gone_with_killed": killed.map(|(_, gone)| gone),
        "spared": spared,
        "complaints": complaints,
    })
}

fn deaths(deaths: &Deaths, outcome: &Outcome) -> Value {
    let times = deaths.times_ns();
    json!({
        "connections_reset": deaths.connections_reset(),
        "times_us": by_name(times.iter().map(|(name, times_ns)| (*name, times_ns)), distribution),
        "all": deaths.all.iter().enumerate().map(|(number, death)| {
            self::death(death, outcome.worst_during_ns(number))
        }).collect::<Vec<_>>(),
    })
}

fn death(death: &Death, worst_round_trip_ns: u64) -> Value {
    let Death { begun, ended, active_pid, heir_pid, told, reset, answered_after, armed_after, complaints } = death;
    json!({
        "begun_s": begun.as_secs_f64(),
        "ended_s": ended.as_secs_f64(),
        "active_pid": active_pid,
        "heir_pid": heir_pid,
        "served_on": told.map(|told| told.served_on),
        "reset": told.map(|told| told.reset),
        "unserved_us": told.map(|told| told.unserved_us),
        "ended": {
            "all": reset.all(),
            "sending": reset.sending,
            "fragmenting": reset.fragmenting,
            "idle": reset.idle,
            "slow_reading": reset.slow_readers,
        },
        "answered_after_us": answered_after.map(|after| after.as_secs_f64() * 1e6),
        "armed_after_ms": armed_after.map(|after| after.as_secs_f64() * 1e3),
        "worst_round_trip_us": microseconds(worst_round_trip_ns),
        "complaints": complaints,
    })
}

fn ends(Chain { first, last, started, left, .. }: Chain) -> Value {
    json!({ "first": end(first), "last": end(last), "processes_started": started, "processes_left": left })
}

fn end(End { pid, other_files, resident_bytes }: End) -> Value {
    json!({ "pid": pid, "other_files": other_files, "resident_bytes": resident_bytes })
}

fn distribution(nanoseconds: &Histogram<u64>) -> Value {
    let mut value = json!({ "count": nanoseconds.len() });
    if !nanoseconds.is_empty() {
        for (name, quantile) in QUANTILES {
            value[name] = microseconds(nanoseconds.value_at_quantile(quantile)).into();
        }
    }
    value
}

fn slices(timeline: &Timeline) -> Value {
    let slices = timeline
        .slices()
        .iter()
        .map(|slice| json!([slice.index, slice.answers, microseconds(slice.median_ns), microseconds(slice.worst_ns)]));
    json!({
        "slice_ms": timeline.slice().as_secs_f64() * 1e3,
        "columns": ["slice", "answers", "median_us", "worst_us"],
        "slices": slices.collect::<Vec<_>>(),
    })
}
