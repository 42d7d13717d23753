//! Frames of the takeover channel, built and read by hand, so that a mistake in the daemon's own code cannot hide.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// The kinds of frame.
pub(crate) mod kind {
    pub(crate) const HELLO: u8 = 1;
    pub(crate) const REFUSE: u8 = 2;
    pub(crate) const WELCOME: u8 = 3;
    pub(crate) const LISTENERS: u8 = 4;
    pub(crate) const PEERS: u8 = 5;
    pub(crate) const COPIED: u8 = 6;
    pub(crate) const CHANGED: u8 = 7;
    pub(crate) const CLOSED: u8 = 8;
    pub(crate) const ROUND: u8 = 9;
    pub(crate) const READY: u8 = 10;
    pub(crate) const STATE: u8 = 11;
    pub(crate) const COMMIT: u8 = 12;
    pub(crate) const ACCEPT: u8 = 13;
    pub(crate) const SERVING: u8 = 14;
    pub(crate) const TIMERS: u8 = 16;
    pub(crate) const ENTRIES: u8 = 17;
}

/// Length, kind, checksum.
const HEADER_BYTES: usize = 9;

/// A frame that has been received.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// Takes one frame from the front of `bytes`, if it is whole.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let announced = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let kind = header[4];
        let body = bytes.get(HEADER_BYTES..HEADER_BYTES + length)?.to_vec();
        assert_eq!(checksum(kind, &body), announced, "a frame's checksum fits");
        bytes.drain(..HEADER_BYTES + length);
        Some(Self { kind, body })
    }

    /// The text in field 0 of a Refuse.
    pub(crate) fn reason(&self) -> String {
        let mut decoder = Decoder::new(&self.body);
        assert_eq!(self.kind, kind::REFUSE);
        let (fields, first) = (decoder.map().unwrap(), decoder.u32().unwrap());
        // Who says so may follow.
        assert!(matches!((fields, first), (Some(1 | 2), 0)), "{fields:?} {first}");
        decoder.str().unwrap().to_owned()
    }

    /// Number and lastness of a Round.
    pub(crate) fn round(&self) -> (u32, bool) {
        let mut decoder = Decoder::new(&self.body);
        assert_eq!(self.kind, kind::ROUND);
        assert_eq!((decoder.map().unwrap(), decoder.u32().unwrap()), (Some(2), 0));
        let number = decoder.u32().unwrap();
        assert_eq!(decoder.u32().unwrap(), 1);
        (number, decoder.bool().unwrap())
    }
}

/// What a Peers frame says of one peer, as far as the tests ask.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The address as it is encoded.
    address: Vec<u8>,
    pub(crate) phase: u8,
    pub(crate) outbound_bytes: usize,
}

impl Record {
    /// The phase of a peer that is closed when what is pending is written.
    pub(crate) const CLOSING: u8 = 2;

    /// Whether this is the peer with that port: whatever else an IPv4 address is written with, the port comes last.
    pub(crate) fn is_of(&self, port: u16) -> bool {
        self.address.ends_with(&minicbor::to_vec(port).expect("a Vec takes everything"))
    }
}

/// The records in the body of a Peers frame.
pub(crate) fn records(frame: &Frame) -> Vec<Record> {
    let mut decoder = Decoder::new(&frame.body);
    let fields = decoder.map().unwrap();
    if decoder.u32().unwrap() == 1 {
        // The lane, which comes first.
        decoder.u32().unwrap();
        assert_eq!((fields, decoder.u32().unwrap()), (Some(2), 0));
    }
    let length = decoder.array().unwrap();
    let mut records = Vec::new();
    while length.map_or(decoder.datatype().unwrap() != Type::Break, |length| (records.len() as u64) < length) {
        let mut record = Record::default();
        for _ in 0..decoder.map().unwrap().expect("a record is a map of known length") {
            match decoder.u32().unwrap() {
                1 => {
                    let start = decoder.position();
                    decoder.skip().unwrap();
                    record.address = decoder.input()[start..decoder.position()].to_vec();
                }
                2 => record.phase = decoder.u8().unwrap(),
                5 => record.outbound_bytes = decoder.bytes().unwrap().len(),
                _ => decoder.skip().unwrap(),
            }
        }
        records.push(record);
    }
    records
}

/// Any frame.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a test's frame is small");
    let mut frame = length.to_be_bytes().to_vec();
    frame.push(kind);
    frame.extend(checksum(kind, body).to_be_bytes());
    frame.extend(body);
    frame
}

/// A frame whose body is an empty map.
pub(crate) fn empty(kind: u8) -> Vec<u8> {
    encoded(kind, |encoder| encoder.map(0).map(drop))
}

pub(crate) fn ready() -> Vec<u8> {
    empty(kind::READY)
}

pub(crate) fn accept() -> Vec<u8> {
    empty(kind::ACCEPT)
}

/// The layout of what moves of TLS.
const TLS_LAYOUT: u64 = 0x0101_0101;

/// A Hello that offers one service.
pub(crate) fn hello(service: &str) -> Vec<u8> {
    hello_offering(&[service])
}

/// A Hello that offers these services, each with state version 1, and to restore TLS.
pub(crate) fn hello_offering(services: &[&str]) -> Vec<u8> {
    encoded(kind::HELLO, |encoder| {
        encoder.map(6)?.u8(6)?.u64(TLS_LAYOUT)?;
        encoder.u8(0)?.map(2)?.u8(0)?.u32(1)?.u8(1)?.u32(1)?;
        encoder.u8(1)?.str("scripted successor")?;
        encoder.u8(2)?.array(services.len() as u64)?;
        for service in services {
            encoder.map(2)?.u8(0)?.str(service)?;
            encoder.u8(1)?.map(2)?.u8(0)?.u32(1)?.u8(1)?.u32(1)?;
        }
        encoder.u8(3)?.u64(100_000)?.u8(4)?.u64(10)?;
        Ok(())
    })
}

pub(crate) fn copied(peers: u64, rounds: u32) -> Vec<u8> {
    // It goes on with TLS handshakes, too.
    encoded(kind::COPIED, |encoder| encoder.map(3)?.u8(0)?.u64(peers)?.u8(1)?.u32(rounds)?.u8(2)?.bool(true).map(drop))
}

/// A Welcome to this service without peers, with state version 1.
pub(crate) fn welcome(service: &str) -> Vec<u8> {
    encoded(kind::WELCOME, |encoder| {
        encoder.map(4)?.u8(0)?.u32(1)?.u8(1)?.str("scripted predecessor")?.u8(2)?.u32(std::process::id())?;
        encoder.u8(3)?.array(1)?.map(3)?.u8(0)?.str(service)?.u8(1)?.u32(1)?.u8(2)?.u64(0)?;
        Ok(())
    })
}

/// Where a listener is said to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At<'p> {
    Tcp(SocketAddr),
    Unix(&'p Path),
}

/// Listeners of these lanes, and the path of the takeover listener.
pub(crate) fn listeners(listeners: &[(u32, At<'_>)], takeover_path: &Path) -> Vec<u8> {
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    encoded(kind::LISTENERS, |encoder| {
        encoder.map(4)?.u8(0)?.array(listeners.len() as u64)?;
        for (lane, at) in listeners {
            encoder.map(3)?.u8(1)?.u32(*lane)?.u8(2)?.str("clients")?.u8(0)?.array(2)?;
            match at {
                At::Tcp(SocketAddr::V4(at)) => {
                    encoder.u8(0)?.array(1)?.array(2)?.bytes(&at.ip().octets())?.u16(at.port())?
                }
                At::Tcp(SocketAddr::V6(at)) => panic!("{at} is of no test"),
                At::Unix(path) => {
                    encoder.u8(1)?.array(1)?.map(3)?.u8(0)?.bytes(&bytes(path))?.u8(1)?.u8(1)?.u8(2)?.u8(1)?
                }
            };
        }
        encoder.u8(1)?.bytes(&bytes(takeover_path))?.u8(2)?.u8(1)?.u8(3)?.u8(1)?;
        Ok(())
    })
}

/// A frame of this kind about nothing of a lane: no peers, no changes, none who has closed.
pub(crate) fn nothing_of(kind: u8, lane: u32) -> Vec<u8> {
    encoded(kind, |encoder| encoder.map(2)?.u8(0)?.array(0)?.u8(1)?.u32(lane).map(drop))
}

pub(crate) fn closed(lane: u32, cookie: u64) -> Vec<u8> {
    encoded(kind::CLOSED, |encoder| encoder.map(2)?.u8(0)?.array(1)?.u64(cookie)?.u8(1)?.u32(lane).map(drop))
}

pub(crate) fn round(number: u32, last: bool) -> Vec<u8> {
    encoded(kind::ROUND, |encoder| encoder.map(2)?.u8(0)?.u32(number)?.u8(1)?.bool(last).map(drop))
}

pub(crate) fn state(lane: u32, part: &[u8]) -> Vec<u8> {
    encoded(kind::STATE, |encoder| encoder.map(2)?.u8(0)?.bytes(part)?.u8(1)?.u32(lane).map(drop))
}

/// A part of entries of the map 0 of a lane.
pub(crate) fn entries(lane: u32, part: &[u8], last: bool) -> Vec<u8> {
    encoded(kind::ENTRIES, |encoder| {
        encoder.map(4)?.u8(0)?.bytes(part)?.u8(1)?.u32(lane)?.u8(2)?.u32(0)?.u8(3)?.bool(last).map(drop)
    })
}

/// One timer of a lane.
pub(crate) fn timers(lane: u32, timer: u32, at_ns: u64) -> Vec<u8> {
    encoded(kind::TIMERS, |encoder| {
        encoder.map(2)?.u8(0)?.array(1)?.array(2)?.u32(timer)?.u64(at_ns)?.u8(1)?.u32(lane).map(drop)
    })
}

/// A Commit of no peers and no state, with so many timers and entries of so many bytes with this digest.
pub(crate) fn commit(timers: u64, entries_bytes: u64, entries_digest: u32) -> Vec<u8> {
    encoded(kind::COMMIT, |encoder| {
        encoder.map(7)?.u8(0)?.u8(0)?.u8(1)?.u8(0)?.u8(2)?.u8(0)?.u8(3)?.u8(1)?;
        encoder.u8(4)?.map(5)?;
        for figure in 0..5 {
            encoder.u8(figure)?.u8(0)?;
        }
        encoder.u8(5)?.u64(timers)?;
        encoder.u8(6)?.map(3)?.u8(0)?.u64(entries_bytes)?.u8(1)?.u32(entries_digest)?.u8(2)?.u8(0)?;
        Ok(())
    })
}

type EncodeError = minicbor::encode::Error<std::convert::Infallible>;

fn encoded(kind: u8, write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut body = Vec::new();
    write(&mut Encoder::new(&mut body)).expect("a Vec takes everything");
    frame(kind, &body)
}

fn checksum(kind: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(body);
    hasher.finalize()
}
