//! What the other side may do wrong once the connection is established, and with which alert it is told so.

use std::fmt;

use crate::alert::Alert;

/// How the other side broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A record of a type that may not come here.
    RecordType(u8),
    /// A record of another version than was agreed on (TLS 1.2; TLS 1.3 has none in its records).
    RecordVersion(u16),
    /// A record that says that it is longer than one may be.
    RecordTooLong {
        /// Its length, as its header says.
        bytes: usize,
        /// What it may be.
        bytes_max: usize,
    },
    /// A record whose content is longer than one may be.
    ContentTooLong {
        /// Its length.
        bytes: usize,
        /// What it may be.
        bytes_max: usize,
    },
    /// A record that was not sealed with this key as the one that comes next.
    Undecipherable,
    /// A record of nothing but padding.
    NoContentType,
    /// An empty record of a type that may have none, by its number.
    EmptyRecord(u8),
    /// An alert of another length than two bytes.
    AlertLength(usize),
    /// An alert that is neither a warning nor fatal (TLS 1.2).
    AlertLevel(u8),
    /// A handshake message that may not come here, by its number.
    Message(u8),
    /// A handshake message of a length that it cannot have.
    MessageLength {
        /// Its number.
        message: u8,
        /// Its length.
        bytes: usize,
    },
    /// A KeyUpdate that neither asks for one nor does not.
    KeyUpdateRequest(u8),
    /// Something follows a KeyUpdate in its record: it would have been sealed with the key that is over.
    AfterKeyUpdate,
    /// Something else came between the parts of a handshake message.
    Interleaved,
    /// So many records came one after another that brought no data.
    WithoutData(u8),
    /// More warnings than are borne.
    Warnings,
    /// More attempts at renegotiation than are borne.
    Renegotiations,
    /// There is no number for another record.
    SequenceSpent,
}

impl Violation {
    /// What the other side is told.
    #[must_use]
    pub fn alert(self) -> Alert {
        match self {
            // RFC 8446 section 5: a record, or a message, that may not come is unexpected; section 5.4 says so of empty
            // ones and of padding, section 5.1 of what is interleaved or crosses a change of keys.
            Self::RecordType(_)
            | Self::NoContentType
            | Self::EmptyRecord(_)
            | Self::Message(_)
            | Self::AfterKeyUpdate
            | Self::Interleaved => Alert::UNEXPECTED_MESSAGE,
            // RFC 5246 appendix E.1.
            Self::RecordVersion(_) => Alert::PROTOCOL_VERSION,
            // RFC 8446 sections 5.2 and 5.4, RFC 5246 section 6.2.
            Self::RecordTooLong { .. } | Self::ContentTooLong { .. } => Alert::RECORD_OVERFLOW,
            // RFC 8446 section 5.2, RFC 5246 section 6.2.3.3.
            Self::Undecipherable => Alert::BAD_RECORD_MAC,
            // RFC 8446 section 6.2: lengths that do not fit.
            Self::AlertLength(_) | Self::MessageLength { .. } => Alert::DECODE_ERROR,
            // RFC 8446 section 4.6.3, RFC 5246 section 7.2.2.
            Self::KeyUpdateRequest(_) | Self::AlertLevel(_) => Alert::ILLEGAL_PARAMETER,
            // No RFC names a limit. BoringSSL and rustls say it so.
            Self::WithoutData(_) | Self::Warnings | Self::Renegotiations => Alert::UNEXPECTED_MESSAGE,
            // RFC 8446 section 5.3: the connection ends, since the other side did not change its key.
            Self::SequenceSpent => Alert::INTERNAL_ERROR,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordType(kind) => write!(f, "a record of type {kind} came where none may"),
            Self::RecordVersion(version) => write!(f, "a record has version {version:#06x}, 0x0303 was agreed on"),
            Self::RecordTooLong { bytes, bytes_max } => {
                write!(f, "a record announces {bytes} bytes, at most {bytes_max} are allowed")
            }
            Self::ContentTooLong { bytes, bytes_max } => {
                write!(f, "a record has {bytes} bytes of content, at most {bytes_max} are allowed")
            }
            Self::Undecipherable => f.write_str("a record cannot be deciphered"),
            Self::NoContentType => f.write_str("a record is nothing but padding"),
            Self::EmptyRecord(kind) => write!(f, "a record of type {kind} is empty"),
            Self::AlertLength(bytes) => write!(f, "an alert has {bytes} bytes instead of 2"),
            Self::AlertLevel(level) => write!(f, "an alert has the unknown level {level}"),
            Self::Message(kind) => write!(f, "a handshake message of type {kind} came after the handshake"),
            Self::MessageLength { message, bytes } => {
                write!(f, "a handshake message of type {message} cannot have {bytes} bytes")
            }
            Self::KeyUpdateRequest(value) => write!(f, "a KeyUpdate says {value}, which is neither 0 nor 1"),
            Self::AfterKeyUpdate => f.write_str("something follows a KeyUpdate in its record"),
            Self::Interleaved => f.write_str("another record came between the parts of a handshake message"),
            Self::WithoutData(records) => write!(f, "{records} records in a row brought no data"),
            Self::Warnings => f.write_str("there were too many warnings"),
            Self::Renegotiations => f.write_str("it was tried too often to renegotiate"),
            Self::SequenceSpent => f.write_str("there is no number for another record"),
        }
    }
}
