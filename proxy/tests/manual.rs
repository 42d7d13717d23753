//! The man page and the completions of `reactord-proxy` have what its `--help` has.

use std::path::Path;

#[test]
fn man_pages_and_completions_have_every_option_of_the_help() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = Path::new(env!("CARGO_BIN_EXE_reactord-proxy"));
    reactord_manual::check(program, &root).unwrap_or_else(|error| panic!("{error}"));
}
