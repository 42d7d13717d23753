//! What one side tells the other that ends a connection, or might (RFC 8446 section 6, RFC 5246 section 7.2).

use std::fmt;

/// The description of an alert, as it stands in the record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Alert(pub u8);

impl Alert {
    /// The other side will send nothing more.
    pub const CLOSE_NOTIFY: Self = Self(0);
    /// A record or a message that may not come here.
    pub const UNEXPECTED_MESSAGE: Self = Self(10);
    /// A record that cannot be deciphered.
    pub const BAD_RECORD_MAC: Self = Self(20);
    /// A record that is too long.
    pub const RECORD_OVERFLOW: Self = Self(22);
    /// A value that no sender may use.
    pub const ILLEGAL_PARAMETER: Self = Self(47);
    /// A message whose lengths do not fit.
    pub const DECODE_ERROR: Self = Self(50);
    /// A version that was not agreed on.
    pub const PROTOCOL_VERSION: Self = Self(70);
    /// Something that has nothing to do with the other side.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// The other side's user gave up; close_notify follows.
    pub const USER_CANCELED: Self = Self(90);
    /// A new handshake within this connection is refused (TLS 1.2).
    pub const NO_RENEGOTIATION: Self = Self(100);

    /// Its name in the RFCs, if it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }
}

/// Those of RFC 8446 section 6, and of RFC 5246 section 7.2 that are still sent.
const NAMES: [(u8, &str); 29] = [
    (0, "close_notify"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (21, "decryption_failed"),
    (22, "record_overflow"),
    (40, "handshake_failure"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (44, "certificate_revoked"),
    (45, "certificate_expired"),
    (46, "certificate_unknown"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (86, "inappropriate_fallback"),
    (90, "user_canceled"),
    (100, "no_renegotiation"),
    (109, "missing_extension"),
    (110, "unsupported_extension"),
    (112, "unrecognized_name"),
    (113, "bad_certificate_status_response"),
    (115, "unknown_psk_identity"),
    (116, "certificate_required"),
    (120, "no_application_protocol"),
];

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "alert {}", self.0),
        }
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
