//! Workers that go on in another process when their own has died.

use std::collections::BTreeSet;
use std::time::Instant;

use reactord_process::words::{ConnectionId, FromWorker};

use super::exit::Exit;
use super::heard::{Breach, Heard};
use super::report::Report;
use super::roster::Roster;
use super::worker::{Owes, Worker, WorkerId};

/// A worker that has died and is not served on for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) worker: WorkerId,
    pub(crate) exit: Exit,
    /// The standby, which could still say that it serves on: it is not to live.
    pub(crate) standby: Option<u32>,
}

/// A worker says something about its standby, or the standby does.
///
/// # Errors
/// If it has none, or one that says too much.
pub(super) fn hear(roster: &mut Roster, id: WorkerId, said: FromWorker, now: Instant) -> Result<Heard, Breach> {
    let worker = roster.get_mut(id).expect("it was just heard");
    // Which connections a worker has, and can be said to have in another process, is known of those alone.
    if !worker.gives_back() {
        return Err(Breach::NoStandby(said));
    }
    if let FromWorker::Standby(pid) = said {
        worker.guard.is_said_to_be(pid);
        return Ok(Heard::Noted);
    }
    let has_standby = worker.guard.standby().is_some();
    let heard = hear_last(roster, id, said)?;
    match said {
        // Whoever says that it has a connection serves it, whatever else is wrong: it is needed here no more.
        FromWorker::Has(_) if heard != Heard::Noted => Ok(heard),
        _ if !has_standby => Err(Breach::NoStandby(said)),
        FromWorker::Survived => Ok(Heard::Survived(survive(roster, id, now))),
        _ => Ok(heard),
    }
}

/// What comes of the same where nothing is said to the worker any more.
///
/// # Errors
/// If it says so of too many.
pub(super) fn hear_last(roster: &mut Roster, id: WorkerId, said: FromWorker) -> Result<Heard, Breach> {
    let FromWorker::Has(connection) = said else { return Ok(Heard::Noted) };
    match roster.queue.has(id, connection) {
        Some(true) => Ok(Heard::Took(connection)),
        Some(false) => Ok(Heard::Noted),
        None => Err(Breach::HasTooMany),
    }
}

/// A standby serves on, and has said what it has of what was under way. Returns what is not to be expected back any more.
fn survive(roster: &mut Roster, id: WorkerId, now: Instant) -> BTreeSet<ConnectionId> {
    let worker = roster.get_mut(id).expect("it was just heard");
    let former = worker.pid;
    let (standby, exit) = worker.guard.survives(former, now).expect("it was just looked for");
    worker.pid = standby;
    // What was asked before is not answered.
    worker.owes = Owes::default();
    roster.forget_questions(id);
    exit.into_iter().for_each(|exit| report(roster, id, former, exit));
    roster.queue.survived(id)
}

/// A process has ended of whose death its standby knew first. Returns whose it was.
pub(super) fn former_ended(roster: &mut Roster, pid: u32, exit: &Exit) -> Option<WorkerId> {
    let mut members = roster.members_mut();
    let id = members.find_map(|(id, worker)| worker.guard.former_ended(pid).then_some(id))?;
    drop(members);
    report(roster, id, pid, exit.clone());
    Some(id)
}

/// Those that go on in another process since this was last asked, and whose process before is known to be dead.
pub(super) fn take_unseen(roster: &mut Roster) -> Vec<WorkerId> {
    roster.members_mut().filter_map(|(id, worker)| worker.guard.take_unseen().then_some(id)).collect()
}

fn report(roster: &mut Roster, id: WorkerId, pid: u32, exit: Exit) {
    let Some(&Worker { pid: standby, generation, .. }) = roster.get(id) else { return };
    roster.report(Report::Survived { pid, generation, exit, standby });
}

/// Those that have died and are not served on for. Who `has_queue` may still say that it serves on.
pub(super) fn take_lost(roster: &mut Roster, has_queue: impl Fn(WorkerId) -> bool, now: Instant) -> Vec<Lost> {
    let lost = |(id, worker): (WorkerId, &mut Worker)| {
        let (exit, standby) = worker.guard.take_lost(has_queue(id), now)?;
        Some(Lost { worker: id, exit, standby })
    };
    roster.members_mut().filter_map(lost).collect()
}
