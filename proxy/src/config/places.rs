//! What of a file has to fit together with something elsewhere in it, with the places.

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
}
