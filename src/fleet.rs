//! The commands of the daemon that ask a supervisor.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use log::error;
use reactord::AskError;
use reactord_supervisor::{FailedReload, FailedUpgrade, FleetStatus, WorkerStatus, ask_status, reload};
use serde_json::json;

use crate::ago::{span, unix_ms};
use crate::options::StatusOf;
use crate::watched::Watched;
use reactord::program::EXIT_TAKEOVER;

/// Has a supervisor replace its workers, and says what came of it.
pub(crate) fn reload_and_say(path: &Path) -> ExitCode {
    match reload(path) {
        Ok(reloaded) => match reloaded.why_not {
            None => {
                let (generation, workers, pid) = (reloaded.generation, reloaded.workers, reloaded.pid);
                reactord_cli::say(&format!(
                    "generation {generation} serves: {workers} workers of supervisor pid {pid}\n"
                ));
                ExitCode::SUCCESS
            }
            Some(why) if reloaded.workers > 0 => {
                error!("generation {} serves in part: {why}", reloaded.generation);
                ExitCode::from(EXIT_TAKEOVER)
            }
            Some(why) => {
                error!(
                    "generation {} is given up: {why}; generation {} goes on",
                    reloaded.generation, reloaded.current
                );
                ExitCode::from(EXIT_TAKEOVER)
            }
        },
        Err(error) => fail(&error),
    }
}

/// Says how a supervisor stands, if one answers there. `None` if it is somebody else, who is to be asked for more.
pub(crate) fn say_status(asked: &StatusOf) -> Option<ExitCode> {
    let StatusOf { path, json, .. } = asked;
    let watched = Watched::as_asked(asked);
    loop {
        let answer = match ask_status(path) {
            Ok(answer) if FleetStatus::is_kind(answer.kind()) => answer,
            Ok(_) => return None,
            Err(error) => return Some(fail(&error)),
        };
        let said = match answer.decode() {
            Ok(status) if *json => format!("{}\n", as_json(&status)),
            Ok(status) => as_text(&status),
            Err(error) => return Some(fail(&AskError::at(path)(error.into()))),
        };
        if !watched.say(&said) {
            return Some(ExitCode::SUCCESS);
        }
    }
}

fn fail(error: &AskError) -> ExitCode {
    error!("{error}");
    ExitCode::from(EXIT_TAKEOVER)
}

/// A status for people.
fn as_text(status: &FleetStatus) -> String {
    // What has failed has a line of its own, which says when.
    let mut summary = status.summary.clone();
    summary.failure = None;
    let mut lines = vec![format!("{}, pid {}, supervises", status.build, status.pid), format!("  {summary}")];
    lines.extend(status.listeners.iter().map(|listener| format!("  listens on {listener}")));
    lines.extend(status.workers.iter().map(of_worker));
    lines.extend(status.failures.reload.iter().map(of_reload));
    lines.extend(status.failures.upgrade.iter().map(of_upgrade));
    lines.join("\n") + "\n"
}

fn of_reload(FailedReload { at_unix_ms, failure, .. }: &FailedReload) -> String {
    format!("  generation {} failed {} ago: {}", failure.generation, ago(*at_unix_ms), failure.why)
}

fn of_upgrade(FailedUpgrade { at_unix_ms, asker, why, .. }: &FailedUpgrade) -> String {
    format!("  an upgrade that {asker} had asked for failed {} ago: {why}", ago(*at_unix_ms))
}

fn ago(then_unix_ms: u64) -> String {
    span(Duration::from_millis(unix_ms().saturating_sub(then_unix_ms)))
}

fn of_worker(worker: &WorkerStatus) -> String {
    let age_s = worker.age_ms / 1000;
    let mut line =
        format!("  worker pid {}, generation {}, {}, {age_s} s old", worker.pid, worker.generation, worker.does);
    if let Some(connections) = worker.connections {
        line += &format!(", {connections} connections");
    }
    if let Some(standby) = worker.standby {
        line += &format!(", standby pid {standby}");
    }
    line
}

/// A status for programs, on one line. Names stay; some may be added.
fn as_json(status: &FleetStatus) -> serde_json::Value {
    let summary = &status.summary;
    let workers = status.workers.iter().map(|worker| {
        json!({
            "pid": worker.pid,
            "generation": worker.generation,
            "does": worker.does.to_string(),
            "age_ms": worker.age_ms,
            "connections": worker.connections,
            "standby": worker.standby,
        })
    });
    let queue = summary.queue.map(|queue| {
        json!({
            "waiting": queue.waiting,
            "waiting_max": queue.waiting_max,
            "is_full": queue.is_full,
            "returned": queue.returned,
        })
    });
    let failure =
        summary.failure.as_ref().map(|failure| json!({ "generation": failure.generation, "why": failure.why }));
    let failed_reload = status.failures.reload.as_ref().map(|FailedReload { at_unix_ms, failure, .. }| {
        json!({ "at_unix_ms": at_unix_ms, "generation": failure.generation, "why": failure.why })
    });
    let failed_upgrade = status.failures.upgrade.as_ref().map(
        |FailedUpgrade { at_unix_ms, asker, why, .. }| json!({ "at_unix_ms": at_unix_ms, "asker": asker, "why": why }),
    );
    json!({
        "build": status.build,
        "pid": status.pid,
        "began_unix_ms": status.began_unix_ms,
        "listeners": status.listeners,
        "generation": summary.generation,
        "coming": summary.coming,
        "is_stopping": summary.is_stopping,
        "serving": summary.serving,
        "unreplaced": summary.unreplaced,
        "target": summary.target,
        "leaving": summary.leaving,
        "queue": queue,
        "failure": failure,
        "failed_reload": failed_reload,
        "failed_upgrade": failed_upgrade,
        "workers": workers.collect::<Vec<_>>(),
    })
}
