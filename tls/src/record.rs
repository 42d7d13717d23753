//! The form of a record: its header, its limits, and what is authenticated beside its content. It knows no key.

use crate::suite::{NONCE_BYTES, Suite, TAG_BYTES, Version};
use crate::violation::Violation;

/// Type, version, length.
pub(crate) const HEADER_BYTES: usize = 5;

/// What a record may have of content (RFC 8446 section 5.1, RFC 5246 section 6.2.1).
pub(crate) const CONTENT_BYTES_MAX: usize = 1 << 14;

/// By how much a record may be longer than its content (RFC 8446 section 5.2, RFC 5246 section 6.2.3).
const EXPANSION_BYTES_MAX_13: usize = 256;
const EXPANSION_BYTES_MAX_12: usize = 2048;

/// `legacy_record_version` of TLS 1.3, and the version of TLS 1.2.
const VERSION: u16 = 0x0303;

/// The longest record of either version.
pub(crate) const RECORD_BYTES_MAX: usize = HEADER_BYTES + body_bytes_max(Version::Tls12);

/// What a record holds. What TLS 1.3 sends in a record says that it is data from outside.
pub(crate) mod kind {
    pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(crate) const ALERT: u8 = 21;
    pub(crate) const HANDSHAKE: u8 = 22;
    pub(crate) const DATA: u8 = 23;
}

/// The first bytes of a record.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) bytes: [u8; HEADER_BYTES],
}

impl Header {
    /// That of a record with so many bytes after it.
    pub(crate) fn new(kind: u8, body_bytes: usize) -> Self {
        let [v0, v1] = VERSION.to_be_bytes();
        let [l0, l1] = u16::try_from(body_bytes).expect("a record is short").to_be_bytes();
        Self { bytes: [kind, v0, v1, l0, l1] }
    }

    pub(crate) fn kind(self) -> u8 {
        self.bytes[0]
    }

    fn version(self) -> u16 {
        u16::from_be_bytes([self.bytes[1], self.bytes[2]])
    }

    /// The bytes that come after it.
    pub(crate) fn body_bytes(self) -> usize {
        u16::from_be_bytes([self.bytes[3], self.bytes[4]]).into()
    }

    /// The bytes of its record.
    pub(crate) fn record_bytes(self) -> usize {
        HEADER_BYTES + self.body_bytes()
    }

    /// Whether it can be that of a record of any version, at any time.
    pub(crate) fn is_plausible(self) -> bool {
        let is_known = (kind::CHANGE_CIPHER_SPEC..=kind::DATA).contains(&self.kind());
        is_known && self.bytes[1] == 3 && self.record_bytes() <= RECORD_BYTES_MAX
    }

    /// Whether such a record may come once the connection is established.
    fn check(self, version: Version) -> Result<(), Violation> {
        match version {
            // RFC 8446 section 5.2: the outer type is always that of data; its version is ignored, but authenticated.
            Version::Tls13 if self.kind() != kind::DATA => Err(Violation::RecordType(self.kind())),
            Version::Tls12 if !(kind::CHANGE_CIPHER_SPEC..=kind::DATA).contains(&self.kind()) => {
                Err(Violation::RecordType(self.kind()))
            }
            Version::Tls12 if self.version() != VERSION => Err(Violation::RecordVersion(self.version())),
            _ => self.check_length(version),
        }
    }

    fn check_length(self, version: Version) -> Result<(), Violation> {
        let bytes_max = body_bytes_max(version);
        let bytes = self.body_bytes();
        if bytes > bytes_max { Err(Violation::RecordTooLong { bytes, bytes_max }) } else { Ok(()) }
    }
}

const fn body_bytes_max(version: Version) -> usize {
    CONTENT_BYTES_MAX
        + match version {
            Version::Tls13 => EXPANSION_BYTES_MAX_13,
            Version::Tls12 => EXPANSION_BYTES_MAX_12,
        }
}

/// The bytes of the record that stands at the front, if all of it is there.
pub(crate) fn whole(wire: &[u8], version: Version) -> Result<Option<usize>, Violation> {
    let Some(&bytes) = wire.first_chunk() else {
        return Ok(None);
    };
    let header = Header { bytes };
    header.check(version)?;
    let record_bytes = header.record_bytes();
    Ok((wire.len() >= record_bytes).then_some(record_bytes))
}

/// RFC 8446 section 5.3, and RFC 7905 section 2 for TLS 1.2: the number of the record, in the IV.
pub(crate) fn nonce(iv: &[u8; NONCE_BYTES], sequence: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = *iv;
    nonce[NONCE_BYTES - 8..].iter_mut().zip(sequence.to_be_bytes()).for_each(|(byte, number)| *byte ^= number);
    nonce
}

/// RFC 5288 section 3: with GCM in TLS 1.2 the sender chooses the last 8 bytes, and they come with the record.
pub(crate) fn nonce_with(iv: &[u8; NONCE_BYTES], explicit: &[u8]) -> [u8; NONCE_BYTES] {
    let mut nonce = *iv;
    nonce[NONCE_BYTES - explicit.len()..].copy_from_slice(explicit);
    nonce
}

/// What is authenticated beside the content of a record.
pub(crate) enum Aad {
    /// RFC 8446 section 5.2: the header.
    Tls13([u8; HEADER_BYTES]),
    /// RFC 5246 section 6.2.3.3: number, type, version, and the length of the content.
    Tls12([u8; 8 + HEADER_BYTES]),
}

impl Aad {
    /// That of a record of the suite, with so many bytes of content.
    pub(crate) fn new(suite: Suite, sequence: u64, header: Header, content_bytes: usize) -> Self {
        match suite.version() {
            Version::Tls13 => Self::Tls13(header.bytes),
            Version::Tls12 => {
                let mut aad = [0; 8 + HEADER_BYTES];
                aad[..8].copy_from_slice(&sequence.to_be_bytes());
                aad[8..].copy_from_slice(&Header::new(header.kind(), content_bytes).bytes);
                Self::Tls12(aad)
            }
        }
    }
}

impl AsRef<[u8]> for Aad {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Tls13(aad) => aad,
            Self::Tls12(aad) => aad,
        }
    }
}

/// How long the content of a TLS 1.2 record is, by the length of its body.
pub(crate) fn content_bytes_12(suite: Suite, body_bytes: usize) -> Result<usize, Violation> {
    let bytes = body_bytes.checked_sub(suite.explicit_nonce_bytes() + TAG_BYTES).ok_or(Violation::Undecipherable)?;
    check_content(bytes)?;
    Ok(bytes)
}

/// RFC 8446 section 5.1, RFC 5246 section 6.2.1.
fn check_content(bytes: usize) -> Result<(), Violation> {
    let bytes_max = CONTENT_BYTES_MAX;
    if bytes > bytes_max { Err(Violation::ContentTooLong { bytes, bytes_max }) } else { Ok(()) }
}

/// RFC 8446 sections 5.2 and 5.4: what was sealed is content, one byte that says what it is, and zeros.
pub(crate) fn inner(sealed: &[u8]) -> Result<(u8, &[u8]), Violation> {
    // With its type and its padding it may be one byte longer than content may be.
    check_content(sealed.len().saturating_sub(1))?;
    let end = sealed.iter().rposition(|&byte| byte != 0).ok_or(Violation::NoContentType)?;
    Ok((sealed[end], &sealed[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_taken_off_and_nothing_else() {
        assert_eq!(inner(&[1, 2, 0, 23]), Ok((23, &[1, 2, 0][..])));
        assert_eq!(inner(&[0, 0, 23, 0, 0, 0]), Ok((23, &[0, 0][..])));
        assert_eq!(inner(&[23]), Ok((23, &[][..])));
        assert_eq!(inner(&[0; 40]), Err(Violation::NoContentType));
        assert_eq!(inner(&[]), Err(Violation::NoContentType));
    }

    #[test]
    fn content_with_its_type_and_padding_has_a_limit() {
        let mut sealed = vec![23; CONTENT_BYTES_MAX + 1];
        assert!(inner(&sealed).is_ok());
        sealed.push(0);
        let violation = inner(&sealed).unwrap_err();
        assert_eq!(violation.alert(), crate::Alert::RECORD_OVERFLOW);
    }

    #[test]
    fn a_header_is_judged_before_its_record_is_whole() {
        let header = |kind, version: u16, bytes: usize| {
            let mut header = Header::new(kind, bytes).bytes;
            header[1..3].copy_from_slice(&version.to_be_bytes());
            header
        };
        for (version, bytes_max) in [(Version::Tls13, 16_640), (Version::Tls12, 18_432)] {
            assert_eq!(whole(&header(kind::DATA, VERSION, bytes_max), version), Ok(None));
            let bytes = bytes_max + 1;
            let longer = whole(&header(kind::DATA, VERSION, bytes), version);
            assert_eq!(longer, Err(Violation::RecordTooLong { bytes, bytes_max }));
            assert_eq!(whole(&header(24, VERSION, 20), version), Err(Violation::RecordType(24)));
        }
        assert_eq!(whole(&header(kind::ALERT, VERSION, 20), Version::Tls13), Err(Violation::RecordType(kind::ALERT)));
        assert_eq!(whole(&header(kind::DATA, 0x0301, 20), Version::Tls13), Ok(None));
        assert_eq!(whole(&header(kind::DATA, 0x0301, 20), Version::Tls12), Err(Violation::RecordVersion(0x0301)));
    }

    #[test]
    fn no_two_records_of_a_key_have_the_same_nonce() {
        let iv = [0xa5; NONCE_BYTES];
        let nonces = [0, 1, 255, 256, u64::from(u32::MAX), u64::MAX].map(|sequence| nonce(&iv, sequence));
        assert!(nonces.iter().enumerate().all(|(at, nonce)| !nonces[..at].contains(nonce)));
        assert!(nonces.iter().all(|nonce| nonce[..4] == iv[..4]));
    }
}
