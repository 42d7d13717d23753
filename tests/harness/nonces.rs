//! The nonces that a server sends in clear: none of one connection ever comes twice, whichever process has sealed with it.

use std::collections::HashSet;

use reactord_tls::Suite;

/// The parts of nonces that AES-GCM has in clear in front of what each record of TLS 1.2 holds (RFC 5288 section 3).
#[derive(Default)]
pub(super) struct Nonces(HashSet<[u8; 8]>);

impl Nonces {
    /// Where there are any.
    pub(super) fn of(suite: Suite) -> Option<Self> {
        let is_in_clear = matches!(
            suite,
            Suite::EcdheEcdsaAes128GcmSha256
                | Suite::EcdheEcdsaAes256GcmSha384
                | Suite::EcdheRsaAes128GcmSha256
                | Suite::EcdheRsaAes256GcmSha384
        );
        is_in_clear.then(Self::default)
    }

    /// None has come before of these records, and of the one that has begun behind them, which nobody may ever end.
    #[track_caller]
    pub(super) fn see(&mut self, mut whole: &[u8], begun: &[u8]) {
        while let Some((nonce, bytes)) = Self::first(whole) {
            assert!(self.0.insert(nonce), "a nonce comes twice");
            whole = whole.get(bytes..).unwrap_or_default();
        }
        assert!(Self::first(begun).is_none_or(|(nonce, _)| !self.0.contains(&nonce)), "a nonce comes twice");
    }

    /// That of the record in front, and how many bytes this has (RFC 5246 section 6.2.1).
    fn first(records: &[u8]) -> Option<([u8; 8], usize)> {
        let nonce = records.get(5..13)?.try_into().expect("it has 8 bytes");
        Some((nonce, 5 + usize::from(u16::from_be_bytes([records[3], records[4]]))))
    }
}
