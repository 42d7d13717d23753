//! The pages render, and the shells read their completions. Where a program for that is missing, its test says that it is
//! skipped.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn files(directory: &str, suffix: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let files =
        std::fs::read_dir(&directory).expect("it is in the tree").map(|file| file.expect("it can be read").path());
    let mut files: Vec<_> = files.filter(|file| file.to_string_lossy().ends_with(suffix)).collect();
    assert!(!files.is_empty(), "{} has no {suffix}", directory.display());
    files.sort();
    files
}

/// What a program says of a file. `None` if there is no such program, which is said past the test runner's capture.
fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("a test");
            writeln!(std::io::stderr(), "{test}: skipped, {program} is not installed")
                .expect("standard error takes a line");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

#[track_caller]
fn is_silent(output: Option<Output>) {
    let Some(output) = output else { return };
    let said = [output.stdout, output.stderr].concat();
    assert!(said.is_empty() && output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&said));
}

#[test]
fn mandoc_has_nothing_to_say_about_the_pages() {
    let options = ["-T", "lint", "-W", "warning"].map(PathBuf::from);
    is_silent(run("mandoc", options.into_iter().chain(files("man", ".1"))));
}

#[test]
fn man_renders_the_pages_without_a_warning() {
    for page in files("man", ".1") {
        let Some(output) = run("man", [OsStr::new("--warnings"), OsStr::new("-l"), page.as_os_str()]) else { return };
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
    }
}

#[test]
fn every_shell_can_read_its_completions() {
    for file in files("completions", ".bash") {
        is_silent(run("bash", [OsStr::new("-n"), file.as_os_str()]));
    }
    for file in files("completions", ".fish") {
        is_silent(run("fish", [OsStr::new("-n"), file.as_os_str()]));
    }
    for file in files("completions", "").into_iter().filter(|file| file.extension().is_none()) {
        is_silent(run("zsh", [OsStr::new("-n"), file.as_os_str()]));
    }
}

/// What bash completes when the last of these words is being typed.
fn bash(words: &[&str]) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../completions/reactord.bash");
    let complete = "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); compopt() { :; }; _reactord; \
                    echo \"${COMPREPLY[*]}\"";
    let arguments = [OsStr::new("-c"), OsStr::new(complete), script.as_os_str()];
    let output = run("bash", arguments.into_iter().chain(words.iter().map(OsStr::new)))?;
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn bash_completes_commands_options_and_values_where_they_belong() {
    for (words, completed) in [
        (&["reactord", "sup"][..], "supervise"),
        (&["reactord", "--takeover-p"], "--takeover-path"),
        (&["reactord", "status", "--js"], "--json"),
        (&["reactord", "supervise", "--hand-over", "q"], "queue"),
        (&["reactord", "supervise", "--hand-over", "=", "li"], "listen"),
        (&["reactord", "supervise", "--hand-over", "="], "queue listen"),
        // Files are bash's own.
        (&["reactord", "status", "/ru"], ""),
        (&["reactord", "-T", "/ru"], ""),
        (&["reactord", "supervise", "-p", "1", "--", "reactord", "--wor"], ""),
    ] {
        let Some(said) = bash(words) else { return };
        assert_eq!(said, completed, "{words:?}");
    }
}

#[test]
fn fish_completes_commands_and_values_where_they_belong() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../completions/reactord.fish");
    for (line, completed) in [
        ("reactord sup", "supervise"),
        ("reactord status --js", "--json"),
        ("reactord supervise --hand-over li", "listen"),
    ] {
        let complete = format!("source {}; complete -C '{line}' | cut -f1", script.display());
        let Some(output) = run("fish", ["--no-config", "-c", &complete]) else { return };
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), completed, "{line}");
    }
}
