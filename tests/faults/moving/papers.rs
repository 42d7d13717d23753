//! What the papers say of faults in moves: a part of the page `docs/faults.md`, and the crash table in the documentation of
//! `src/moving.rs`.

use std::collections::HashMap;
use std::fmt::Write;

use super::expectation::{Owner, Situation};
use super::{Cell, Observed};
use crate::expectation::Race;
use crate::papers::CrashTable;
use crate::plan::{Fault, Point, PredecessorStep as G, SuccessorStep as T};

const HEAD: &str = "
# What comes of each fault at each step of a move

The same for moves: a giver with peers of every kind that the service `line` can have, some of which speak TLS (silent, half-way
through a record, with sealed output that nobody reads, with keys that change), and a taker. A taker that waits gets one
peer that is stolen, with bytes after the word; one that serves has a peer of its own and gets all that the giver has. The
cell says who owns the peers that were to move. In every one, each client got every byte once and in order, or, where nobody
is left, saw its connection end; whoever was not to move noticed nothing unless its own server was killed, and the other
side went on; neither had a descriptor open that it did not have before; where both were left, all peers could be moved
then; and when they stopped, no process and no file was left.
";

/// The part of the page that is about moves.
pub(crate) fn page(owner: impl Fn(Cell) -> Option<Owner>) -> String {
    let mut page = HEAD.to_owned();
    let names = Fault::ALL.map(|fault| fault.to_string());
    write!(page, "\n| step | {} |\n|{}\n", names.join(" | "), " --- |".repeat(names.len() + 1))
        .expect("a String takes it");
    for situation in Situation::all() {
        write!(page, "| {situation} |").expect("a String takes it");
        for fault in Fault::ALL {
            let owner = owner(Cell { situation, fault }).map_or("–".to_owned(), |owner| owner.to_string());
            write!(page, " {owner} |").expect("a String takes it");
        }
        page.push('\n');
    }
    page
}

/// Who was seen to own the peers, or is expected to where it was not tried.
pub(crate) fn seen_or_expected(observed: &HashMap<Cell, Observed>, cell: Cell) -> Option<Owner> {
    let Cell { situation, fault } = cell;
    let seen = observed.get(&cell).map(|observed| observed.owner);
    situation.can(fault).then(|| seen.unwrap_or_else(|| situation.owner_after(fault)))
}

/// The row of the crash table that speaks of a situation.
fn row_of(Situation { point, race, .. }: Situation) -> &'static str {
    match (point, race) {
        (Point::Predecessor(G::Welcome) | Point::Successor(T::Hello | T::Welcome), _) => "before Welcome",
        (Point::Predecessor(G::Freeze | G::Commit), _) => "freeze, before Commit is sent",
        (Point::Predecessor(G::Committed), Race::SuccessorFirst) => "Accept sent",
        (Point::Predecessor(G::Committed) | Point::Successor(T::Accept), _) => "Commit sent, Accept not",
        (Point::Predecessor(G::Disband) | Point::Successor(T::Serving), _) => "Accept sent",
        (Point::Predecessor(G::Thaw), _) => "thaw",
        (Point::Predecessor(_) | Point::Successor(_), _) => "copy",
        (Point::Upgrade(_) | Point::Standby(_), _) => unreachable!("the matrix of moves has no steps of others"),
    }
}

/// The crash table agrees with what was seen, wherever it speaks of it.
pub(crate) fn check_crash_table(observed: &HashMap<Cell, Observed>) -> Result<(), String> {
    let table = CrashTable::parse(include_str!("../../../src/moving.rs"))?;
    let mut unseen = table.keys();
    for (cell, observed) in observed {
        let Cell { situation, fault: fault @ (Fault::Kill | Fault::Stop) } = cell else { continue };
        let happened = if *fault == Fault::Kill { "killed" } else { "stopped" };
        let side = if situation.is_givers() { "giver" } else { "taker" };
        let key = (row_of(*situation).to_owned(), format!("{side} {happened}"));
        let text = table.says_of(&key).ok_or(format!("the crash table of moves does not speak of {key:?}"))?;
        is_true_of(text, *cell, *observed)
            .map_err(|what| format!("the crash table of moves says {text:?} of {key:?}, but {cell}: {what}"))?;
        unseen.retain(|unseen| *unseen != key);
    }
    // In the freeze, the taker's next step is to accept.
    unseen.retain(|(row, column)| !(row.starts_with("freeze") && column.starts_with("taker")));
    if unseen.is_empty() {
        Ok(())
    } else {
        Err(format!("the crash table of moves speaks of what was not tried: {unseen:?}"))
    }
}

/// Whether a text of the crash table is true of what was seen.
fn is_true_of(text: &str, cell: Cell, Observed { owner, warned }: Observed) -> Result<(), String> {
    if !text.starts_with(&owner.to_string()) {
        return Err(format!("the owner is {owner}"));
    }
    if text.contains("warns") && !warned {
        return Err("the giver does not warn".to_owned());
    }
    let stopped = if cell.situation.is_givers() { Owner::Giver } else { Owner::Taker };
    let owns_later = text.split(';').next().is_some_and(|first| first.ends_with(", later"));
    if (cell.fault == Fault::Stop && owner == stopped) != owns_later {
        let is = if owns_later { "is not" } else { "is" };
        return Err(format!("whoever was stopped {is} the owner"));
    }
    Ok(())
}
