//! What the loop lends to moves.

use std::time::{Duration, Instant};

use mio::Registry;

use crate::annals::Annals;
use crate::limited::Limited;

/// What the loop lends while moves have their turn.
pub(crate) struct Lent<'l, L> {
    pub(crate) lanes: &'l mut L,
    pub(crate) registry: &'l Registry,
    pub(crate) freeze_timeout: Duration,
    pub(crate) now: Instant,
    pub(crate) annals: &'l mut Annals,
    pub(crate) limited: &'l mut Limited,
}
