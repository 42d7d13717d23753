//! A server without TLS: no peer has a stream of its own.

use super::Opened;

/// Nobody has one.
#[derive(Debug)]
pub(crate) enum Secured {}

impl Secured {
    pub(super) const LAYOUT: u64 = 0;

    pub(crate) fn open(&mut self, _: &mut [u8], _: &mut Vec<u8>, _: &mut Vec<u8>) -> Opened {
        match *self {}
    }

    pub(crate) fn seal(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        match *self {}
    }

    pub(crate) fn close(&mut self, _: &mut Vec<u8>) {
        match *self {}
    }

    pub(crate) fn has_unheard(&self) -> bool {
        match *self {}
    }

    pub(crate) fn take_unheard(&mut self) -> bool {
        match *self {}
    }

    pub(crate) fn warm_up(&mut self) -> bool {
        match *self {}
    }

    pub(crate) fn cool_down(&mut self) {
        match *self {}
    }

    pub(crate) fn ended_orderly(&self) -> bool {
        match *self {}
    }

    pub(crate) fn save(&self, _: &mut Vec<u8>) {
        match *self {}
    }

    /// # Errors
    /// Always: this build has no TLS.
    pub(crate) fn restore(_: &[u8]) -> Result<Self, String> {
        Err("this build has no TLS".to_owned())
    }
}
