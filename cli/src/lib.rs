//! What the daemon and the client share on a command line and on standard error.
//!
//! [`say`] writes to standard output, [`arguments`] turns argv into an argh command, and [`logger`] writes log lines without ever blocking on
//! standard error or panicking because of it. Nothing here knows what either program does.

pub mod arguments;
pub mod logger;

use std::io::Write;

/// Writes to standard output what the program was asked for.
pub fn say(text: &str) {
    let mut standard_output = std::io::stdout();
    // A reader that has gone away has no use for the text, and the exit code tells what there is to know.
    let _ = standard_output.write_all(text.as_bytes()).and_then(|()| standard_output.flush());
}
