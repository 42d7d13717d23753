//! A build without the feature `tls`.

use zeroize::Zeroizing;

/// What the clients of a listener speak TLS with. Without the feature `tls` there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {}

impl Tls {
    pub(crate) fn save_tickets(&self) -> Zeroizing<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn specimen(&self) -> Zeroizing<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn goes_on_with(&self, _: &[u8]) -> bool {
        match *self {}
    }

    pub(crate) fn adopt_tickets(&self, _: &[u8]) {
        match *self {}
    }

    pub(crate) fn ticket_key(&self) -> [u8; 16] {
        match *self {}
    }

    pub(crate) fn follow_tickets(&self, _: &[u8]) {
        match *self {}
    }
}

/// With what a server opens connections that speak TLS. Without the feature `tls` there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connectors(());

impl Connectors {
    pub(crate) fn is_empty(&self) -> bool {
        true
    }

    pub(crate) fn has(&self, _: &str) -> bool {
        false
    }
}
