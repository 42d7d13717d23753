//! Peers that go to another process, or come from one, while both serve. Until it is known whose such a peer is, it is
//! [out of reach](crate::table): nobody has a turn with it, and no service sees it.

use mio::net::TcpStream;

use super::{AdoptError, Lane, Wake};
use crate::peer::closed::Closed;
use crate::peer::record::{Change, Record};
use crate::peer::ties::Holds;
use crate::service::StreamService;
use crate::table::{Gone, Handle};

/// What is asked of a lane, whatever its service, by whoever gives its peers away or takes others in.
pub(crate) trait Passing {
    /// Whether peers may go on in another process without what they share.
    fn is_movable(&self) -> bool;

    /// The oldest and the newest version of sessions that its service restores.
    fn restores(&self) -> (u32, u32);

    /// Whom the service has given away since this was last called.
    fn given(&mut self) -> Vec<Handle>;

    // ── Giving ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// A peer belongs to another process now. Only the duplicate of its socket is closed here.
    fn part_with_given(&mut self, handle: Handle);

    /// A peer stays: it goes on where it was.
    fn keep(&mut self, handle: Handle);

    /// The same for one that the service has given away.
    fn keep_given(&mut self, handle: Handle);

    // ── Taking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes in a peer of another process, which owns it yet.
    fn take_in(&mut self, socket: TcpStream, record: &Record<'_>, version: u32) -> Result<Handle, AdoptError>;

    /// It has changed there.
    fn follow_taken(&mut self, handle: Handle, change: &Change<'_>, version: u32) -> Result<(), AdoptError>;

    /// It stays with the other process, or has left that: only the duplicate of its socket is closed here.
    fn drop_taken(&mut self, handle: Handle);

    /// It belongs to this process now, and is served.
    fn welcome(&mut self, handle: Handle);
}

impl<S: StreamService> Passing for Lane<S> {
    fn is_movable(&self) -> bool {
        S::MOVABLE
    }

    fn restores(&self) -> (u32, u32) {
        (S::STATE_VERSION_OLDEST, S::STATE_VERSION_NEWEST)
    }

    fn given(&mut self) -> Vec<Handle> {
        self.table.peers_mut().take_given()
    }

    fn part_with_given(&mut self, handle: Handle) {
        let key = handle.key();
        let peer = self.table.peers().get(key).expect("a peer that is out of reach stays");
        let (id, address) = (peer.id(), peer.address());
        self.table.let_go(key);
        self.part_with(Gone { key, id, address, how: Closed::Moved });
    }

    fn keep(&mut self, handle: Handle) {
        self.table.bring_back(handle);
    }

    fn keep_given(&mut self, handle: Handle) {
        let Self { table, answering, input, .. } = self;
        let gone = table.change(handle, |turn| {
            turn.talk.release(Holds::GIVEN);
            answering.tell(turn, S::not_given)?;
            answering.advance(turn, Wake::Due, input)
        });
        self.part_with_any(gone);
    }

    fn take_in(&mut self, socket: TcpStream, record: &Record<'_>, version: u32) -> Result<Handle, AdoptError> {
        let session = self.restore_session(record.session, version)?;
        let key = self.table.adopt(socket, record).map_err(AdoptError::Table)?;
        self.answering.insert_session(key, session);
        let handle = self.table.peers().handle_at(key).expect("it was just adopted");
        self.table.put_out_of_reach(handle);
        Ok(handle)
    }

    fn follow_taken(&mut self, handle: Handle, change: &Change<'_>, version: u32) -> Result<(), AdoptError> {
        let session = change.session.map(|session| self.restore_session(session, version)).transpose()?;
        self.table.bring_back(handle);
        let followed = self.table.follow(change).map_err(AdoptError::Table);
        self.table.put_out_of_reach(handle);
        if let Some(session) = session {
            self.answering.insert_session(handle.key(), session);
        }
        followed.map(drop)
    }

    fn drop_taken(&mut self, handle: Handle) {
        self.table.let_go(handle.key());
        self.answering.drop_session(handle.key());
    }

    fn welcome(&mut self, handle: Handle) {
        self.table.bring_back(handle);
        let Self { table, answering, input, .. } = self;
        let gone = table.change(handle, |turn| {
            answering.tell(turn, S::arrived)?;
            answering.advance(turn, Wake::Due, input)
        });
        self.part_with_any(gone);
    }
}
