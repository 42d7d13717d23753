//! Somebody asks on the takeover path that another level is logged.

use log::{LevelFilter, info};
use reactord_process::frame::{Refuse, printable};

use crate::annals::Annals;
use crate::milestone::Milestone;
use crate::status::name_of;
use crate::takeover::wire::{Frame, LogSet};

/// Has the program log another level, if it does, since `pid` asks for that. What it logs then is answered.
pub(super) fn set_log_level(annals: &mut Annals, pid: u32, level: &str) -> Frame<'static> {
    let refused = |reason| Frame::Refuse(Refuse { reason });
    let Ok(wanted) = level.parse::<LevelFilter>() else {
        return refused(format!("there is no level {}", printable(level)));
    };
    let before = log::max_level();
    annals.tell(Milestone::LogLevel(wanted));
    let (before, level) = (name_of(before), log::max_level());
    if level != wanted {
        return refused(format!("the program does not let its log level be changed, which is {}", name_of(level)));
    }
    let level = name_of(level);
    info!("Log level {level} from now on, {before} before: pid {pid} has asked for it");
    Frame::LogSet(LogSet { before, level, pid: std::process::id() })
}
