//! Asking a server to start its successor, or whether a successor would do, from a process that serves nobody.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reactord_process::asking::{AskError, Cause, PATIENCE};
use reactord_process::channel::{Channel, Deadline};
use reactord_process::frame::{Refuse, printable};
use reactord_process::open_files;
use reactord_process::path::{Call, call};
use reactord_process::requests::version_of;

use crate::asking::{exchange, out_of_turn};
use crate::takeover::offer::Offer;
use crate::takeover::successor::Called;
use crate::takeover::wire::{self, Argument, Frame};

/// How long a successor may take if nobody says otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// How much longer than a successor its predecessor may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// What an upgrade is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// What is to be started. `None`: what the server itself was started as, which may be another version by now. Default:
    /// `None`.
    pub binary: Option<PathBuf>,
    /// With what arguments, besides its own name. `None`: with those of the server. Default: `None`.
    pub arguments: Option<Vec<OsString>>,
    /// How long the successor may take until it serves. Default: 60 s.
    pub timeout: Duration,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self { binary: None, arguments: None, timeout: TIMEOUT }
    }
}

/// How far an upgrade has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upgrading {
    /// The process id of what was started.
    pub pid: u32,
    /// How many peers it has copied. `None` if it has not called yet.
    pub copied: Option<u64>,
    /// How many there are.
    pub peers: u64,
}

/// A process that serves, has served, or was to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerProcess {
    /// Name and version of its program.
    pub build: String,
    /// The process id.
    pub pid: u32,
    /// Which of the processes that have been this server it is, from 1 on.
    pub generation: u64,
}

impl ServerProcess {
    /// The version alone, where the program is this one.
    #[must_use]
    pub fn version(&self) -> &str {
        version_of(&self.build)
    }
}

/// What has come of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Upgraded {
    /// The successor serves.
    HandedOver {
        /// Who has served.
        predecessor: ServerProcess,
        /// Who serves now.
        successor: ServerProcess,
        /// How many peers were handed over.
        peers: u64,
        /// How long nobody served. `None` where that is not known.
        pause: Option<Duration>,
    },
    /// A supervisor was asked: the same process is another binary by now.
    Replaced {
        /// What it was.
        predecessor: ServerProcess,
        /// What it is.
        successor: ServerProcess,
        /// How many workers it has, which go on as they are.
        workers: u64,
    },
    /// It does not.
    Failed {
        /// Who was asked.
        predecessor: ServerProcess,
        /// Why.
        why: String,
        /// The predecessor would not have it, rather than that it has come to nothing.
        is_refused: bool,
        /// Whether the predecessor serves on.
        serves_on: bool,
        /// The end of what the successor wrote to standard error.
        said: String,
    },
}

impl fmt::Display for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandedOver { predecessor, successor, peers, pause } => {
                write!(f, "handed over: {peers} peers from {} (pid {}", predecessor.version(), predecessor.pid)?;
                write!(f, ", generation {}) to {} ", predecessor.generation, successor.version())?;
                write!(f, "(pid {}, generation {}), pause ", successor.pid, successor.generation)?;
                match pause {
                    Some(pause) => write!(f, "{} us", pause.as_micros()),
                    None => write!(f, "unknown"),
                }
            }
            Self::Replaced { predecessor, successor, workers } => write!(
                f,
                "replaced: the supervisor (pid {}) is {} now, and was {} before; its {workers} workers go on as they are, and \
                 reload replaces them",
                successor.pid,
                successor.version(),
                predecessor.version(),
            ),
            Self::Failed { predecessor, why, is_refused, serves_on, .. } => {
                write!(f, "{}: {why}", if *is_refused { "refused" } else { "failed" })?;
                if *serves_on {
                    write!(f, "; {} (pid {}) serves on", predecessor.version(), predecessor.pid)?;
                }
                Ok(())
            }
        }
    }
}

/// Has the server that answers on the takeover path `path` start its successor, and waits until that serves or will not; or has
/// the supervisor that answers there execute another binary in its own place. Meanwhile `progress` is told how far it is. To end this process does not end the upgrade.
///
/// # Errors
/// If the server cannot be asked; or if it dies meanwhile, and then it is not known who serves.
pub fn upgrade(path: &Path, upgrade: &Upgrade, progress: impl FnMut(Upgrading)) -> Result<Upgraded, AskError> {
    ask(path, upgrade, progress).map_err(AskError::at(path))
}

fn ask(path: &Path, upgrade: &Upgrade, mut progress: impl FnMut(Upgrading)) -> Result<Upgraded, Cause> {
    let Call { socket, .. } = call(path).map_err(Cause::Io)?;
    let mut channel = Channel::of_successor(socket)?;
    let deadline = Deadline::after(upgrade.timeout.saturating_add(ANSWER_PATIENCE));
    channel.send_by(&Frame::Upgrade(request(upgrade)?).encode(), &[], Deadline::after(PATIENCE))?;
    loop {
        match channel.receive_by(deadline)?.decode()? {
            Frame::Upgrading(wire::Upgrading { pid, copied, peers }) => progress(Upgrading { pid, copied, peers }),
            Frame::Upgraded(upgraded) => return Ok((*upgraded).into()),
            Frame::Refuse(refuse) => return Err(Cause::Refused(printable(&refuse.reason))),
            frame => return Err(out_of_turn(&frame)),
        }
    }
}

fn request(upgrade: &Upgrade) -> Result<wire::Upgrade, Cause> {
    // The server may have another working directory.
    let absolute = |binary: &PathBuf| std::path::absolute(binary).map(|path| path.into_os_string().into_vec());
    let argument = |argument: &OsString| Argument(argument.as_bytes().to_vec());
    Ok(wire::Upgrade {
        binary: upgrade.binary.as_ref().map(absolute).transpose().map_err(Cause::Io)?,
        arguments: upgrade.arguments.as_ref().map(|arguments| arguments.iter().map(argument).collect()),
        timeout_ms: u64::try_from(upgrade.timeout.as_millis()).unwrap_or(u64::MAX),
    })
}

impl From<wire::Process> for ServerProcess {
    fn from(wire::Process { build, pid, generation }: wire::Process) -> Self {
        Self { build: printable(&build), pid, generation }
    }
}

impl From<wire::Upgraded> for Upgraded {
    fn from(upgraded: wire::Upgraded) -> Self {
        let wire::Upgraded { predecessor, successor, peers, pause_us, why, is_refused, said, workers } = upgraded;
        let predecessor = predecessor.into();
        match (successor, why, workers) {
            (Some(successor), None, Some(workers)) => {
                Self::Replaced { predecessor, successor: successor.into(), workers }
            }
            (Some(successor), None, None) => {
                let pause = pause_us.map(Duration::from_micros);
                Self::HandedOver { predecessor, successor: successor.into(), peers, pause }
            }
            (successor, why, _) => {
                let why = printable(&why.unwrap_or_else(|| "for a reason that it does not say".to_owned()));
                Self::Failed { predecessor, why, is_refused, serves_on: successor.is_none(), said }
            }
        }
    }
}

/// Whether a successor would be welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Who was asked.
    pub server: ServerProcess,
    /// How many peers each of its services has, by name. Empty if a takeover would be refused.
    pub services: Vec<(String, u64)>,
    /// How many listeners would be taken over.
    pub listeners: u64,
    /// How many files this process may open.
    pub files_max: u64,
    /// How many a successor needs.
    pub files_needed: u64,
    /// Why a takeover would be refused, if it would.
    pub why: Option<String>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, services, listeners, files_max, files_needed, why } = self;
        if let Some(why) = why {
            return write!(f, "refused: {why}; {} (pid {}) would serve on", server.version(), server.pid);
        }
        let services: Vec<String> = services.iter().map(|(name, peers)| format!("{peers} peers of {name}")).collect();
        write!(f, "a takeover would succeed: {} and {listeners} listeners ", services.join(", "))?;
        write!(f, "from {} (pid {}, generation {}); ", server.version(), server.pid, server.generation)?;
        write!(f, "{files_max} files may be open, {files_needed} are needed")
    }
}

/// Whether the server that answers on the takeover path `path` would let this process take over, with these services. Nothing
/// is changed by that.
///
/// # Errors
/// If the server cannot be asked, also because this user may not.
pub fn check(path: &Path, offers: &[Offer]) -> Result<Checked, AskError> {
    open_files::raise_limit();
    let ask = || {
        let (called, hello) = {
            let offers = offers.iter().map(|offer| offer.0.clone()).collect();
            Called::checking(offers, open_files::limit() as u64, open_files::count() as u64)
        };
        let files_max = hello.files_max;
        match exchange(path, &Frame::Check(hello), PATIENCE)?.decode()? {
            Frame::Checked(checked) => Ok(judged(called, *checked, files_max)),
            frame => Err(out_of_turn(&frame)),
        }
    };
    ask().map_err(AskError::at(path))
}

/// What the server answers, and what this side would say to that.
fn judged(called: Called, checked: wire::Checked, files_max: u64) -> Checked {
    let wire::Checked { server, welcome, why, files_needed, listeners } = checked;
    let refused = || Refuse::because(&why.as_deref().unwrap_or("for a reason that it does not say"));
    let answer = welcome.map_or_else(|| Frame::Refuse(refused()), Frame::Welcome);
    let (services, why) = match called.hear(answer) {
        Ok(welcome) => (welcome.lanes.into_iter().map(|lane| (printable(&lane.service), lane.peers)).collect(), None),
        Err(objection) => (Vec::new(), Some(objection.reason())),
    };
    Checked { server: server.into(), services, listeners, files_max, files_needed, why }
}
