//! A status that is said once, or again and again, in its place on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use crate::options::StatusOf;

/// How often a status that is watched is asked for.
const WATCH: Duration = Duration::from_secs(1);

/// To the first place of a terminal, and all behind it gone: what was there is written over.
const FROM_THE_TOP: &str = "\x1b[H\x1b[J";

/// How a status is said.
pub(crate) struct Watched {
    is_watched: bool,
    is_in_place: bool,
}

impl Watched {
    pub(crate) fn as_asked(StatusOf { json, watch, .. }: &StatusOf) -> Self {
        Self { is_watched: *watch, is_in_place: *watch && !*json && std::io::stdout().is_terminal() }
    }

    /// Says how it is now. True, after a while, if it is to be said again.
    pub(crate) fn say(&self, status: &str) -> bool {
        let before = if self.is_in_place { FROM_THE_TOP } else { "" };
        reactord_cli::say(&format!("{before}{status}"));
        if self.is_watched {
            std::thread::sleep(WATCH);
        }
        self.is_watched
    }
}
