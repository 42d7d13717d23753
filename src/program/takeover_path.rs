//! Takeover paths on a command line, and the one where there is none.

use std::fs::{DirBuilder, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

use nix::unistd::{Uid, geteuid};

use crate::TAKEOVER_PATH_BYTES_MAX;

/// A path on the command line.
///
/// # Errors
/// As [`check_length`].
pub fn checked_path(value: &str) -> Result<PathBuf, String> {
    check_length(PathBuf::from(value))
}

/// The same path.
///
/// # Errors
/// If no socket can have it.
pub fn check_length(path: PathBuf) -> Result<PathBuf, String> {
    let bytes = path.as_os_str().as_bytes().len();
    if !(1..=TAKEOVER_PATH_BYTES_MAX).contains(&bytes) {
        return Err(format!("the path has {bytes} bytes, 1 to {TAKEOVER_PATH_BYTES_MAX} are allowed"));
    }
    Ok(path)
}

/// A path with this name in a directory that is this user's alone.
///
/// # Errors
/// If there is no such directory. That of another user, which is in the environment after su(1) or `sudo -E`, is not
/// passed over in silence: whoever looks for the server looks there.
pub fn default_path(name: &str) -> Result<PathBuf, String> {
    let user = geteuid();
    let directory = match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty()) {
        Some(directory) => runtime_directory(PathBuf::from(directory), user)?,
        None if user.is_root() => PathBuf::from("/run"),
        None => temporary_directory(user)?,
    };
    check_length(directory.join(name))
}

/// The directory that the environment names, which another program has made.
fn runtime_directory(directory: PathBuf, user: Uid) -> Result<PathBuf, String> {
    let found = std::fs::metadata(&directory).ok().filter(|found| directory.is_absolute() && found.is_dir());
    let fault = match &found {
        None => Some("no directory".to_owned()),
        Some(found) => who_else(found, user),
    };
    match fault {
        None => Ok(directory),
        Some(fault) => Err(format!(
            "the environment's XDG_RUNTIME_DIR is {directory:?}, which is {fault}; choose a takeover path with -t"
        )),
    }
}

/// A directory of this user's where everybody may make one.
fn temporary_directory(user: Uid) -> Result<PathBuf, String> {
    let directory = std::env::temp_dir().join(format!("reactord-{user}"));
    // An existing one is as good, if it is ours; that is looked at next.
    let created = DirBuilder::new().mode(0o700).create(&directory);
    let found = std::fs::symlink_metadata(&directory).map_err(|error| created.err().unwrap_or(error));
    let fault = match found {
        Ok(found) if !found.is_dir() => "it is no directory".to_owned(),
        Ok(found) => match who_else(&found, user) {
            None => return Ok(directory),
            Some(fault) => format!("it is {fault}"),
        },
        Err(error) => error.to_string(),
    };
    Err(format!("{}: {fault}; choose a takeover path with -t", directory.display()))
}

/// Who may use a directory besides this user, or instead.
fn who_else(directory: &Metadata, user: Uid) -> Option<String> {
    let (owner, mode) = (directory.uid(), directory.mode() & 0o7777);
    if owner != user.as_raw() {
        return Some(format!("of uid {owner} and not of uid {user}"));
    }
    (mode & 0o077 != 0).then(|| format!("open to others by its mode {mode:o}, 700 is expected"))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_runtime_directory_is_used_if_it_is_this_users_alone() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().to_owned();
        let user = geteuid();
        let open_to = |mode| std::fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        open_to(0o700);
        assert_eq!(runtime_directory(directory.clone(), user), Ok(directory.clone()));

        let another = Uid::from_raw(user.as_raw() + 1);
        let error = runtime_directory(directory.clone(), another).unwrap_err();
        assert!(error.contains(&format!("which is of uid {user} and not of uid {another}; choose")), "{error}");
        open_to(0o755);
        let error = runtime_directory(directory.clone(), user).unwrap_err();
        assert!(error.contains("open to others by its mode 755, 700 is expected"), "{error}");
        for missing in [directory.join("missing"), PathBuf::from("relative")] {
            assert!(runtime_directory(missing, user).unwrap_err().contains("which is no directory"));
        }
    }
}
