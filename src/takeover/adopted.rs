//! A peer that is adopted from another process, be it with all others or in a move.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::sockopt::socket_cookie;

use super::error::{Cause, in_context};
use super::panicked::Panicked;
use crate::lane::AdoptError;
use crate::peer::Address;
use crate::peer::record::Record;

/// A socket with the record that is about it.
pub(crate) struct Adopted<'b> {
    pub(crate) socket: OwnedFd,
    pub(crate) record: Record<'b>,
}

impl<'b> Adopted<'b> {
    /// # Errors
    /// If the record is about another socket.
    pub(crate) fn pair(socket: OwnedFd, record: Record<'b>) -> Result<Self, Cause> {
        let cookie = socket_cookie(&socket).map_err(io::Error::from).map_err(in_context("SO_COOKIE"))?;
        if cookie == record.cookie {
            Ok(Self { socket, record })
        } else {
            Err(Cause::Cookie { record: record.cookie, socket: cookie })
        }
    }
}

/// What came of restoring a peer, with its name.
///
/// # Errors
/// If it could not be restored, or its service panicked.
pub(crate) fn restored<T>(result: Result<Result<T, AdoptError>, Panicked>, address: Address) -> Result<T, Cause> {
    let result = result.map_err(|panicked| Cause::Panicked { address: Some(address), panicked })?;
    result.map_err(|error| Cause::Adopt { address, error })
}
