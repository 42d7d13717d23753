//! What a successor offers to run.

use super::wire::{self, Versions};
use crate::service::StreamService;

/// A service that a successor can run.
#[derive(Clone, Debug)]
pub struct Offer(pub(crate) wire::Offer);

impl Offer {
    /// The service `S`, with the state versions that it restores.
    #[must_use]
    pub fn of<S: StreamService>() -> Self {
        const {
            assert!(S::STATE_VERSION_OLDEST <= S::STATE_VERSION, "a service restores what it saves");
            assert!(S::STATE_VERSION <= S::STATE_VERSION_NEWEST, "a service restores what it saves");
        }
        let state_versions = Versions { oldest: S::STATE_VERSION_OLDEST, newest: S::STATE_VERSION_NEWEST };
        Self(wire::Offer { service: S::NAME.to_owned(), state_versions })
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.service
    }
}
