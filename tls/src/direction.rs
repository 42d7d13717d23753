//! One direction of a connection: its secret, the number of its next record, and the expanded key while it is in use.
//!
//! A number is spent before it is used, and never given back. What was sealed with it may be lost, but nothing else can
//! be.

use std::hint::black_box;
use std::sync::LazyLock;

use ring::aead::{self, LessSafeKey, Nonce, UnboundKey};

use crate::record::{self, Aad, HEADER_BYTES, Header, kind};
use crate::secret::Secret;
use crate::suite::{NONCE_BYTES, Suite, TAG_BYTES, Version};
use crate::violation::Violation;

/// One direction, either one.
pub(crate) struct Direction {
    secret: Secret,
    /// The number of the next record.
    sequence: u64,
    /// It is made when it is needed, from the secret.
    expanded: Option<Box<Expanded>>,
}

struct Expanded {
    key: LessSafeKey,
    iv: [u8; NONCE_BYTES],
}

impl Direction {
    pub(crate) fn new(secret: Secret, sequence: u64) -> Self {
        Self { secret, sequence, expanded: None }
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Gives back the memory of what can be made again.
    pub(crate) fn idle(&mut self) {
        self.expanded = None;
    }

    /// Wipes its secrets. Nothing can be sealed or opened any more; the number stays what it is.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(Secret::none(), self.sequence);
    }

    /// Goes over to the next key (RFC 8446 section 7.2). Its records are counted from 0 (section 5.3).
    pub(crate) fn update(&mut self, suite: Suite) {
        *self = Self::new(self.secret.next(suite), 0);
    }

    /// Seals content into a record at the end of `out`.
    ///
    /// # Panics
    /// If the key has sealed as many as it may: whoever seals sees to it that it is changed before that.
    pub(crate) fn seal(&mut self, suite: Suite, kind: u8, content: &[u8], out: &mut Vec<u8>) {
        let sequence = self.sequence;
        assert!(sequence < suite.records_max(), "the key is changed, or the connection ended, before that");
        self.sequence = sequence + 1;
        let Expanded { key, iv } = self.expanded(suite);
        let nonce = record::nonce(iv, sequence);
        let header = sealed_header(suite, kind, content.len());
        #[cfg(debug_assertions)]
        let before = out.len();
        out.reserve(HEADER_BYTES + header.body_bytes());
        out.extend_from_slice(&header.bytes);
        out.extend_from_slice(&nonce[NONCE_BYTES - suite.explicit_nonce_bytes()..]);
        let start = out.len();
        out.extend_from_slice(content);
        if suite.version() == Version::Tls13 {
            out.push(kind);
        }
        let aad = aead::Aad::from(Aad::new(suite, sequence, header, content.len()));
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut out[start..])
            .expect("a record is far shorter than what a cipher may seal at once");
        out.extend_from_slice(tag.as_ref());
        #[cfg(debug_assertions)]
        crate::watch::note(&self.secret, sequence, &out[before..]);
    }

    /// Opens a whole record in place: what it holds, and its content.
    pub(crate) fn open<'r>(&mut self, suite: Suite, record: &'r mut [u8]) -> Result<(u8, &'r [u8]), Violation> {
        let sequence = self.sequence;
        let next = sequence.checked_add(1).ok_or(Violation::SequenceSpent)?;
        let (header, body) = record.split_first_chunk_mut().expect("a whole record has a header");
        let header = Header { bytes: *header };
        let sealed = self.decipher(suite, sequence, header, body)?;
        self.sequence = next;
        match suite.version() {
            Version::Tls13 => record::inner(sealed),
            Version::Tls12 => Ok((header.kind(), sealed)),
        }
    }

    fn decipher<'r>(
        &mut self,
        suite: Suite,
        sequence: u64,
        header: Header,
        body: &'r mut [u8],
    ) -> Result<&'r [u8], Violation> {
        let content_bytes = match suite.version() {
            Version::Tls13 => 0,
            Version::Tls12 => record::content_bytes_12(suite, body.len())?,
        };
        let aad = aead::Aad::from(Aad::new(suite, sequence, header, content_bytes));
        let Expanded { key, iv } = self.expanded(suite);
        let (explicit, sealed) = body.split_at_mut(suite.explicit_nonce_bytes());
        let nonce = if explicit.is_empty() { record::nonce(iv, sequence) } else { record::nonce_with(iv, explicit) };
        let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, sealed);
        opened.map(|opened| &*opened).map_err(|_| Violation::Undecipherable)
    }

    fn expanded(&mut self, suite: Suite) -> &Expanded {
        let secret = &self.secret;
        self.expanded.get_or_insert_with(|| Box::new(Expanded::new(suite, secret)))
    }
}

/// TLS 1.3 hides what a record holds behind its content (RFC 8446 section 5.2).
fn sealed_header(suite: Suite, kind: u8, content_bytes: usize) -> Header {
    match suite.version() {
        Version::Tls13 => Header::new(kind::DATA, content_bytes + 1 + TAG_BYTES),
        Version::Tls12 => Header::new(kind, suite.explicit_nonce_bytes() + content_bytes + TAG_BYTES),
    }
}

impl Expanded {
    fn new(suite: Suite, secret: &Secret) -> Self {
        let material = secret.material(suite);
        let key = UnboundKey::new(suite.aead(), material.key(suite)).expect("the key is as long as the cipher's");
        Self { key: LessSafeKey::new(key), iv: material.iv }
    }
}

/// The largest of ring's keys, without a secret.
static BLANK: LazyLock<LessSafeKey> = LazyLock::new(|| {
    LessSafeKey::new(UnboundKey::new(&aead::AES_256_GCM, &[0; 32]).expect("a key of AES-256 has 32 bytes"))
});

impl Drop for Expanded {
    /// ring does not wipe its keys. So another one is written over it, and the compiler is told that it is looked at.
    fn drop(&mut self) {
        self.key = BLANK.clone();
        self.iv = [0; NONCE_BYTES];
        black_box(&*self);
    }
}
