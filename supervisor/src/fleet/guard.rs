//! The standby of a worker: another process, which serves on as this worker when the process before it has died. The worker stays the same,
//! with its queue, its connections and its place in the fleet; it only has another process then.

use std::time::{Duration, Instant};

use super::exit::Exit;

/// How long it may take until the standby of a worker that has died says that it serves on. It notices the death at once, and then looks
/// where each of its connections stands.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Who guards a worker, and how far that has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guard {
    /// The standby's pid, if there is one.
    standby: Option<u32>,
    /// There has been one.
    has_been: bool,
    /// How the worker's process has died, if its standby has not said yet that it serves on; it has until then.
    bereft: Option<(Exit, Instant)>,
    /// Those before this one of which it is not known yet how they have died, and until when that is waited for.
    former: Vec<(u32, Instant)>,
    /// It has not been looked at who serves on.
    is_unseen: bool,
}

impl Guard {
    /// As an earlier binary has left it. It waits until nothing is under way.
    pub(crate) fn of(standby: Option<u32>) -> Self {
        Self { standby, has_been: standby.is_some(), ..Self::default() }
    }

    pub(crate) fn standby(&self) -> Option<u32> {
        self.standby
    }

    /// Whether the worker's process is dead, and another one may serve on.
    pub(crate) fn is_bereft(&self) -> bool {
        self.bereft.is_some()
    }

    /// When it is not waited any more for another one to serve on, or for the end of one before it.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.bereft.iter().map(|(_, until)| *until).chain(self.former.iter().map(|(_, until)| *until)).min()
    }

    /// Whether somebody has died, and not all is known of that.
    pub(crate) fn is_under_way(&self) -> bool {
        self.bereft.is_some() || !self.former.is_empty()
    }

    /// Whether there has been a standby.
    pub(crate) fn has_been(&self) -> bool {
        self.has_been
    }

    /// This process serves on if the worker's own dies; 0 if none does any more.
    pub(crate) fn is_said_to_be(&mut self, pid: u32) {
        self.standby = (pid != 0).then_some(pid);
        self.has_been |= pid != 0;
    }

    /// The worker's process has ended. Returns whether the standby may say that it serves on.
    pub(crate) fn may_survive(&mut self, exit: &Exit, now: Instant) -> bool {
        let may_survive = self.standby.is_some();
        self.bereft = may_survive.then(|| (exit.clone(), now + PATIENCE));
        may_survive
    }

    /// The standby, if there is one, serves on in place of the process `former`. Returns its pid, and how that one has died, if it is known.
    pub(crate) fn survives(&mut self, former: u32, now: Instant) -> Option<(u32, Option<Exit>)> {
        let standby = self.standby.take()?;
        let exit = self.bereft.take().map(|(exit, _)| exit);
        self.former.extend(exit.is_none().then_some((former, now + PATIENCE)));
        self.is_unseen = true;
        Some((standby, exit))
    }

    /// Whether it is to be looked at who serves on: when the process before it has ended, this one has no other parent.
    pub(crate) fn take_unseen(&mut self) -> bool {
        !self.is_under_way() && std::mem::take(&mut self.is_unseen)
    }

    /// A process has ended. Returns whether it was one before this, which was known to be dead.
    pub(crate) fn former_ended(&mut self, pid: u32) -> bool {
        self.former.extract_if(.., |(former, _)| *former == pid).count() > 0
    }

    /// How the worker has died that is not served on for: the standby has ended the queue, unless it `has_queue`, or has said nothing for
    /// too long. In that case it could still say so. Or it has said so, and who it serves on for lives.
    pub(crate) fn take_lost(&mut self, has_queue: bool, now: Instant) -> Option<(Exit, Option<u32>)> {
        if let Some((former, _)) = self.former.iter().find(|(_, until)| now >= *until) {
            let reason = format!("its standby says that it serves on, and pid {former} has not ended");
            *self = Self { has_been: true, ..Self::default() };
            return Some((Exit::QueueEnded(reason), None));
        }
        let is_left = !has_queue || self.standby.is_none();
        let (exit, _) = self.bereft.take_if(|(_, until)| is_left || now >= *until)?;
        Some((exit, self.standby.filter(|_| has_queue)))
    }
}
