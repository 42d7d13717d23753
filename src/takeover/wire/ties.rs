//! What ties a peer, as it is on the wire: the values of `peer/ties.rs`, with a number for each field.

use std::io::ErrorKind;
use std::num::NonZeroU64;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::peer::ties::{Dial, DialTls, Ending, Holds, Joined, Outflow, Ties};

const LOST: u8 = 1;
const UNREACHABLE: u8 = 2;

/// The kinds of errors that are told, from number 1 on. The others are 0.
const ERROR_KINDS: [ErrorKind; 11] = [
    ErrorKind::ConnectionReset,
    ErrorKind::ConnectionAborted,
    ErrorKind::BrokenPipe,
    ErrorKind::TimedOut,
    ErrorKind::InvalidData,
    ErrorKind::ConnectionRefused,
    ErrorKind::HostUnreachable,
    ErrorKind::NetworkUnreachable,
    ErrorKind::AddrNotAvailable,
    ErrorKind::NotFound,
    ErrorKind::Interrupted,
];

/// The fields of [`Ties`].
#[derive(Encode, Decode)]
#[cbor(map)]
struct TiesFields<'b> {
    #[cbor(n(0), skip_if = "is_zero")]
    holds: u8,
    #[cbor(n(1), skip_if = "is_zero")]
    outflow: u8,
    #[n(2)]
    writer: Option<u64>,
    #[n(3)]
    joined: Option<JoinedFields>,
    #[b(4)]
    dial: Option<DialFields<'b>>,
    #[b(5)]
    violation: Option<&'b str>,
    /// Why it is closed otherwise, as a number, and of which kind the error was.
    #[cbor(n(6), skip_if = "is_zero")]
    ending: u8,
    #[cbor(n(7), skip_if = "is_zero")]
    error_kind: u8,
}

#[derive(Encode, Decode)]
struct JoinedFields {
    #[n(0)]
    partner: NonZeroU64,
    #[n(1)]
    idle_ns: Option<NonZeroU64>,
    #[n(2)]
    moved_ns: u64,
}

#[derive(Encode, Decode)]
struct DialFields<'b> {
    #[n(0)]
    until_ns: u64,
    #[cbor(b(1), with = "minicbor::bytes")]
    path: Option<&'b [u8]>,
    #[b(2)]
    tls: Option<DialTlsFields<'b>>,
}

#[derive(Encode, Decode)]
struct DialTlsFields<'b> {
    #[b(0)]
    with: &'b str,
    #[b(1)]
    name: &'b str,
    #[cbor(b(2), with = "minicbor::bytes")]
    preface: &'b [u8],
    #[n(3)]
    is_begun: bool,
}

impl<'b> From<DialTls<'b>> for DialTlsFields<'b> {
    fn from(DialTls { with, name, preface, is_begun }: DialTls<'b>) -> Self {
        Self { with, name, preface, is_begun }
    }
}

impl<'b> From<DialTlsFields<'b>> for DialTls<'b> {
    fn from(DialTlsFields { with, name, preface, is_begun }: DialTlsFields<'b>) -> Self {
        Self { with, name, preface, is_begun }
    }
}

impl<C> Encode<C> for Ties<'_> {
    fn encode<W: Write>(&self, encoder: &mut Encoder<W>, context: &mut C) -> Result<(), EncodeError<W::Error>> {
        let Self { holds, outflow, writer, joined, dial, ending } = *self;
        let joined = joined.map(|Joined { partner, idle_ns, moved_ns }| JoinedFields { partner, idle_ns, moved_ns });
        let dial = dial.map(|Dial { until_ns, path, tls }| DialFields { until_ns, path, tls: tls.map(Into::into) });
        let (holds, outflow) = (holds.told(), outflow_number(outflow));
        let (violation, ending, error_kind) = match ending {
            None => (None, 0, 0),
            Some(Ending::Violation(violation)) => (Some(violation), 0, 0),
            Some(Ending::Lost(kind)) => (None, LOST, error_number(kind)),
            Some(Ending::Unreachable(kind)) => (None, UNREACHABLE, error_number(kind)),
        };
        TiesFields { holds, outflow, writer, joined, dial, violation, ending, error_kind }.encode(encoder, context)
    }
}

impl<'b, C> Decode<'b, C> for Ties<'b> {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let position = decoder.position();
        let fields = TiesFields::decode(decoder, context)?;
        let TiesFields { holds, outflow, writer, joined, dial, violation, ending, error_kind } = fields;
        let ending = match (violation, ending) {
            (None, 0) => None,
            (Some(violation), 0) => Some(Ending::Violation(violation)),
            (None, LOST) => Some(Ending::Lost(error_of(error_kind))),
            (None, UNREACHABLE) => Some(Ending::Unreachable(error_of(error_kind))),
            (_, ending) => return Err(DecodeError::unknown_variant(ending.into()).at(position)),
        };
        let outflow = outflow_of(outflow).ok_or_else(|| DecodeError::unknown_variant(outflow.into()).at(position))?;
        let joined = joined.map(|JoinedFields { partner, idle_ns, moved_ns }| Joined { partner, idle_ns, moved_ns });
        let dial = dial.map(|DialFields { until_ns, path, tls }| Dial { until_ns, path, tls: tls.map(Into::into) });
        Ok(Self { holds: Holds::of_told(holds), outflow, writer, joined, dial, ending })
    }
}

fn error_number(kind: ErrorKind) -> u8 {
    let place = ERROR_KINDS.iter().position(|other| *other == kind);
    place.map_or(0, |place| u8::try_from(place + 1).expect("there are few"))
}

fn error_of(number: u8) -> ErrorKind {
    let place = usize::from(number).checked_sub(1);
    place.and_then(|place| ERROR_KINDS.get(place).copied()).unwrap_or(ErrorKind::Other)
}

fn outflow_number(outflow: Outflow) -> u8 {
    match outflow {
        Outflow::Open => 0,
        // It is settled before anybody else is told.
        Outflow::LastWords | Outflow::Finishing => 1,
        Outflow::Finished => 2,
        Outflow::Reset => 3,
    }
}

fn outflow_of(number: u8) -> Option<Outflow> {
    match number {
        0 => Some(Outflow::Open),
        1 => Some(Outflow::Finishing),
        2 => Some(Outflow::Finished),
        3 => Some(Outflow::Reset),
        _ => None,
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "that is how it is called")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}
