//! A server without TLS: nobody waits.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use mio::Registry;
use mio::event::Event;

use crate::account::HandshakesAccount;
use crate::originals::Originals;
use crate::peer::record::{Change, Record};
use crate::sources::doorways::Doorways;
use crate::sources::source::{Source, Tokens};
use crate::status::HandshakesStatus;
use crate::table::Touch;

/// Nobody waits.
#[derive(Debug)]
pub(crate) struct Vestibule;

impl Vestibule {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn len(&self) -> usize {
        0
    }

    pub(crate) fn waiting_for(&self, _: usize) -> usize {
        0
    }

    pub(crate) fn waiting_at(&self, _: usize, _: &str) -> usize {
        0
    }

    pub(crate) fn bound(&self) -> usize {
        0
    }

    pub(crate) fn status(&self) -> Option<HandshakesStatus> {
        None
    }

    pub(crate) fn account(&self) -> Option<HandshakesAccount> {
        None
    }

    pub(crate) fn count_on_from(&mut self, _: HandshakesAccount) {}

    pub(crate) fn keys_end(&self) -> usize {
        0
    }

    pub(crate) fn watch(&mut self) {}

    pub(crate) fn unwatch(&mut self) {}

    pub(crate) fn touches(&mut self) -> Vec<Touch> {
        Vec::new()
    }

    pub(crate) fn send_along_answered(&mut self, _: bool) {}

    pub(crate) fn descriptors(&self, _: &mut dyn Iterator<Item = usize>) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    pub(crate) fn adopt(
        &mut self,
        _: std::net::TcpStream,
        record: &Record<'_>,
        _: impl Fn(u32) -> Option<usize>,
        _: &Doorways,
        _: &Registry,
    ) -> Result<(), String> {
        Err(format!("Peer {} speaks TLS, and this build has none", record.address))
    }

    pub(crate) fn follow(&mut self, _: &Change<'_>) -> Result<(), String> {
        Ok(())
    }

    pub(crate) fn discard(&mut self, _: u64, _: &Registry) {}

    pub(crate) fn keep_time_of_another(&mut self, _: i64) {}

    pub(crate) fn begin(&mut self) {}

    pub(crate) fn end_all(self) {}
}

impl Originals for Vestibule {
    fn record(&self, _: usize) -> Option<Record<'_>> {
        None
    }

    fn save_session(&self, _: usize, _: &mut Vec<u8>) {}

    fn save_secured(&self, _: usize, _: &mut Vec<u8>) {}

    fn save_facts(&self, _: usize, _: &mut Vec<u8>) {}
}

impl Source for Vestibule {
    fn register(&mut self, _: &Registry, _: Tokens) -> io::Result<()> {
        Ok(())
    }

    fn hear(&mut self, _: usize, _: &Event) {}

    fn due(&self, _: Instant) -> Option<Instant> {
        None
    }
}
