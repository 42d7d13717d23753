//! What of a file has to fit together with something elsewhere in it, with the places.

use std::path::PathBuf;

use reactord::Target;

/// Something that the file says, and the offset of the byte where it does.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) offset: usize,
    pub(super) what: T,
}

/// What has to fit together.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Where is listened, and who does: a listener by its name, or the metrics.
    pub(super) binds: Vec<Placed<(String, Target)>>,
    /// Upstreams that listeners lead to, with the listener.
    pub(super) led: Vec<Placed<(String, String)>>,
    /// Where servers are that have an address, with their upstream.
    pub(super) servers: Vec<Placed<(String, Target)>>,
    /// Who speaks TLS.
    pub(super) speakers: Vec<Placed<Speaker>>,
    /// Files that are read for that.
    pub(super) files: Vec<Placed<(Speaker, PathBuf)>>,
}

/// Who speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// A listener, with its clients.
    Listener(String),
    /// An upstream's servers.
    Upstream(String),
}
