//! What a standby asks of a lane that it has copied, when it serves on, and what an active does for one that could.

use crate::table::PeerHandle;

/// What is asked of a lane, whatever its service, where another process serves on when this one has died, or this one does.
pub(crate) trait Surviving {
    /// The standby knows all that has happened: what had to wait for that is written.
    fn let_out(&mut self);

    /// Has the service handle what another process has read from a peer, and of which nothing was seen.
    fn take_up(&mut self, handle: PeerHandle, came: &mut [u8]);

    /// The same, but for now it is only kept: whoever was about to handle it has died. False if no service handles what the peer sends.
    fn put_aside(&mut self, handle: PeerHandle, came: &mut [u8]) -> bool;

    /// What was put aside is handled.
    fn take_up_suspect(&mut self, handle: PeerHandle);

    /// Takes off so many bytes of what has come from a peer: they were passed on by another process.
    fn take_off(&mut self, handle: PeerHandle, bytes: usize);

    /// So much of what is pending for a peer was written by another process.
    fn have_written(&mut self, handle: PeerHandle, bytes: usize);

    /// Resets the connection of a peer that cannot be served on, and why.
    fn reset(&mut self, handle: PeerHandle, why: &str);
}
