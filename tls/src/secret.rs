//! The secret of one direction of a connection, and what follows from it: the next secret, the key and its IV.

use std::fmt;

use ring::hkdf;
use zeroize::{Zeroize, Zeroizing};

use crate::suite::{KEY_BYTES_MAX, NONCE_BYTES, Suite, Version};

/// The bytes of the longest secret: of SHA-384, and four more than a key of TLS 1.2 with its IV.
pub(crate) const SECRET_BYTES_MAX: usize = 48;

/// TLS 1.3: `client_application_traffic_secret_N`, or the server's (RFC 8446 section 7.1).
/// TLS 1.2: the key, then an IV of 12 bytes. With GCM the last 8 of them are what the explicit nonces begin with.
pub(crate) struct Secret([u8; SECRET_BYTES_MAX]);

/// A key of the suite's cipher, and the IV that nonces are made of.
pub(crate) struct Material {
    key: [u8; KEY_BYTES_MAX],
    pub(crate) iv: [u8; NONCE_BYTES],
}

impl Secret {
    /// The secret of these bytes, if they are as many as the suite asks for.
    pub(crate) fn new(suite: Suite, bytes: &[u8]) -> Option<Self> {
        let mut secret = Self::none();
        (bytes.len() == suite.secret_bytes()).then(|| secret.0[..bytes.len()].copy_from_slice(bytes))?;
        Some(secret)
    }

    /// What is left of one that was wiped.
    pub(crate) fn none() -> Self {
        Self([0; SECRET_BYTES_MAX])
    }

    /// The secret as it was [written down](Self::bytes), if what it leaves free is empty.
    pub(crate) fn restore(suite: Suite, bytes: &[u8; SECRET_BYTES_MAX]) -> Option<Self> {
        let (secret, free) = bytes.split_at(suite.secret_bytes());
        if free.iter().all(|&byte| byte == 0) { Self::new(suite, secret) } else { None }
    }

    /// It, and zeros.
    pub(crate) fn bytes(&self) -> &[u8; SECRET_BYTES_MAX] {
        &self.0
    }

    /// RFC 8446 section 7.2: `HKDF-Expand-Label(secret_N, "traffic upd", "", Hash.length)`.
    pub(crate) fn next(&self, suite: Suite) -> Self {
        let mut next = Self::none();
        self.expand_label(suite, b"traffic upd", &mut next.0[..suite.secret_bytes()]);
        next
    }

    pub(crate) fn material(&self, suite: Suite) -> Material {
        let mut material = Material { key: [0; KEY_BYTES_MAX], iv: [0; NONCE_BYTES] };
        let key = &mut material.key[..suite.aead().key_len()];
        match suite.version() {
            // RFC 8446 section 7.3.
            Version::Tls13 => {
                self.expand_label(suite, b"key", key);
                self.expand_label(suite, b"iv", &mut material.iv);
            }
            // RFC 5246 section 6.3 made both at the handshake.
            Version::Tls12 => {
                let (known, iv) = self.0[..suite.secret_bytes()].split_at(key.len());
                key.copy_from_slice(known);
                material.iv.copy_from_slice(iv);
            }
        }
        material
    }

    /// RFC 8446 section 7.1, `HKDF-Expand-Label` with no context.
    fn expand_label(&self, suite: Suite, label: &[u8], output: &mut [u8]) {
        let length = u16::try_from(output.len()).expect("at most 48 bytes are asked for").to_be_bytes();
        let label_bytes = [u8::try_from(PREFIX.len() + label.len()).expect("a label is short")];
        let info = [&length[..], &label_bytes, PREFIX, label, &[0]];
        let secret = hkdf::Prk::new_less_safe(suite.hkdf(), &self.0[..suite.secret_bytes()]);
        let expanded = secret.expand(&info, Bytes(output.len())).expect("no more is asked for than HKDF gives");
        expanded.fill(output).expect("the length is the one that was announced");
    }
}

const PREFIX: &[u8] = b"tls13 ";

/// How many bytes ring's HKDF is to give.
struct Bytes(usize);

impl hkdf::KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl Material {
    pub(crate) fn key(&self, suite: Suite) -> &[u8] {
        &self.key[..suite.aead().key_len()]
    }

    /// Whether it is what another party says of the same direction.
    pub(crate) fn is(&self, suite: Suite, key: &[u8], iv: &[u8]) -> bool {
        self.key(suite) == key && self.iv == iv
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Drop for Material {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The key of a direction of TLS 1.2 with its IV, as one secret.
pub(crate) fn key_with_iv(suite: Suite, key: &[u8], iv: &[u8]) -> Option<Secret> {
    Secret::new(suite, &Zeroizing::new([key, iv].concat()))
}
