//! Records of peers as they are on the wire: the values of `peer/record.rs`, with a number for each field.

use std::net::SocketAddr;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::peer::parting::Parting;
use crate::peer::record::{Phase, Record};

/// The fields of a [`Record`].
#[derive(Encode, Decode)]
#[cbor(map)]
struct RecordFields<'b> {
    #[n(0)]
    cookie: u64,
    #[cbor(n(1), with = "address")]
    address: SocketAddr,
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
}

impl<C> Encode<C> for Record<'_> {
    fn encode<W: Write>(&self, encoder: &mut Encoder<W>, context: &mut C) -> Result<(), EncodeError<W::Error>> {
        let Self { cookie, address, phase, session, inbound, outbound, parting } = *self;
        RecordFields { cookie, address, phase, session, inbound, outbound, parting }.encode(encoder, context)
    }
}

impl<'b, C> Decode<'b, C> for Record<'b> {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let fields = RecordFields::decode(decoder, context)?;
        let RecordFields { cookie, address, phase, session, inbound, outbound, parting } = fields;
        Ok(Self { cookie, address, phase, session, inbound, outbound, parting })
    }
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
            number => Err(DecodeError::unknown_variant(number.into()).at(position)),
        }
    }
}

/// A peer's address: an array of the IP address, the port, and, for IPv6, the scope, without which a link-local address
/// is none (ipv6(7)).
mod address {
    use std::net::{IpAddr, SocketAddrV6};

    use super::{DecodeError, Decoder, EncodeError, Encoder, SocketAddr, Write};

    pub(super) fn encode<C, W: Write>(
        address: &SocketAddr,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match address {
            SocketAddr::V4(address) => encoder.array(2)?.bytes(&address.ip().octets())?.u16(address.port())?,
            SocketAddr::V6(address) => {
                encoder.array(3)?.bytes(&address.ip().octets())?.u16(address.port())?.u32(address.scope_id())?
            }
        };
        Ok(())
    }

    pub(super) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<SocketAddr, DecodeError> {
        let malformed = || DecodeError::message("an address has 4 bytes and a port, or 16, a port and a scope");
        let fields = decoder.array()?;
        let octets = decoder.bytes()?;
        match (fields, octets.len()) {
            (Some(2), 4) => {
                let octets: [u8; 4] = octets.try_into().map_err(|_| malformed())?;
                Ok(SocketAddr::new(IpAddr::from(octets), decoder.u16()?))
            }
            (Some(3), 16) => {
                let octets: [u8; 16] = octets.try_into().map_err(|_| malformed())?;
                Ok(SocketAddrV6::new(octets.into(), decoder.u16()?, 0, decoder.u32()?).into())
            }
            _ => Err(malformed()),
        }
    }
}
