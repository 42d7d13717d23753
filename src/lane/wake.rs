//! Why a peer has its turn, and what is read in it.

/// Why a peer has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The kernel says so. Unless it says that the client has stopped sending, or has sent urgent data, a short read
    /// has read everything.
    Event { readable: bool, read_closed: bool },
    /// No event will come for what it has left to do: its last turn ended with its budget, it has been taken over with
    /// bytes in its buffers.
    Due,
    /// Something was done to it in another's turn, or it is the first one of a connection that is being opened. What is
    /// pending for it is written, and it is ended if that was asked for; but nothing is read from it, and its service is not
    /// called about it before the next turn of the loop, unless it is gone.
    SentTo,
}

impl Wake {
    /// Whether there may be something to read, and whether more of it than a short read shows.
    pub(super) fn reads(self) -> (bool, bool) {
        match self {
            Self::Event { readable, read_closed } => (readable, read_closed),
            Self::Due => (true, true),
            Self::SentTo => (false, false),
        }
    }

    /// The same of a peer that was held when its turn began: what the kernel said of it is forgotten by now.
    pub(super) fn reads_after(self, was_held: bool) -> (bool, bool) {
        if was_held { (true, true) } else { self.reads() }
    }
}
