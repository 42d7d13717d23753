//! The table of daemons in docs/supervisor.md: what a test has seen is what it says.

use std::sync::Mutex;

/// The page with the table.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/supervisor.md");

/// Has tests write their rows into the page, instead of comparing them.
pub(crate) const WRITE_VARIABLE: &str = "REACTORD_WRITE_DAEMONS";

/// Only one test writes at a time.
static PAGE_IN_USE: Mutex<()> = Mutex::new(());

/// Whether rows are written.
pub(crate) fn is_to_be_written() -> bool {
    std::env::var_os(WRITE_VARIABLE).is_some()
}

/// The row of a daemon as it is in the page.
#[track_caller]
pub(crate) fn row(daemon: &str) -> String {
    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let row = page.lines().find(|line| is_of(line, daemon));
    row.unwrap_or_else(|| panic!("{PAGE} has no row of {daemon}")).to_owned()
}

/// Puts the row of a daemon into the page.
#[track_caller]
pub(crate) fn write(daemon: &str, row: &str) {
    let _in_use = PAGE_IN_USE.lock().expect("no test panics with it");
    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let lines: Vec<&str> = page.lines().map(|line| if is_of(line, daemon) { row } else { line }).collect();
    std::fs::write(PAGE, lines.join("\n") + "\n").expect("the page can be written");
}

fn is_of(line: &str, daemon: &str) -> bool {
    line.strip_prefix("| ").is_some_and(|line| line.starts_with(&format!("{daemon} |")))
}
