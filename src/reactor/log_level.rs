//! Somebody asks on the takeover path that another level is logged.

use log::{LevelFilter, info};
use reactord_process::frame::{Refuse, printable};

use super::lent::Lent;
use crate::lanes::Lanes;
use crate::limited::Kind;
use crate::milestone::Milestone;
use crate::status::name_of;
use crate::takeover::wire::{Frame, LogSet};

/// Has the program log another level, if it does, since `pid` asks for that. What it logs then is answered.
pub(super) fn set_log_level<L: Lanes>(pid: u32, level: &str, with: &mut Lent<'_, L>) -> Frame<'static> {
    let refused = |reason: String| Frame::Refuse(Refuse::because(&reason));
    let Ok(wanted) = level.parse::<LevelFilter>() else {
        return refused(format!("there is no level {}", printable(level)));
    };
    let before = log::max_level();
    with.annals.tell(Milestone::LogLevel(wanted));
    let (before, level) = (name_of(before), log::max_level());
    if level != wanted {
        return refused(format!("the program does not let its log level be changed, which is {}", name_of(level)));
    }
    let level = name_of(level);
    if with.limited.admits(Kind::Request, with.now) {
        info!("Log level {level} from now on, {before} before: pid {pid} has asked for it");
    }
    Frame::LogSet(LogSet { before, level, pid: std::process::id() })
}
