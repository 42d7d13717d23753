//! All that is copied of a server: the peers of its lanes, and behind the last lane those who wait for their TLS handshakes.

use std::os::fd::BorrowedFd;

use super::mirror::Batch;
use crate::lanes::Lanes;
use crate::originals::Originals;
use crate::sources::Vestibule;

/// All of them, in the order of their lanes.
pub(super) fn originals<'l, L: Lanes>(lanes: &'l mut L, vestibule: &'l mut Vestibule) -> Vec<&'l mut dyn Originals> {
    let mut all = lanes.originals();
    all.push(vestibule);
    all
}

/// The descriptors that go with a batch of theirs.
pub(super) fn descriptors<'l, L: Lanes>(lanes: &'l L, vestibule: &'l Vestibule, batch: &Batch) -> Vec<BorrowedFd<'l>> {
    let mut keys = batch.descriptor_keys();
    match batch.lane() {
        lane if lane == L::COUNT => vestibule.descriptors(&mut keys),
        lane => lanes.lane(lane).descriptors(&mut keys),
    }
}
