//! The commands of the daemon that serve nobody: they ask a server that does.

use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use log::error;
use reactord::{
    AskError, FailureStatus, Offer, ServiceStatus, Status, TakeoverStatus, Upgraded, Upgrading, move_peers, upgrade,
};
use serde_json::json;

use crate::exit::EXIT_TAKEOVER;
use crate::options::{Check, Move, StatusOf, UpgradeOf};

/// How often a status that is watched is asked for.
const WATCH: Duration = Duration::from_secs(1);

/// Has one server move peers to another, and says what came of it.
pub(crate) fn move_and_say(request: Move) -> ExitCode {
    match move_peers(&request.from, &request.to, request.which) {
        Ok(moved) => {
            reactord_cli::say(&format!("{moved}\n"));
            match moved.why {
                None => ExitCode::SUCCESS,
                Some(why) => {
                    error!("{why}");
                    ExitCode::from(EXIT_TAKEOVER)
                }
            }
        }
        Err(error) => fail(&error),
    }
}

/// Says how a server stands.
pub(crate) fn say_status(StatusOf { path, json, watch }: &StatusOf) -> ExitCode {
    loop {
        match Status::of(path) {
            Ok(status) if *json => reactord_cli::say(&format!("{}\n", as_json(&status))),
            Ok(status) => reactord_cli::say(&as_text(&status, path)),
            Err(error) => return fail(&error),
        }
        if !watch {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(WATCH);
    }
}

/// Has a server start its successor, and says what came of it.
pub(crate) fn upgrade_and_say(UpgradeOf { path, upgrade: wanted }: &UpgradeOf) -> ExitCode {
    let mut line = Redrawn::on_terminal();
    let upgraded = upgrade(path, wanted, |upgrading| line.draw(&how_far(upgrading)));
    line.clear();
    match upgraded {
        Ok(upgraded @ Upgraded::HandedOver { .. }) => {
            reactord_cli::say(&format!("{upgraded}\n"));
            ExitCode::SUCCESS
        }
        Ok(upgraded) => {
            if let Upgraded::Failed { said, .. } = &upgraded {
                said.lines().for_each(|line| complain(&format!("  {}", line.escape_debug())));
            }
            complain(&upgraded.to_string());
            ExitCode::from(EXIT_TAKEOVER)
        }
        Err(error) => fail(&error),
    }
}

fn how_far(Upgrading { pid, copied, peers, .. }: Upgrading) -> String {
    match copied {
        Some(copied) => format!("pid {pid}: {copied} of {peers} peers copied"),
        None => format!("pid {pid} has started"),
    }
}

/// Says whether a server could be taken over by this program, or by another.
pub(crate) fn check_and_say(Check { path, binary }: &Check, offers: &[Offer]) -> ExitCode {
    if let Some(binary) = binary {
        // It answers in this process's place, and with its exit code.
        let error = Command::new(binary).arg("check").arg(path).exec();
        complain(&format!("{}: {error}", binary.display()));
        return ExitCode::from(EXIT_TAKEOVER);
    }
    match reactord::check(path, offers) {
        Ok(checked) if checked.why.is_none() => {
            reactord_cli::say(&format!("{checked}\n"));
            ExitCode::SUCCESS
        }
        Ok(checked) => {
            complain(&checked.to_string());
            ExitCode::from(EXIT_TAKEOVER)
        }
        Err(error) => fail(&error),
    }
}

/// Says on standard error why something was not done.
fn complain(line: &str) {
    // Where nobody reads it, the exit code has to do.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line on a terminal that is written again and again in its place.
struct Redrawn {
    is_on_terminal: bool,
}

impl Redrawn {
    fn on_terminal() -> Self {
        Self { is_on_terminal: std::io::stderr().is_terminal() }
    }

    fn draw(&mut self, line: &str) {
        if self.is_on_terminal {
            // What is only shown may be lost.
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    }

    fn clear(&mut self) {
        self.draw("");
    }
}

fn fail(error: &AskError) -> ExitCode {
    error!("{error}");
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
    lines.extend(status.takeover.iter().map(|takeover| of_takeover(takeover, &ago(takeover.at_unix_ms))));
    lines.extend(status.failure.iter().map(|failure| of_failure(failure, &ago(failure.at_unix_ms))));
    lines.extend(status.successor_pid.map(|pid| format!("  pid {pid} is taking over")));
    lines.extend(status.is_stopping.then(|| "  it is stopping".to_owned()));
    lines.join("\n") + "\n"
}

fn of_service(service: &ServiceStatus, peers_max: u64) -> String {
    format!("  {}: {} peers of {peers_max} at most", service.name, service.peers)
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

fn of_failure(failure: &FailureStatus, ago: &str) -> String {
    format!("  a takeover by pid {} failed {ago} ago: {}", failure.pid, failure.why)
}

/// How long something has lasted, in the two largest units that it has.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A status for programs, on one line. Names stay; some may be added.
fn as_json(status: &Status) -> serde_json::Value {
    let services = status
        .services
        .iter()
        .map(|service| json!({ "name": service.name, "state_version": service.state_version, "peers": service.peers }));
    let listeners = status.listeners.iter().map(|listener| json!({ "name": listener.name, "at": listener.at }));
    let takeover = status.takeover.as_ref().map(|takeover| {
        json!({
            "at_unix_ms": takeover.at_unix_ms,
            "predecessor_pid": takeover.predecessor_pid,
            "peers": takeover.peers,
            "pause_us": takeover.pause_us,
            "copy_us": takeover.copy_us,
            "bytes": takeover.bytes,
        })
    });
    let failure = status
        .failure
        .as_ref()
        .map(|failure| json!({ "at_unix_ms": failure.at_unix_ms, "pid": failure.pid, "why": failure.why }));
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        for (seconds, told) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3599, "59 min 59 s"),
            (3600, "1 h 0 min"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), told);
        }
    }
}
