//! Peers that are joined: what one sends is written to the other, and no service is called for it.

use std::io;

use super::wake::Wake;
use crate::table::{Passed, Turn, TurnEnd};

/// How often one peer is read from in one turn; then it is the others' turn.
pub(super) const READS_PER_TURN: u32 = 4;

/// Writes what is pending for a joined peer, and passes on what it has sent: what was kept first, and then what comes, as far
/// as the other one takes it. What comes on a connection that `stands` since this turn is told by an event, since nothing was
/// asked before of what comes on it.
pub(super) fn carry(turn: &mut Turn<'_>, input: &mut [u8], wake: Wake, stands: bool) -> io::Result<TurnEnd> {
    let before = turn.face();
    let is_free = turn.is_free_to_pass_on();
    let mut is_held = false;
    if !is_free {
        turn.look_at_partner();
        is_held = !turn.talk.listens();
        turn.write_waiting(is_held)?;
    }
    if wake == Wake::SentTo {
        // What it has sent is passed on in the next turn of the loop, or two that do so might never let this one end.
        return Ok(if turn.talk.waits_for_its_turn() { TurnEnd::BudgetSpent } else { TurnEnd::Drained });
    }
    if !is_free {
        turn.talk.begin_turn();
        pass_on_kept(turn);
    }
    let (is_readable, to_the_end) = if stands { (false, false) } else { wake.reads_after(is_held) };
    let end = if is_readable { convey(turn, input, to_the_end)? } else { TurnEnd::Drained };
    turn.compare(before);
    Ok(end)
}

fn pass_on_kept(turn: &mut Turn<'_>) {
    if turn.talk.listens() && !turn.talk.inbound.is_empty() {
        let mut kept = std::mem::take(&mut turn.talk.inbound);
        turn.pass_on(kept.as_slice());
        kept.advance(kept.len());
        turn.talk.inbound = kept;
    }
}

/// A short read has read everything, unless `to_the_end` says otherwise.
fn convey(turn: &mut Turn<'_>, input: &mut [u8], to_the_end: bool) -> io::Result<TurnEnd> {
    for _ in 0..READS_PER_TURN {
        if !turn.talk.listens() {
            return Ok(TurnEnd::Drained);
        }
        match turn.convey(input)? {
            Passed::Some => {}
            Passed::All if to_the_end => {}
            Passed::All | Passed::Nothing => return Ok(TurnEnd::Drained),
            Passed::End => {
                turn.check_end()?;
                if turn.talk.end() {
                    turn.note_movement();
                }
                // Also if it has ended before it was joined.
                turn.pass_on_end();
                return Ok(TurnEnd::Drained);
            }
        }
    }
    Ok(if turn.talk.listens() { TurnEnd::BudgetSpent } else { TurnEnd::Drained })
}
