//! Handshake messages that come after the handshake: few are allowed, none is kept, and only their first bytes are
//! looked at.

use crate::suite::Version;
use crate::violation::Violation;

/// Type and length (RFC 8446 section 4, RFC 5246 section 7.4).
const HEADER_BYTES: usize = 4;

/// No message that is passed over may be longer. A NewSessionTicket or a ClientHello has two vectors of at most 65,535
/// bytes.
const BYTES_MAX: usize = 1 << 17;

/// The least that a NewSessionTicket has (RFC 8446 section 4.6.1): a nonce and extensions may be empty, a ticket not.
const TICKET_BYTES_MIN: usize = 4 + 4 + 1 + 2 + 1 + 2;

/// Whose messages they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This side accepted the connection: a client speaks.
    Server,
    /// This side opened it: a server speaks.
    Client,
}

mod kind {
    pub(super) const HELLO_REQUEST: u8 = 0;
    pub(super) const CLIENT_HELLO: u8 = 1;
    pub(super) const NEW_SESSION_TICKET: u8 = 4;
    pub(super) const KEY_UPDATE: u8 = 24;
}

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The other side goes over to its next key, and may want this one to do the same.
    KeyUpdate { wants_one: bool },
    /// It is passed over.
    Ticket,
    /// Another handshake within this one (TLS 1.2).
    Renegotiation,
}

/// A message that has not come whole: how far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partial {
    header: [u8; HEADER_BYTES],
    header_bytes: u8,
    /// How much is still to come of what is behind a whole header.
    missing: u32,
}

/// What such a state takes when it is written down.
pub(crate) const PARTIAL_BYTES: usize = HEADER_BYTES + 1 + 4;

impl Partial {
    /// Whether a message has begun and not ended.
    pub(crate) fn is_under_way(self) -> bool {
        self.header_bytes > 0
    }

    /// Takes from the front of a record's content, up to the end of the first message that ends in it.
    pub(crate) fn take(
        &mut self,
        role: Role,
        version: Version,
        content: &mut &[u8],
    ) -> Result<Option<Message>, Violation> {
        if usize::from(self.header_bytes) < HEADER_BYTES && !self.take_header(role, version, content)? {
            return Ok(None);
        }
        if self.header[0] == kind::KEY_UPDATE {
            return self.take_key_update(content);
        }
        let passed = content.len().min(self.missing as usize);
        *content = &content[passed..];
        self.missing -= u32::try_from(passed).expect("no more than is missing");
        Ok((self.missing == 0).then(|| self.ended()))
    }

    /// Whether the header is whole with that.
    fn take_header(&mut self, role: Role, version: Version, content: &mut &[u8]) -> Result<bool, Violation> {
        let have = usize::from(self.header_bytes);
        let (head, rest) = content.split_at(content.len().min(HEADER_BYTES - have));
        self.header[have..have + head.len()].copy_from_slice(head);
        self.header_bytes += u8::try_from(head.len()).expect("at most 4");
        *content = rest;
        // The first byte says already whether it may come.
        if self.is_under_way() && !may_come(role, version, self.header[0]) {
            return Err(Violation::Message(self.header[0]));
        }
        let whole = usize::from(self.header_bytes) == HEADER_BYTES;
        if whole {
            self.missing = self.announced()?;
        }
        Ok(whole)
    }

    /// The length that a header announces, if such a message can have it.
    fn announced(&self) -> Result<u32, Violation> {
        let [message, l0, l1, l2] = self.header;
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        let bytes = length as usize;
        let fits = match message {
            kind::KEY_UPDATE => bytes == 1,
            kind::HELLO_REQUEST => bytes == 0,
            kind::NEW_SESSION_TICKET => (TICKET_BYTES_MIN..=BYTES_MAX).contains(&bytes),
            _ => bytes <= BYTES_MAX,
        };
        if fits { Ok(length) } else { Err(Violation::MessageLength { message, bytes }) }
    }

    /// RFC 8446 section 4.6.3; nothing may follow in the same record (section 5.1).
    fn take_key_update(&mut self, content: &mut &[u8]) -> Result<Option<Message>, Violation> {
        let wants_one = match **content {
            [] => return Ok(None),
            [0] => false,
            [1] => true,
            [value] => return Err(Violation::KeyUpdateRequest(value)),
            _ => return Err(Violation::AfterKeyUpdate),
        };
        *content = &[];
        *self = Self::default();
        Ok(Some(Message::KeyUpdate { wants_one }))
    }

    fn ended(&mut self) -> Message {
        let message = self.header[0];
        *self = Self::default();
        if message == kind::NEW_SESSION_TICKET { Message::Ticket } else { Message::Renegotiation }
    }

    pub(crate) fn save(self) -> [u8; PARTIAL_BYTES] {
        let [h0, h1, h2, h3] = self.header;
        let [m0, m1, m2, m3] = self.missing.to_be_bytes();
        [h0, h1, h2, h3, self.header_bytes, m0, m1, m2, m3]
    }

    /// The state as it was [written down](Self::save), if it is one that such a connection can be in.
    pub(crate) fn restore(role: Role, version: Version, saved: [u8; PARTIAL_BYTES]) -> Option<Self> {
        let [h0, h1, h2, h3, header_bytes, m0, m1, m2, m3] = saved;
        let header = [h0, h1, h2, h3];
        let partial = Self { header, header_bytes, missing: u32::from_be_bytes([m0, m1, m2, m3]) };
        let known = usize::from(header_bytes);
        let possible = match known {
            0 => partial == Self::default(),
            1..HEADER_BYTES => header[known..].iter().all(|&byte| byte == 0) && partial.missing == 0,
            HEADER_BYTES => (1..=partial.announced().ok()?).contains(&partial.missing),
            _ => false,
        };
        (possible && (known == 0 || may_come(role, version, header[0]))).then_some(partial)
    }
}

/// What the other side may send after the handshake. A client has not offered `post_handshake_auth`, so a
/// CertificateRequest may not come either (RFC 8446 section 4.6.2).
fn may_come(role: Role, version: Version, message: u8) -> bool {
    match (version, role) {
        (Version::Tls13, Role::Server) => message == kind::KEY_UPDATE,
        (Version::Tls13, Role::Client) => [kind::KEY_UPDATE, kind::NEW_SESSION_TICKET].contains(&message),
        (Version::Tls12, Role::Server) => message == kind::CLIENT_HELLO,
        (Version::Tls12, Role::Client) => message == kind::HELLO_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All messages of some records.
    fn take(role: Role, version: Version, records: &[&[u8]]) -> Result<Vec<Message>, Violation> {
        let mut partial = Partial::default();
        let mut messages = Vec::new();
        for record in records {
            let mut content = *record;
            while !content.is_empty() {
                messages.extend(partial.take(role, version, &mut content)?);
                assert_eq!(Partial::restore(role, version, partial.save()), Some(partial));
            }
        }
        Ok(messages)
    }

    fn ticket(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).unwrap().to_be_bytes();
        [&[4], &length[1..], &vec![7; bytes]].concat()
    }

    #[test]
    fn a_key_update_is_understood_in_any_number_of_pieces() {
        let update = [24, 0, 0, 1, 1];
        let asked = Ok(vec![Message::KeyUpdate { wants_one: true }]);
        for role in [Role::Server, Role::Client] {
            assert_eq!(take(role, Version::Tls13, &[&update]), asked);
            assert_eq!(take(role, Version::Tls13, &update.each_ref().map(std::slice::from_ref)), asked);
        }
    }

    #[test]
    fn nothing_follows_a_key_update_in_its_record() {
        let wrong = |record: &[u8]| take(Role::Client, Version::Tls13, &[record]).unwrap_err();
        assert_eq!(wrong(&[24, 0, 0, 1, 0, 24]), Violation::AfterKeyUpdate);
        assert_eq!(wrong(&[24, 0, 0, 1, 2]), Violation::KeyUpdateRequest(2));
        assert_eq!(wrong(&[24, 0, 0, 2]), Violation::MessageLength { message: 24, bytes: 2 });
        assert_eq!(wrong(&[13]), Violation::Message(13));
        let after_a_ticket = [ticket(20), vec![24, 0, 0, 1, 0]].concat();
        assert_eq!(take(Role::Client, Version::Tls13, &[&after_a_ticket]).map(|messages| messages.len()), Ok(2));
    }

    #[test]
    fn a_ticket_is_for_clients_and_has_a_length() {
        assert_eq!(take(Role::Client, Version::Tls13, &[&ticket(14)]), Ok(vec![Message::Ticket]));
        assert_eq!(take(Role::Server, Version::Tls13, &[&ticket(14)]), Err(Violation::Message(4)));
        for bytes in [13, BYTES_MAX + 1] {
            let wrong = Err(Violation::MessageLength { message: 4, bytes });
            assert_eq!(take(Role::Client, Version::Tls13, &[&ticket(bytes)]), wrong);
        }
    }

    #[test]
    fn only_a_new_handshake_may_be_asked_for_in_tls_1_2() {
        assert_eq!(take(Role::Client, Version::Tls12, &[&[0, 0, 0, 0]]), Ok(vec![Message::Renegotiation]));
        assert_eq!(take(Role::Server, Version::Tls12, &[&[1, 0, 0, 2], &[3, 3]]), Ok(vec![Message::Renegotiation]));
        for (role, message) in [(Role::Client, 1), (Role::Server, 0), (Role::Server, 24), (Role::Client, 4)] {
            assert_eq!(take(role, Version::Tls12, &[&[message]]), Err(Violation::Message(message)));
        }
    }

    proptest! {
        #[test]
        fn a_state_is_restored_only_if_it_would_be_saved_so(
            client in any::<bool>(), tls12 in any::<bool>(), mut saved in any::<[u8; PARTIAL_BYTES]>(), small in any::<bool>(),
        ) {
            if small {
                saved.iter_mut().for_each(|byte| *byte %= 5);
            }
            let role = if client { Role::Client } else { Role::Server };
            let version = if tls12 { Version::Tls12 } else { Version::Tls13 };
            if let Some(partial) = Partial::restore(role, version, saved) {
                prop_assert_eq!(partial.save(), saved);
            }
        }
    }
}
