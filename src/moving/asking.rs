//! Asking a server to move peers to another one, from a process that serves nobody.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use reactord_process::asking::{AskError, Cause};
use reactord_process::frame::printable;

use super::words::Peers;
use crate::asking::{exchange, out_of_turn};
use crate::peer::Address;
use crate::takeover::wire::{self, Frame};

/// How long the server may take to answer: it gives a taker ten seconds for each batch.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Which peers are to move.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Which {
    /// All of them.
    All,
    /// So many.
    Count(u64),
    /// So many parts, of so many: 1 of 3 is a third, rounded to whole peers.
    Share(u32, u32),
    /// Those who connect from these addresses.
    From(Vec<SocketAddr>),
}

impl From<Which> for wire::Which {
    fn from(which: Which) -> Self {
        match which {
            Which::All => Self::All,
            Which::Count(count) => Self::Count(count),
            Which::Share(parts, of) => Self::Share(parts, of),
            // As a server writes them.
            Which::From(addresses) => {
                Self::From(addresses.into_iter().map(|from| Address::from(from).to_string()).collect())
            }
        }
    }
}

/// What came of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// How many peers were to move.
    pub asked: u64,
    /// How many belong to the other server now.
    pub moved: u64,
    /// The process id of the server that had them.
    pub giver_pid: u32,
    /// The process id of the server that has them now.
    pub taker_pid: u32,
    /// How long it took.
    pub took: Duration,
    /// The longest time for which a batch of them was served by nobody.
    pub pause_max: Duration,
    /// Why it is not all of them, if it is not. The others are served where they were.
    pub why: Option<String>,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pause_ms = self.pause_max.as_secs_f64() * 1000.0;
        write!(
            f,
            "Moved {} of {} from pid {} to pid {} in {:.3} s (largest pause of a batch {pause_ms:.3} ms)",
            self.moved,
            Peers(self.asked),
            self.giver_pid,
            self.taker_pid,
            self.took.as_secs_f64()
        )
    }
}

/// Has the server that answers on the takeover path `from` move peers to the one that answers on `to`. Both go on serving,
/// the peers among them; each peer is in one of them at any time. Waits for the end.
///
/// # Errors
/// If the server cannot be asked, or refuses; or if it dies meanwhile, and then it is not known how many were moved.
pub fn move_peers(from: &Path, to: &Path, which: Which) -> Result<Moved, AskError> {
    ask(from, to, which).map_err(AskError::at(from))
}

fn ask(from: &Path, to: &Path, which: Which) -> Result<Moved, Cause> {
    // The server may have another working directory.
    let to = std::path::absolute(to).map_err(Cause::Io)?;
    let request = wire::Move { to: to.as_os_str().as_bytes().to_vec(), which: which.into() };
    match exchange(from, &Frame::Move(request), PATIENCE)?.decode()? {
        Frame::Moved(moved) => Ok(Moved {
            asked: moved.asked,
            moved: moved.moved,
            giver_pid: moved.giver_pid,
            taker_pid: moved.taker_pid,
            took: Duration::from_micros(moved.took_us),
            pause_max: Duration::from_micros(moved.pause_max_us),
            why: moved.why.map(|why| printable(&why)),
        }),
        frame => Err(out_of_turn(&frame)),
    }
}
