//! Standard output and standard error, for what a program was asked for.

use std::io::Write;

/// Writes to standard output what the program was asked for.
pub fn say(text: &str) {
    let mut standard_output = std::io::stdout();
    // A reader that has gone away has no use for the text, and the exit code tells what there is to know.
    let _ = standard_output.write_all(text.as_bytes()).and_then(|()| standard_output.flush());
}

/// Says on standard error why something was not done.
pub fn complain(line: &str) {
    // Where nobody reads it, the exit code has to do.
    let _ = writeln!(std::io::stderr(), "{line}");
}
