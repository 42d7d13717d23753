//! What few peers have, so that the others have no room for it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::closed::Closed;
use super::parting::Parting;
use super::ties::{Dial, Joined, Ties};
use super::violation::Violation;

/// What one of those has.
#[derive(Debug, Default)]
pub(crate) struct Particulars {
    /// Since the server began to end it.
    pub(crate) parting: Option<Parting>,
    /// What the service is told at its end, if that is known before.
    pub(crate) how: Option<Closed>,
    /// The cookie of whoever gets what it sends: it is not read from while more is pending there than should be.
    pub(crate) writer: Option<u64>,
    pub(crate) joined: Option<Joined>,
    pub(crate) dialling: Option<Dialling>,
    /// It ends with this process.
    pub(crate) ephemeral: bool,
    /// When it is looked at, whether or not anything has happened by then: `CLOCK_MONOTONIC`.
    pub(crate) alarm_ns: Option<u64>,
}

/// A connection that is being opened.
#[derive(Debug)]
pub(crate) struct Dialling {
    /// It is given up then: `CLOCK_MONOTONIC`.
    pub(crate) until_ns: u64,
    /// Where it leads, if that is a Unix socket.
    pub(crate) path: Option<PathBuf>,
}

impl Particulars {
    /// What another process has told of a peer, if that is anything.
    pub(super) fn told(parting: Option<Parting>, ties: &Ties<'_>) -> Option<Self> {
        let Ties { writer, joined, dial, violation, .. } = *ties;
        if parting.is_none() && writer.is_none() && joined.is_none() && dial.is_none() && violation.is_none() {
            return None;
        }
        let how = violation.map(|violation| Closed::Violation(Violation::new(violation)));
        let dialling = dial.map(|Dial { until_ns, path }| {
            let path = path.map(|path| PathBuf::from(OsStr::from_bytes(path)));
            Dialling { until_ns, path }
        });
        Some(Self { parting, how, writer, joined, dialling, ..Self::default() })
    }

    /// Whether it is as if there were none.
    pub(super) fn is_empty(&self) -> bool {
        let Self { parting, how, writer, joined, dialling, ephemeral, alarm_ns: _ } = self;
        let is_tied = writer.is_some() || joined.is_some() || dialling.is_some() || *ephemeral;
        parting.is_none() && how.is_none() && !is_tied
    }

    /// What another process is told, besides the parting, and besides what is in the talk.
    pub(super) fn ties(&self) -> Ties<'_> {
        let dial = self.dialling.as_ref().map(|Dialling { until_ns, path }| {
            let path = path.as_deref().map(|path| path.as_os_str().as_bytes());
            Dial { until_ns: *until_ns, path }
        });
        let violation = match &self.how {
            Some(Closed::Violation(violation)) => Some(violation.told()),
            _ => None,
        };
        Ties { writer: self.writer, joined: self.joined, dial, violation, ..Ties::default() }
    }
}
