//! Scripts of the fuzzer, and those of builds without TLS: no client speaks it.

use crate::peer::secured::Secured;

/// Nobody has one.
pub(super) enum Speech {}

pub(super) struct Met {
    pub(super) speech: Speech,
    pub(super) secured: Secured,
    pub(super) out: Vec<u8>,
}

pub(super) fn watch() {}

impl Speech {
    pub(super) fn begin(_: usize, _: usize) -> Option<Met> {
        None
    }

    pub(super) fn say(&mut self, _: &[u8], _: &mut Vec<u8>) {
        match *self {}
    }

    pub(super) fn hear(&mut self, _: &[u8], _: &mut Vec<u8>, _: &mut Vec<u8>) {
        match *self {}
    }

    pub(super) fn update(&mut self, _: &mut Vec<u8>) {
        match *self {}
    }

    pub(super) fn close(&mut self, _: &mut Vec<u8>) {
        match *self {}
    }

    pub(super) fn damage<'p>(&mut self, _: &'p [u8], _: u8, _: &mut Vec<u8>) -> &'p [u8] {
        match *self {}
    }

    pub(super) fn is_broken(&self) -> bool {
        match *self {}
    }

    pub(super) fn is_ended(&self) -> bool {
        match *self {}
    }
}
