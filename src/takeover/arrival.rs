//! A successor that owns the peers: what is left to do when it serves for the first time.

use log::{debug, info};
use mio::Poll;
use reactord_process::channel::Channel;
use reactord_process::path::TakeoverListener;

use super::drive::Owner;
use super::fault::{self, SuccessorStep as Step};
use super::frozen_at::FrozenAt;
use super::memory::Expendable;
use super::summary::{Pause, Summary};
use super::wire::{Frame, Process, Serving};
use crate::account::Account;
use crate::build_id::BUILD;
use crate::sources::Sources;

/// A successor that owns the peers, and has not polled yet.
pub(crate) struct Arrived<L> {
    pub(crate) poll: Poll,
    pub(crate) lanes: L,
    pub(crate) sources: Sources,
    pub(crate) arrival: Arrival,
}

/// What a successor has left to do when it serves for the first time.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(super) channel: Channel,
    pub(super) predecessor: Process,
    pub(super) owner: Owner,
    /// How many lanes the predecessor had. Behind them came those who wait for the end of a handshake, and are no peers yet.
    pub(super) lanes_taken: usize,
    pub(super) frozen: FrozenAt,
    /// Nobody has told the kernel yet that this process must live.
    pub(super) expendable: Option<Expendable>,
    /// The takeover listener that is not listened on any more.
    pub(super) left_behind: Option<TakeoverListener>,
}

impl Arrival {
    /// What the predecessor has kept count of, if it has said so.
    pub(crate) fn account(&self) -> Option<Account> {
        self.owner.accept().account.clone()
    }

    /// The first poll has returned: what the peers need is done next, and this process must live.
    pub(crate) fn polled(&mut self) {
        self.expendable = None;
    }

    /// The first poll has returned, at `polled_at_ns`, and all that was due has been done: tells the predecessor, logs
    /// and returns the summary, puts this process's name on the takeover listener, and leaves the path that the takeover has moved
    /// away from.
    pub(crate) fn serving(mut self, polled_at_ns: u64, listener: Option<&TakeoverListener>) -> Summary {
        let pause = self.frozen.pause(polled_at_ns);
        let (Pause::Exactly { us: pause_us } | Pause::AtMost { us: pause_us }) = pause else {
            unreachable!("who has polled knows when that was");
        };
        let said = fault::at(Step::Serving, &mut self.channel)
            .and_then(|()| self.channel.try_send(&Frame::Serving(Serving { pause_us }).encode(), &[]));
        if let Err(error) = said {
            debug!("Predecessor pid {} was not told how long the pause was: {error}", self.predecessor.pid);
        }
        if let Some(Err(error)) = listener.map(TakeoverListener::sign) {
            debug!("Callers see a predecessor's pid: {error}");
        }
        let summary = Summary {
            peers: self.owner.accept().peers_of(self.lanes_taken),
            entries: self.owner.accept().entries,
            figures: self.owner.accept().figures,
            pause,
            successor: Process {
                build: BUILD.to_owned(),
                pid: std::process::id(),
                generation: self.predecessor.generation.saturating_add(1),
            },
            predecessor: self.predecessor,
        };
        info!("Took over {summary}");
        if let Some(left_behind) = self.left_behind {
            left_behind.remove();
        }
        summary
    }
}
