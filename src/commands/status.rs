//! `reactord status`: how a server stands, for people and for programs.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use log::error;
use reactord::{FailureStatus, HandshakesStatus, Pauses, ServiceStatus, StandbyStatus, Status, TakeoverStatus};
use serde_json::json;

use crate::ago::{span, unix_ms};
use crate::options::StatusOf;
use crate::watched::Watched;
use reactord::program::{EXIT_TAKEOVER, fail};

/// Says how a server stands.
pub(crate) fn say_status(asked: &StatusOf) -> ExitCode {
    let StatusOf { path, json, owner, .. } = asked;
    let watched = Watched::as_asked(asked);
    loop {
        let status = match Status::of(path) {
            Ok(status) => status,
            Err(error) => return fail(&error),
        };
        if *owner {
            return say_owner(&status, path);
        }
        let said = if *json { format!("{}\n", as_json(&status)) } else { as_text(&status, path) };
        if !watched.say(&said) {
            return ExitCode::SUCCESS;
        }
    }
}

/// Whether the server that answers is in the container, the pod or the host of whoever asks.
fn say_owner(status: &Status, path: &Path) -> ExitCode {
    if status.is_here() {
        return ExitCode::SUCCESS;
    }
    error!("{}: {} serves, in another PID namespace, where it is pid {}", path.display(), status.build, status.pid);
    ExitCode::from(EXIT_TAKEOVER)
}

/// A status for people.
fn as_text(status: &Status, path: &Path) -> String {
    let now_unix_ms = status.serves_since_unix_ms.max(unix_ms());
    let ago = |then_unix_ms: u64| span(Duration::from_millis(now_unix_ms.saturating_sub(then_unix_ms)));
    let mut lines = vec![format!(
        "{}, pid {}, generation {}, on {}, serves for {}",
        status.build,
        status.pid,
        status.generation,
        path.display(),
        ago(status.serves_since_unix_ms)
    )];
    lines.extend(status.services.iter().map(|service| of_service(service, status.peers_max)));
    lines.extend(status.listeners.iter().map(|listener| format!("  {} listens on {}", listener.name, listener.at)));
    let Status { accepted, gave, took, failed_takeovers, .. } = status;
    let for_ = ago(status.began_unix_ms);
    lines.push(format!(
        "  {accepted} accepted, {gave} given away, {took} taken, {failed_takeovers} takeovers failed, in {for_}"
    ));
    lines.extend(status.handshakes.iter().map(of_handshakes));
    lines.extend(status.standby.iter().map(|standby| of_standby(standby, ago)));
    lines.extend((status.deaths_survived > 0).then(|| format!("  {} deaths survived", status.deaths_survived)));
    lines.extend(status.takeover.iter().map(|takeover| of_takeover(takeover, &ago(takeover.at_unix_ms))));
    lines.extend(status.failure.iter().map(|failure| of_failure(failure, &ago(failure.at_unix_ms))));
    lines.extend(status.successor_pid.map(|pid| format!("  pid {pid} is taking over")));
    lines.extend(status.is_stopping.then(|| "  it is stopping".to_owned()));
    lines.join("\n") + "\n"
}

fn of_handshakes(handshakes: &HandshakesStatus) -> String {
    let HandshakesStatus { under_way, done, failed, crowded_out, .. } = handshakes;
    format!("  TLS handshakes: {under_way} under way, {done} done, {failed} failed, {crowded_out} crowded out")
}

fn of_service(service: &ServiceStatus, peers_max: u64) -> String {
    let ServiceStatus { name, peers, received_bytes, sent_bytes, held, .. } = service;
    let (received, sent) = (size(*received_bytes), size(*sent_bytes));
    format!("  {name}: {peers} peers of {peers_max} at most, {} held back, {received} in, {sent} out", held.any)
}

/// Bytes as people read them: in the largest unit of which there are some.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = None;
    for name in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = Some(name);
    }
    unit.map_or_else(|| format!("{bytes} bytes"), |unit| format!("{}.{} {unit}", tenths / 10, tenths % 10))
}

fn of_takeover(takeover: &TakeoverStatus, ago: &str) -> String {
    let pause = takeover.pause_us.map_or_else(|| "unknown".to_owned(), |pause_us| format!("{pause_us} us"));
    format!(
        "  took over {} peers from pid {} {ago} ago: pause {pause}, copy {} ms",
        takeover.peers,
        takeover.predecessor_pid,
        takeover.copy_us / 1000
    )
}

fn of_standby(standby: &StandbyStatus, ago: impl Fn(u64) -> String) -> String {
    let StandbyStatus { pid, peers, armed_since_unix_ms, in_doubt, .. } = standby;
    match armed_since_unix_ms {
        Some(since) => {
            format!("  standby pid {pid} is armed for {}, with {peers} peers, {in_doubt} of them in doubt", ago(*since))
        }
        None => format!("  standby pid {pid} is not armed yet, with {peers} peers"),
    }
}

fn of_failure(failure: &FailureStatus, ago: &str) -> String {
    format!("  a takeover by pid {} failed {ago} ago: {}", failure.pid, failure.why)
}

/// A status for programs, on one line. Names stay; some may be added.
fn as_json(status: &Status) -> serde_json::Value {
    let services = status.services.iter().map(service_as_json);
    let listeners = status.listeners.iter().map(|listener| json!({ "name": listener.name, "at": listener.at }));
    let takeover = status.takeover.as_ref().map(|takeover| {
        json!({
            "at_unix_ms": takeover.at_unix_ms,
            "predecessor_pid": takeover.predecessor_pid,
            "peers": takeover.peers,
            "pause_us": takeover.pause_us,
            "copy_us": takeover.copy_us,
            "bytes": takeover.bytes,
            "rounds": takeover.rounds,
            "dirty": takeover.dirty,
        })
    });
    let failure = status
        .failure
        .as_ref()
        .map(|failure| json!({ "at_unix_ms": failure.at_unix_ms, "pid": failure.pid, "why": failure.why }));
    let standby = status.standby.as_ref().map(|standby| {
        let StandbyStatus { pid, armed_since_unix_ms, peers, in_doubt, .. } = standby;
        json!({ "pid": pid, "armed_since_unix_ms": armed_since_unix_ms, "peers": peers, "in_doubt": in_doubt })
    });
    json!({
        "build": status.build,
        "pid": status.pid,
        "generation": status.generation,
        "began_unix_ms": status.began_unix_ms,
        "serves_since_unix_ms": status.serves_since_unix_ms,
        "services": services.collect::<Vec<_>>(),
        "listeners": listeners.collect::<Vec<_>>(),
        "peers_max": status.peers_max,
        "accepted": status.accepted,
        "gave": status.gave,
        "took": status.took,
        "failed_takeovers": status.failed_takeovers,
        "takeover": takeover,
        "failure": failure,
        "successor_pid": status.successor_pid,
        "is_stopping": status.is_stopping,
        "standby": standby,
        "deaths_survived": status.deaths_survived,
        "received_bytes": status.received_bytes(),
        "sent_bytes": status.sent_bytes(),
        "pauses": { "bounds_us": Pauses::BOUNDS_US, "counts": status.pauses.counts, "sum_us": status.pauses.sum_us },
        "log_level": status.log_level,
        "handshakes": status.handshakes.as_ref().map(|handshakes| json!({
            "under_way": handshakes.under_way,
            "done": handshakes.done,
            "failed": handshakes.failed,
            "crowded_out": handshakes.crowded_out,
        })),
    })
}

fn service_as_json(service: &ServiceStatus) -> serde_json::Value {
    let held = service.held;
    json!({
        "name": service.name,
        "state_version": service.state_version,
        "peers": service.peers,
        "accepted": service.accepted,
        "received_bytes": service.received_bytes,
        "sent_bytes": service.sent_bytes,
        "held": {
            "any": held.any,
            "output": held.output,
            "partner": held.partner,
            "asked": held.asked,
            "given": held.given,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_told_in_the_largest_unit_of_which_there_are_some() {
        for (bytes, told) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(size(bytes), told);
        }
    }
}
