//! What slow readers ask for, and what comes back to them.

use std::sync::LazyLock;
use std::time::Duration;

use crate::harness::lines;

/// What a slow reader asks for: more than the server and the kernel keep for it.
pub(crate) static ASKED: LazyLock<Vec<u8>> = LazyLock::new(|| lines(1, 10 * 1024 * 1024));

/// What a peer asks for that gets its answers at once: more than the longest line.
pub(crate) const LITTLE_BYTES: usize = 100 * 1024;

/// How long nothing is taken before enough is under way.
pub(crate) const SLOW: Duration = Duration::from_millis(30);

/// What comes back to a peer that has sent so much of what it asks for: all whole lines.
pub(crate) fn answers(sent: usize) -> &'static [u8] {
    let whole = ASKED[..sent].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    &ASKED[..whole]
}
