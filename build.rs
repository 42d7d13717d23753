//! The version with the commit that it is built from, as `REACTORD_VERSION`: `0.1.0+5dbce3e`, and with `.modified` behind it if
//! the sources are not as they were committed. Nothing of it depends on when or where it is built.
//!
//! The commit is, in this order, what `REACTORD_COMMIT` says (nothing, if it is empty); what `cargo package` has noted in the
//! package; what git says, if this is the working tree of reactord itself and not something within another. Otherwise the version
//! stands alone. A crate that does this would have to be told all of that, and brings more than it saves.
//!
//! This runs again when HEAD moves, and when a source is changed for the first time after that.

use std::path::Path;
use std::process::Command;

/// What goes into the program.
const SOURCES: [&str; 10] = [
    "build.rs",
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "cli/Cargo.toml",
    "cli/src",
    "process/Cargo.toml",
    "process/src",
    "supervisor/Cargo.toml",
    "supervisor/src",
];

/// What `cargo package` leaves in a package.
const PACKAGED: &str = ".cargo_vcs_info.json";

/// How much of a commit is told. What git thinks is enough depends on what else it knows.
const COMMIT_DIGITS: usize = 7;

fn main() {
    println!("cargo:rerun-if-env-changed=REACTORD_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let version = env!("CARGO_PKG_VERSION");
    let given = std::env::var("REACTORD_COMMIT").ok();
    let commit = given.or_else(of_package).or_else(of_working_tree).filter(|commit| !commit.is_empty());
    let version = commit.map_or_else(|| version.to_owned(), |commit| format!("{version}+{commit}"));
    println!("cargo:rustc-env=REACTORD_VERSION={version}");
}

/// The commit of a package.
fn of_package() -> Option<String> {
    let noted = std::fs::read_to_string(PACKAGED).ok()?;
    // Cargo takes the package for the working tree that it was made from, which has no such file.
    println!("cargo:rerun-if-changed={PACKAGED}");
    let (_, commit) = noted.split_once("\"sha1\": \"")?;
    Some(told(commit, noted.contains("\"dirty\": true")))
}

/// The commit of a working tree.
fn of_working_tree() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    watch(&["logs/HEAD"]).or_else(|| watch(&["HEAD", "packed-refs", "refs/heads"]))?;
    let status = ["status", "--porcelain", "--"];
    let is_modified = git(&[&status[..], &SOURCES].concat()).is_none_or(|changes| !changes.is_empty());
    // What is modified stays so until HEAD moves: otherwise every change would have everything built anew.
    if !is_modified {
        SOURCES.iter().for_each(|source| println!("cargo:rerun-if-changed={source}"));
    }
    Some(told(&commit, is_modified))
}

/// Has this run again when one of these files of git changes that are there.
fn watch(files: &[&str]) -> Option<()> {
    let paths = files.iter().filter_map(|file| git(&["rev-parse", "--git-path", file]));
    let paths: Vec<String> = paths.filter(|path| Path::new(path).exists()).collect();
    paths.iter().for_each(|path| println!("cargo:rerun-if-changed={path}"));
    (!paths.is_empty()).then_some(())
}

/// What git answers, without changing anything in its directory.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("--no-optional-locks").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn told(commit: &str, is_modified: bool) -> String {
    let digits: String = commit.chars().take(COMMIT_DIGITS).collect();
    if is_modified { format!("{digits}.modified") } else { digits }
}
