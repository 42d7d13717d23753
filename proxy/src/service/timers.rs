//! The numbers of the proxy's timers.

/// A check is due.
pub(super) const CHECKS: u32 = 1;

/// A server that was ejected gets clients again.
pub(super) const EJECTION_ENDS: u32 = 2;

/// There is something to say of log lines that were left out.
pub(super) const LINES_LEFT_OUT: u32 = 3;
