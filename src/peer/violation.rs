//! What a service says of a peer that it does not understand.

/// Another process is told so many bytes of a violation: there may be as many of them as there are peers.
const TOLD_BYTES_MAX: usize = 256;

/// How a peer broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    what: String,
}

impl Violation {
    /// A violation, in words for the log: what came, and what is allowed.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }

    /// What another process is told.
    pub(crate) fn told(&self) -> &str {
        &self.what[..self.what.floor_char_boundary(TOLD_BYTES_MAX)]
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Violation {}
