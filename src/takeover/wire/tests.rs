//! Frames and bytes: what goes in comes out, and what was never a frame is never taken for one.

use std::io::ErrorKind;
use std::net::SocketAddrV6;
use std::num::NonZeroU64;

use minicbor::Encoder;
use minicbor::data::Type;
use proptest::prelude::*;
use reactord_process::channel::{TO_PREDECESSOR_BYTES_MAX, TO_SUCCESSOR_BYTES_MAX};
use reactord_process::frame::{HEADER_BYTES, RawFrame, begin, finish};

use super::*;
use crate::account::ServiceAccount;
use crate::pauses::Pauses;
use crate::peer::Address;
use crate::peer::record::{Phase, SecuredChange, SecuredRecord, Shift, Stretch};
use crate::peer::ties::{Dial, DialTls, Ending, Holds, Joined, Outflow, Ties};
use crate::status::{
    FailureStatus, HeldStatus, ListenerStatus, PeerStatus, ServiceStatus, StandbyStatus, TakeoverStatus,
};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> Address {
    address(text).into()
}

fn digested<T: Encode<()>>(value: T) -> Digested<T> {
    let digest = RecordsWriter::new(RecordsKind::Peers, 0).push(&value);
    Digested { value, digest }
}

fn stretch(start: u64, bytes: &[u8]) -> Stretch<'_> {
    Stretch { start, bytes }
}

/// Those of the first lane.
fn of_first<T>(records: Vec<Digested<T>>) -> OfLane<T> {
    OfLane { lane: 0, records }
}

fn hello() -> Hello {
    Hello {
        wire_versions: Versions { oldest: 1, newest: 1 },
        build: "reactord 0.1.0".to_owned(),
        services: vec![
            Offer { service: "seqnum".to_owned(), state_versions: Versions { oldest: 1, newest: 1 } },
            Offer { service: "line".to_owned(), state_versions: Versions { oldest: 2, newest: 300 } },
        ],
        files_max: 20_000,
        files_open: 7,
        upgrade: None,
        tls_layout: 0,
    }
}

fn pauses() -> Pauses {
    Pauses { counts: vec![0, 0, 5, 1], sum_us: 281 }
}

fn status() -> Status {
    Status {
        build: "reactord 0.1.0".to_owned(),
        pid: 123,
        generation: 7,
        began_unix_ms: 1_000_000_000_000,
        serves_since_unix_ms: 1_000_000_001_000,
        services: vec![ServiceStatus {
            name: "line".to_owned(),
            state_version: 1,
            peers: 19_900,
            accepted: 20_000,
            received_bytes: 1 << 40,
            sent_bytes: 1 << 41,
            held: HeldStatus { any: 4, output: 3, partner: 2, asked: 1, given: 0 },
        }],
        listeners: vec![ListenerStatus { name: "line".to_owned(), at: "127.0.0.1:1234".to_owned() }],
        peers_max: 19_961,
        accepted: 20_000,
        gave: 3,
        took: 2,
        failed_takeovers: 1,
        takeover: Some(TakeoverStatus {
            at_unix_ms: 1_000_000_001_000,
            predecessor_pid: 99,
            peers: 19_901,
            pause_us: Some(35),
            copy_us: 35_000,
            bytes: 1_420_000,
            rounds: 3,
            dirty: 16,
        }),
        failure: Some(FailureStatus { at_unix_ms: 1_000_000_002_000, pid: 100, why: "it left".to_owned() }),
        successor_pid: Some(101),
        is_stopping: true,
        pauses: pauses(),
        handshakes: None,
        log_level: "info".to_owned(),
        standby: Some(StandbyStatus {
            pid: 102,
            armed_since_unix_ms: Some(1_000_000_003_000),
            peers: 19_900,
            in_doubt: 3,
        }),
        deaths_survived: 2,
        seen_pid: 0,
        figures: String::new(),
    }
}

fn peer_status() -> PeerStatus {
    PeerStatus {
        service: String::new(),
        address: "[127.0.0.1]:57796".to_owned(),
        id: 4097,
        age_s: Some(86_400),
        received_bytes: Some(1 << 40),
        sent_bytes: Some(1 << 41),
        inbound_bytes: 3,
        outbound_bytes: 300_000,
        phase: "held".to_owned(),
        held: vec!["output".to_owned()],
    }
}

/// The frame of each kind that its golden file holds. A kind without one does not compile.
fn example(kind: Kind) -> Frame<'static> {
    match kind {
        Kind::Hello => Frame::Hello(hello()),
        Kind::Refuse => Frame::Refuse(Refuse {
            reason: "pid 123 is taking over already".to_owned(),
            by: Some("0.1.0+5dbce3e (pid 122, generation 6)".to_owned()),
        }),
        Kind::Welcome => Frame::Welcome(Welcome {
            generation: 6,
            has_secrets: false,
            wire_version: 1,
            build: "reactord 0.1.0".to_owned(),
            pid: 123,
            lanes: vec![
                Lane { service: "seqnum".to_owned(), state_version: 1, peers: 19_900 },
                Lane { service: "line".to_owned(), state_version: 2, peers: 0 },
            ],
        }),
        Kind::Listeners => Frame::Listeners(Listeners {
            services: vec![
                Listener {
                    at: At::Tcp(address("127.0.0.1:1234")),
                    lane: 0,
                    name: "clients".to_owned(),
                    is_leftover: false,
                    is_borrowed: false,
                    tls: Some(Spoken { tickets: Secret::from(b"keys"), specimen: Secret::from(b"") }),
                },
                Listener {
                    at: At::Tcp(address("[::1]:65535")),
                    lane: 0,
                    name: "local".to_owned(),
                    is_leftover: false,
                    is_borrowed: false,
                    tls: None,
                },
                Listener {
                    at: At::Unix(SocketFile { path: b"/run/\xffnumbers".to_vec(), device: 26, inode: 7 }),
                    lane: 0,
                    name: String::new(),
                    is_leftover: false,
                    is_borrowed: false,
                    tls: None,
                },
            ],
            takeover_path: b"/run/reactord.\xfftakeover".to_vec(),
            takeover_device: 26,
            takeover_inode: 1 << 40,
            queue_tls: None,
            has_queue: false,
        }),
        Kind::Peers => Frame::Peers(of_first(vec![
            digested(Record {
                cookie: 1,
                address: ip("127.0.0.1:57796"),
                phase: Phase::Open,
                session: &[],
                secured: None,
                inbound: stretch(0, &[]),
                outbound: stretch(0, &[]),
                parting: None,
                deadline_ns: None,
                since_s: 0,
                ties: Ties::default(),
            }),
            digested(Record {
                cookie: u64::MAX,
                address: ip("[2001:db8::1]:80"),
                phase: Phase::Ended,
                session: &[0, 0, 0, 20],
                secured: Some(SecuredRecord {
                    facts: b"what was agreed on",
                    state: b"keys, and how far they have been used",
                    partial: stretch(0, &[23, 3, 3]),
                }),
                inbound: stretch(0, b"half a mess"),
                outbound: stretch(1 << 20, &[0xff; 40]),
                parting: None,
                deadline_ns: Some(86_460_000_000_000),
                since_s: 86_399,
                ties: Ties::default(),
            }),
        ])),
        Kind::Copied => Frame::Copied(Copied { peers: 250, rounds: 1, handshakes: false }),
        Kind::Changed => Frame::Changed(of_first(vec![
            digested(Change {
                cookie: 4097,
                phase: Phase::Closing,
                session: Some(&[]),
                secured: Some(SecuredChange {
                    facts: None,
                    state: b"keys, used further",
                    partial: Shift { gone: 3, appended: stretch(3, &[23]) },
                }),
                inbound: Shift::default(),
                outbound: Shift { gone: 5, appended: stretch(9, b"good bye\n") },
                parting: None,
                deadline_ns: None,
                ties: Ties::default(),
            }),
            digested(Change {
                cookie: 4098,
                phase: Phase::Lingering,
                session: Some(&[1]),
                secured: None,
                inbound: Shift { gone: 1 << 20, appended: stretch(1 << 20, &[]) },
                outbound: Shift::default(),
                parting: None,
                deadline_ns: Some(0),
                ties: Ties::default(),
            }),
        ])),
        Kind::Closed => Frame::Closed(Closed { cookies: vec![1, 4097, u64::MAX], lane: 0 }),
        Kind::Round => Frame::Round(Round { number: 2, last: true }),
        Kind::Ready => Frame::Ready,
        Kind::State => Frame::State(State { part: b"the state that all peers share", lane: 0 }),
        Kind::Commit => Frame::Commit(commit()),
        Kind::Accept => Frame::Accept,
        Kind::Serving => Frame::Serving(Serving { pause_us: 180 }),
        Kind::Timers => Frame::Timers(Timers {
            timers: vec![Timer { timer: 0, at_ns: 1 }, Timer { timer: u32::MAX, at_ns: 86_460_000_000_000 }],
            lane: 0,
        }),
        Kind::Entries => Frame::Entries(Entries { part: b"entries that all peers share", lane: 0, map: 1, last: true }),
        Kind::Wait => Frame::Wait(hello()),
        Kind::Give => {
            Frame::Give(Give { wire_versions: Versions { oldest: 1, newest: 1 }, build: "reactord 0.1.0".to_owned() })
        }
        Kind::Move => Frame::Move(Move { to: b"/run/b.\xfftakeover".to_vec(), which: Which::Share(1, 3) }),
        Kind::Moved => Frame::Moved(Moved {
            asked: 3200,
            moved: 3136,
            giver_pid: 123,
            taker_pid: 456,
            took_us: 412_000,
            pause_max_us: 210,
            why: Some("it has left".to_owned()),
        }),
        Kind::AskStatus => Frame::AskStatus,
        Kind::Status => Frame::Status(status()),
        Kind::Upgrade => Frame::Upgrade(Upgrade {
            binary: Some(b"/opt/\xff/reactord".to_vec()),
            arguments: Some(vec![Argument(b"-t".to_vec()), Argument(b"/run/\xff".to_vec())]),
            timeout_ms: 60_000,
        }),
        Kind::Upgrading => Frame::Upgrading(Upgrading { pid: 456, copied: Some(5000), peers: 10_000 }),
        Kind::Upgraded => Frame::Upgraded(Box::new(Upgraded {
            workers: None,
            predecessor: process(123, 6),
            successor: Some(process(456, 7)),
            peers: 10_000,
            pause_us: Some(35),
            why: None,
            is_refused: false,
            said: String::new(),
        })),
        Kind::Check => Frame::Check(hello()),
        Kind::Checked => Frame::Checked(Box::new(Checked {
            server: process(123, 6),
            welcome: None,
            why: Some("the predecessor is stopping".to_owned()),
            files_needed: 10_041,
            listeners: 1,
        })),
        Kind::AskPeers => Frame::AskPeers,
        Kind::PeerList => {
            Frame::PeerList(PeerList { service: "line".to_owned(), peers: vec![peer_status()], is_last: true })
        }
        Kind::SetLog => Frame::SetLog(SetLog { level: "debug".to_owned() }),
        Kind::LogSet => Frame::LogSet(LogSet { before: "info".to_owned(), level: "debug".to_owned(), pid: 123 }),
        Kind::Ask => Frame::Ask(Ask { service: "proxy".to_owned(), question: b"drain pg/\xff".to_vec() }),
        Kind::Answer => Frame::Answer(Answer { answer: b"drained\n".to_vec() }),
        Kind::Follow => Frame::Follow(hello()),
        Kind::Licence => Frame::Licence,
        Kind::Mark => Frame::Mark(Mark { commit: commit(), position: 12_345_678 }),
        Kind::Descriptors => Frame::Descriptors(Descriptors { cookies: vec![7, 70_000] }),
        Kind::Flushed => Frame::Flushed(Flushed { cookies: vec![7, 70_000] }),
        Kind::Offered => Frame::Offered(Offered { cookies: vec![7, 70_000], connections: vec![1, 500] }),
        Kind::Tickets => Frame::Tickets(Tickets { keys: vec![Secret::from(b"keys"), Secret::from(b"others")] }),
        Kind::Offsets => Frame::Offsets(Offsets { cookies: vec![7, 70_000], written: vec![Some(7), None] }),
        Kind::Whole => Frame::Whole,
        Kind::Beat => Frame::Beat,
    }
}

fn commit() -> Commit {
    Commit {
        peers: 19_900,
        digest: 0x0123_4567_89ab_cdef,
        state_bytes: 30,
        frozen_at_ns: 86_400_000_000_000,
        figures: Figures { batches: 81, rounds: 3, dirty: 16, bytes: 1_420_000, copy_us: 35_000 },
        timers: 2,
        entries: Some(EntriesSent { bytes: 34, digest: 0x0123_4567, entries: 2 }),
        account: Some(Account {
            generation: 7,
            began_unix_ms: 1_000_000_000_000,
            services: vec![ServiceAccount {
                name: "seqnum".to_owned(),
                accepted: 20_000,
                received_bytes: 1 << 40,
                sent_bytes: 1 << 41,
            }],
            pauses: pauses(),
            ..Account::default()
        }),
    }
}

fn process(pid: u32, generation: u64) -> Process {
    Process { build: "reactord 0.1.0".to_owned(), pid, generation }
}

fn examples() -> impl Iterator<Item = Frame<'static>> {
    Kind::ALL.iter().copied().map(example)
}

/// The golden file of a kind, in wire version 1. A kind without one does not compile.
fn golden(kind: Kind) -> &'static str {
    match kind {
        Kind::Hello => include_str!("../../../tests/golden/wire-1/hello.hex"),
        Kind::Refuse => include_str!("../../../tests/golden/wire-1/refuse.hex"),
        Kind::Welcome => include_str!("../../../tests/golden/wire-1/welcome.hex"),
        Kind::Listeners => include_str!("../../../tests/golden/wire-1/listeners.hex"),
        Kind::Peers => include_str!("../../../tests/golden/wire-1/peers.hex"),
        Kind::Copied => include_str!("../../../tests/golden/wire-1/copied.hex"),
        Kind::Changed => include_str!("../../../tests/golden/wire-1/changed.hex"),
        Kind::Closed => include_str!("../../../tests/golden/wire-1/closed.hex"),
        Kind::Round => include_str!("../../../tests/golden/wire-1/round.hex"),
        Kind::Ready => include_str!("../../../tests/golden/wire-1/ready.hex"),
        Kind::State => include_str!("../../../tests/golden/wire-1/state.hex"),
        Kind::Commit => include_str!("../../../tests/golden/wire-1/commit.hex"),
        Kind::Accept => include_str!("../../../tests/golden/wire-1/accept.hex"),
        Kind::Serving => include_str!("../../../tests/golden/wire-1/serving.hex"),
        Kind::Timers => include_str!("../../../tests/golden/wire-1/timers.hex"),
        Kind::Entries => include_str!("../../../tests/golden/wire-1/entries.hex"),
        Kind::Wait => include_str!("../../../tests/golden/wire-1/wait.hex"),
        Kind::Give => include_str!("../../../tests/golden/wire-1/give.hex"),
        Kind::Move => include_str!("../../../tests/golden/wire-1/move.hex"),
        Kind::Moved => include_str!("../../../tests/golden/wire-1/moved.hex"),
        Kind::AskStatus => include_str!("../../../tests/golden/wire-1/ask-status.hex"),
        Kind::AskPeers => include_str!("../../../tests/golden/wire-1/ask-peers.hex"),
        Kind::PeerList => include_str!("../../../tests/golden/wire-1/peer-list.hex"),
        Kind::SetLog => include_str!("../../../tests/golden/wire-1/set-log.hex"),
        Kind::LogSet => include_str!("../../../tests/golden/wire-1/log-set.hex"),
        Kind::Ask => include_str!("../../../tests/golden/wire-1/ask.hex"),
        Kind::Answer => include_str!("../../../tests/golden/wire-1/answer.hex"),
        Kind::Follow => include_str!("../../../tests/golden/wire-1/follow.hex"),
        Kind::Licence => include_str!("../../../tests/golden/wire-1/licence.hex"),
        Kind::Mark => include_str!("../../../tests/golden/wire-1/mark.hex"),
        Kind::Beat => include_str!("../../../tests/golden/wire-1/beat.hex"),
        Kind::Descriptors => include_str!("../../../tests/golden/wire-1/descriptors.hex"),
        Kind::Offsets => include_str!("../../../tests/golden/wire-1/offsets.hex"),
        Kind::Flushed => include_str!("../../../tests/golden/wire-1/flushed.hex"),
        Kind::Offered => include_str!("../../../tests/golden/wire-1/offered.hex"),
        Kind::Tickets => include_str!("../../../tests/golden/wire-1/tickets.hex"),
        Kind::Whole => include_str!("../../../tests/golden/wire-1/whole.hex"),
        Kind::Status => include_str!("../../../tests/golden/wire-1/status.hex"),
        Kind::Upgrade => include_str!("../../../tests/golden/wire-1/upgrade.hex"),
        Kind::Upgrading => include_str!("../../../tests/golden/wire-1/upgrading.hex"),
        Kind::Upgraded => include_str!("../../../tests/golden/wire-1/upgraded.hex"),
        Kind::Check => include_str!("../../../tests/golden/wire-1/check.hex"),
        Kind::Checked => include_str!("../../../tests/golden/wire-1/checked.hex"),
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    lines.collect()
}

/// A frame of this kind with this body, and with the right length and checksum.
fn frame_of(kind: Kind, body: &[u8]) -> RawFrame {
    let mut bytes = begin(kind as u8);
    bytes.extend_from_slice(body);
    take_one(finish(bytes))
}

/// The one frame that `bytes` are.
fn take_one(mut bytes: Vec<u8>) -> RawFrame {
    let raw = RawFrame::take(&mut bytes, u32::MAX).unwrap().expect("the frame is whole");
    assert!(bytes.is_empty(), "nothing is left");
    raw
}

fn body(frame: &Frame<'_>) -> Vec<u8> {
    frame.encode().split_off(HEADER_BYTES)
}

/// Reads one CBOR item and writes it again, after `edit` has seen the fields of each map in it, innermost first: a
/// field is its number and its value, encoded.
fn rewrite(decoder: &mut Decoder<'_>, edit: &mut impl FnMut(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut item = Vec::new();
    match decoder.datatype().unwrap() {
        Type::Map => {
            let count = decoder.map().unwrap().unwrap();
            let mut fields = Vec::new();
            for _ in 0..count {
                let mut field = raw_item(decoder);
                field.extend(rewrite(decoder, edit));
                fields.push(field);
            }
            edit(&mut fields);
            Encoder::new(&mut item).map(fields.len() as u64).unwrap();
            item.extend(fields.concat());
        }
        Type::Array => {
            let count = decoder.array().unwrap().unwrap();
            Encoder::new(&mut item).array(count).unwrap();
            for _ in 0..count {
                item.extend(rewrite(decoder, edit));
            }
        }
        Type::ArrayIndef => {
            decoder.array().unwrap();
            Encoder::new(&mut item).begin_array().unwrap();
            while decoder.datatype().unwrap() != Type::Break {
                item.extend(rewrite(decoder, edit));
            }
            decoder.skip().unwrap();
            Encoder::new(&mut item).end().unwrap();
        }
        _ => item = raw_item(decoder),
    }
    item
}

fn raw_item(decoder: &mut Decoder<'_>) -> Vec<u8> {
    let start = decoder.position();
    decoder.skip().unwrap();
    decoder.input()[start..decoder.position()].to_vec()
}

fn rewritten(body: &[u8], mut edit: impl FnMut(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    rewrite(&mut Decoder::new(body), &mut edit)
}

// ── Any frame ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Bytes that live as long as the test, so that frames may borrow them.
fn bytes(length_max: usize) -> impl Strategy<Value = &'static [u8]> {
    proptest::collection::vec(any::<u8>(), 0..=length_max).prop_map(|bytes| &*bytes.leak())
}

fn versions() -> impl Strategy<Value = Versions> {
    any::<(u32, u32)>().prop_map(|(oldest, newest)| Versions { oldest, newest })
}

/// As records hold it: without the flow label, which is no part of who the peer is.
fn peer_address() -> impl Strategy<Value = Address> {
    prop_oneof![listener_address().prop_map(Address::from), any::<u32>().prop_map(Address::unix)]
}

fn listener_address() -> impl Strategy<Value = SocketAddr> {
    let in_scope = |(ip, port, scope): ([u16; 8], u16, u32)| SocketAddrV6::new(ip.into(), port, 0, scope).into();
    prop_oneof![any::<([u8; 4], u16)>().prop_map(SocketAddr::from), any::<([u16; 8], u16, u32)>().prop_map(in_scope)]
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..20).prop_map(String::from_iter)
}

fn offers() -> impl Strategy<Value = Vec<Offer>> {
    let offer = (text(), versions()).prop_map(|(service, state_versions)| Offer { service, state_versions });
    proptest::collection::vec(offer, 0..4)
}

fn listener() -> impl Strategy<Value = Listener> {
    let file = (bytes(110), any::<(u64, u64)>()).prop_map(|(path, (device, inode))| SocketFile {
        path: path.to_vec(),
        device,
        inode,
    });
    let at = prop_oneof![listener_address().prop_map(At::Tcp), file.prop_map(At::Unix)];
    let spoken = (bytes(100), bytes(100));
    let spoken = spoken.prop_map(|(tickets, specimen)| Spoken { tickets: tickets.into(), specimen: specimen.into() });
    let tls = proptest::option::of(spoken);
    (at, any::<u32>(), text(), any::<(bool, bool)>(), tls).prop_map(
        |(at, lane, name, (is_leftover, is_borrowed), tls)| Listener { at, lane, name, is_leftover, is_borrowed, tls },
    )
}

fn lane() -> impl Strategy<Value = Lane> {
    (text(), any::<(u32, u64)>()).prop_map(|(service, (state_version, peers))| Lane { service, state_version, peers })
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Open),
        Just(Phase::Ended),
        Just(Phase::Closing),
        Just(Phase::Lingering),
        Just(Phase::Connecting)
    ]
}

fn position() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..1u64 << 62]
}

fn any_stretch() -> impl Strategy<Value = Stretch<'static>> {
    (position(), bytes(300)).prop_map(|(start, bytes)| Stretch { start, bytes })
}

fn shift() -> impl Strategy<Value = Shift<'static>> {
    (position(), any_stretch()).prop_map(|(gone, appended)| Shift { gone, appended })
}

fn ties() -> impl Strategy<Value = Ties<'static>> {
    let joined = any::<(NonZeroU64, Option<NonZeroU64>, u64)>();
    let joined = joined.prop_map(|(partner, idle_ns, moved_ns)| Joined { partner, idle_ns, moved_ns });
    let tls = (bytes(20), any::<bool>());
    let tls = tls.prop_map(|(preface, is_begun)| DialTls { with: "web", name: "a.example", preface, is_begun });
    let dial = (any::<u64>(), proptest::option::of(bytes(20)), proptest::option::of(tls));
    let dial = dial.prop_map(|(until_ns, path, tls)| Dial { until_ns, path, tls });
    let outflow = prop_oneof![Just(Outflow::Open), Just(Outflow::Finishing), Just(Outflow::Finished)];
    let (joined, dial) = (proptest::option::of(joined), proptest::option::of(dial));
    let violation = Ending::Violation("a message of more than 3 bytes");
    let (reset, refused) = (ErrorKind::ConnectionReset, ErrorKind::ConnectionRefused);
    let lost = [reset, ErrorKind::InvalidData, ErrorKind::Other].map(|kind| Just(Ending::Lost(kind)));
    let ending = prop_oneof![Just(violation), proptest::strategy::Union::new(lost), Just(Ending::Unreachable(refused))];
    let ending = proptest::option::of(ending);
    let ties = (any::<u8>(), outflow, any::<Option<u64>>(), joined, dial, ending).prop_map(
        |(holds, outflow, writer, joined, dial, ending)| {
            let holds = Holds::of_told(holds);
            Ties { holds, outflow, writer, joined, dial, ending }
        },
    );
    prop_oneof![Just(Ties::default()), ties]
}

fn changes() -> impl Strategy<Value = Vec<Digested<Change<'static>>>> {
    let secured = (proptest::option::of(bytes(8)), bytes(8), shift());
    let secured = secured.prop_map(|(facts, state, partial)| SecuredChange { facts, state, partial });
    let session = (proptest::option::of(bytes(8)), proptest::option::of(secured));
    let change = (any::<u64>(), phase(), session, shift(), shift(), any::<Option<u64>>(), ties()).prop_map(
        |(cookie, phase, (session, secured), inbound, outbound, deadline_ns, ties)| {
            digested(Change { cookie, phase, session, secured, inbound, outbound, parting: None, deadline_ns, ties })
        },
    );
    proptest::collection::vec(change, 0..6)
}

fn records() -> impl Strategy<Value = Vec<Digested<Record<'static>>>> {
    let times = (any::<Option<u64>>(), any::<u32>());
    let secured = (bytes(8), bytes(8), any_stretch());
    let secured = secured.prop_map(|(facts, state, partial)| SecuredRecord { facts, state, partial });
    let session = (bytes(8), proptest::option::of(secured));
    let record = (any::<u64>(), peer_address(), phase(), session, any_stretch(), any_stretch(), times, ties());
    let record = record.prop_map(
        |(cookie, address, phase, (session, secured), inbound, outbound, (deadline_ns, since_s), ties)| {
            digested(Record {
                cookie,
                address,
                phase,
                session,
                secured,
                inbound,
                outbound,
                parting: None,
                deadline_ns,
                since_s,
                ties,
            })
        },
    );
    proptest::collection::vec(record, 0..6)
}

fn figures() -> impl Strategy<Value = Figures> {
    any::<(u64, u32, u64, u64, u64)>().prop_map(|(batches, rounds, dirty, bytes, copy_us)| Figures {
        batches,
        rounds,
        dirty,
        bytes,
        copy_us,
    })
}

fn any_frame() -> impl Strategy<Value = Frame<'static>> {
    prop_oneof![
        (versions(), text(), offers(), any::<(u64, u64, Option<u64>)>()).prop_map(
            |(wire_versions, build, services, (files_max, files_open, upgrade))| {
                Frame::Hello(Hello { wire_versions, build, services, files_max, files_open, upgrade, tls_layout: 0 })
            }
        ),
        (text(), proptest::option::of(text())).prop_map(|(reason, by)| Frame::Refuse(Refuse { reason, by })),
        (any::<(u32, u32, u64)>(), text(), proptest::collection::vec(lane(), 0..3)).prop_map(
            |((wire_version, pid, generation), build, lanes)| {
                Frame::Welcome(Welcome { wire_version, build, pid, lanes, generation, has_secrets: false })
            }
        ),
        (proptest::collection::vec(listener(), 0..3), bytes(110), any::<(u64, u64)>()).prop_map(
            |(services, path, (takeover_device, takeover_inode))| {
                Frame::Listeners(Listeners {
                    services,
                    takeover_path: path.to_vec(),
                    takeover_device,
                    takeover_inode,
                    queue_tls: None,
                    has_queue: false,
                })
            }
        ),
        (any::<u32>(), records()).prop_map(|(lane, records)| Frame::Peers(OfLane { lane, records })),
        any::<(u64, u32)>().prop_map(|(peers, rounds)| Frame::Copied(Copied { peers, rounds, handshakes: false })),
        (any::<u32>(), changes()).prop_map(|(lane, records)| Frame::Changed(OfLane { lane, records })),
        (proptest::collection::vec(any::<u64>(), 0..50), any::<u32>())
            .prop_map(|(cookies, lane)| Frame::Closed(Closed { cookies, lane })),
        any::<(u32, bool)>().prop_map(|(number, last)| Frame::Round(Round { number, last })),
        Just(Frame::Ready),
        (bytes(2000), any::<u32>()).prop_map(|(part, lane)| Frame::State(State { part, lane })),
        (any::<(u64, u64, u64, u64, u64)>(), figures()).prop_map(
            |((peers, digest, state_bytes, frozen_at_ns, timers), figures)| {
                Frame::Commit(Commit {
                    peers,
                    digest,
                    state_bytes,
                    frozen_at_ns,
                    figures,
                    timers,
                    entries: None,
                    account: None,
                })
            }
        ),
        any::<(u64, u32, u64)>().prop_map(|(bytes, digest, entries)| {
            let entries = Some(EntriesSent { bytes, digest, entries });
            let figures = Figures::default();
            Frame::Commit(Commit {
                peers: 0,
                digest: 0,
                state_bytes: 0,
                frozen_at_ns: 0,
                figures,
                timers: 0,
                entries,
                account: None,
            })
        }),
        (bytes(2000), 0..3u32, any::<(u32, bool)>()).prop_map(|(part, lane, (map, last))| Frame::Entries(Entries {
            part,
            lane,
            map,
            last
        })),
        Just(Frame::Accept),
        any::<u64>().prop_map(|pause_us| Frame::Serving(Serving { pause_us })),
        (proptest::collection::vec(any::<(u32, u64)>(), 0..50), any::<u32>()).prop_map(|(timers, lane)| {
            let timers = timers.into_iter().map(|(timer, at_ns)| Timer { timer, at_ns }).collect();
            Frame::Timers(Timers { timers, lane })
        }),
    ]
}

proptest! {
    #[test]
    fn any_frame_comes_out_as_it_went_in(frame in any_frame()) {
        let raw = take_one(frame.encode());
        let decoded: Frame<'_> = raw.decode().unwrap();
        prop_assert_eq!(decoded.kind(), frame.kind());
        prop_assert_eq!(decoded, frame);
    }

    #[test]
    fn frames_in_pieces_of_any_size_come_out_in_order(
        frames in proptest::collection::vec(any_frame(), 0..6),
        pieces in proptest::collection::vec(1..200usize, 1..20),
    ) {
        let stream: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let mut rest = stream.as_slice();
        let mut pieces = pieces.into_iter().cycle();
        let mut received = Vec::new();
        let mut arrived = Vec::new();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(pieces.next().unwrap().min(rest.len()));
            received.extend_from_slice(piece);
            rest = behind;
            while let Some(raw) = RawFrame::take(&mut received, u32::MAX).unwrap() {
                arrived.push(raw);
            }
        }
        let arrived: Vec<Frame<'_>> = arrived.iter().map(|raw| raw.decode().unwrap()).collect();
        prop_assert_eq!(arrived, frames);
        prop_assert!(received.is_empty());
    }
}

// ── Splits ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn each_frame_comes_out_at_its_last_byte_and_not_before() {
    let mut received = Vec::new();
    for frame in examples() {
        let encoded = frame.encode();
        let (last, before) = encoded.split_last().unwrap();
        for byte in before {
            received.push(*byte);
            assert_eq!(RawFrame::take(&mut received, u32::MAX), Ok(None), "{frame:?}");
        }
        received.push(*last);
        let raw = RawFrame::take(&mut received, u32::MAX).unwrap().expect("the frame is whole");
        assert_eq!(raw.decode::<Frame<'_>>().unwrap(), frame);
        assert!(received.is_empty());
    }
}

#[test]
fn what_follows_a_frame_stays_for_the_next() {
    for frame in examples() {
        let mut received = frame.encode();
        received.extend_from_slice(b"what follows");
        let raw = RawFrame::take(&mut received, u32::MAX).unwrap().unwrap();
        assert_eq!(raw.decode::<Frame<'_>>().unwrap(), frame);
        assert_eq!(received, b"what follows");
    }
}

// ── What is not a frame ────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn no_frame_with_a_flipped_bit_is_accepted() {
    let following: Vec<u8> = examples().flat_map(|frame| frame.encode()).collect();
    for frame in examples() {
        let encoded = frame.encode();
        for bit in 0..encoded.len() * 8 {
            let mut received = encoded.clone();
            received[bit / 8] ^= 1 << (bit % 8);
            // With what follows, also a length that became larger may be reached.
            for following in [&[], following.as_slice()] {
                let mut received = [received.as_slice(), following].concat();
                let taken = RawFrame::take(&mut received, TO_SUCCESSOR_BYTES_MAX);
                assert!(matches!(taken, Ok(None) | Err(_)), "{frame:?} with bit {bit} flipped became {taken:?}");
            }
        }
    }
}

#[test]
fn a_flipped_length_is_too_long_or_incomplete_or_fails_the_checksum() {
    for frame in examples() {
        let encoded = frame.encode();
        let length = u32::try_from(encoded.len() - HEADER_BYTES).unwrap();
        for bit in 0..32 {
            let mut received = encoded.clone();
            let flipped = length ^ (1 << bit);
            received[..4].copy_from_slice(&flipped.to_be_bytes());
            let taken = RawFrame::take(&mut received, TO_PREDECESSOR_BYTES_MAX);
            match flipped {
                _ if flipped > TO_PREDECESSOR_BYTES_MAX => {
                    let expected = WireError::TooLong { bytes: flipped, bytes_max: TO_PREDECESSOR_BYTES_MAX };
                    assert_eq!(taken, Err(expected));
                }
                _ if flipped > length => assert_eq!(taken, Ok(None)),
                _ => assert!(matches!(taken, Err(WireError::Checksum { .. })), "{taken:?}"),
            }
        }
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_more_arrives_or_is_allocated() {
    for bytes_max in [0, 1, TO_PREDECESSOR_BYTES_MAX, TO_SUCCESSOR_BYTES_MAX, u32::MAX - 1] {
        let mut received = [&(bytes_max + 1).to_be_bytes()[..], &[Kind::State as u8, 0, 0, 0, 0]].concat();
        let capacity = received.capacity();
        let expected = WireError::TooLong { bytes: bytes_max + 1, bytes_max };
        assert_eq!(RawFrame::take(&mut received, bytes_max), Err(expected));
        assert_eq!(received.capacity(), capacity);

        received[..4].copy_from_slice(&bytes_max.to_be_bytes());
        assert!(!matches!(RawFrame::take(&mut received, bytes_max), Err(WireError::TooLong { .. })));
        assert_eq!(received.capacity(), capacity);
    }
}

#[test]
fn a_kind_that_no_version_has_is_refused() {
    for number in 0..=u8::MAX {
        let raw = take_one(finish(begin(number)));
        match Kind::ALL.iter().copied().find(|kind| *kind as u8 == number) {
            Some(kind) => assert_eq!(Kind::try_from(number), Ok(kind)),
            None => assert_eq!(raw.decode::<Frame<'_>>(), Err(WireError::Kind(number))),
        }
    }
}

#[test]
fn a_body_that_announces_more_than_there_is_is_an_error_and_not_an_allocation() {
    let mut endless_records = vec![0xa1, 0];
    Encoder::new(&mut endless_records).array(u64::MAX).unwrap();
    let mut endless_bytes = vec![0xa1, 0, 0x5b];
    endless_bytes.extend_from_slice(&(u64::MAX / 2).to_be_bytes());
    let mut endless_map = Vec::new();
    Encoder::new(&mut endless_map).map(u64::MAX).unwrap();
    for &kind in Kind::ALL {
        for body in [&endless_records, &endless_bytes, &endless_map, &vec![]] {
            assert!(matches!(frame_of(kind, body).decode::<Frame<'_>>(), Err(WireError::Body { .. })), "{kind:?}");
        }
    }
}

#[test]
fn a_body_that_something_follows_is_an_error_that_says_how_much() {
    for frame in examples() {
        for following in [&[0xa0][..], &[0], b"12345"] {
            let body = [&body(&frame), following].concat();
            let error = frame_of(frame.kind(), &body).decode::<Frame<'_>>().expect_err("something follows").to_string();
            assert!(error.ends_with(&format!("{} bytes follow it", following.len())), "{error}");
        }
    }
}

#[test]
fn errors_say_both_numbers() {
    let error = WireError::TooLong { bytes: 70_000, bytes_max: 65_536 };
    assert_eq!(error.to_string(), "a frame announces 70000 bytes, at most 65536 are allowed");
    let error = WireError::Checksum { computed: 0xab, announced: 0xdead_beef };
    assert_eq!(error.to_string(), "a frame's checksum is 000000ab, deadbeef was announced");
    assert_eq!(WireError::Kind(99).to_string(), "a frame has the unknown kind 99");
}

// ── Fields of other versions ───────────────────────────────────────────────────────────────────────────────────────

/// Values of every CBOR type that a later version might add, as field 99.
fn unknown_fields() -> Vec<Vec<u8>> {
    let mut fields = vec![Vec::new(); 6];
    let mut write = fields.iter_mut().map(|field| {
        let mut encoder = Encoder::new(field);
        encoder.u32(99).unwrap();
        encoder
    });
    write.next().unwrap().u64(u64::MAX).unwrap();
    write.next().unwrap().str("text").unwrap();
    write.next().unwrap().bytes(&[0xff; 300]).unwrap();
    write.next().unwrap().array(2).unwrap().map(1).unwrap().u8(0).unwrap().bool(true).unwrap().null().unwrap();
    write.next().unwrap().begin_map().unwrap().u8(0).unwrap().begin_array().unwrap().end().unwrap().end().unwrap();
    write.next().unwrap().f64(0.5).unwrap();
    drop(write);
    fields
}

#[test]
fn unknown_fields_are_skipped_in_every_map_of_every_frame() {
    for frame in examples() {
        for unknown in unknown_fields() {
            for first in [true, false] {
                let body = rewritten(&body(&frame), |fields| {
                    let at = if first { 0 } else { fields.len() };
                    fields.insert(at, unknown.clone());
                });
                let raw = frame_of(frame.kind(), &body);
                let decoded: Frame<'_> = raw.decode().unwrap();
                assert_eq!(without_digests(decoded), without_digests(frame.clone()), "{unknown:?}");
            }
        }
    }
}

fn without_digests(frame: Frame<'_>) -> Frame<'_> {
    fn strip<T>(OfLane { lane, records }: OfLane<T>) -> OfLane<T> {
        OfLane { lane, records: records.into_iter().map(|digested| Digested { digest: 0, ..digested }).collect() }
    }
    match frame {
        Frame::Peers(records) => Frame::Peers(strip(records)),
        Frame::Changed(changes) => Frame::Changed(strip(changes)),
        frame => frame,
    }
}

/// What the records or changes of a frame are, each encoded.
fn encoded_values(frame: &Frame<'_>) -> Vec<Vec<u8>> {
    match frame {
        Frame::Peers(peers) => peers.records.iter().map(|record| minicbor::to_vec(&record.value).unwrap()).collect(),
        Frame::Changed(changed) => {
            changed.records.iter().map(|change| minicbor::to_vec(&change.value).unwrap()).collect()
        }
        frame => panic!("{frame:?} has no records"),
    }
}

fn digests(frame: &Frame<'_>) -> Vec<u32> {
    match frame {
        Frame::Peers(peers) => peers.records.iter().map(|record| record.digest).collect(),
        Frame::Changed(changed) => changed.records.iter().map(|change| change.digest).collect(),
        frame => panic!("{frame:?} has no records"),
    }
}

#[test]
fn the_digest_of_a_record_or_change_covers_the_fields_that_are_not_known() {
    for kind in [Kind::Peers, Kind::Changed] {
        let known = encoded_values(&example(kind)).remove(1);
        for unknown in unknown_fields() {
            let extended = rewritten(&known, |fields| fields.push(unknown.clone()));
            let body = [&[0xa1, 0, 0x82], extended.as_slice(), &known].concat();
            let raw = frame_of(kind, &body);
            let decoded: Frame<'_> = raw.decode().unwrap();
            let values = encoded_values(&decoded);
            assert_eq!(values, [known.as_slice(), &known], "with definite length, and after one of a later version");
            assert_eq!(digests(&decoded), [crc32fast::hash(&extended), crc32fast::hash(&known)]);
            assert_ne!(extended, known);
        }
    }
}

#[test]
fn the_digests_of_writer_and_reader_agree() {
    let Frame::Peers(peers) = example(Kind::Peers) else { unreachable!() };
    let mut writer = RecordsWriter::new(RecordsKind::Peers, 0);
    let written: Vec<u32> = peers.records.iter().map(|record| writer.push(&record.value)).collect();
    let bytes_before = writer.bytes();
    let frame = writer.finish();
    assert_eq!(frame.len(), bytes_before + 1, "the end of the records is one byte");
    assert_eq!(digests(&take_one(frame.into()).decode().unwrap()), written);
}

#[test]
fn a_chain_of_digests_depends_on_each_and_on_their_order() {
    let chain = |digests: &[u32]| digests.iter().fold(7, |before, change| chained(before, *change));
    let chains = [chain(&[]), chain(&[1]), chain(&[1, 2]), chain(&[2, 1]), chain(&[1, 1]), chain(&[0])];
    let distinct: std::collections::BTreeSet<u32> = chains.into_iter().collect();
    assert_eq!(distinct.len(), chains.len());
}

#[test]
fn a_lane_that_is_not_the_first_is_named_and_costs_nothing_where_it_is() {
    for kind in [Kind::Peers, Kind::Changed, Kind::Closed, Kind::State, Kind::Listeners] {
        let in_lane = |lane: u32| match example(kind) {
            Frame::Peers(peers) => Frame::Peers(OfLane { lane, ..peers }),
            Frame::Changed(changed) => Frame::Changed(OfLane { lane, ..changed }),
            Frame::Closed(closed) => Frame::Closed(Closed { lane, ..closed }),
            Frame::State(state) => Frame::State(State { lane, ..state }),
            Frame::Listeners(mut listeners) => {
                listeners.services[1].lane = lane;
                Frame::Listeners(listeners)
            }
            frame => panic!("{frame:?} is of no lane"),
        };
        let first = in_lane(0).encode();
        for lane in [1, 15, u32::MAX] {
            let frame = in_lane(lane).encode();
            assert!(frame.len() > first.len());
            let raw = take_one(frame);
            assert_eq!(raw.decode::<Frame<'_>>().unwrap(), in_lane(lane));
        }
    }
}

#[test]
fn a_position_to_which_nothing_could_be_added_is_an_error() {
    const FIRST_TOO_HIGH: u64 = 1 << 62;
    let record = |start| {
        let Frame::Peers(mut peers) = example(Kind::Peers) else { unreachable!() };
        peers.records[0].value.inbound.start = start;
        take_one(Frame::Peers(peers).encode())
    };
    let change = |gone, at| {
        let Frame::Changed(mut changes) = example(Kind::Changed) else { unreachable!() };
        changes.records[0].value.outbound = Shift { gone, appended: stretch(at, b"") };
        take_one(Frame::Changed(changes).encode())
    };
    let highest = FIRST_TOO_HIGH - 1;
    for fits in [record(highest), change(highest, highest)] {
        assert!(fits.decode::<Frame<'_>>().is_ok());
    }
    for position in [FIRST_TOO_HIGH, u64::MAX] {
        for too_high in [record(position), change(position, 0), change(0, position)] {
            let error = too_high.decode::<Frame<'_>>().expect_err("nothing could be added to it").to_string();
            assert!(error.contains(&format!("position {position}, all are below {FIRST_TOO_HIGH}")), "{error}");
        }
    }
}

/// A change of the examples has more fields than any of its shifts.
const SHIFT_FIELDS: usize = 3;

#[test]
fn a_missing_field_is_an_error_that_names_the_kind() {
    for frame in examples() {
        let kind = frame.kind();
        let has_records = matches!(kind, Kind::Peers | Kind::Changed);
        for dropped in 0.. {
            let mut passed = 0;
            let mut number = None;
            // How many fields the map has that it is dropped from: which map that is.
            let mut width = 0;
            let body = rewritten(&body(&frame), |fields| {
                let here = passed..passed + fields.len();
                passed = here.end;
                // The only field of a frame of records has a test of its own, and those of a shift are all optional.
                let optional = match kind {
                    Kind::Peers => fields.len() == 1,
                    Kind::Changed => fields.len() <= SHIFT_FIELDS,
                    _ => false,
                };
                if here.contains(&dropped) && !optional {
                    width = fields.len();
                    number = Some(fields.remove(dropped - here.start)[0]);
                }
            });
            if dropped >= passed {
                break;
            }
            let raw = frame_of(kind, &body);
            match number {
                None => assert!(has_records),
                // Empty buffers are left out of a record, and what has not changed of a change.
                Some(3..=9 | 11 | 12) if kind == Kind::Peers => assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}"),
                // Most speak no TLS.
                Some(5) if kind == Kind::Listeners => assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}"),
                // Who refuses, and which process of a server welcomes, may go without saying.
                Some(1) if kind == Kind::Refuse => assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}"),
                Some(4) if kind == Kind::Welcome => assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}"),
                // Most services have neither timers nor entries.
                Some(5..=7) if matches!(kind, Kind::Commit | Kind::Mark) && width == 8 => {
                    assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}")
                }
                // All have moved, in most cases.
                Some(6) if kind == Kind::Moved => assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}"),
                // What is not said is as it was, or not known.
                Some(0..=1) if kind == Kind::Upgrade => assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}"),
                Some(1) if kind == Kind::Upgrading => assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}"),
                Some(1 | 3) if kind == Kind::Upgraded && width == 6 => {
                    assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}");
                }
                Some(2) if kind == Kind::Checked && width == 4 => {
                    assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}");
                }
                // A server may never have taken over, nor failed to be taken over.
                Some(12..=14 | 18..=20) if kind == Kind::Status => {
                    assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}")
                }
                Some(3) if kind == Kind::Status && width == 8 => assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}"),
                // Nor have a standby, or one that could serve on; and there is one lane, in most cases.
                Some(1) if kind == Kind::Status && width == 4 => assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}"),
                // Not all is known of every peer.
                Some(2..=4) if kind == Kind::PeerList && width == 9 => {
                    assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}")
                }
                Some(2..=6 | 8) if kind == Kind::Changed => assert!(raw.decode::<Frame<'_>>().is_ok(), "{kind:?}"),
                Some(number) => {
                    let error = raw.decode::<Frame<'_>>().expect_err("a mandatory field is missing").to_string();
                    assert!(error.contains(&format!("{kind:?}")), "{error}, without field {number}");
                }
            }
        }
    }
}

#[test]
fn records_missing_from_a_frame_of_records_are_an_error_that_names_the_kind() {
    for kind in [Kind::Peers, Kind::Changed] {
        for body in [&[0xa0][..], &[0xa1, 0x18, 99, 0]] {
            let raw = frame_of(kind, body);
            let error = raw.decode::<Frame<'_>>().expect_err("the records are missing").to_string();
            assert!(error.contains(&format!("{kind:?}")), "{error}");
        }
    }
}

#[test]
fn the_buffers_of_a_record_cost_nothing_while_they_are_empty() {
    let Frame::Peers(peers) = example(Kind::Peers) else { unreachable!() };
    let mut encoded = Vec::new();
    minicbor::encode(&peers.records[0].value, &mut encoded).unwrap();
    assert_eq!(Decoder::new(&encoded).map().unwrap(), Some(3), "cookie, address, phase");
}

#[test]
fn a_link_local_address_keeps_its_scope() {
    let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 3);
    let mut record = digested(Record {
        cookie: 1,
        address: scoped.into(),
        phase: Phase::Open,
        session: &[],
        secured: None,
        inbound: stretch(0, &[]),
        outbound: stretch(0, &[]),
        parting: None,
        deadline_ns: None,
        since_s: 0,
        ties: Ties::default(),
    })
    .value;
    let frame = Frame::Peers(of_first(vec![digested(record.clone())])).encode();
    let raw = take_one(frame);
    let Frame::Peers(decoded) = raw.decode().unwrap() else { unreachable!() };
    record.address = decoded.records[0].value.address;
    assert_eq!(record.address, Address::from(scoped));
}

// ── Versions and texts ─────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_highest_version_that_both_know_is_agreed_on() {
    const BELOW: u32 = 6;
    let range = |(oldest, newest)| Versions { oldest, newest };
    let all = || (0..BELOW).flat_map(|oldest| (0..BELOW).map(move |newest| (oldest, newest))).map(range);
    for ours in all() {
        for theirs in all() {
            let both_know = |version: &u32| {
                ours.oldest <= *version
                    && *version <= ours.newest
                    && theirs.oldest <= *version
                    && *version <= theirs.newest
            };
            let expected = (0..BELOW).filter(both_know).max();
            assert_eq!(agree(ours, theirs), expected, "{ours} and {theirs}");
        }
    }
}

// ── Golden frames ──────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn golden_frames_of_wire_version_1_are_what_this_build_writes() {
    for &kind in Kind::ALL {
        assert_eq!(to_hex(&example(kind).encode()), golden(kind), "{kind:?}");
    }
}

#[test]
fn golden_frames_of_wire_version_1_are_read_as_they_were_meant() {
    for &kind in Kind::ALL {
        let raw = take_one(from_hex(golden(kind)));
        assert_eq!(raw.decode::<Frame<'_>>().unwrap(), example(kind));
    }
}

#[test]
fn golden_frames_are_there_for_every_wire_version_that_this_build_speaks() {
    assert_eq!(WIRE_VERSIONS, Versions { oldest: 1, newest: 1 }, "a new wire version brings golden frames of its own");
}
