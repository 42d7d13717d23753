//! Why a peer cannot be adopted.

use crate::service::RestoreError;
use crate::table;

/// Why a peer of a predecessor cannot be adopted.
#[derive(Debug)]
pub(crate) enum AdoptError {
    Restore(RestoreError),
    Table(table::AdmitError),
}

impl std::fmt::Display for AdoptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restore(error) => write!(f, "its session: {error}"),
            Self::Table(error) => error.fmt(f),
        }
    }
}
