//! Man pages and completions, made from what the programs say at `--help`, and kept as that is.
//!
//! A page in `man/` is written by hand but for the parts between its marks; a completion is
//! made as a whole. [`check`] is what a test calls, with a program that has been built: it fails with what differs, and
//! with `MANUAL=write` in the environment it writes what is missing instead. Nothing here is part of a program.

mod completion;
mod help;
mod page;

use std::path::{Path, PathBuf};
use std::process::Command;

use help::{Help, Screen};

/// The environment variable that has the files written instead of compared.
const VARIABLE: &str = "MANUAL";

/// A program, or one of its commands, as its `--help` tells of it.
struct Described {
    /// As it is typed, such as `reactord status`.
    name: String,
    help: Help,
}

/// A file as it should be.
struct Wanted {
    path: PathBuf,
    text: String,
}

/// Compares the pages and completions below `root` with what this program says of itself.
///
/// # Errors
/// What is missing or differs, with the command that mends it.
pub fn check(program: &Path, root: &Path) -> Result<(), String> {
    let described = describe(program)?;
    let mut wanted = pages(&described, root)?;
    wanted.extend(completion::of(&described).map(|(name, text)| Wanted { path: root.join(name), text }));
    if std::env::var_os(VARIABLE).is_some_and(|value| value == "write") {
        return wanted.iter().try_for_each(write);
    }
    let differing: Vec<String> = wanted.iter().filter_map(difference).chain(orphans(&described, root)?).collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(format!("{}\n`{VARIABLE}=write cargo test --workspace --test manual` writes them", differing.join("\n")))
}

/// The program, and then its commands.
fn describe(program: &Path) -> Result<Vec<Described>, String> {
    let name = program.file_name().and_then(|name| name.to_str()).ok_or("a program has a name")?;
    let whole = Described { name: name.to_owned(), help: Help::parse(&ask(program, &[])?) };
    let commands = whole.help.commands.iter().map(|command| {
        let help = Help::parse(&ask(program, &[&command.name])?);
        Ok(Described { name: format!("{name} {}", command.name), help })
    });
    let commands = commands.collect::<Result<Vec<_>, String>>()?;
    Ok(std::iter::once(whole).chain(commands).collect())
}

fn ask(program: &Path, command: &[&str]) -> Result<Screen, String> {
    let output = Command::new(program).args(command).arg("--help").output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("{} {command:?} --help: {}", program.display(), output.status));
    }
    Ok(Screen(String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn pages(described: &[Described], root: &Path) -> Result<Vec<Wanted>, String> {
    let pages = described.iter().map(|described| {
        let path = root.join(page::path(&described.name));
        let text = match std::fs::read_to_string(&path) {
            Ok(page) => page::renewed(&page, described).map_err(|error| format!("{}: {error}", path.display()))?,
            Err(_) => page::first(described),
        };
        Ok(Wanted { path, text })
    });
    pages.collect()
}

fn write(wanted: &Wanted) -> Result<(), String> {
    let directory = wanted.path.parent().ok_or("a file is in a directory")?;
    let written = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&wanted.path, &wanted.text));
    written.map_err(|error| format!("{}: {error}", wanted.path.display()))
}

fn difference(wanted: &Wanted) -> Option<String> {
    let Ok(text) = std::fs::read_to_string(&wanted.path) else {
        return Some(format!("{} is missing", wanted.path.display()));
    };
    let lines = || text.lines().map(Some).chain(std::iter::repeat(None));
    let (number, (is, should_be)) = (1..)
        .zip(lines().zip(wanted.text.lines().map(Some).chain([None])))
        .find(|(_, (is, should_be))| is != should_be)?;
    let quoted = |line: Option<&str>| line.map_or("the end of the file".to_owned(), |line| format!("{line:?}"));
    Some(format!(
        "{}, line {number}: it has {}, but --help makes that {}",
        wanted.path.display(),
        quoted(is),
        quoted(should_be)
    ))
}

/// Pages about commands that the program does not have.
fn orphans(described: &[Described], root: &Path) -> Result<Vec<String>, String> {
    let program = described.first().map_or("", |program| program.name.as_str());
    let others: &[&str] = if program == "reactord" { &["reactord-client", "reactord-proxy"] } else { &[] };
    let directory = root.join(page::DIRECTORY);
    let files = std::fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
    let orphans = names
        .filter(|name| name.starts_with(program) && !others.iter().any(|other| name.starts_with(other)))
        .filter(|name| !described.iter().any(|one| page::path(&one.name).ends_with(name.as_str())));
    Ok(orphans.map(|name| format!("{}/{name} is about a command that does not exist", directory.display())).collect())
}
