//! Somebody asks that the supervisor logs another level. Its workers log what their own command line says.

use log::{LevelFilter, info};
use reactord_process::frame::{self, Refuse, printable};
use reactord_process::requests::{LOG_SET, LogSet};

/// Has this level logged from now on, since `pid` asks for that, with a line about it if it `is_said`. Returns the answer.
pub(crate) fn set_log_level(pid: u32, level: &str, is_said: bool) -> Vec<u8> {
    let Ok(wanted) = level.parse::<LevelFilter>() else {
        return Refuse::frame(&format!("there is no level {}", printable(level)));
    };
    let name_of = |level: LevelFilter| level.as_str().to_ascii_lowercase();
    let before = name_of(log::max_level());
    log::set_max_level(wanted);
    let level = name_of(wanted);
    if is_said {
        info!("Log level {level} from now on, {before} before: pid {pid} has asked for it");
    }
    frame::encode(LOG_SET, &LogSet { before, level, pid: std::process::id() })
}
