//! What is known of a connection beside its keys: plain values, and which of them can be together.

use crate::messages::{Partial, Role};
use crate::record::CONTENT_BYTES_MAX;
use crate::suite::Suite;
use crate::violation::Violation;

/// So many records in a row may bring no data: empty ones, KeyUpdates, tickets. rustls and BoringSSL bear as many.
pub(crate) const PATIENCE: u8 = 32;

/// So many warnings are borne in the whole of a connection, as rustls does.
pub(crate) const WARNINGS_MAX: u8 = 4;

/// So many attempts at renegotiation are answered with a warning in the whole of a connection, as rustls does.
pub(crate) const RENEGOTIATIONS_MAX: u8 = 1;

/// Numbers of a key that data leaves free: for the KeyUpdate that ends it, for the warnings above, and for the last
/// alert.
pub(crate) const RESERVED: u64 = 16;

const _: () = assert!(RESERVED / 2 > RENEGOTIATIONS_MAX as u64 + 2);

/// What can still be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Open,
    /// close_notify or a fatal alert has been sealed, or came.
    Ended,
}

/// What can still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Open,
    /// close_notify came.
    Closed,
    /// A fatal alert came, or what had to be answered by one.
    Failed,
}

/// The state of a connection.
pub(crate) struct State {
    pub(crate) suite: Suite,
    pub(crate) role: Role,
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    /// A handshake message that has not come whole.
    pub(crate) partial: Partial,
    /// The other side has asked for a KeyUpdate, which comes before the next data: one answers all that ask by then (RFC 8446
    /// section 4.6.3). Whoever asks again and again, and does not read, gets one.
    pub(crate) update_due: bool,
    /// How much content a record that is sealed has at most.
    pub(crate) content_bytes_max: u16,
    pub(crate) patience: u8,
    pub(crate) warnings_left: u8,
    pub(crate) renegotiations_left: u8,
}

impl State {
    pub(crate) fn new(suite: Suite, role: Role) -> Self {
        Self {
            suite,
            role,
            outgoing: Outgoing::Open,
            incoming: Incoming::Open,
            partial: Partial::default(),
            update_due: false,
            content_bytes_max: CONTENT_BYTES_MAX as u16,
            patience: PATIENCE,
            warnings_left: WARNINGS_MAX,
            renegotiations_left: RENEGOTIATIONS_MAX,
        }
    }

    /// A record without data is borne a number of times.
    pub(crate) fn bear(&mut self) -> Result<(), Violation> {
        self.patience = self.patience.checked_sub(1).ok_or(Violation::WithoutData(PATIENCE))?;
        Ok(())
    }

    /// RFC 5246 section 7.2.2: whoever gets a warning may go on.
    pub(crate) fn bear_warning(&mut self) -> Result<(), Violation> {
        self.warnings_left = self.warnings_left.checked_sub(1).ok_or(Violation::Warnings)?;
        Ok(())
    }

    /// Another attempt at renegotiation.
    pub(crate) fn bear_renegotiation(&mut self) -> Result<(), Violation> {
        self.renegotiations_left = self.renegotiations_left.checked_sub(1).ok_or(Violation::Renegotiations)?;
        Ok(())
    }

    /// Whether its counters are such as a connection can have.
    pub(crate) fn has_possible_counters(&self) -> bool {
        self.patience <= PATIENCE
            && self.warnings_left <= WARNINGS_MAX
            && self.renegotiations_left <= RENEGOTIATIONS_MAX
    }
}
