//! The name of whoever a certificate is for, as people read it: the common name of its subject (RFC 5280 section 4.1.2.6).
//!
//! Who is verified by a certificate is verified by other names. This one is told to those who want it, as HAProxy does, and
//! nothing follows from it.

use rustls::pki_types::CertificateDer;

const SET: u8 = 0x31;
const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// Kinds of strings that are UTF-8, or could be: UTF8String, PrintableString, TeletexString, IA5String.
const TEXTS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// The first common name in the subject of a certificate, if it has one.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = CertificateDer::from(certificate);
    let parsed = webpki::EndEntityCert::try_from(&certificate).ok()?;
    first_common_name(parsed.subject())
}

/// A subject is a sequence of sets of attributes, each a kind and a value.
fn first_common_name(mut subject: &[u8]) -> Option<String> {
    while !subject.is_empty() {
        let mut set = value(&mut subject, SET)?;
        while !set.is_empty() {
            let mut attribute = value(&mut set, SEQUENCE)?;
            if value(&mut attribute, OBJECT_IDENTIFIER)? == COMMON_NAME {
                let (kind, text) = take(&mut attribute)?;
                return TEXTS.contains(&kind).then(|| String::from_utf8(text.to_vec()).ok()).flatten();
            }
        }
    }
    None
}

/// Takes a value of this kind off the front.
fn value<'a>(bytes: &mut &'a [u8], kind: u8) -> Option<&'a [u8]> {
    take(bytes).filter(|(is, _)| *is == kind).map(|(_, value)| value)
}

/// Takes a value of any kind off the front: its kind, its length, itself (X.690 section 8.1).
fn take<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((kind, value))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        names.iter().for_each(|(kind, name)| params.distinguished_name.push(kind.clone(), *name));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_found_among_others() {
        let long = "n".repeat(200);
        for name in ["a client", "Zoë", &long] {
            let certificate = certificate(&[
                (DnType::OrganizationName, "some"),
                (DnType::CommonName, name),
                (DnType::LocalityName, "x"),
            ]);
            assert_eq!(common_name(&certificate).as_deref(), Some(name));
        }
        assert_eq!(common_name(&certificate(&[(DnType::OrganizationName, "some")])), None);
        assert_eq!(common_name(b"no certificate"), None);
    }

    #[test]
    fn what_is_cut_off_or_announces_more_than_there_is_has_no_name() {
        let subject = [&[SET, 12, SEQUENCE, 10, OBJECT_IDENTIFIER, 3][..], &COMMON_NAME, &[0x0c, 3], b"abc"].concat();
        assert_eq!(first_common_name(&subject).as_deref(), Some("abc"));
        assert!((0..subject.len()).all(|bytes| first_common_name(&subject[..bytes]).is_none()));
        for at in [1, 3, 5, 10] {
            let mut damaged = subject.clone();
            damaged[at] = 0x84;
            assert_eq!(first_common_name(&damaged), None);
        }
    }
}
