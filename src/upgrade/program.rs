//! What a server's successor is started as: a program, its arguments, and where.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The link to what this process executes (proc(5)).
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// How a server starts its successor for an [upgrade](crate::Config::successor).
///
/// The successor has the server's environment, control group, standard input and output, and so on, as any process that
/// it starts would. What it is to know besides is in variables of its environment, of which it makes an
/// [`Inheritance`](crate::Inheritance).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What is executed: a path, of which each upgrade follows the links anew, or a name that is looked for in `PATH`.
    pub path: PathBuf,
    /// Its arguments, its own name first.
    pub arguments: Vec<OsString>,
    /// Where it starts. `None`: where the server is.
    pub directory: Option<PathBuf>,
    /// Whether the server hears what the successor writes to standard error until it serves, so that it can tell why an
    /// upgrade has failed; it passes all of that on to its own. The successor must then call
    /// [`Inheritance::serves`](crate::Inheritance::serves), or its standard error ends with the server.
    pub is_heard: bool,
}

impl Program {
    /// What this process was started as, to be looked up anew for each upgrade: there may be another version by then.
    ///
    /// That is the first argument where it is a path, within the directory as whoever started the process knows it
    /// (`PWD`), in which a link may have been turned meanwhile; or a name in `PATH`. A process that is called otherwise
    /// than its program starts what it was executed from.
    #[must_use]
    pub fn of_this_process() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let directory = directory();
        let name = arguments.first().map(OsString::as_os_str).unwrap_or_default();
        let search = std::env::var_os("PATH").unwrap_or_default();
        let path = find(name, directory.as_deref(), &search).unwrap_or_else(executable);
        Self { path, arguments, directory, is_heard: true }
    }
}

/// The working directory, by the name that a shell has given it if that is its name.
fn directory() -> Option<PathBuf> {
    let named = std::env::var_os("PWD").map(PathBuf::from).filter(|named| named.is_absolute());
    named.filter(|named| is_same(named, Path::new("."))).or_else(|| std::env::current_dir().ok())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    file(one).is_some_and(|one| file(other) == Some(one))
}

/// The path of the program that was called by this name, or the name itself if `PATH` leads to it.
fn find(name: &OsStr, directory: Option<&Path>, search: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(directory.unwrap_or(Path::new("/")).join(name)).filter(|path| path.is_file());
    }
    let is_there = !name.is_empty() && std::env::split_paths(search).any(|directory| directory.join(name).is_file());
    is_there.then(|| PathBuf::from(name))
}

/// The file that this process was executed from, or the process's hold on it if it has no name any more.
fn executable() -> PathBuf {
    let own = PathBuf::from(OWN_EXECUTABLE);
    std::fs::read_link(&own).ok().filter(|path| path.is_file()).unwrap_or(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_the_path_or_the_name_that_it_was_called_by() {
        let place = tempfile::tempdir().unwrap();
        let release = place.path().join("release");
        std::fs::create_dir(&release).unwrap();
        std::fs::write(release.join("server"), "").unwrap();
        let current = place.path().join("current");
        std::os::unix::fs::symlink(&release, &current).unwrap();
        let found = |name: &str, search: &str| find(name.as_ref(), Some(&current), search.as_ref());
        // Links stay what they are: the next upgrade follows them anew.
        assert_eq!(found("./server", ""), Some(current.join("./server")));
        let absolute = current.join("server");
        assert_eq!(found(absolute.to_str().unwrap(), ""), Some(absolute));
        assert_eq!(found("server", &format!("/nowhere:{}", release.display())), Some(PathBuf::from("server")));
        for (name, search) in [("./client", ""), ("server", "/nowhere"), ("", "/")] {
            assert_eq!(found(name, search), None, "{name}");
        }
    }

    #[test]
    fn this_process_can_be_started_again() {
        let program = Program::of_this_process();
        assert!(program.path.is_file(), "{program:?}");
        assert!(is_same(&program.directory.unwrap(), Path::new(".")));
    }
}
