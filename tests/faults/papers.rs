//! What the papers say of faults: the page `docs/faults.md`, which is written here, and the crash table in the
//! documentation of `src/takeover.rs`, which is not.

use std::collections::HashMap;
use std::fmt::Write;

use crate::cell::{Cell, Observed};
use crate::expectation::{Ends, Owner, Race, Situation};
use crate::moving;
use crate::plan::{Fault, Point, PredecessorStep as P, SuccessorStep as S};
use crate::upgrades;

/// Where the page is, from the root of the package.
const PAGE: &str = "docs/faults.md";

const HEAD: &str = "\
# What comes of each fault at each step of a takeover

Written by `cargo test --test faults --features fault-points -- exhaustive` from what it saw. Do not edit.

Each cell is a takeover of real processes, with two services and with peers of every kind: idle, busy, half-way through a
message, with full output buffers, half-closed, connecting, leaving, with deadlines that pass, joined to one another, and
such whom a service is connecting to listeners that let nobody in; and with others that speak TLS, of both versions: silent, half-way
through a record, with sealed output that nobody reads, with keys that change, and with handshakes under way. One side fails when it
is about to do the step. The cell says who owns the peers in the end, and how the predecessor and the successor ended. In every one,
each client got every byte and every deadline once and in order, or, where nobody is left, saw its connection end; none got a record
of TLS whose number or nonce had been used; no handshake was lost that could go on; the owner had no descriptor open that it did not
have before; it could be taken over; and when that server stopped, no process and no file was left.

- *kill*: SIGKILL. *stop*: SIGSTOP until the other side has given up or gone on, then SIGCONT.
- *error*: the step returns an I/O error.
- *truncate*, *garbage*: a part of a frame, or what is no frame, and then the end of the channel.
- *wrong-step*: a valid frame whose turn it is not; the process goes on as if it had not sent it.
- *close*: the channel is closed; the process goes on as if it had not.
- A dash: the step says nothing, and cannot fail save with its process.

Where Commit is in the channel and Accept may be, it matters who is first; there, the other one is delayed.
";

/// The page, with what came of each cell.
fn page(outcome: impl Fn(Cell) -> Option<(Owner, Ends)>) -> String {
    let mut page = HEAD.to_owned();
    let names = Fault::ALL.map(|fault| fault.to_string());
    write!(page, "\n| step | {} |\n|{}\n", names.join(" | "), " --- |".repeat(names.len() + 1))
        .expect("a String takes it");
    for situation in Situation::all() {
        write!(page, "| {situation} |").expect("a String takes it");
        for fault in Fault::ALL {
            let cell = Cell { situation, fault };
            let text = match outcome(cell) {
                Some((owner, Ends { predecessor, successor })) => format!("{owner}: {predecessor}, {successor}"),
                None => "–".to_owned(),
            };
            write!(page, " {text} |").expect("a String takes it");
        }
        page.push('\n');
    }
    page
}

/// Writes the page.
pub(crate) fn write_page(
    observed: &HashMap<Cell, Observed>,
    of_moves: &HashMap<moving::Cell, moving::Observed>,
    of_upgrades: &HashMap<upgrades::Cell, upgrades::Outcome>,
) {
    let page = page(|cell| observed.get(&cell).map(|observed| (observed.owner, observed.ends)))
        + &moving::papers::page(|cell| of_moves.get(&cell).map(|observed| observed.owner))
        + &upgrades::page(|cell| upgrades::seen_or_expected(of_upgrades, cell));
    std::fs::write(PAGE, page).expect("the page can be written");
}

/// The page is what was seen, and what was not seen this time is as it is expected to be.
pub(crate) fn check_page(
    observed: &HashMap<Cell, Observed>,
    of_moves: &HashMap<moving::Cell, moving::Observed>,
    of_upgrades: &HashMap<upgrades::Cell, upgrades::Outcome>,
) -> Result<(), String> {
    let outcome = |cell: Cell| {
        let Cell { situation, fault } = cell;
        let seen = observed.get(&cell).map(|observed| (observed.owner, observed.ends));
        let expected = || (situation.owner_after(fault), Ends::after(situation, fault));
        situation.can(fault).then(|| seen.unwrap_or_else(expected))
    };
    let written = std::fs::read_to_string(PAGE).map_err(|error| format!("{PAGE}: {error}"))?;
    let page = page(outcome)
        + &moving::papers::page(|cell| moving::papers::seen_or_expected(of_moves, cell))
        + &upgrades::page(|cell| upgrades::seen_or_expected(of_upgrades, cell));
    let differing =
        page.lines().zip(written.lines()).find(|(line, written)| line != written).map(|(line, _)| line.to_owned());
    match differing {
        None if written.lines().count() == page.lines().count() => Ok(()),
        differing => Err(format!("{PAGE} does not say {differing:?}; `exhaustive` writes it")),
    }
}

/// The row of the crash table that speaks of a situation.
fn row_of(Situation { point, race }: Situation) -> &'static str {
    match (point, race) {
        (Point::Predecessor(P::Hello) | Point::Successor(S::Hello), _) => "Hello",
        (Point::Predecessor(P::Freeze | P::Commit), _) => "freeze, before Commit is sent",
        (Point::Predecessor(P::Committed), Race::SuccessorFirst) => "Accept sent, not yet read",
        (Point::Predecessor(P::Committed) | Point::Successor(S::Accept), _) => "Commit sent, Accept not",
        (Point::Successor(S::Poll), _) => "Accept sent, not yet read",
        (Point::Predecessor(P::Retire | P::Disband) | Point::Successor(S::Serving | S::Served), _) => "Serving",
        (Point::Predecessor(P::Thaw), _) => "thaw",
        (Point::Predecessor(P::Welcome | P::Listeners | P::Batch | P::Round | P::LastRound | P::Copied), _) => "copy",
        (Point::Predecessor(P::Entries) | Point::Successor(S::Enter), _) => "copy",
        (Point::Successor(S::Welcome | S::Listeners | S::Adopt | S::Change | S::Discard), _) => "copy",
        (Point::Successor(S::Copied | S::Round | S::Ready), _) => "copy",
        (Point::Upgrade(_) | Point::Standby(_), _) => unreachable!("the matrix of takeovers has no steps of others"),
    }
}

/// The crash table agrees with what was seen, wherever it speaks of it.
pub(crate) fn check_crash_table(observed: &HashMap<Cell, Observed>) -> Result<(), String> {
    let table = CrashTable::parse(include_str!("../../src/takeover.rs"))?;
    let mut unseen = table.keys();
    for (cell, observed) in observed {
        let Cell { situation, fault: fault @ (Fault::Kill | Fault::Stop) } = cell else { continue };
        let happened = if *fault == Fault::Kill { "killed" } else { "stopped" };
        let column = match situation.point {
            Point::Predecessor(_) | Point::Upgrade(_) | Point::Standby(_) => format!("predecessor {happened}"),
            Point::Successor(_) => format!("successor {happened}"),
        };
        let key = (row_of(*situation).to_owned(), column);
        let text = table.says_of(&key).ok_or(format!("the crash table does not speak of {key:?}"))?;
        says(text, *cell, *observed)
            .map_err(|what| format!("the crash table says {text:?} of {key:?}, but {cell}: {what}"))?;
        unseen.retain(|unseen| *unseen != key);
    }
    // In the freeze, the successor's next step is to accept.
    unseen.retain(|(row, column)| !(row.starts_with("freeze") && column.starts_with("successor")));
    if unseen.is_empty() { Ok(()) } else { Err(format!("the crash table speaks of what was not tried: {unseen:?}")) }
}

/// Whether a text of the crash table is true of what was seen.
fn says(text: &str, cell: Cell, observed: Observed) -> Result<(), String> {
    let Observed { owner, ends, warned } = observed;
    if !text.starts_with(&owner.to_string()) {
        return Err(format!("the owner is {owner}"));
    }
    for (side, end) in [("predecessor", ends.predecessor), ("successor", ends.successor)] {
        if let Some((_, code)) = text.split_once(&format!("{side} exits "))
            && !end.to_string().ends_with(code.split([',', ';', ' ']).next().unwrap_or(code))
        {
            return Err(format!("the {side} {end}"));
        }
    }
    if text.contains("warns") && !warned {
        return Err("the predecessor does not warn".to_owned());
    }
    let stopped_owner = cell.fault == Fault::Stop
        && match cell.situation.point {
            Point::Predecessor(_) | Point::Upgrade(_) | Point::Standby(_) => owner == Owner::Predecessor,
            Point::Successor(_) => owner == Owner::Successor,
        };
    let owns_later = text.split(';').next().is_some_and(|first| first.ends_with(", later"));
    if stopped_owner != owns_later {
        return Err(format!("the one that was stopped {} the owner", if stopped_owner { "is" } else { "is not" }));
    }
    Ok(())
}

/// What the documentation says, by row and column. Empty where it says nothing.
pub(crate) struct CrashTable {
    cells: HashMap<(String, String), String>,
}

impl CrashTable {
    /// Of what it speaks.
    pub(crate) fn keys(&self) -> Vec<(String, String)> {
        self.cells.keys().cloned().collect()
    }

    pub(crate) fn says_of(&self, key: &(String, String)) -> Option<&str> {
        self.cells.get(key).map(String::as_str)
    }

    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        let (_, section) = source.split_once("//! # Crash table\n").ok_or("there is no crash table")?;
        let mut rows = section
            .lines()
            .skip_while(|line| !line.starts_with("//! |"))
            .map_while(|line| line.strip_prefix("//! |"))
            .map(|line| line.trim_end().trim_end_matches('|').split('|').map(|text| text.trim().to_owned()));
        let columns: Vec<String> = rows.next().ok_or("the crash table is empty")?.collect();
        let mut cells = HashMap::new();
        for mut row in rows.skip(1) {
            let name = row.next().ok_or("a row has a name")?;
            for (column, text) in columns[1..].iter().zip(row).filter(|(_, text)| !text.is_empty()) {
                cells.insert((name.clone(), column.clone()), text);
            }
        }
        Ok(Self { cells })
    }
}
