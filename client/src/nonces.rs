//! The nonces that a server sends in clear: whether one of them ever comes twice.
//!
//! With AES-GCM in TLS 1.2, eight bytes of the nonce stand in front of what each record holds (RFC 5288 section 3). A nonce
//! that seals twice under one key gives both records away, and with them all that is sealed later. No receiver looks for
//! that: to open a record it needs its nonce, and not the ones before. So the bytes of the socket are looked at here, whoever
//! of all the processes that a server has had has sealed them.

use std::collections::HashSet;

/// The header of a record (RFC 5246 section 6.2.1).
const HEADER_BYTES: usize = 5;

/// The part of the nonce that follows it where the record is sealed.
const EXPLICIT_BYTES: usize = 8;

/// The record from which on all are sealed (RFC 5246 section 7.1).
const CHANGE_CIPHER_SPEC: u8 = 20;

/// What one connection has shown of its nonces.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    /// The first bytes of a record.
    head: [u8; HEADER_BYTES + EXPLICIT_BYTES],
    head_bytes: usize,
    /// How much is still to come of the record whose head has been seen.
    rest_bytes: usize,
    is_sealed: bool,
    first: Option<u64>,
    /// Who counts is followed with one number: all below it have come.
    next: u64,
    /// Those that have come above it.
    others: HashSet<u64>,
    seen: u64,
    repeated: u64,
}

impl Nonces {
    /// Takes in what the socket has given, however it was split.
    pub(crate) fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let used = if self.rest_bytes > 0 { self.skip(bytes) } else { self.collect(bytes) };
            bytes = &bytes[used..];
        }
    }

    /// How many have come.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// How many of them had come before.
    pub(crate) fn repeated(&self) -> u64 {
        self.repeated
    }

    fn skip(&mut self, bytes: &[u8]) -> usize {
        let used = self.rest_bytes.min(bytes.len());
        self.rest_bytes -= used;
        used
    }

    fn collect(&mut self, bytes: &[u8]) -> usize {
        let whole_bytes = if self.is_sealed { HEADER_BYTES + EXPLICIT_BYTES } else { HEADER_BYTES };
        let used = bytes.len().min(whole_bytes - self.head_bytes);
        self.head[self.head_bytes..][..used].copy_from_slice(&bytes[..used]);
        self.head_bytes += used;
        if self.head_bytes == whole_bytes {
            self.head_bytes = 0;
            self.note_head();
        }
        used
    }

    fn note_head(&mut self) {
        let [kind, _, _, high, low, explicit @ ..] = self.head;
        self.rest_bytes = u16::from_be_bytes([high, low]).into();
        if self.is_sealed {
            // One that is shorter is no record, and ends the connection.
            self.rest_bytes = self.rest_bytes.saturating_sub(EXPLICIT_BYTES);
            self.note(u64::from_be_bytes(explicit));
        }
        self.is_sealed |= kind == CHANGE_CIPHER_SPEC;
    }

    fn note(&mut self, explicit: u64) {
        // What is different from the first one in the same way is the same: so whoever counts, counts from 0.
        let number = explicit ^ *self.first.get_or_insert(explicit);
        self.seen += 1;
        if number < self.next || !self.others.insert(number) {
            self.repeated += 1;
        }
        while self.others.remove(&self.next) {
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDSHAKE: u8 = 22;
    const DATA: u8 = 23;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let bytes = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3], &bytes[..], body].concat()
    }

    fn sealed(explicit: u64) -> Vec<u8> {
        record(DATA, &[&explicit.to_be_bytes()[..], &[7; 30]].concat())
    }

    /// A connection with these nonces, from its handshake on.
    fn connection(explicit: &[u64]) -> Vec<u8> {
        let hello = record(HANDSHAKE, &[1; 90]);
        let change = record(CHANGE_CIPHER_SPEC, &[1]);
        [hello, change].into_iter().chain(explicit.iter().map(|explicit| sealed(*explicit))).flatten().collect()
    }

    fn heard(bytes: &[u8], part_bytes: usize) -> (u64, u64) {
        let mut nonces = Nonces::default();
        bytes.chunks(part_bytes).for_each(|part| nonces.hear(part));
        (nonces.seen(), nonces.repeated())
    }

    #[test]
    fn who_counts_is_followed_without_remembering_anything() {
        let base = 0x8765_4321_0fed_cba9;
        let mut nonces = Nonces::default();
        nonces.hear(&connection(&(0..1000).map(|number| base ^ number).collect::<Vec<_>>()));
        assert_eq!((nonces.seen(), nonces.repeated(), nonces.others.len()), (1000, 0, 0));
    }

    #[test]
    fn one_that_comes_twice_is_found_wherever_it_is_and_however_it_arrives() {
        for nonces in [&[5, 6, 7, 6][..], &[5, 900, 7, 900], &[5, 5, 6, 7], &[5, 4, 100, 5]] {
            let bytes = connection(nonces);
            for part_bytes in 1..bytes.len() {
                assert_eq!(heard(&bytes, part_bytes), (4, 1), "{nonces:?}, {part_bytes} bytes at a time");
            }
        }
    }

    #[test]
    fn who_does_not_count_may_take_any_that_has_not_been() {
        assert_eq!(heard(&connection(&[9, u64::MAX, 0, 77, 1 << 63, 8]), 11), (6, 0));
    }

    #[test]
    fn what_is_not_sealed_has_none() {
        let bytes = [record(HANDSHAKE, &[1; 90]), record(HANDSHAKE, &[1; 90])].concat();
        assert_eq!(heard(&bytes, 7), (0, 0));
    }
}
