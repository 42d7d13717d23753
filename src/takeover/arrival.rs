//! A successor that owns the peers: what is left to do when it serves for the first time.

use log::{debug, info, warn};
use mio::Poll;
use reactord_process::channel::Channel;
use reactord_process::path::TakeoverListener;

use super::drive::Owner;
use super::fault::{self, SuccessorStep as Step};
use super::frozen_at::FrozenAt;
use super::memory::Expendable;
use super::successor::Accept;
use super::summary::{Pause, Summary};
use super::wire::{Frame, Process, Serving};
use crate::account::Account;
use crate::build_id::BUILD;
use crate::milestone::Survived;
use crate::sources::Sources;
use crate::standby::survival::Survival;

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
    pub(crate) how: How,
    pub(crate) predecessor: Process,
    pub(crate) owner: Owner,
    /// Nobody has told the kernel yet that this process must live.
    pub(crate) expendable: Option<Expendable>,
    /// The takeover listener that is not listened on any more.
    pub(crate) left_behind: Option<TakeoverListener>,
}

/// How a successor has come to own the peers.
#[derive(Debug)]
pub(crate) enum How {
    /// The predecessor has handed them over.
    HandedOver {
        channel: Channel,
        frozen: FrozenAt,
        /// How many lanes the predecessor had. Behind them came those who wait for the end of a handshake, and are no peers yet.
        lanes_taken: usize,
    },
    /// It has died, and this process was its standby.
    Survived(Box<Survival>),
}

/// What is told when a successor serves.
pub(crate) enum Told {
    TakenOver(Summary),
    Survived(Survived),
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

    /// The death that has led to this, if it was one.
    pub(crate) fn survival(&mut self) -> Option<&mut Survival> {
        match &mut self.how {
            How::HandedOver { .. } => None,
            How::Survived(survival) => Some(survival),
        }
    }

    /// The first poll has returned, at `polled_at_ns`, and all that was due has been done: logs and returns what there is to tell,
    /// puts this process's name on the takeover listener, and leaves the path that the takeover has moved away from.
    pub(crate) fn serving(self, polled_at_ns: u64, listener: Option<&TakeoverListener>) -> Told {
        let Self { how, predecessor, owner, left_behind, .. } = self;
        let told = match how {
            How::HandedOver { channel, frozen, lanes_taken } => {
                let peers = owner.accept().peers_of(lanes_taken);
                Told::TakenOver(take_over(channel, frozen, predecessor, peers, owner.accept(), polled_at_ns))
            }
            How::Survived(mut survival) => {
                survival.bury();
                let told = survival.told(polled_at_ns);
                warn!("{survival}; nobody served for {} us", told.unserved.as_micros());
                Told::Survived(told)
            }
        };
        if let Some(Err(error)) = listener.map(TakeoverListener::sign) {
            debug!("Callers see a predecessor's pid: {error}");
        }
        if let Some(left_behind) = left_behind {
            left_behind.remove();
        }
        told
    }
}

/// Tells the predecessor that this process serves, and logs and returns the summary.
fn take_over(
    mut channel: Channel,
    frozen: FrozenAt,
    predecessor: Process,
    peers: u64,
    accept: &Accept,
    polled_at_ns: u64,
) -> Summary {
    let pause = frozen.pause(polled_at_ns);
    let (Pause::Exactly { us: pause_us } | Pause::AtMost { us: pause_us }) = pause else {
        unreachable!("who has polled knows when that was");
    };
    let said = fault::at(Step::Serving, &mut channel)
        .and_then(|()| channel.try_send(&Frame::Serving(Serving { pause_us }).encode(), &[]));
    if let Err(error) = said {
        debug!("Predecessor pid {} was not told how long the pause was: {error}", predecessor.pid);
    }
    let generation = predecessor.generation.saturating_add(1);
    let successor = Process { build: BUILD.to_owned(), pid: std::process::id(), generation };
    let Accept { entries, figures, .. } = *accept;
    let summary = Summary { peers, entries, figures, pause, successor, predecessor };
    info!("Took over {summary}");
    summary
}
