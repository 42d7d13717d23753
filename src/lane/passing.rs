//! Peers that go to another process, or come from one, while both serve. Until it is known whose such a peer is, it is
//! [out of reach](crate::table): nobody has a turn with it, and no service sees it.

use mio::net::TcpStream;

use super::adopt_error::AdoptError;
use crate::peer::record::{Change, Record};
use crate::table::PeerHandle;

/// What is asked of a lane, whatever its service, by whoever gives its peers away or takes others in.
pub(crate) trait Passing {
    /// Whether peers may go on in another process without what they share.
    fn is_movable(&self) -> bool;

    /// The oldest and the newest version of sessions that its service restores.
    fn restores(&self) -> (u32, u32);

    /// Whom the service has given away since this was last called.
    fn given(&mut self) -> Vec<PeerHandle>;

    // ── Giving ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// A peer belongs to another process now. Only the duplicate of its socket is closed here.
    fn part_with_given(&mut self, handle: PeerHandle);

    /// A peer stays: it goes on where it was.
    fn keep(&mut self, handle: PeerHandle);

    /// The same for one that the service has given away.
    fn keep_given(&mut self, handle: PeerHandle);

    // ── Taking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes in a peer of another process, which owns it yet.
    fn take_in(&mut self, socket: TcpStream, record: &Record<'_>, version: u32) -> Result<PeerHandle, AdoptError>;

    /// It has changed there.
    fn follow_taken(&mut self, handle: PeerHandle, change: &Change<'_>, version: u32) -> Result<(), AdoptError>;

    /// It stays with the other process, or has left that: only the duplicate of its socket is closed here.
    fn drop_taken(&mut self, handle: PeerHandle);

    /// They belong to this process now, and are served.
    fn welcome(&mut self, handles: &[PeerHandle]);
}
