//! A server without TLS: no peer has a stream of its own.

use std::io;

use super::Opened;
use crate::peer::connect::{ConnectTls, Unreached};
use crate::peer::record::{SecuredChange, SecuredRecord, Stretch};
use crate::tls::Connectors;

/// Nobody is in the middle of one.
#[derive(Debug)]
pub(crate) enum Handshaking {}

impl Handshaking {
    /// # Errors
    /// Always: this build has no TLS.
    pub(crate) fn begin(_: &ConnectTls, _: &Connectors) -> Result<Self, Unreached> {
        Err(io::Error::other("this build has no TLS").into())
    }

    pub(crate) fn waits_to_write(&self) -> bool {
        match *self {}
    }

    /// # Errors
    /// Nobody calls it.
    pub(crate) fn go_on<S>(&mut self, _: &mut S, _: &mut [u8]) -> Result<bool, Unreached> {
        match *self {}
    }

    /// # Errors
    /// Nobody calls it.
    pub(crate) fn finish(self) -> Result<(Secured, Vec<u8>), Unreached> {
        match self {}
    }
}

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

    pub(crate) fn forget_certificates(&mut self) {
        match *self {}
    }

    pub(crate) fn ended_orderly(&self) -> bool {
        match *self {}
    }

    pub(crate) fn partial(&self) -> Stretch<'_> {
        match *self {}
    }

    pub(crate) fn save(&self, _: &mut Vec<u8>) {
        match *self {}
    }

    pub(crate) fn save_facts(&self, _: &mut Vec<u8>) {
        match *self {}
    }

    /// # Errors
    /// Always: this build has no TLS.
    pub(crate) fn begin_to_follow(_: &SecuredChange<'_>) -> Result<Self, String> {
        Err("this build has no TLS".to_owned())
    }

    pub(crate) fn follow(&mut self, _: &SecuredChange<'_>) -> Result<(), String> {
        match *self {}
    }

    /// # Errors
    /// Always: this build has no TLS.
    pub(crate) fn restore(_: &SecuredRecord<'_>) -> Result<Self, String> {
        Err("this build has no TLS".to_owned())
    }
}
