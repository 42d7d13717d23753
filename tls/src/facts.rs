//! What a handshake has found out of the other side, for whoever serves it.

use crate::bytes::{Reader, put};
use crate::subject::common_name;
use crate::suite::{Suite, Version};

/// What was agreed on, and who the other side is. It travels with the connection, beside its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The cipher suite.
    pub suite: Suite,
    /// Whether keys of an earlier connection were taken up.
    pub resumed: bool,
    /// The protocol that is spoken inside (RFC 7301), if one was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// A server: the name that the client asked for (RFC 6066 section 3).
    pub server_name: Option<String>,
    /// The other side's certificates, its own first, as DER. They have been verified, unless the settings said that
    /// they need not be.
    pub certificates: Vec<Vec<u8>>,
}

const RESUMED: u8 = 1;
const ALPN: u8 = 2;
const SERVER_NAME: u8 = 4;

impl Facts {
    /// The number of the layout of what [`Facts::save`] gives. Another layout gets another number.
    pub const LAYOUT: u8 = 1;

    /// The version of the protocol.
    #[must_use]
    pub fn version(&self) -> Version {
        self.suite.version()
    }

    /// The common name in the other side's certificate, if there is one.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        self.certificates.first().and_then(|certificate| common_name(certificate))
    }

    /// As bytes.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let bits =
            bit(self.resumed, RESUMED) | bit(self.alpn.is_some(), ALPN) | bit(self.server_name.is_some(), SERVER_NAME);
        let mut saved = self.suite.number().to_be_bytes().to_vec();
        saved.push(bits);
        self.alpn.iter().for_each(|alpn| put(&mut saved, alpn));
        self.server_name.iter().for_each(|name| put(&mut saved, name.as_bytes()));
        self.certificates.iter().for_each(|certificate| put(&mut saved, certificate));
        saved
    }

    /// What was [saved](Self::save). `None` if it is nothing of the kind.
    #[must_use]
    pub fn restore(saved: &[u8]) -> Option<Self> {
        let mut reader = Reader(saved);
        let suite = Suite::from_number(u16::from_be_bytes(reader.array()?))?;
        let [bits] = reader.array()?;
        (bits & !(RESUMED | ALPN | SERVER_NAME) == 0).then_some(())?;
        let alpn = if bits & ALPN == 0 { None } else { Some(reader.bytes()?.to_vec()) };
        let server_name =
            if bits & SERVER_NAME == 0 { None } else { Some(String::from_utf8(reader.bytes()?.to_vec()).ok()?) };
        let mut certificates = Vec::new();
        while !reader.is_empty() {
            certificates.push(reader.bytes()?.to_vec());
        }
        Some(Self { suite, resumed: bits & RESUMED != 0, alpn, server_name, certificates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_restored_as_they_were() {
        let bare = Facts {
            suite: Suite::EcdheRsaAes128GcmSha256,
            resumed: false,
            alpn: None,
            server_name: None,
            certificates: vec![],
        };
        let full = Facts {
            resumed: true,
            alpn: Some(b"h2".to_vec()),
            server_name: Some("a.example".to_owned()),
            certificates: vec![vec![1; 300], vec![], vec![2]],
            ..bare.clone()
        };
        for facts in [bare, full] {
            let saved = facts.save();
            assert_eq!(Facts::restore(&saved), Some(facts));
            assert_eq!(Facts::restore(&saved[..2]), None);
            assert_eq!(Facts::restore(&[&saved[..], &[0]].concat()), None);
        }
    }
}
