//! Somebody asks on the takeover path that another level is logged.

use reactord_process::frame::Refuse;
use reactord_process::log_level::change;

use super::lent::Lent;
use crate::lanes::Lanes;
use crate::limited::Kind;
use crate::milestone::Milestone;
use crate::takeover::wire::Frame;

/// Has the program log another level, if it does, since `pid` asks for that. What it logs then is answered.
pub(super) fn set_log_level<L: Lanes>(pid: u32, level: &str, with: &mut Lent<'_, L>) -> Frame<'static> {
    let set = |wanted| with.annals.tell(Milestone::LogLevel(wanted));
    match change(pid, level, set, || with.limited.admits(Kind::Request, with.now)) {
        Ok(changed) => Frame::LogSet(changed),
        Err(reason) => Frame::Refuse(Refuse::because(&reason)),
    }
}
