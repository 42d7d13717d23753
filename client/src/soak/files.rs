//! The files that a soak was asked for: figures, page and picture.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::html;
use super::json;
use super::options::Options;
use super::outcome::Outcome;
use super::picture;

/// Whether the files that were asked for can be written, as far as can be seen without a trace: rather now than
/// after hours of load.
///
/// # Errors
/// The path, and what is in the way.
pub(crate) fn check(options: &Options) -> Result<(), String> {
    let paths = [&options.json, &options.report, &options.picture];
    paths.into_iter().flatten().try_for_each(|path| check_writable(path))
}

fn check_writable(path: &Path) -> Result<(), String> {
    let in_the_way = |errno: Errno| format!("{}: {}", path.display(), std::io::Error::from(errno));
    if path.is_dir() {
        return Err(in_the_way(Errno::EISDIR));
    }
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = if path.exists() { path } else { directory };
    access(written, AccessFlags::W_OK).map_err(in_the_way)
}

/// Writes the files that were asked for.
pub(crate) fn write(outcome: &Outcome) -> Result<(), String> {
    let options = &outcome.options;
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> Result<String, String>| match path {
        Some(path) => write_file(path, &text()?),
        None => Ok(()),
    };
    write(&options.json, &|| Ok(format!("{:#}\n", json::figures(outcome))))?;
    write(&options.report, &|| html::page(outcome).map_err(|error| format!("the page cannot be drawn: {error}")))?;
    write(&options.picture, &|| {
        picture::standalone(outcome).map_err(|error| format!("the picture cannot be drawn: {error}"))
    })
}

fn write_file(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::made_up::{deaths, moves, outcome, took_over};
    use super::*;
    use crate::timeline::Timeline;

    #[test]
    fn a_page_is_drawn_of_next_to_nothing() {
        let mut nothing = outcome(Vec::new());
        nothing.report.duration = Duration::ZERO;
        nothing.timeline = Timeline::new(Instant::now());
        let moved = Outcome { moves: Some(moves()), ..outcome(vec![took_over(100)]) };
        let killed = Outcome { deaths: Some(deaths()), ..outcome(Vec::new()) };
        for outcome in [nothing, outcome(vec![took_over(100)]), moved, killed] {
            assert!(html::page(&outcome).unwrap().ends_with("</html>\n"));
            assert!(picture::standalone(&outcome).unwrap().starts_with("<svg"));
        }
    }
}
