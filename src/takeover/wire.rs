//! The frames of a takeover: bytes to records and back. Pure; it knows neither sockets nor whose turn it is.
//!
//! A frame is `length: u32`, `kind: u8`, `checksum: u32` (all big-endian), then a body of `length` bytes: a CBOR map
//! with numbered fields (RFC 8949). The checksum is the CRC-32 of kind and body.
//!
//! A field that is added is optional, a number is never used twice, a field that is not known is skipped. What cannot
//! be said under these rules is a new wire version, and the two sides of a takeover agree on the highest that both know
//! ([`agree`]). `docs/wire.md` has the rules for whoever changes something here.

use std::net::SocketAddr;

use minicbor::{Decode, Decoder, Encode};
use reactord_process::frame::{self, FromFrame, REFUSE, Refuse, WireError};
use reactord_process::requests;
pub(crate) use reactord_process::requests::{Argument, LogSet, Process, SetLog, Upgrade, Upgraded, Upgrading};
use reactord_process::wiped::Wiped;

use crate::account::Account;
use crate::peer::record::{Change, Record};
use crate::status::{PeerStatus, Status};

mod record;
mod records;
mod secret;
mod ties;

pub(crate) use records::{Digested, OfLane, RecordsKind, RecordsWriter, chained};
use records::{decode_records, encode_records};
pub(crate) use secret::Secret;

/// The wire versions that this build speaks.
pub(crate) const WIRE_VERSIONS: Versions =
    Versions { oldest: 1, newest: if cfg!(all(feature = "wire-2", not(test))) { 2 } else { 1 } };

/// A range of versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Versions {
    #[n(0)]
    pub(crate) oldest: u32,
    #[n(1)]
    pub(crate) newest: u32,
}

impl Versions {
    pub(crate) fn contains(self, version: u32) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

/// The highest version in both ranges.
pub(crate) fn agree(ours: Versions, theirs: Versions) -> Option<u32> {
    let version = ours.newest.min(theirs.newest);
    (ours.contains(version) && theirs.contains(version)).then_some(version)
}

/// Successor: who calls, and what it can take over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Hello {
    #[n(0)]
    pub(crate) wire_versions: Versions,
    /// Name and version of the program, for the log.
    #[n(1)]
    pub(crate) build: String,
    #[n(2)]
    pub(crate) services: Vec<Offer>,
    /// The limit of open files, and how many of them are open already.
    #[n(3)]
    pub(crate) files_max: u64,
    #[n(4)]
    pub(crate) files_open: u64,
    /// The number of the upgrade for which the predecessor has started it, if it has.
    #[n(5)]
    pub(crate) upgrade: Option<u64>,
    /// In which layout it restores TLS connections. 0: in none.
    #[cbor(n(6), skip_if = "is_zero")]
    pub(crate) tls_layout: u64,
}

#[cfg(test)]
impl Hello {
    /// That of a successor of tests, which has room for all.
    pub(crate) fn with_room() -> Self {
        Self {
            wire_versions: WIRE_VERSIONS,
            build: String::new(),
            services: Vec::new(),
            files_max: u64::MAX,
            files_open: 0,
            upgrade: None,
            tls_layout: 0,
        }
    }
}

/// A service that the successor can run, with the state versions that it restores.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Offer {
    #[n(0)]
    pub(crate) service: String,
    #[n(1)]
    pub(crate) state_versions: Versions,
}

/// Predecessor: the takeover begins.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Welcome {
    #[n(0)]
    pub(crate) wire_version: u32,
    #[n(1)]
    pub(crate) build: String,
    #[n(2)]
    pub(crate) pid: u32,
    /// What it serves. Later frames name a lane by its place in here.
    #[n(3)]
    pub(crate) lanes: Vec<Lane>,
    /// Which of the processes that have been this server says so. 0: it is not said.
    #[cbor(n(4), skip_if = "is_zero")]
    pub(crate) generation: u64,
    /// There are secrets in what follows: those of TLS.
    #[cbor(n(5), skip_if = "is_not")]
    pub(crate) has_secrets: bool,
}

/// One of the predecessor's lanes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Lane {
    #[n(0)]
    pub(crate) service: String,
    #[n(1)]
    pub(crate) state_version: u32,
    /// How many peers there are now.
    #[n(2)]
    pub(crate) peers: u64,
}

/// Server: what would be answered to a successor that says such a Hello.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Checked {
    #[n(0)]
    pub(crate) server: Process,
    /// `None` if it would be refused.
    #[n(1)]
    pub(crate) welcome: Option<Welcome>,
    /// Why it would be.
    #[n(2)]
    pub(crate) why: Option<String>,
    /// How many files the successor would have open with all peers, and leave to others.
    #[n(3)]
    pub(crate) files_needed: u64,
    /// How many listeners it would take over.
    #[n(4)]
    pub(crate) listeners: u64,
}

/// Predecessor: what it listens on. Its descriptors are those of `services`, in order, then the takeover listener.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Listeners {
    #[n(0)]
    pub(crate) services: Vec<Listener>,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) takeover_path: Vec<u8>,
    /// Device and inode of the takeover path: who removes it later checks that it is still the same.
    #[n(2)]
    pub(crate) takeover_device: u64,
    #[n(3)]
    pub(crate) takeover_inode: u64,
    /// Those who come over the queue of its supervisor speak TLS.
    #[n(4)]
    pub(crate) queue_tls: Option<Spoken>,
    /// The last descriptor is that queue, with which a standby goes on.
    #[cbor(n(5), skip_if = "is_not")]
    pub(crate) has_queue: bool,
}

impl Listeners {
    /// The frame that says so. The keys of tickets are in it.
    pub(crate) fn frame(&self) -> Wiped {
        frame::encode_secret(Kind::Listeners as u8, self)
    }
}

/// A listener of one of the predecessor's lanes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Listener {
    #[n(0)]
    pub(crate) at: At,
    #[cbor(n(1), skip_if = "is_first")]
    pub(crate) lane: u32,
    /// What the lane's service calls it.
    #[n(2)]
    pub(crate) name: String,
    /// It is not to be listened on any more: only who has connected already is let in.
    #[cbor(n(3), skip_if = "is_not")]
    pub(crate) is_leftover: bool,
    /// Somebody else has opened it, and may go on listening: it is not ended, and its path not removed.
    #[cbor(n(4), skip_if = "is_not")]
    pub(crate) is_borrowed: bool,
    /// Its clients speak TLS.
    #[n(5)]
    pub(crate) tls: Option<Spoken>,
}

/// How clients speak TLS.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Spoken {
    /// With the keys of the tickets with which they resume.
    #[n(0)]
    pub(crate) tickets: Secret,
    /// And this handshake, which nobody means, has been answered: who goes on with it goes on with theirs. Empty: none of
    /// theirs is to be gone on with by then.
    #[cbor(n(1), skip_if = "Secret::is_empty")]
    #[cbor(default)]
    pub(crate) specimen: Secret,
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum At {
    #[n(0)]
    Tcp(#[cbor(n(0), with = "record::tcp_address")] SocketAddr),
    #[n(1)]
    Unix(#[n(0)] SocketFile),
}

/// The path of a Unix socket, with the device and the inode of the file there.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct SocketFile {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) path: Vec<u8>,
    #[n(1)]
    pub(crate) device: u64,
    #[n(2)]
    pub(crate) inode: u64,
}

/// Predecessor: these peers, known to the successor, are gone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Closed {
    #[n(0)]
    pub(crate) cookies: Vec<u64>,
    #[cbor(n(1), skip_if = "is_first")]
    pub(crate) lane: u32,
}

/// Predecessor: everything that was pending when this round began has been sent. After the last one, the successor
/// gets ready for the freeze.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Round {
    #[n(0)]
    pub(crate) number: u32,
    #[n(1)]
    pub(crate) last: bool,
    #[cfg(all(feature = "wire-2", not(test)))]
    #[n(2)]
    pub(crate) pending: Option<u64>,
}

/// Successor: so many peers arrived with their descriptors since the takeover began, and these rounds are applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Copied {
    #[n(0)]
    pub(crate) peers: u64,
    #[n(1)]
    pub(crate) rounds: u32,
    /// It goes on with TLS handshakes also where the client has been answered.
    #[cbor(n(2), skip_if = "is_not")]
    pub(crate) handshakes: bool,
}

/// Predecessor: a part of the state that all peers of a lane share, in order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct State<'b> {
    #[cbor(b(0), with = "minicbor::bytes")]
    pub(crate) part: &'b [u8],
    #[cbor(n(1), skip_if = "is_first")]
    pub(crate) lane: u32,
}

/// Whether a lane is the one that is meant where none is named.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "that is how it is called")]
fn is_first(lane: &u32) -> bool {
    *lane == 0
}

/// Predecessor: timers of a lane's service, which are the successor's from Accept on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Timers {
    #[n(0)]
    pub(crate) timers: Vec<Timer>,
    #[cbor(n(1), skip_if = "is_first")]
    pub(crate) lane: u32,
}

/// A timer of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Timer {
    #[n(0)]
    pub(crate) timer: u32,
    /// When it is due: `CLOCK_MONOTONIC`, ns.
    #[n(1)]
    pub(crate) at_ns: u64,
}

/// Predecessor: a part of a piece of the entries that the service shares among its peers, in order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Entries<'b> {
    #[cbor(b(0), with = "minicbor::bytes")]
    pub(crate) part: &'b [u8],
    #[cbor(n(1), skip_if = "is_first")]
    pub(crate) lane: u32,
    /// The service's number for the map that they are of.
    #[n(2)]
    pub(crate) map: u32,
    /// The piece is whole with this part.
    #[n(3)]
    pub(crate) last: bool,
}

impl Entries<'_> {
    pub(crate) fn digest(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.lane.to_be_bytes());
        hasher.update(&self.map.to_be_bytes());
        hasher.update(&[u8::from(self.last)]);
        hasher.update(self.part);
        hasher.finalize()
    }
}

/// All parts of entries up to some point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct EntriesSent {
    #[n(0)]
    pub(crate) bytes: u64,
    /// Of each part its own, [chained] with that of those before.
    #[n(1)]
    pub(crate) digest: u32,
    /// How many entries were sent, some of them several times. Only for the log: who receives pieces does not know.
    #[n(2)]
    pub(crate) entries: u64,
}

impl EntriesSent {
    /// One part more.
    pub(crate) fn note(&mut self, bytes: usize, digest: u32) {
        self.bytes += bytes as u64;
        self.digest = chained(self.digest, digest);
    }
}

/// Predecessor: nothing follows; the successor may take ownership if its own count and digest are these.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Commit {
    #[n(0)]
    pub(crate) peers: u64,
    /// The sum of the digests of all peers: of each, its record's, [chained] with those of its changes.
    #[n(1)]
    pub(crate) digest: u64,
    /// The size of the shared state of all lanes.
    #[n(2)]
    pub(crate) state_bytes: u64,
    /// When the predecessor froze: `CLOCK_MONOTONIC`, ns.
    #[n(3)]
    pub(crate) frozen_at_ns: u64,
    #[n(4)]
    pub(crate) figures: Figures,
    /// How many timers were sent.
    #[cbor(n(5), skip_if = "is_zero")]
    pub(crate) timers: u64,
    /// `None` if there were none.
    #[n(6)]
    pub(crate) entries: Option<EntriesSent>,
    /// What the predecessor has kept count of. A batch has none.
    #[n(7)]
    pub(crate) account: Option<Account>,
}

/// Active: what all comes to that is in the journal before this position.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Mark {
    #[n(0)]
    pub(crate) commit: Commit,
    #[n(1)]
    pub(crate) position: u64,
}

/// Active: the descriptors of these peers, whose records are in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Descriptors {
    #[n(0)]
    pub(crate) cookies: Vec<u64>,
}

/// Active: the descriptors of those whom a supervisor offers it, and has not taken yet or is just taking. There are no others whom it may have
/// taken and not told of as peers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Offered {
    /// As whom they will be known as peers.
    #[n(0)]
    pub(crate) cookies: Vec<u64>,
    /// How the supervisor knows them.
    #[n(1)]
    pub(crate) connections: Vec<u64>,
}

/// Active: the keys of tickets, of each of whoever's clients speak TLS, as they are from now on. The listeners had those of before.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Tickets {
    #[n(0)]
    pub(crate) keys: Vec<Secret>,
}

/// Active: of each of these peers, by how much what the kernel has counted as written is ahead of the position of what is written next.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Offsets {
    #[n(0)]
    pub(crate) cookies: Vec<u64>,
    /// `None` where the kernel does not tell.
    #[n(1)]
    pub(crate) written: Vec<Option<u64>>,
}

/// Active: all that waits for these peers, as far as that was told, is written, and nothing else has become of them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Flushed {
    #[n(0)]
    pub(crate) cookies: Vec<u64>,
}

/// What the copy took, for the summary of both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Figures {
    /// Frames with records.
    #[n(0)]
    pub(crate) batches: u64,
    #[n(1)]
    pub(crate) rounds: u32,
    /// Records and entries sent after the freeze.
    #[n(2)]
    pub(crate) dirty: u64,
    /// All bytes sent to the successor.
    #[n(3)]
    pub(crate) bytes: u64,
    /// From Welcome to the freeze.
    #[n(4)]
    pub(crate) copy_us: u64,
}

/// Successor, after the commit point: it serves. The predecessor only logs it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Serving {
    /// From the freeze to the return of the successor's first poll.
    #[n(0)]
    pub(crate) pause_us: u64,
}

/// Giver: it calls on a server's takeover path to give it peers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Give {
    #[n(0)]
    pub(crate) wire_versions: Versions,
    /// Name and version of the program, for the log.
    #[n(1)]
    pub(crate) build: String,
}

/// Somebody who calls on a server's takeover path: it is to give peers to another server.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Move {
    /// The takeover path of the other server.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) to: Vec<u8>,
    #[n(1)]
    pub(crate) which: Which,
}

/// Which peers are to move.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Which {
    #[n(0)]
    All,
    #[n(1)]
    Count(#[n(0)] u64),
    /// So many parts, of so many.
    #[n(2)]
    Share(#[n(0)] u32, #[n(1)] u32),
    /// Those who connect from these addresses, as the log writes them.
    #[n(3)]
    From(#[n(0)] Vec<String>),
}

/// Giver: what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Moved {
    /// How many were to move.
    #[n(0)]
    pub(crate) asked: u64,
    #[n(1)]
    pub(crate) moved: u64,
    #[n(2)]
    pub(crate) giver_pid: u32,
    #[n(3)]
    pub(crate) taker_pid: u32,
    /// From the request to the end of the last batch.
    #[n(4)]
    pub(crate) took_us: u64,
    /// The longest pause of a batch.
    #[n(5)]
    pub(crate) pause_max_us: u64,
    /// Why it is not all of them, if it is not.
    #[n(6)]
    pub(crate) why: Option<String>,
}

/// A server: some of its peers. A list is told in as many frames as it takes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct PeerList {
    /// The service that all of these are peers of.
    #[n(0)]
    pub(crate) service: String,
    #[n(1)]
    pub(crate) peers: Vec<PeerStatus>,
    /// There are no others.
    #[n(2)]
    pub(crate) is_last: bool,
}

/// Somebody who calls on a server's takeover path: a question for one of its services, in that service's own words.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Ask {
    #[n(0)]
    pub(crate) service: String,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) question: Vec<u8>,
}

/// The service: its answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Answer {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) answer: Vec<u8>,
}

/// Predecessor, in the wire version that is rehearsed: how many peers it hands over.
#[cfg(all(feature = "wire-2", not(test)))]
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Census {
    #[n(0)]
    pub(crate) peers: u64,
}

/// Everything that one side can say to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'b> {
    Hello(Hello),
    Refuse(Refuse),
    Welcome(Welcome),
    Listeners(Listeners),
    /// Peers of a lane that the successor does not know yet, with one descriptor each.
    Peers(OfLane<Record<'b>>),
    Copied(Copied),
    /// What has become of peers of a lane that the successor knows.
    Changed(OfLane<Change<'b>>),
    Closed(Closed),
    Round(Round),
    /// Successor: all is in place; the predecessor may freeze.
    Ready,
    State(State<'b>),
    Entries(Entries<'b>),
    Commit(Commit),
    /// Successor: the commit point.
    Accept,
    Serving(Serving),
    Timers(Timers),
    /// Taker: it can be given peers. What it says of itself is what a successor says.
    Wait(Hello),
    Give(Give),
    Move(Move),
    Moved(Moved),
    /// Somebody who calls on a server's takeover path: how does it stand?
    AskStatus,
    Status(Status),
    Upgrade(Upgrade),
    Upgrading(Upgrading),
    Upgraded(Box<Upgraded>),
    /// Somebody who calls on a server's takeover path: would a successor that says this take over?
    Check(Hello),
    Checked(Box<Checked>),
    /// Somebody who calls on a server's takeover path: who are its peers?
    AskPeers,
    PeerList(PeerList),
    SetLog(SetLog),
    LogSet(LogSet),
    Ask(Ask),
    Answer(Answer),
    /// Standby: it follows whoever serves. What it says of itself is what a successor says.
    Follow(Hello),
    /// Active: with these descriptors, the standby serves on after the death of the active: a right, and the memory in which it finds
    /// all that has happened.
    Licence,
    Mark(Mark),
    Descriptors(Descriptors),
    Offsets(Offsets),
    Flushed(Flushed),
    Offered(Offered),
    Tickets(Tickets),
    /// Active, in the journal: all up to here is of one instant, and there is nothing else.
    Whole,
    /// Standby: does the loop turn? Active: it does.
    Beat,
    #[cfg(all(feature = "wire-2", not(test)))]
    Census(Census),
}

/// A frame's kind on the wire. The numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Refuse = REFUSE,
    Welcome = 3,
    Listeners = 4,
    Peers = RecordsKind::Peers as u8,
    Copied = 6,
    Changed = RecordsKind::Changed as u8,
    Closed = 8,
    Round = 9,
    Ready = 10,
    State = 11,
    Commit = 12,
    Accept = 13,
    Serving = 14,
    Timers = 16,
    #[cfg(all(feature = "wire-2", not(test)))]
    Census = 15,
    Entries = 17,
    Wait = 18,
    Give = 19,
    Move = 20,
    Moved = 21,
    AskStatus = requests::ASK_STATUS,
    Status = 23,
    Upgrade = requests::UPGRADE,
    Upgrading = requests::UPGRADING,
    Upgraded = requests::UPGRADED,
    Check = 27,
    Checked = 28,
    AskPeers = 29,
    PeerList = 30,
    SetLog = requests::SET_LOG,
    LogSet = requests::LOG_SET,
    Ask = 33,
    Answer = 34,
    // 35 is asked of a supervisor.
    Follow = 36,
    Licence = 37,
    Mark = 38,
    Beat = 39,
    Descriptors = 40,
    Offsets = 41,
    Whole = 42,
    Flushed = 43,
    Offered = 44,
    Tickets = 45,
}

impl Kind {
    const ALL: &[Self] = &[
        Self::Hello,
        Self::Refuse,
        Self::Welcome,
        Self::Listeners,
        Self::Peers,
        Self::Copied,
        Self::Changed,
        Self::Closed,
        Self::Round,
        Self::Ready,
        Self::State,
        Self::Commit,
        Self::Accept,
        Self::Serving,
        Self::Timers,
        Self::Entries,
        Self::Wait,
        Self::Give,
        Self::Move,
        Self::Moved,
        Self::AskStatus,
        Self::Status,
        Self::Upgrade,
        Self::Upgrading,
        Self::Upgraded,
        Self::Check,
        Self::Checked,
        Self::AskPeers,
        Self::PeerList,
        Self::SetLog,
        Self::LogSet,
        Self::Ask,
        Self::Answer,
        Self::Follow,
        Self::Licence,
        Self::Mark,
        Self::Beat,
        Self::Descriptors,
        Self::Offsets,
        Self::Flushed,
        Self::Offered,
        Self::Tickets,
        Self::Whole,
        #[cfg(all(feature = "wire-2", not(test)))]
        Self::Census,
    ];
}

impl TryFrom<u8> for Kind {
    type Error = WireError;

    fn try_from(number: u8) -> Result<Self, WireError> {
        Self::ALL.iter().copied().find(|kind| *kind as u8 == number).ok_or(WireError::Kind(number))
    }
}

impl Frame<'_> {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Refuse(_) => Kind::Refuse,
            Self::Welcome(_) => Kind::Welcome,
            Self::Listeners(_) => Kind::Listeners,
            Self::Peers(_) => Kind::Peers,
            Self::Copied(_) => Kind::Copied,
            Self::Changed(_) => Kind::Changed,
            Self::Closed(_) => Kind::Closed,
            Self::Round(_) => Kind::Round,
            Self::Ready => Kind::Ready,
            Self::State(_) => Kind::State,
            Self::Entries(_) => Kind::Entries,
            Self::Commit(_) => Kind::Commit,
            Self::Accept => Kind::Accept,
            Self::Serving(_) => Kind::Serving,
            Self::Timers(_) => Kind::Timers,
            Self::Wait(_) => Kind::Wait,
            Self::Give(_) => Kind::Give,
            Self::Move(_) => Kind::Move,
            Self::Moved(_) => Kind::Moved,
            Self::AskStatus => Kind::AskStatus,
            Self::Status(_) => Kind::Status,
            Self::Upgrade(_) => Kind::Upgrade,
            Self::Upgrading(_) => Kind::Upgrading,
            Self::Upgraded(_) => Kind::Upgraded,
            Self::Check(_) => Kind::Check,
            Self::Checked(_) => Kind::Checked,
            Self::AskPeers => Kind::AskPeers,
            Self::PeerList(_) => Kind::PeerList,
            Self::SetLog(_) => Kind::SetLog,
            Self::LogSet(_) => Kind::LogSet,
            Self::Ask(_) => Kind::Ask,
            Self::Answer(_) => Kind::Answer,
            Self::Follow(_) => Kind::Follow,
            Self::Licence => Kind::Licence,
            Self::Mark(_) => Kind::Mark,
            Self::Descriptors(_) => Kind::Descriptors,
            Self::Offsets(_) => Kind::Offsets,
            Self::Flushed(_) => Kind::Flushed,
            Self::Offered(_) => Kind::Offered,
            Self::Tickets(_) => Kind::Tickets,
            Self::Whole => Kind::Whole,
            Self::Beat => Kind::Beat,
            #[cfg(all(feature = "wire-2", not(test)))]
            Self::Census(_) => Kind::Census,
        }
    }

    /// The frame's bytes, header included.
    ///
    /// # Panics
    /// If the body is over 4 GiB.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => encode_body(Kind::Hello, hello),
            Self::Refuse(refuse) => encode_body(Kind::Refuse, refuse),
            Self::Welcome(welcome) => encode_body(Kind::Welcome, welcome),
            Self::Listeners(listeners) => encode_body(Kind::Listeners, listeners),
            Self::Peers(records) => encode_records(RecordsKind::Peers, records),
            Self::Copied(copied) => encode_body(Kind::Copied, copied),
            Self::Changed(changes) => encode_records(RecordsKind::Changed, changes),
            Self::Closed(closed) => encode_body(Kind::Closed, closed),
            Self::Round(round) => encode_body(Kind::Round, round),
            Self::Ready => encode_body(Kind::Ready, &Empty {}),
            Self::State(state) => encode_body(Kind::State, state),
            Self::Entries(entries) => encode_body(Kind::Entries, entries),
            Self::Commit(commit) => encode_body(Kind::Commit, commit),
            Self::Accept => encode_body(Kind::Accept, &Empty {}),
            Self::Serving(serving) => encode_body(Kind::Serving, serving),
            Self::Timers(timers) => encode_body(Kind::Timers, timers),
            Self::Wait(hello) => encode_body(Kind::Wait, hello),
            Self::Give(give) => encode_body(Kind::Give, give),
            Self::Move(request) => encode_body(Kind::Move, request),
            Self::Moved(moved) => encode_body(Kind::Moved, moved),
            Self::AskStatus => encode_body(Kind::AskStatus, &Empty {}),
            Self::Status(status) => encode_body(Kind::Status, status),
            Self::Upgrade(upgrade) => encode_body(Kind::Upgrade, upgrade),
            Self::Upgrading(upgrading) => encode_body(Kind::Upgrading, upgrading),
            Self::Upgraded(upgraded) => encode_body(Kind::Upgraded, upgraded),
            Self::Check(hello) => encode_body(Kind::Check, hello),
            Self::Checked(checked) => encode_body(Kind::Checked, checked),
            Self::AskPeers => encode_body(Kind::AskPeers, &Empty {}),
            Self::PeerList(list) => encode_body(Kind::PeerList, list),
            Self::SetLog(request) => encode_body(Kind::SetLog, request),
            Self::LogSet(answer) => encode_body(Kind::LogSet, answer),
            Self::Ask(ask) => encode_body(Kind::Ask, ask),
            Self::Answer(answer) => encode_body(Kind::Answer, answer),
            Self::Follow(hello) => encode_body(Kind::Follow, hello),
            Self::Licence => encode_body(Kind::Licence, &Empty {}),
            Self::Mark(mark) => encode_body(Kind::Mark, mark),
            Self::Descriptors(descriptors) => encode_body(Kind::Descriptors, descriptors),
            Self::Offsets(offsets) => encode_body(Kind::Offsets, offsets),
            Self::Flushed(flushed) => encode_body(Kind::Flushed, flushed),
            Self::Offered(offered) => encode_body(Kind::Offered, offered),
            Self::Tickets(tickets) => encode_body(Kind::Tickets, tickets),
            Self::Whole => encode_body(Kind::Whole, &Empty {}),
            Self::Beat => encode_body(Kind::Beat, &Empty {}),
            #[cfg(all(feature = "wire-2", not(test)))]
            Self::Census(census) => encode_body(Kind::Census, census),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "so it is called")]
fn is_not(said: &bool) -> bool {
    !*said
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The body of a frame whose kind says it all.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Empty {}

fn encode_body(kind: Kind, body: &impl Encode<()>) -> Vec<u8> {
    frame::encode(kind as u8, body)
}

impl<'b> FromFrame<'b> for Frame<'b> {
    fn from_frame(number: u8, body: &'b [u8]) -> Result<Self, WireError> {
        let kind = Kind::try_from(number)?;
        let decoder = &mut Decoder::new(body);
        let frame = match kind {
            Kind::Hello => decoder.decode().map(Frame::Hello),
            Kind::Refuse => decoder.decode().map(Frame::Refuse),
            Kind::Welcome => decoder.decode().map(Frame::Welcome),
            Kind::Listeners => decoder.decode().map(Frame::Listeners),
            Kind::Peers => decode_records(decoder).map(Frame::Peers),
            Kind::Copied => decoder.decode().map(Frame::Copied),
            Kind::Changed => decode_records(decoder).map(Frame::Changed),
            Kind::Closed => decoder.decode().map(Frame::Closed),
            Kind::Round => decoder.decode().map(Frame::Round),
            Kind::Ready => decoder.decode().map(|Empty {}| Frame::Ready),
            Kind::State => decoder.decode().map(Frame::State),
            Kind::Entries => decoder.decode().map(Frame::Entries),
            Kind::Commit => decoder.decode().map(Frame::Commit),
            Kind::Accept => decoder.decode().map(|Empty {}| Frame::Accept),
            Kind::Serving => decoder.decode().map(Frame::Serving),
            Kind::Timers => decoder.decode().map(Frame::Timers),
            Kind::Wait => decoder.decode().map(Frame::Wait),
            Kind::Give => decoder.decode().map(Frame::Give),
            Kind::Move => decoder.decode().map(Frame::Move),
            Kind::Moved => decoder.decode().map(Frame::Moved),
            Kind::AskStatus => decoder.decode().map(|Empty {}| Frame::AskStatus),
            Kind::Status => decoder.decode().map(Frame::Status),
            Kind::Upgrade => decoder.decode().map(Frame::Upgrade),
            Kind::Upgrading => decoder.decode().map(Frame::Upgrading),
            Kind::Upgraded => decoder.decode().map(Frame::Upgraded),
            Kind::Check => decoder.decode().map(Frame::Check),
            Kind::Checked => decoder.decode().map(Frame::Checked),
            Kind::AskPeers => decoder.decode().map(|Empty {}| Frame::AskPeers),
            Kind::PeerList => decoder.decode().map(Frame::PeerList),
            Kind::SetLog => decoder.decode().map(Frame::SetLog),
            Kind::LogSet => decoder.decode().map(Frame::LogSet),
            Kind::Ask => decoder.decode().map(Frame::Ask),
            Kind::Answer => decoder.decode().map(Frame::Answer),
            Kind::Follow => decoder.decode().map(Frame::Follow),
            Kind::Licence => decoder.decode().map(|Empty {}| Frame::Licence),
            Kind::Mark => decoder.decode().map(Frame::Mark),
            Kind::Descriptors => decoder.decode().map(Frame::Descriptors),
            Kind::Offsets => decoder.decode().map(Frame::Offsets),
            Kind::Flushed => decoder.decode().map(Frame::Flushed),
            Kind::Offered => decoder.decode().map(Frame::Offered),
            Kind::Tickets => decoder.decode().map(Frame::Tickets),
            Kind::Whole => decoder.decode().map(|Empty {}| Frame::Whole),
            Kind::Beat => decoder.decode().map(|Empty {}| Frame::Beat),
            #[cfg(all(feature = "wire-2", not(test)))]
            Kind::Census => decoder.decode().map(Frame::Census),
        };
        frame::whole(&format!("{kind:?}"), frame, decoder)
    }
}

#[cfg(test)]
mod tests;
