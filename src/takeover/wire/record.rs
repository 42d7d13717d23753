//! Records of peers, and changes to them, as they are on the wire: the values of `peer/record.rs`, with a number for each field.

use std::net::SocketAddr;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::peer::Address;
use crate::peer::parting::Parting;
use crate::peer::record::{Change, Phase, Record, SecuredChange, SecuredRecord, Shift, Stretch};
use crate::peer::ties::Ties;

/// Positions are below this, so that what is added to one is one still.
const POSITIONS_END: u64 = 1 << 62;

/// The fields of a [`Record`].
#[derive(Encode, Decode)]
#[cbor(map)]
struct RecordFields<'b> {
    #[n(0)]
    cookie: u64,
    #[cbor(n(1), with = "address")]
    address: Address,
    #[cbor(n(2), with = "phase")]
    phase: Phase,
    #[cbor(b(3), with = "minicbor::bytes", skip_if = "is_empty")]
    session: &'b [u8],
    #[cbor(b(4), with = "minicbor::bytes", skip_if = "is_empty")]
    inbound: &'b [u8],
    #[cbor(b(5), with = "minicbor::bytes", skip_if = "is_empty")]
    outbound: &'b [u8],
    #[n(6)]
    parting: Option<Parting>,
    /// The positions at which the two directions begin.
    #[cbor(n(7), skip_if = "is_zero")]
    inbound_start: u64,
    #[cbor(n(8), skip_if = "is_zero")]
    outbound_start: u64,
    #[n(9)]
    deadline_ns: Option<u64>,
    #[b(10)]
    ties: Option<Ties<'b>>,
    #[cbor(n(11), skip_if = "is_no_instant")]
    since_s: u32,
    #[b(12)]
    secured: Option<SecuredRecordFields<'b>>,
}

/// The fields of a [`SecuredRecord`].
#[derive(Encode, Decode)]
#[cbor(map)]
struct SecuredRecordFields<'b> {
    #[cbor(b(0), with = "minicbor::bytes")]
    facts: &'b [u8],
    #[cbor(b(1), with = "minicbor::bytes")]
    state: &'b [u8],
    #[cbor(n(2), skip_if = "is_zero")]
    partial_start: u64,
    #[cbor(b(3), with = "minicbor::bytes", skip_if = "is_empty")]
    partial: &'b [u8],
}

impl<C> Encode<C> for Record<'_> {
    fn encode<W: Write>(&self, encoder: &mut Encoder<W>, context: &mut C) -> Result<(), EncodeError<W::Error>> {
        let Self { cookie, address, phase, session, secured, inbound, outbound, parting, deadline_ns, since_s, ties } =
            *self;
        let fields = RecordFields {
            cookie,
            address,
            phase,
            session,
            inbound: inbound.bytes,
            outbound: outbound.bytes,
            parting,
            inbound_start: inbound.start,
            outbound_start: outbound.start,
            deadline_ns,
            ties: (!ties.is_none()).then_some(ties),
            since_s,
            secured: secured.map(|SecuredRecord { facts, state, partial }| SecuredRecordFields {
                facts,
                state,
                partial_start: partial.start,
                partial: partial.bytes,
            }),
        };
        fields.encode(encoder, context)
    }
}

impl<'b, C> Decode<'b, C> for Record<'b> {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let fields = RecordFields::decode(decoder, context)?;
        let inbound = stretch(fields.inbound_start, fields.inbound)?;
        let outbound = stretch(fields.outbound_start, fields.outbound)?;
        let secured = fields.secured.map(SecuredRecord::try_from).transpose()?;
        let RecordFields { cookie, address, phase, session, parting, deadline_ns, since_s, ties, .. } = fields;
        let ties = ties.unwrap_or_default();
        Ok(Self { cookie, address, phase, session, secured, inbound, outbound, parting, deadline_ns, since_s, ties })
    }
}

impl<'b> TryFrom<SecuredRecordFields<'b>> for SecuredRecord<'b> {
    type Error = DecodeError;

    fn try_from(fields: SecuredRecordFields<'b>) -> Result<Self, DecodeError> {
        let SecuredRecordFields { facts, state, partial_start, partial } = fields;
        Ok(Self { facts, state, partial: stretch(partial_start, partial)? })
    }
}

/// The fields of a [`Parting`].
#[derive(Encode, Decode)]
struct PartingFields {
    #[n(0)]
    began_ns: u64,
    #[n(1)]
    progress_ns: u64,
    #[n(2)]
    heard_ns: u64,
    #[n(3)]
    acknowledged_bytes: u64,
    #[n(4)]
    pending_bytes: u64,
    #[n(5)]
    delivered_ns: Option<u64>,
}

impl<C> Encode<C> for Parting {
    fn encode<W: Write>(&self, encoder: &mut Encoder<W>, context: &mut C) -> Result<(), EncodeError<W::Error>> {
        let Self { began_ns, progress_ns, heard_ns, acknowledged_bytes, pending_bytes, delivered_ns } = *self;
        PartingFields { began_ns, progress_ns, heard_ns, acknowledged_bytes, pending_bytes, delivered_ns }
            .encode(encoder, context)
    }
}

impl<'b, C> Decode<'b, C> for Parting {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let PartingFields { began_ns, progress_ns, heard_ns, acknowledged_bytes, pending_bytes, delivered_ns } =
            PartingFields::decode(decoder, context)?;
        Ok(Self { began_ns, progress_ns, heard_ns, acknowledged_bytes, pending_bytes, delivered_ns })
    }
}

/// The fields of a [`Change`].
#[derive(Encode, Decode)]
#[cbor(map)]
struct ChangeFields<'b> {
    #[n(0)]
    cookie: u64,
    #[cbor(n(1), with = "phase")]
    phase: Phase,
    #[cbor(b(2), with = "minicbor::bytes")]
    session: Option<&'b [u8]>,
    #[cbor(b(3), skip_if = "is_at_zero")]
    inbound: ShiftFields<'b>,
    #[cbor(b(4), skip_if = "is_at_zero")]
    outbound: ShiftFields<'b>,
    #[n(5)]
    parting: Option<Parting>,
    #[n(6)]
    deadline_ns: Option<u64>,
    #[b(7)]
    ties: Option<Ties<'b>>,
    #[b(8)]
    secured: Option<SecuredChangeFields<'b>>,
}

/// The fields of a [`SecuredChange`].
#[derive(Encode, Decode)]
#[cbor(map)]
struct SecuredChangeFields<'b> {
    #[cbor(b(0), with = "minicbor::bytes")]
    state: &'b [u8],
    #[cbor(b(1), skip_if = "is_at_zero")]
    partial: ShiftFields<'b>,
    #[cbor(b(2), with = "minicbor::bytes")]
    facts: Option<&'b [u8]>,
}

/// The fields of a [`Shift`].
#[derive(Default, Encode, Decode)]
#[cbor(map)]
struct ShiftFields<'b> {
    #[cbor(n(0), skip_if = "is_zero")]
    gone: u64,
    /// The position at which bytes are appended.
    #[cbor(n(1), skip_if = "is_zero")]
    at: u64,
    #[cbor(b(2), with = "minicbor::bytes", skip_if = "is_empty")]
    bytes: &'b [u8],
}

impl<C> Encode<C> for Change<'_> {
    fn encode<W: Write>(&self, encoder: &mut Encoder<W>, context: &mut C) -> Result<(), EncodeError<W::Error>> {
        let Self { cookie, phase, session, secured, inbound, outbound, parting, deadline_ns, ties } = *self;
        let ties = (!ties.is_none()).then_some(ties);
        let [inbound, outbound] = [inbound, outbound].map(ShiftFields::from);
        let secured = secured.map(|SecuredChange { facts, state, partial }| SecuredChangeFields {
            facts,
            state,
            partial: partial.into(),
        });
        ChangeFields { cookie, phase, session, inbound, outbound, parting, deadline_ns, ties, secured }
            .encode(encoder, context)
    }
}

impl<'b, C> Decode<'b, C> for Change<'b> {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let ChangeFields { cookie, phase, session, inbound, outbound, parting, deadline_ns, ties, secured } =
            ChangeFields::decode(decoder, context)?;
        let (inbound, outbound) = (inbound.try_into()?, outbound.try_into()?);
        let secured = match secured {
            None => None,
            Some(SecuredChangeFields { facts, state, partial }) => {
                Some(SecuredChange { facts, state, partial: partial.try_into()? })
            }
        };
        let ties = ties.unwrap_or_default();
        Ok(Self { cookie, phase, session, secured, inbound, outbound, parting, deadline_ns, ties })
    }
}

impl<'b> From<Shift<'b>> for ShiftFields<'b> {
    fn from(Shift { gone, appended }: Shift<'b>) -> Self {
        Self { gone, at: appended.start, bytes: appended.bytes }
    }
}

impl<'b> TryFrom<ShiftFields<'b>> for Shift<'b> {
    type Error = DecodeError;

    fn try_from(ShiftFields { gone, at, bytes }: ShiftFields<'b>) -> Result<Self, DecodeError> {
        Ok(Self { gone: position(gone)?, appended: stretch(at, bytes)? })
    }
}

fn stretch(start: u64, bytes: &[u8]) -> Result<Stretch<'_>, DecodeError> {
    Ok(Stretch { start: position(start)?, bytes })
}

fn position(position: u64) -> Result<u64, DecodeError> {
    match position {
        0..POSITIONS_END => Ok(position),
        _ => Err(DecodeError::message(format!("position {position}, all are below {POSITIONS_END}"))),
    }
}

fn is_at_zero(shift: &ShiftFields<'_>) -> bool {
    matches!(shift, ShiftFields { gone: 0, at: 0, bytes: [] })
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "that is how it is called")]
fn is_zero(position: &u64) -> bool {
    *position == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "that is how it is called")]
fn is_no_instant(since_s: &u32) -> bool {
    *since_s == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "that is how it is called")]
fn is_empty(bytes: &&[u8]) -> bool {
    bytes.is_empty()
}

/// A phase: its number.
mod phase {
    use super::{DecodeError, Decoder, EncodeError, Encoder, Phase, Write};

    pub(super) fn encode<C, W: Write>(
        phase: &Phase,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        let number = match phase {
            Phase::Open => 0,
            Phase::Ended => 1,
            Phase::Closing => 2,
            Phase::Lingering => 3,
            Phase::Connecting => 4,
        };
        encoder.u32(number)?.ok()
    }

    pub(super) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<Phase, DecodeError> {
        let position = decoder.position();
        match decoder.u32()? {
            0 => Ok(Phase::Open),
            1 => Ok(Phase::Ended),
            2 => Ok(Phase::Closing),
            3 => Ok(Phase::Lingering),
            4 => Ok(Phase::Connecting),
            number => Err(DecodeError::unknown_variant(number.into()).at(position)),
        }
    }
}

/// The address of a TCP listener: as that of a peer.
pub(super) mod tcp_address {
    use super::{Address, DecodeError, Decoder, EncodeError, Encoder, SocketAddr, Write, address};

    pub(crate) fn encode<C, W: Write>(
        listener: &SocketAddr,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        address::encode(&Address::from(*listener), encoder, context)
    }

    pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, context: &mut C) -> Result<SocketAddr, DecodeError> {
        let ip = address::decode(decoder, context)?.ip();
        ip.ok_or_else(|| DecodeError::message("a TCP listener has an IP address"))
    }
}

/// A peer's address: an array of the IP address, the port, and, for IPv6, the scope, without which a link-local address
/// is none (ipv6(7)). Of a Unix socket, an array of the process id alone.
mod address {
    use std::net::{IpAddr, SocketAddrV6};

    use super::{Address, DecodeError, Decoder, EncodeError, Encoder, SocketAddr, Write};

    pub(super) fn encode<C, W: Write>(
        address: &Address,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match address.ip_or_pid() {
            Err(pid) => encoder.array(1)?.u32(pid)?,
            Ok(SocketAddr::V4(address)) => encoder.array(2)?.bytes(&address.ip().octets())?.u16(address.port())?,
            Ok(SocketAddr::V6(address)) => {
                encoder.array(3)?.bytes(&address.ip().octets())?.u16(address.port())?.u32(address.scope_id())?
            }
        };
        Ok(())
    }

    pub(super) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<Address, DecodeError> {
        let malformed = || DecodeError::message("an address has 4 bytes and a port, or 16, a port and a scope");
        let fields = decoder.array()?;
        if fields == Some(1) {
            return Ok(Address::unix(decoder.u32()?));
        }
        let octets = decoder.bytes()?;
        match (fields, octets.len()) {
            (Some(2), 4) => {
                let octets: [u8; 4] = octets.try_into().map_err(|_| malformed())?;
                Ok((IpAddr::from(octets), decoder.u16()?).into())
            }
            (Some(3), 16) => {
                let octets: [u8; 16] = octets.try_into().map_err(|_| malformed())?;
                Ok(SocketAddrV6::new(octets.into(), decoder.u16()?, 0, decoder.u32()?).into())
            }
            _ => Err(malformed()),
        }
    }
}
