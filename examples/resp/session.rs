//! What is known of one client.

use std::collections::BTreeSet;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::reply::Protocol;
use super::words::Form;

/// The conversation with one client.
#[derive(Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Session {
    #[n(0)]
    pub(crate) protocol: Protocol,
    /// The channels that it has subscribed to.
    #[n(1)]
    pub(crate) channels: BTreeSet<ByteVec>,
    /// The command of which it has sent the beginning.
    #[n(2)]
    pub(crate) unfinished: Option<Unfinished>,
}

/// A command whose words are executed one by one, as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Unfinished {
    #[n(0)]
    pub(crate) verb: Verb,
    #[n(1)]
    pub(crate) form: Form,
    /// How many words are still to come.
    #[n(2)]
    pub(crate) words_left: usize,
    /// For how many of its words there was something.
    #[n(3)]
    pub(crate) found: i64,
}

/// What is done about each word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum Verb {
    #[n(0)]
    Delete,
    #[n(1)]
    Exists,
    #[n(2)]
    GetEach,
    /// Each two words.
    #[n(3)]
    SetEach,
    #[n(4)]
    Subscribe,
    #[n(5)]
    Unsubscribe,
    /// Nothing: the command was answered already.
    #[n(6)]
    PassOver,
}
