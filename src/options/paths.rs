//! Paths of Unix sockets on the command line.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use reactord::TAKEOVER_PATH_BYTES_MAX;

pub(super) fn checked_path(value: &str) -> Result<PathBuf, String> {
    check_length(PathBuf::from(value))
}

/// # Errors
/// If no socket can have this path.
pub(super) fn check_length(path: PathBuf) -> Result<PathBuf, String> {
    let bytes = path.as_os_str().as_bytes().len();
    if !(1..=TAKEOVER_PATH_BYTES_MAX).contains(&bytes) {
        return Err(format!("the path has {bytes} bytes, 1 to {TAKEOVER_PATH_BYTES_MAX} are allowed"));
    }
    Ok(path)
}
