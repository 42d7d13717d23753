//! The cipher suites, and what the record layer has to know of each.

use std::fmt;

use ring::{aead, hkdf};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

/// A cipher suite, by its number in the registry of IANA. All are AEAD (RFC 5116), and all keys are ephemeral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs, reason = "the names are those of the registry")]
pub enum Suite {
    Tls13Aes128GcmSha256 = 0x1301,
    Tls13Aes256GcmSha384 = 0x1302,
    Tls13Chacha20Poly1305Sha256 = 0x1303,
    EcdheEcdsaAes128GcmSha256 = 0xc02b,
    EcdheEcdsaAes256GcmSha384 = 0xc02c,
    EcdheRsaAes128GcmSha256 = 0xc02f,
    EcdheRsaAes256GcmSha384 = 0xc030,
    EcdheRsaChacha20Poly1305Sha256 = 0xcca8,
    EcdheEcdsaChacha20Poly1305Sha256 = 0xcca9,
}

/// What encrypts the records of a suite.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

/// The bytes of the nonce of each of these ciphers.
pub(crate) const NONCE_BYTES: usize = 12;

/// The bytes by which each of them makes a record longer: its tag.
pub(crate) const TAG_BYTES: usize = 16;

/// The bytes of the longest key.
pub(crate) const KEY_BYTES_MAX: usize = 32;

/// So many records may be sealed with one key of AES-GCM (RFC 8446 section 5.5 says 2^24.5 full ones).
const GCM_RECORDS_MAX: u64 = 1 << 24;

/// ChaCha20-Poly1305 has no limit that a connection could reach; this one is there to be compared with.
const CHACHA_RECORDS_MAX: u64 = 1 << 48;

impl Suite {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Tls13Aes128GcmSha256,
        Self::Tls13Aes256GcmSha384,
        Self::Tls13Chacha20Poly1305Sha256,
        Self::EcdheEcdsaAes128GcmSha256,
        Self::EcdheEcdsaAes256GcmSha384,
        Self::EcdheRsaAes128GcmSha256,
        Self::EcdheRsaAes256GcmSha384,
        Self::EcdheRsaChacha20Poly1305Sha256,
        Self::EcdheEcdsaChacha20Poly1305Sha256,
    ];

    /// The suite with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.number() == number)
    }

    /// Its name in the registry.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls13Aes128GcmSha256 => "TLS_AES_128_GCM_SHA256",
            Self::Tls13Aes256GcmSha384 => "TLS_AES_256_GCM_SHA384",
            Self::Tls13Chacha20Poly1305Sha256 => "TLS_CHACHA20_POLY1305_SHA256",
            Self::EcdheEcdsaAes128GcmSha256 => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::EcdheEcdsaAes256GcmSha384 => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Self::EcdheRsaAes128GcmSha256 => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Self::EcdheRsaAes256GcmSha384 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            Self::EcdheRsaChacha20Poly1305Sha256 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::EcdheEcdsaChacha20Poly1305Sha256 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        }
    }

    /// Its number in the registry.
    #[must_use]
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The version that it belongs to.
    #[must_use]
    pub fn version(self) -> Version {
        match self {
            Self::Tls13Aes128GcmSha256 | Self::Tls13Aes256GcmSha384 | Self::Tls13Chacha20Poly1305Sha256 => {
                Version::Tls13
            }
            _ => Version::Tls12,
        }
    }

    fn cipher(self) -> Cipher {
        match self {
            Self::Tls13Aes128GcmSha256 | Self::EcdheEcdsaAes128GcmSha256 | Self::EcdheRsaAes128GcmSha256 => {
                Cipher::Aes128Gcm
            }
            Self::Tls13Aes256GcmSha384 | Self::EcdheEcdsaAes256GcmSha384 | Self::EcdheRsaAes256GcmSha384 => {
                Cipher::Aes256Gcm
            }
            Self::Tls13Chacha20Poly1305Sha256
            | Self::EcdheRsaChacha20Poly1305Sha256
            | Self::EcdheEcdsaChacha20Poly1305Sha256 => Cipher::Chacha20Poly1305,
        }
    }

    pub(crate) fn aead(self) -> &'static aead::Algorithm {
        match self.cipher() {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::Chacha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    /// With what TLS 1.3 derives keys from secrets (RFC 8446 section 7.1).
    pub(crate) fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Tls13Aes256GcmSha384 => hkdf::HKDF_SHA384,
            _ => hkdf::HKDF_SHA256,
        }
    }

    /// The bytes of what is kept of each direction: a traffic secret as long as the hash in TLS 1.3, the key and its IV
    /// in TLS 1.2.
    pub(crate) fn secret_bytes(self) -> usize {
        match self.version() {
            Version::Tls13 => self.hkdf().hmac_algorithm().digest_algorithm().output_len(),
            Version::Tls12 => self.aead().key_len() + NONCE_BYTES,
        }
    }

    /// The bytes of a nonce that stand in each record: with GCM in TLS 1.2 (RFC 5288 section 3), never else.
    pub(crate) fn explicit_nonce_bytes(self) -> usize {
        match (self.version(), self.cipher()) {
            (Version::Tls12, Cipher::Aes128Gcm | Cipher::Aes256Gcm) => 8,
            _ => 0,
        }
    }

    /// How many records may be sealed with one key.
    pub(crate) fn records_max(self) -> u64 {
        match self.cipher() {
            Cipher::Chacha20Poly1305 => CHACHA_RECORDS_MAX,
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => GCM_RECORDS_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_is_found_by_its_number_and_no_other() {
        let known = (0..=u16::MAX).filter_map(Suite::from_number).count();
        assert_eq!(known, Suite::ALL.len());
        assert!(Suite::ALL.iter().all(|suite| Suite::from_number(suite.number()) == Some(*suite)));
    }

    #[test]
    fn every_secret_fits_its_place() {
        assert!(Suite::ALL.iter().all(|suite| suite.secret_bytes() <= crate::secret::SECRET_BYTES_MAX));
    }
}
