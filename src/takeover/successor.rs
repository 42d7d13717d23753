//! The successor's half of the conversation. Pure: frames go in, what is to be done comes out.
//!
//! ```text
//! Called ──Welcome──▶ Receiving ──Commit──▶ Accept is sent: the successor owns the peers
//!    │                    │
//!  Fault                Fault                the predecessor owns them, and the successor exits
//! ```

use std::collections::hash_map::Entry;

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::wire::{
    Commit, Copied, Digested, Figures, Frame, Hello, Kind, Listeners, Offer, WIRE_VERSIONS, Welcome, chained, printable,
};
use crate::peer::record::{Change, Record};

/// Why the takeover cannot be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The predecessor says so, and why.
    Refused { reason: String },
    /// The predecessor chose what was not offered.
    Service { service: String, state_version: u32 },
    /// The predecessor chose a wire version that was not offered.
    WireVersion { wire_version: u32 },
    /// It said something that is not its turn to say.
    OutOfTurn { kind: Kind, step: &'static str },
    /// It copied a peer that had been copied before.
    Twice { cookie: u64 },
    /// It speaks of a peer that was never copied.
    Unknown { cookie: u64 },
    /// A round is missing.
    Round { number: u32, expected: u32 },
    /// It listens itself, or does not, otherwise than this process is to.
    Listeners { count: usize, expected: usize },
    /// What has come is not what was sent.
    Incomplete { what: &'static str, arrived: u64, sent: u64 },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { reason } => write!(f, "refused: {reason}"),
            Self::Service { service, state_version } => write!(
                f,
                "the predecessor chose service {} with state version {state_version}, which was not offered",
                printable(service)
            ),
            Self::WireVersion { wire_version } => {
                write!(f, "the predecessor chose wire version {wire_version}, offered were {WIRE_VERSIONS}")
            }
            Self::OutOfTurn { kind, step } => write!(f, "the predecessor sent {kind:?} {step}"),
            Self::Twice { cookie } => write!(f, "the peer with cookie {cookie} was copied twice"),
            Self::Unknown { cookie } => write!(f, "the peer with cookie {cookie} was never copied"),
            Self::Round { number, expected } => write!(f, "round {number} ended, {expected} was expected to"),
            Self::Listeners { count, expected: 0 } => {
                write!(f, "the predecessor has {count} listeners, and a worker of a supervisor takes over none")
            }
            Self::Listeners { count, expected } => {
                write!(f, "the predecessor has {count} listeners, {expected} is expected")
            }
            Self::Incomplete { what, arrived, sent } => {
                write!(f, "the {what} that arrived is {arrived}, {sent} was sent")
            }
        }
    }
}

impl std::error::Error for Fault {}

/// The successor has said Hello.
#[derive(Debug)]
pub(crate) struct Called {
    offers: Vec<Offer>,
}

impl Called {
    /// What the successor says first.
    pub(crate) fn new(offers: Vec<Offer>, files_max: u64, files_open: u64) -> (Self, Vec<u8>) {
        let hello = Hello {
            wire_versions: WIRE_VERSIONS,
            build: crate::BUILD.to_owned(),
            services: offers.clone(),
            files_max,
            files_open,
        };
        (Self { offers }, Frame::Hello(hello).encode())
    }

    /// The predecessor answers.
    ///
    /// # Errors
    /// If there will be no takeover.
    pub(crate) fn hear(self, frame: Frame<'_>) -> Result<Welcome, Fault> {
        match frame {
            Frame::Welcome(welcome) => {
                if !WIRE_VERSIONS.contains(welcome.wire_version) {
                    return Err(Fault::WireVersion { wire_version: welcome.wire_version });
                }
                let offered = self.offers.iter().any(|offer| {
                    offer.service == welcome.service && offer.state_versions.contains(welcome.state_version)
                });
                if !offered {
                    return Err(Fault::Service { service: welcome.service, state_version: welcome.state_version });
                }
                Ok(welcome)
            }
            Frame::Refuse(refuse) => Err(Fault::Refused { reason: printable(&refuse.reason) }),
            frame => Err(Fault::OutOfTurn { kind: frame.kind(), step: "in answer to Hello" }),
        }
    }
}

/// The successor takes in what the predecessor copies, and serves nobody.
#[derive(Debug, Default)]
pub(crate) struct Receiving {
    step: Step,
    /// The digest of each peer, by cookie.
    known: FxHashMap<u64, u32>,
    digest: u64,
    copied: Copied,
    state: Vec<u8>,
}

/// How far the predecessor has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// Its listeners come first.
    #[default]
    BeforeListeners,
    /// It copies peers, in rounds.
    Copying,
    /// That round was the last one, unless another follows: it may freeze.
    Ready,
    /// It has frozen, and sends what all peers share.
    Frozen,
}

/// What is to be done about a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<'b> {
    /// Take the descriptors of these listeners, and of the takeover listener.
    Listen(Listeners),
    /// Take a descriptor for each record, and adopt the two; then answer with the frame.
    Adopt(Vec<Digested<Record<'b>>>, Vec<u8>),
    /// Follow these changes, each from where its peer was.
    Change(Vec<Digested<Change<'b>>>),
    /// Let go of these peers.
    Discard(Vec<u64>),
    /// Answer with the frame.
    Answer(Vec<u8>),
    /// Get everything ready that takes time, and answer with the frame.
    GetReady(Vec<u8>),
    /// Nothing yet.
    Wait,
    /// All is there and verified: restore the shared state, send the frame, and own the peers.
    Accept(Box<Accept>),
}

/// What the successor needs at the commit point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    /// The state that all peers share.
    pub(crate) state: Vec<u8>,
    /// How many peers there are.
    pub(crate) peers: u64,
    pub(crate) frozen_at_ns: u64,
    pub(crate) figures: Figures,
    pub(crate) frame: Vec<u8>,
}

impl Receiving {
    /// Nothing has come yet; about so many peers will.
    pub(crate) fn expecting(peers: usize) -> Self {
        Self { known: FxHashMap::with_capacity_and_hasher(peers, FxBuildHasher), ..Self::default() }
    }

    /// The predecessor says something.
    ///
    /// # Errors
    /// If the takeover is over with that.
    pub(crate) fn hear<'b>(&mut self, frame: Frame<'b>) -> Result<Action<'b>, Fault> {
        match frame {
            Frame::Listeners(listeners) if self.step == Step::BeforeListeners => {
                self.step = Step::Copying;
                Ok(Action::Listen(listeners))
            }
            Frame::Peers(records) if self.copies() => {
                for Digested { value: record, digest } in &records {
                    match self.known.entry(record.cookie) {
                        Entry::Occupied(_) => return Err(Fault::Twice { cookie: record.cookie }),
                        Entry::Vacant(entry) => entry.insert(*digest),
                    };
                    self.digest = self.digest.wrapping_add((*digest).into());
                }
                self.copied.peers += records.len() as u64;
                Ok(Action::Adopt(records, self.copied_frame()))
            }
            Frame::Changed(changes) if self.copies() => {
                for Digested { value: change, digest } in &changes {
                    let known = self.known.get_mut(&change.cookie);
                    let known = known.ok_or(Fault::Unknown { cookie: change.cookie })?;
                    let before = *known;
                    *known = chained(before, *digest);
                    self.digest = self.digest.wrapping_sub(before.into()).wrapping_add((*known).into());
                }
                Ok(Action::Change(changes))
            }
            Frame::Closed(closed) if self.copies() => {
                for &cookie in &closed.cookies {
                    let digest = self.known.remove(&cookie).ok_or(Fault::Unknown { cookie })?;
                    self.digest = self.digest.wrapping_sub(digest.into());
                }
                Ok(Action::Discard(closed.cookies))
            }
            Frame::Round(round) if self.copies() => {
                let expected = self.copied.rounds + 1;
                if round.number != expected {
                    return Err(Fault::Round { number: round.number, expected });
                }
                #[cfg(all(feature = "wire-2", not(test)))]
                super::rehearsal::note(&round);
                self.copied.rounds = round.number;
                self.step = if round.last { Step::Ready } else { Step::Copying };
                if round.last {
                    Ok(Action::GetReady(Frame::Ready.encode()))
                } else {
                    Ok(Action::Answer(self.copied_frame()))
                }
            }
            Frame::State(state) if self.may_be_frozen() => {
                self.step = Step::Frozen;
                self.state.extend_from_slice(state.part);
                Ok(Action::Wait)
            }
            #[cfg(all(feature = "wire-2", not(test)))]
            Frame::Census(census) if self.may_be_frozen() => {
                census.verify(self.known.len() as u64)?;
                Ok(Action::Wait)
            }
            Frame::Commit(commit) if self.may_be_frozen() => {
                self.verify(&commit)?;
                Ok(Action::Accept(Box::new(Accept {
                    state: std::mem::take(&mut self.state),
                    peers: commit.peers,
                    frozen_at_ns: commit.frozen_at_ns,
                    figures: commit.figures,
                    frame: Frame::Accept.encode(),
                })))
            }
            Frame::Refuse(refuse) => Err(Fault::Refused { reason: printable(&refuse.reason) }),
            frame => Err(Fault::OutOfTurn { kind: frame.kind(), step: self.when() }),
        }
    }

    /// Whether peers may come, change and leave.
    fn copies(&self) -> bool {
        matches!(self.step, Step::Copying | Step::Ready)
    }

    fn may_be_frozen(&self) -> bool {
        matches!(self.step, Step::Ready | Step::Frozen)
    }

    fn when(&self) -> &'static str {
        match self.step {
            Step::BeforeListeners => "before its listeners",
            Step::Copying => "during the copy",
            Step::Ready => "after the last round",
            Step::Frozen => "after its state",
        }
    }

    fn copied_frame(&self) -> Vec<u8> {
        Frame::Copied(self.copied.clone()).encode()
    }

    fn verify(&self, commit: &Commit) -> Result<(), Fault> {
        let pairs = [
            ("number of peers", self.known.len() as u64, commit.peers),
            ("digest", self.digest, commit.digest),
            ("size of the shared state", self.state.len() as u64, commit.state_bytes),
        ];
        for (what, arrived, sent) in pairs {
            if arrived != sent {
                return Err(Fault::Incomplete { what, arrived, sent });
            }
        }
        Ok(())
    }
}
