//! Whether somebody who has said Hello can take over: decided before anything is copied. Pure.

use reactord_process::frame::{Refuse, printable};
use reactord_process::open_files;

use super::wire::{Hello, Lane, Process, Versions, WIRE_VERSIONS, Welcome, agree};
use crate::build_id::BUILD;
use crate::peer::secured::LAYOUT;

/// What there is to take over of one lane.
#[derive(Clone, Debug)]
pub(crate) struct Estate {
    pub(crate) service: &'static str,
    pub(crate) state_version: u32,
    pub(crate) peers: u64,
}

/// Why a caller cannot take over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The two sides speak no common version.
    WireVersions { ours: Versions, theirs: Versions },
    /// The successor does not run all services.
    Service { ours: Vec<&'static str>, theirs: Vec<String> },
    /// The successor cannot restore what this build saves.
    StateVersion { service: &'static str, ours: u32, theirs: Versions },
    /// The successor may not open enough files.
    Room { files_max: u64, files_needed: u64 },
    /// The successor cannot restore TLS connections as they are saved here.
    Tls { ours: u64, theirs: u64 },
    /// The successor's control group does not allow it enough memory.
    Memory { bytes_free: u64, bytes_needed: u64 },
    /// Another successor is taking over.
    Busy { pid: u32 },
    /// The server is about to exit.
    Stopping,
    /// The caller was started for an upgrade that is over.
    GivenUp,
    /// The server starts its successor itself already.
    Upgrading { pid: u32 },
    /// The server was not told how a successor is started.
    NoProgram,
    /// No successor could call.
    NoPath,
    /// A standby follows, and another one would.
    Followed { pid: u32 },
    /// A standby follows, and what is asked for would give peers to others that it knows.
    KeepsPeers { pid: u32 },
    /// What may have killed the process before this one is to be handled first.
    Suspects,
    /// Who wants to follow would know peers that may go to another server, or come from one.
    Moves,
    /// Who follows is not needed any more: somebody takes over.
    TakenOver { pid: u32 },
    /// Who follows may not serve on any more: that was taken back for a takeover, which has failed since.
    Relieved { pid: u32 },
    /// Who follows would listen where the server does not any more.
    Elsewhere,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WireVersions { ours, theirs } => {
                write!(f, "the successor speaks wire versions {theirs}, the predecessor {ours}")
            }
            Self::Service { ours, theirs } => {
                let theirs: Vec<String> = theirs.iter().map(|name| printable(name)).collect();
                let theirs = if theirs.is_empty() { "nothing".to_owned() } else { printable(&theirs.join(", ")) };
                let ours = ours.join(", ");
                write!(f, "the predecessor serves {ours}, the successor offers {theirs}")
            }
            Self::StateVersion { service, ours, theirs } => {
                write!(f, "{service} has state version {ours}, the successor restores versions {theirs}")
            }
            Self::Room { files_max, files_needed } => {
                write!(f, "the successor may open {files_max} files, {files_needed} are needed")
            }
            Self::Tls { ours, theirs: 0 } => {
                write!(f, "there are peers that speak TLS (layout {ours:#x}), which the successor cannot restore")
            }
            Self::Tls { ours, theirs } => {
                write!(f, "TLS connections are saved in layout {ours:#x}, the successor restores layout {theirs:#x}")
            }
            Self::Memory { bytes_free, bytes_needed } => write!(
                f,
                "the successor's control group leaves it {bytes_free} bytes of memory, {bytes_needed} are needed"
            ),
            Self::Busy { pid } => write!(f, "pid {pid} is taking over already"),
            Self::Stopping => write!(f, "the predecessor is stopping"),
            Self::GivenUp => write!(f, "the upgrade for which this process was started has been given up"),
            Self::Upgrading { pid } => write!(f, "an upgrade is under way already (pid {pid})"),
            Self::NoProgram => write!(f, "whoever started this server has to start its successor: it was not told how"),
            Self::NoPath => write!(f, "this server has no takeover path on which a successor could call"),
            Self::Followed { pid } => write!(f, "pid {pid} follows as its standby already"),
            Self::KeepsPeers { pid } => write!(f, "pid {pid} follows as its standby: no peer is moved meanwhile"),
            Self::Suspects => {
                write!(f, "this server has just survived a death: no peer is moved before that is known to be over")
            }
            Self::Moves => {
                write!(
                    f,
                    "peers come from other servers, or may go there: a server with a standby has its peers to itself"
                )
            }
            Self::TakenOver { pid } => write!(f, "pid {pid} takes over"),
            Self::Relieved { pid } => {
                write!(f, "its licence to serve on was taken back for pid {pid}, which has not taken over")
            }
            Self::Elsewhere => write!(f, "a listener was made anew"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// The refusal as the caller hears it.
    pub(crate) fn frame(&self) -> Vec<u8> {
        Refuse::frame(self)
    }

    /// The same with who says so.
    pub(crate) fn frame_by(&self, predecessor: &Process) -> Vec<u8> {
        Refuse::frame_by(predecessor, self)
    }
}

/// Whether the successor restores TLS connections as they are saved here, if there are any.
pub(crate) fn check_tls(hello: &Hello, speaks_tls: bool) -> Result<(), Refusal> {
    let (ours, theirs) = (LAYOUT, hello.tls_layout);
    if speaks_tls && theirs != ours { Err(Refusal::Tls { ours, theirs }) } else { Ok(()) }
}

/// Decides whether the caller can take over.
///
/// # Errors
/// If it cannot; nothing has been copied then.
pub(crate) fn greet(hello: &Hello, estates: &[Estate], pid: u32) -> Result<Welcome, Refusal> {
    let Some(wire_version) = agree(WIRE_VERSIONS, hello.wire_versions) else {
        return Err(Refusal::WireVersions { ours: WIRE_VERSIONS, theirs: hello.wire_versions });
    };
    check_services(hello, estates)?;
    let peers = estates.iter().map(|estate| estate.peers).sum();
    check_files(hello, peers)?;
    let lanes = estates.iter().map(|&Estate { service, state_version, peers }| Lane {
        service: service.to_owned(),
        state_version,
        peers,
    });
    Ok(Welcome {
        wire_version,
        build: BUILD.to_owned(),
        pid,
        lanes: lanes.collect(),
        generation: 0,
        has_secrets: false,
    })
}

/// Whether the successor can run all services, and restore what each saves.
fn check_services(hello: &Hello, estates: &[Estate]) -> Result<(), Refusal> {
    for &Estate { service, state_version, .. } in estates {
        // A successor may offer a service more than once, with a range of versions each.
        let offers = hello.services.iter().filter(|offer| offer.service == service);
        let offered: Vec<Versions> = offers.map(|offer| offer.state_versions).collect();
        let Some(&theirs) = offered.first() else {
            let ours = estates.iter().map(|estate| estate.service).collect();
            let theirs = hello.services.iter().map(|offer| offer.service.clone()).collect();
            return Err(Refusal::Service { ours, theirs });
        };
        if !offered.iter().any(|versions| versions.contains(state_version)) {
            return Err(Refusal::StateVersion { service, ours: state_version, theirs });
        }
    }
    Ok(())
}

/// Whether the successor may open enough files for so many peers, or others who have come.
pub(crate) fn check_files(hello: &Hello, peers: u64) -> Result<(), Refusal> {
    check_room(hello, peers).map_err(|(files_max, files_needed)| Refusal::Room { files_max, files_needed })
}

/// The same. Otherwise, how many it may open and how many it needs.
pub(super) fn check_room(hello: &Hello, peers: u64) -> Result<(), (u64, u64)> {
    // A successor leaves as many to others as this process does.
    let files_needed = hello.files_open.saturating_add(open_files::RESERVED as u64).saturating_add(peers);
    if files_needed > hello.files_max { Err((hello.files_max, files_needed)) } else { Ok(()) }
}
