//! State that is copied while its server serves, as the takeover sees it.

use super::restore_error::RestoreError;
use crate::recipient::Recipient;

/// How many maps of entries a service may have.
pub(crate) const MAPS_MAX: usize = 64;

/// State of many small entries, which a takeover copies piece by piece while the predecessor serves.
///
/// [`Keyed`](super::Keyed) is one, and most services need no other. The takeover knows nothing of keys: it asks the
/// predecessor's for the next piece, and gives the pieces in the same order to the successor's. In the end the two are to
/// be the same.
///
/// Between [`begin_copy`](Self::begin_copy) and [`end_copy`](Self::end_copy) this keeps book of what has changed since it was
/// sent; at all other times there is no book, and none to pay for. There is a book for each [`Recipient`], of which the other knows
/// nothing. A takeover that fails ends the copy, or begins the next one without having ended it. Where [`copy_next`](Self::copy_next) or [`restore`](Self::restore) panics, that takeover
/// fails and the predecessor serves on, as with [the other calls](crate::StreamService#state-in-a-takeover) that save and
/// restore; the other methods must not panic.
pub trait Entries {
    /// A copy begins: the recipient knows nothing.
    fn begin_copy(&mut self, to: Recipient);

    /// Appends to `piece` what the recipient does not know, and stops as soon as that is at least `bytes` bytes. Returns
    /// how many entries that were; 0 if it knows everything. From here on it is known: a piece that cannot be sent at once
    /// is kept, and sent later.
    fn copy_next(&mut self, to: Recipient, bytes: usize, piece: &mut Vec<u8>) -> usize;

    /// How many entries the recipient does not know as they are.
    fn pending(&self, to: Recipient) -> usize;

    /// How many bytes they take in pieces, or a little more. This is asked when few are pending, so it may look at each.
    fn pending_bytes(&self, to: Recipient) -> usize;

    /// The recipient is told nothing more.
    fn end_copy(&mut self, to: Recipient);

    /// Applies the next piece of the predecessor's, which saves in state version `version`.
    ///
    /// # Errors
    /// If `piece` is not such a piece: the takeover fails, and the predecessor serves on.
    fn restore(&mut self, version: u32, piece: &[u8]) -> Result<(), RestoreError>;

    /// Little will come from here on, and nobody serves meanwhile: what would hold it up is to be done now, such as to make
    /// room. Nothing, unless this is overridden.
    fn get_ready(&mut self) {}

    /// About how many bytes of memory the successor will need for all entries. This may hold up nobody, so it is not to
    /// look at each. 0, unless this is overridden.
    fn memory_bytes(&self) -> usize {
        0
    }
}
