//! Lists that are taken as they are, again and again, and filled anew.

/// All that is in a list. It keeps room for as much: about as much is likely to come.
pub(super) fn take_with_room<T>(list: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(list.len());
    std::mem::replace(list, room)
}
