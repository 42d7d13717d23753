//! A service that panics while it is saved or restored fails that takeover, and nothing else.
//!
//! No call of the service is under way then that anybody waits for, so there is a way back: the predecessor serves on,
//! and the successor leaves without having touched a peer.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use reactord_process::frame::printable;

/// The service panicked, with this text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked {
    text: String,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service panicked: {}", self.text)
    }
}

/// Calls the service, and survives its panic. In a program that aborts at a panic there is none to survive.
///
/// What the panic leaves half done must be of no further use, hence the assertion: all that the callers lend for writing
/// belongs to the takeover, which ends with this. The service itself is lent for reading where it is saved, and saving
/// is pure; the book of its entries, which it keeps itself, is begun anew by the next takeover; and where it is restored, it
/// is dropped with the takeover.
///
/// # Errors
/// If it panicked.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| Panicked { text: printable(text_of(&*payload)) })
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "it does not say why",
    }
}
