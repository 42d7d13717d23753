//! What all soaks allow alike.

use std::time::Duration;

/// What a server needs besides its peers, or this process besides its connections: the greater of both.
pub(super) const OTHER_FILES: usize = 64;

/// How long a server may take to stop.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How many lost connections are worth a line each.
pub(super) const LINES_ABOUT_LOSSES: usize = 10;
