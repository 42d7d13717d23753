//! What went wrong with a batch, in the words of a move.

/// What went wrong in the words of a move: whoever speaks of the two sides of a takeover means those of a move here.
pub(super) fn in_words_of_a_move(what: &dyn std::fmt::Display) -> String {
    what.to_string().replace("the successor", "the taker").replace("the predecessor", "the giver")
}
