//! Somebody asks that a running process logs another level.

use log::{LevelFilter, info};

use crate::frame::printable;
use crate::requests::LogSet;

/// How a level is written.
#[must_use]
pub fn name_of(level: LevelFilter) -> String {
    level.as_str().to_ascii_lowercase()
}

/// Has `level` logged from now on by whoever can `set` it, since `pid` asks for that, with a line about it if it `is_said`.
///
/// # Errors
/// If there is no such level, or what is logged is another one then.
pub fn change(
    pid: u32,
    level: &str,
    set: impl FnOnce(LevelFilter),
    is_said: impl FnOnce() -> bool,
) -> Result<LogSet, String> {
    let wanted: LevelFilter = level.parse().map_err(|_| format!("there is no level {}", printable(level)))?;
    let before = name_of(log::max_level());
    set(wanted);
    let level = name_of(log::max_level());
    if log::max_level() != wanted {
        return Err(format!("the program does not let its log level be changed, which is {level}"));
    }
    if is_said() {
        info!("Log level {level} from now on, {before} before: pid {pid} has asked for it");
    }
    Ok(LogSet { before, level, pid: std::process::id() })
}
