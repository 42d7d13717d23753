//! What few peers have, so that the others have no room for it.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::closed::Closed;
use super::connect::ConnectTls;
use super::dialling::{DialledTls, Dialling};
use super::parting::Parting;
use super::secured::Secured;
use super::ties::{Dial, DialTls, Ending, Ties};
use super::violation::Violation;

/// What one of those has.
#[derive(Debug)]
pub(crate) struct Particulars {
    /// Since the server began to end it.
    pub(crate) parting: Option<Box<Parting>>,
    /// What the service is told at its end, if that is known before.
    pub(crate) how: Option<Closed>,
    /// The cookie of whoever gets what it sends: it is not read from while more is pending there than should be.
    pub(crate) writer: Option<u64>,
    pub(crate) dialling: Option<Box<Dialling>>,
    /// When it is looked at how far its dialling is, whether or not anything has happened by then: `CLOCK_MONOTONIC`.
    pub(crate) alarm_ns: Option<NonZeroU64>,
    /// It ends with this process.
    pub(crate) ephemeral: bool,
    /// What its bytes go through, if they are not written and read as they are.
    pub(crate) secured: Option<Box<Secured>>,
}

/// A peer that speaks TLS has this for as long as it is there: what others have for a moment is elsewhere.
const _: () = assert!(size_of::<Particulars>() <= 96);

impl Particulars {
    /// Of a peer that has none.
    pub(super) const NONE: Self = Self {
        parting: None,
        how: None,
        writer: None,
        dialling: None,
        alarm_ns: None,
        ephemeral: false,
        secured: None,
    };

    /// What another process has told of a peer, if that is anything.
    pub(super) fn told(parting: Option<Parting>, ties: &Ties<'_>, secured: Option<Box<Secured>>) -> Option<Self> {
        let Ties { writer, dial, ending, .. } = *ties;
        let how = ending.map(|ending| match ending {
            Ending::Violation(violation) => Closed::Violation(Violation::new(violation)),
            Ending::Lost(kind) => Closed::Lost(told_error(kind)),
            Ending::Unreachable(kind) => Closed::Unreachable(told_error(kind)),
        });
        let dialling = dial.map(|Dial { until_ns, path, tls }| {
            let path = path.map(|path| PathBuf::from(OsStr::from_bytes(path)));
            Box::new(Dialling { until_ns, path, tls: tls.map(told_tls) })
        });
        let parting = parting.map(Box::new);
        let told = Self { parting, how, writer, dialling, secured, ..Self::NONE };
        (!told.are_none()).then_some(told)
    }

    /// Whether it is as if there were none. An alarm is for what is dialled.
    pub(super) fn are_none(&self) -> bool {
        let Self { parting, how, writer, dialling, alarm_ns: _, ephemeral, secured } = self;
        let has_one =
            [parting.is_some(), how.is_some(), writer.is_some(), dialling.is_some(), *ephemeral, secured.is_some()];
        !has_one.contains(&true)
    }

    /// Whether there is nothing but what its bytes go through, in which nothing waits to be looked at.
    pub(super) fn are_of_a_stream_at_rest(&self) -> bool {
        let Self { parting, how, writer, dialling, alarm_ns, ephemeral, secured } = self;
        let has_one =
            [parting.is_some(), how.is_some(), writer.is_some(), dialling.is_some(), alarm_ns.is_some(), *ephemeral];
        !has_one.contains(&true) && secured.as_ref().is_some_and(|secured| !secured.has_unheard())
    }

    /// What another process is told, besides the parting, and besides what is in the talk.
    pub(super) fn ties(&self) -> Ties<'_> {
        let Self { how, writer, dialling, .. } = self;
        let dial = dialling.as_deref().map(|Dialling { until_ns, path, tls }| {
            let path = path.as_deref().map(|path| path.as_os_str().as_bytes());
            Dial { until_ns: *until_ns, path, tls: tls.as_ref().map(tls_to_tell) }
        });
        let ending = match how {
            Some(Closed::Violation(violation)) => Some(Ending::Violation(violation.told())),
            Some(Closed::Lost(error)) => Some(Ending::Lost(error.kind())),
            Some(Closed::Unreachable(error)) => Some(Ending::Unreachable(error.kind())),
            Some(Closed::Ended | Closed::Deadline | Closed::Moved) | None => None,
        };
        Ties { writer: *writer, dial, ending, ..Ties::default() }
    }
}

/// Of an error no more is told than of which kind it is.
fn told_error(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, format!("{kind} when another process served it"))
}

fn told_tls(told: DialTls<'_>) -> DialledTls {
    let DialTls { with, name, preface, is_begun } = told;
    let how = ConnectTls { with: with.to_owned(), name: name.to_owned(), preface: preface.to_owned() };
    DialledTls::new(how, is_begun)
}

fn tls_to_tell(tls: &DialledTls) -> DialTls<'_> {
    let ConnectTls { with, name, preface } = &tls.how;
    DialTls { with, name, preface, is_begun: tls.is_begun() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_peer_is_closed_is_told_by_whichever_process_it_is_gone_from() {
        let kind = ErrorKind::ConnectionRefused;
        for ending in [Ending::Violation("too much"), Ending::Lost(kind), Ending::Unreachable(kind)] {
            let ties = Ties { ending: Some(ending), ..Ties::default() };
            let particulars = Particulars::told(None, &ties, None).expect("there is something to tell");
            assert_eq!(particulars.ties(), ties);
            let is_it = match ending {
                Ending::Violation(_) => matches!(particulars.how, Some(Closed::Violation(_))),
                Ending::Lost(_) => matches!(particulars.how, Some(Closed::Lost(_))),
                Ending::Unreachable(_) => matches!(particulars.how, Some(Closed::Unreachable(_))),
            };
            assert!(is_it, "{ending:?}: {:?}", particulars.how);
        }
    }
}
