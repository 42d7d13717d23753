//! What all joined peers of a table share on the way of their bytes.

use log::debug;

use crate::peer::pipe::Pipe;

/// The pipe, and whether it may be used.
#[derive(Debug, Default)]
pub(super) struct Conduit {
    /// It is empty. `None` before it is needed, and while somebody uses it.
    pipe: Option<Pipe>,
    /// Somebody copies the peers: bytes stay in the kernel until they are written, so that none are to be copied and nothing
    /// changes.
    pub(super) leaves_bytes: bool,
    /// Whoever copies the peers need not hear of the turn that ends now.
    pub(super) nothing_told: bool,
    /// Room for what is opened on its way. It is empty between two turns.
    pub(super) plain: Vec<u8>,
}

impl Conduit {
    /// The pipe, if one can be had. Whoever has emptied it [gives it back](Self::give_back); it is thrown away otherwise.
    pub(super) fn take_pipe(&mut self) -> Option<Pipe> {
        let opened = || Pipe::open().inspect_err(|error| debug!("Joined peers' bytes are copied: pipe: {error}")).ok();
        self.pipe.take().or_else(opened)
    }

    /// It is empty again.
    pub(super) fn give_back(&mut self, pipe: Pipe) {
        self.pipe = Some(pipe);
    }
}
