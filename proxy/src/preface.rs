//! The PROXY header as what clients say before a TLS handshake: the server reads it in clear, and knows from here who begins with
//! one, and where it ends.

use std::net::SocketAddr;

use reactord::tls::Preface;

use crate::networks::Networks;
use crate::proxy_header;

/// Clients from these networks begin with a header, and all others with TLS.
#[derive(Debug)]
pub struct HeaderFirst(pub Networks);

impl Preface for HeaderFirst {
    fn is_due(&self, from: Option<SocketAddr>) -> bool {
        from.is_some_and(|from| self.0.contain(from.ip()))
    }

    fn length(&self, said: &[u8]) -> Result<Option<usize>, String> {
        let header = proxy_header::read(said).map_err(|mistake| mistake.to_string())?;
        Ok(header.map(|header| header.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_where_tls_begins_and_is_due_from_its_networks_alone() {
        let first = HeaderFirst(["10.0.0.0/8".parse().unwrap()].into_iter().collect());
        assert!(first.is_due(Some(([10, 1, 2, 3], 4).into())));
        assert!(!first.is_due(Some(([11, 1, 2, 3], 4).into())) && !first.is_due(None));
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
        let said = [&header[..], b"\x16\x03\x01\x02\0\x01"].concat();
        for bytes in 0..said.len() {
            let whole = (bytes >= header.len()).then_some(header.len());
            assert_eq!(first.length(&said[..bytes]), Ok(whole));
        }
        let mistake = first.length(b"\x16\x03\x01").unwrap_err();
        assert_eq!(mistake, "no header of the PROXY protocol: it begins otherwise");
    }
}
