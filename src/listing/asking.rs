//! Asking a server for all its peers, from a process that serves nobody.

use std::path::Path;

use reactord_process::asking::{AskError, Cause, Conversation, PATIENCE};
use reactord_process::frame::printable;

use crate::asking::out_of_turn;
use crate::status::PeerStatus;
use crate::takeover::wire::{Frame, PeerList};

/// Asks the server that answers on the takeover path `path` for all its peers, in the order in which it has them, and calls
/// `each` for every one. The server goes on serving meanwhile: who comes or goes may be among them or not.
///
/// # Errors
/// If nobody answers there who may be asked, if it is silent for ten seconds, or if it ends or is replaced before it has
/// told of all.
pub fn list_peers(path: &Path, mut each: impl FnMut(PeerStatus)) -> Result<(), AskError> {
    ask(path, &mut each).map_err(AskError::at(path))
}

fn ask(path: &Path, each: &mut dyn FnMut(PeerStatus)) -> Result<(), Cause> {
    let mut conversation = Conversation::begin(path, &Frame::AskPeers.encode())?;
    loop {
        let PeerList { service, peers, is_last } = match conversation.next(PATIENCE)?.decode()? {
            Frame::PeerList(list) => list,
            frame => return Err(out_of_turn(&frame)),
        };
        for peer in peers {
            let held = peer.held.iter().map(|reason| printable(reason)).collect();
            let (address, phase) = (printable(&peer.address), printable(&peer.phase));
            each(PeerStatus { service: printable(&service), address, phase, held, ..peer });
        }
        if is_last {
            return Ok(());
        }
    }
}
