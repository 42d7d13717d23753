//! How answers are written.

use std::fmt::Display;

use minicbor::{Decode, Encode};
use reactord::{Context, StreamService};

/// The version of the protocol that a client has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum Protocol {
    #[default]
    #[n(2)]
    Resp2,
    #[n(3)]
    Resp3,
}

/// The end of every line.
const END: &[u8] = b"\r\n";

/// Whoever is answered.
pub(crate) trait Reply {
    /// Appends to the answer.
    fn raw(&mut self, bytes: &[u8]);

    /// A short text that says how it went.
    fn simple(&mut self, text: &str) {
        self.raw(b"+");
        self.raw(text.as_bytes());
        self.raw(END);
    }

    fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    fn error(&mut self, error: impl Display) {
        self.raw(format!("-ERR {error}\r\n").as_bytes());
    }

    fn integer(&mut self, integer: i64) {
        self.number(b':', integer);
    }

    /// A text of any bytes.
    fn bulk(&mut self, bytes: &[u8]) {
        self.number(b'$', bytes.len() as i64);
        self.raw(bytes);
        self.raw(END);
    }

    fn bulk_or_null(&mut self, bytes: Option<&[u8]>, protocol: Protocol) {
        match (bytes, protocol) {
            (Some(bytes), _) => self.bulk(bytes),
            (None, Protocol::Resp2) => self.raw(b"$-1\r\n"),
            (None, Protocol::Resp3) => self.raw(b"_\r\n"),
        }
    }

    /// So many answers follow, which belong together.
    fn array(&mut self, count: usize) {
        self.number(b'*', count as i64);
    }

    /// So many pairs of answers follow.
    fn map(&mut self, count: usize, protocol: Protocol) {
        match protocol {
            Protocol::Resp2 => self.array(2 * count),
            Protocol::Resp3 => self.number(b'%', count as i64),
        }
    }

    /// So many answers follow that nobody has asked for.
    fn push_of(&mut self, count: usize, protocol: Protocol) {
        match protocol {
            Protocol::Resp2 => self.array(count),
            Protocol::Resp3 => self.number(b'>', count as i64),
        }
    }

    fn number(&mut self, kind: u8, number: i64) {
        self.raw(&[kind]);
        self.raw(itoa::Buffer::new().format(number).as_bytes());
        self.raw(END);
    }
}

impl<S: StreamService> Reply for Context<'_, S> {
    fn raw(&mut self, bytes: &[u8]) {
        self.reply(bytes);
    }
}

impl Reply for Vec<u8> {
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
