//! A frame on a Unix stream socket between two processes: a kind, a body, and a checksum of both. Pure.
//!
//! A frame is `length: u32`, `kind: u8`, `checksum: u32` (all big-endian), then a body of `length` bytes: a CBOR map with
//! numbered fields (RFC 8949). The checksum is the CRC-32 of kind and body. Which kinds there are, and what their bodies hold,
//! is known to who speaks; all share one row of numbers, and one body: that of a [refusal](Refuse).

use std::fmt;

use minicbor::decode::Error as DecodeError;
use minicbor::{Decode, Decoder, Encode};

use crate::wiped::Wiped;

/// The bytes before a frame's body: length, kind, checksum.
pub const HEADER_BYTES: usize = 4 + 1 + 4;

/// So many bytes most bodies have at most.
const SMALL_BODY_BYTES: usize = 128;

/// What a text that comes from the other side may hold at most, so that a log line stays one.
const TEXT_BYTES_MAX: usize = 400;

/// The kind of a [`Refuse`].
pub const REFUSE: u8 = 2;

/// Why bytes are not a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum WireError {
    /// A frame announces more than this side takes.
    TooLong {
        /// What it announces.
        bytes: u32,
        /// What is taken.
        bytes_max: u32,
    },
    /// The checksum does not fit kind and body.
    Checksum {
        /// What fits.
        computed: u32,
        /// What came.
        announced: u32,
    },
    /// No frame that is understood here has this kind.
    Kind(u8),
    /// The body is not the CBOR that its kind asks for.
    Body {
        /// The name of the kind.
        kind: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, bytes_max } => {
                write!(f, "a frame announces {bytes} bytes, at most {bytes_max} are allowed")
            }
            Self::Checksum { computed, announced } => {
                write!(f, "a frame's checksum is {computed:08x}, {announced:08x} was announced")
            }
            Self::Kind(kind) => write!(f, "a frame has the unknown kind {kind}"),
            Self::Body { kind, reason } => write!(f, "the body of {kind} is malformed: {reason}"),
        }
    }
}

impl std::error::Error for WireError {}

impl From<WireError> for String {
    fn from(error: WireError) -> Self {
        error.to_string()
    }
}

/// Either side: what the other wants will not be, and why.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refuse {
    /// Why, in words.
    #[n(0)]
    pub reason: String,
    /// Who says so, as it is told. `None`: that goes without saying.
    #[n(1)]
    pub by: Option<String>,
}

impl Refuse {
    /// The frame that says so.
    pub fn frame(reason: &impl fmt::Display) -> Vec<u8> {
        encode(REFUSE, &Self::because(reason))
    }

    /// The frame that says so of somebody.
    pub fn frame_by(by: &impl fmt::Display, reason: &impl fmt::Display) -> Vec<u8> {
        encode(REFUSE, &Self { by: Some(by.to_string()), ..Self::because(reason) })
    }

    /// That, for this reason.
    #[must_use]
    pub fn because(reason: &impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), by: None }
    }
}

/// What one side understands of frames: those of some kinds.
pub trait FromFrame<'b>: Sized {
    /// What a frame of this kind with this body says.
    ///
    /// # Errors
    /// If no such kind is understood, or the body is not what it asks for.
    fn from_frame(kind: u8, body: &'b [u8]) -> Result<Self, WireError>;
}

impl<'b> FromFrame<'b> for Refuse {
    fn from_frame(kind: u8, body: &'b [u8]) -> Result<Self, WireError> {
        match kind {
            REFUSE => decode_body("Refuse", body),
            kind => Err(WireError::Kind(kind)),
        }
    }
}

/// What the body of a frame says, whose kind is called so.
///
/// # Errors
/// If it is not what is expected, or something follows it.
pub fn decode_body<'b, T: Decode<'b, ()>>(kind: &str, body: &'b [u8]) -> Result<T, WireError> {
    let mut decoder = Decoder::new(body);
    whole(kind, decoder.decode(), &decoder)
}

/// What was decoded of a body, if that was all of it.
///
/// # Errors
/// If it could not be decoded, or something follows it.
pub fn whole<T>(kind: &str, decoded: Result<T, DecodeError>, decoder: &Decoder<'_>) -> Result<T, WireError> {
    let whole = decoded.and_then(|value| match decoder.input().len() - decoder.position() {
        0 => Ok(value),
        bytes => Err(DecodeError::message(format!("{bytes} bytes follow it"))),
    });
    whole.map_err(|error| WireError::Body { kind: kind.to_owned(), reason: printable(&error.to_string()) })
}

/// A frame's kind and body, whole and with the right checksum, and not decoded yet.
#[derive(Debug, PartialEq, Eq)]
pub struct RawFrame {
    kind: u8,
    body: Wiped,
}

impl RawFrame {
    /// Takes one frame from the front of `bytes`. `None` if it is not whole yet.
    ///
    /// # Errors
    /// As soon as it can be known that what comes is not a frame of at most `bytes_max` bytes.
    pub fn take(bytes: &mut Vec<u8>, bytes_max: u32) -> Result<Option<Self>, WireError> {
        let mut wiped = Wiped::from(std::mem::take(bytes));
        let taken = Self::take_wiped(&mut wiped, bytes_max);
        *bytes = wiped.into();
        taken
    }

    /// The same where there may be secrets.
    ///
    /// # Errors
    /// As for [`Self::take`].
    pub fn take_wiped(bytes: &mut Wiped, bytes_max: u32) -> Result<Option<Self>, WireError> {
        let read = Self::read(bytes, 0, bytes_max)?;
        Ok(read.map(|(frame, end)| {
            bytes.take_off(end);
            frame
        }))
    }

    /// The frame that begins at `start`, and where it ends: whoever has many at once need not move what is behind each. `None` if it
    /// is not whole.
    ///
    /// # Errors
    /// As for [`Self::take`].
    ///
    /// # Panics
    /// If `start` is behind the end.
    pub fn read(bytes: &Wiped, start: usize, bytes_max: u32) -> Result<Option<(Self, usize)>, WireError> {
        let Some((header, rest)) = bytes[start..].split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, kind, c0, c1, c2, c3] = *header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if length > bytes_max {
            return Err(WireError::TooLong { bytes: length, bytes_max });
        }
        let Some(body) = rest.get(..length as usize) else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes([c0, c1, c2, c3]);
        let computed = checksum(kind, body);
        if computed != announced {
            return Err(WireError::Checksum { computed, announced });
        }
        let body_start = start + HEADER_BYTES;
        let end = body_start + length as usize;
        Ok(Some((Self { kind, body: bytes.copy(body_start..end) }, end)))
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// What it says to who understands it.
    ///
    /// # Errors
    /// If it is not understood.
    pub fn decode<'b, F: FromFrame<'b>>(&'b self) -> Result<F, WireError> {
        F::from_frame(self.kind, &self.body)
    }
}

/// A whole frame of this kind.
///
/// # Panics
/// If the body is over 4 GiB.
pub fn encode(kind: u8, body: &impl Encode<()>) -> Vec<u8> {
    let mut frame = begin(kind);
    minicbor::encode(body, &mut frame).expect("encoding into a Vec does not fail");
    finish(frame)
}

/// A frame with a header whose length and checksum [`finish`] fills in.
#[must_use]
pub fn begin(kind: u8) -> Vec<u8> {
    begin_with_room(kind, SMALL_BODY_BYTES)
}

/// The same with room for a body of so many bytes.
#[must_use]
pub fn begin_with_room(kind: u8, body_bytes: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + body_bytes);
    frame.extend_from_slice(&[0, 0, 0, 0, kind, 0, 0, 0, 0]);
    frame
}

/// The frame that was [begun](begin), with what has been written to it as its body.
///
/// # Panics
/// If the body is over 4 GiB.
#[must_use]
pub fn finish(mut frame: Vec<u8>) -> Vec<u8> {
    finish_in_place(&mut frame);
    frame
}

/// The same, where it is.
///
/// # Panics
/// If the body is over 4 GiB, or there is no header.
pub fn finish_in_place(frame: &mut [u8]) {
    let length = u32::try_from(frame.len() - HEADER_BYTES).expect("a frame's body is below 4 GiB");
    let checksum = checksum(frame[4], &frame[HEADER_BYTES..]);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame[5..HEADER_BYTES].copy_from_slice(&checksum.to_be_bytes());
}

/// A whole frame of this kind in which there are secrets.
///
/// # Panics
/// If the body is over 4 GiB.
pub fn encode_secret(kind: u8, body: &impl Encode<()>) -> Wiped {
    let mut frame = Wiped::from(begin(kind));
    frame.hold_secrets();
    minicbor::encode(body, &mut frame).expect("encoding into memory does not fail");
    finish_in_place(frame.as_mut_slice());
    frame
}

fn checksum(kind: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(body);
    hasher.finalize()
}

/// A text of the other side, fit for one log line: no control characters, and not too long.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printable = String::new();
    for character in text.chars() {
        if printable.len() >= TEXT_BYTES_MAX {
            printable.push('…');
            break;
        }
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_printable_text_fits_one_log_line(text in proptest::collection::vec(any::<char>(), 0..600)) {
            let text = String::from_iter(text);
            let line = printable(&text);
            prop_assert!(!line.chars().any(char::is_control));
            // The last character may be escaped, and the ellipsis follows.
            let last_bytes_max = '\u{10ffff}'.escape_default().len() + "…".len();
            prop_assert!(line.len() <= TEXT_BYTES_MAX + last_bytes_max);
        }
    }

    #[test]
    fn frames_behind_one_another_are_read_where_they_are_as_they_are_taken_off_the_front() {
        let frames: Vec<Vec<u8>> = (0..5).map(|number| encode(number, &Refuse::because(&number))).collect();
        let mut bytes = Wiped::from(frames.concat());
        let mut start = 0;
        for frame in &frames {
            let (read, end) = RawFrame::read(&bytes, start, u32::MAX).unwrap().unwrap();
            assert_eq!(end - start, frame.len());
            assert_eq!(read, RawFrame::take(&mut frame.clone(), u32::MAX).unwrap().unwrap());
            start = end;
        }
        assert_eq!(RawFrame::read(&bytes, start, u32::MAX), Ok(None));
        let cut = bytes.len() - 1;
        bytes.as_mut_slice()[cut] ^= 1;
        let last = start - frames[4].len();
        assert!(matches!(RawFrame::read(&bytes, last, u32::MAX), Err(WireError::Checksum { .. })));
    }

    #[test]
    fn control_characters_are_escaped_and_others_are_kept() {
        assert_eq!(printable("plain, Ümläut, 日本"), "plain, Ümläut, 日本");
        assert_eq!(printable("two\nlines\r\t\0\x1b[31m\u{7f}\u{85}"), r"two\nlines\r\t\u{0}\u{1b}[31m\u{7f}\u{85}");
    }

    #[test]
    fn a_text_is_cut_at_its_bound() {
        let longest = "a".repeat(TEXT_BYTES_MAX);
        assert_eq!(printable(&longest), longest);
        assert_eq!(printable(&(longest.clone() + "a")), longest.clone() + "…");
        assert_eq!(printable(&"\n".repeat(1 << 20)), "\\n".repeat(TEXT_BYTES_MAX / 2) + "…");
    }

    #[test]
    fn a_refusal_says_why_and_is_nothing_else() {
        let raw = RawFrame::take(&mut Refuse::frame(&"it is busy"), u32::MAX).unwrap().expect("it is whole");
        assert_eq!(raw.kind(), REFUSE);
        assert_eq!(raw.decode::<Refuse>(), Ok(Refuse::because(&"it is busy")));
        let said =
            RawFrame::take(&mut Refuse::frame_by(&"pid 7", &"it is busy"), u32::MAX).unwrap().expect("it is whole");
        assert_eq!(said.decode::<Refuse>().unwrap().by.as_deref(), Some("pid 7"));
        let other = RawFrame::take(&mut finish(begin(7)), u32::MAX).unwrap().expect("it is whole");
        assert_eq!(other.decode::<Refuse>(), Err(WireError::Kind(7)));
    }
}
