//! Frames of records: any number of peers of one lane, or of changes to them, in the body of one frame.
//!
//! Written one by one, for nobody knows before how many fit; and read with the digest of each, which both sides of a takeover
//! compare in the end.

use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use reactord_process::frame::{begin_with_room, finish_in_place};
use reactord_process::wiped::Wiped;

/// The numbers of the fields in the bodies of `Peers` and `Changed`: the records, and their lane, unless that is the first.
const RECORDS_FIELD: u32 = 0;
const LANE_FIELD: u32 = 1;

/// The two kinds of frame that carry records of peers, or changes to them. The numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordsKind {
    Peers = 5,
    Changed = 7,
}

/// A record or a change together with the digest of its encoded bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digested<T> {
    pub(crate) value: T,
    pub(crate) digest: u32,
}

/// Records of peers of one lane, or changes to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfLane<T> {
    pub(crate) lane: u32,
    pub(crate) records: Vec<Digested<T>>,
}

/// The digest of all that was said of a peer, if this was its digest before a change with this one.
pub(crate) fn chained(before: u32, change: u32) -> u32 {
    let mut digests = [0; 8];
    digests[..4].copy_from_slice(&before.to_be_bytes());
    digests[4..].copy_from_slice(&change.to_be_bytes());
    crc32fast::hash(&digests)
}

/// Writes a frame of records, one record after another, so that none has to be copied first.
pub(crate) struct RecordsWriter {
    frame: Wiped,
}

impl RecordsWriter {
    pub(crate) fn new(kind: RecordsKind, lane: u32) -> Self {
        Self::with_room(kind, lane, 0)
    }

    /// The same with room for so many bytes.
    pub(crate) fn with_room(kind: RecordsKind, lane: u32, bytes: usize) -> Self {
        let mut frame = Wiped::from(begin_with_room(kind as u8, bytes));
        begin_records(&mut Encoder::new(&mut frame), lane).expect("encoding into a Vec does not fail");
        Self { frame }
    }

    /// There are secrets in what is written from here on.
    pub(crate) fn hold_secrets(&mut self) {
        self.frame.hold_secrets();
    }

    /// Appends one record or change, and returns its digest.
    pub(crate) fn push(&mut self, record: &impl Encode<()>) -> u32 {
        let start = self.frame.len();
        minicbor::encode(record, &mut self.frame).expect("encoding into a Vec does not fail");
        crc32fast::hash(&self.frame[start..])
    }

    /// The bytes of the frame so far.
    pub(crate) fn bytes(&self) -> usize {
        self.frame.len()
    }

    pub(crate) fn finish(mut self) -> Wiped {
        Encoder::new(&mut self.frame).end().expect("encoding into memory does not fail");
        finish_in_place(self.frame.as_mut_slice());
        self.frame
    }
}

/// Everything in the body of such a frame that comes before its records, of which it is not known yet how many follow.
fn begin_records<W: Write>(encoder: &mut Encoder<W>, lane: u32) -> Result<(), EncodeError<W::Error>> {
    match lane {
        0 => encoder.map(1)?,
        lane => encoder.map(2)?.u32(LANE_FIELD)?.u32(lane)?,
    };
    encoder.u32(RECORDS_FIELD)?.begin_array()?.ok()
}

/// The frame of records that are there already.
pub(super) fn encode_records<T: Encode<()>>(kind: RecordsKind, OfLane { lane, records }: &OfLane<T>) -> Vec<u8> {
    let mut writer = RecordsWriter::new(kind, *lane);
    for Digested { value, .. } in records {
        writer.push(value);
    }
    writer.finish().into()
}

/// The body of a frame of records.
pub(super) fn decode_records<'b, T: Decode<'b, ()>>(
    decoder: &mut Decoder<'b>,
) -> Result<OfLane<T>, minicbor::decode::Error> {
    let (mut records, mut lane) = (None, 0);
    let fields = decoder.map()?.ok_or_else(|| minicbor::decode::Error::message("a body is a map of known length"))?;
    for _ in 0..fields {
        match decoder.u32()? {
            RECORDS_FIELD => records = Some(decode_array_of_records(decoder)?),
            LANE_FIELD => lane = decoder.u32()?,
            _ => decoder.skip()?,
        }
    }
    let records = records.ok_or_else(|| minicbor::decode::Error::missing_value(RECORDS_FIELD.into()))?;
    Ok(OfLane { lane, records })
}

fn decode_array_of_records<'b, T: Decode<'b, ()>>(
    decoder: &mut Decoder<'b>,
) -> Result<Vec<Digested<T>>, minicbor::decode::Error> {
    let mut records = Vec::new();
    let length = decoder.array()?;
    while length.is_none_or(|length| (records.len() as u64) < length) {
        if length.is_none() && decoder.datatype()? == minicbor::data::Type::Break {
            decoder.skip()?;
            break;
        }
        let start = decoder.position();
        let value = decoder.decode()?;
        let digest = crc32fast::hash(&decoder.input()[start..decoder.position()]);
        records.push(Digested { value, digest });
    }
    Ok(records)
}
