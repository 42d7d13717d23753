//! Sockets on which a service manager has begun to listen for this process (sd_listen_fds(3)).

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use reactord_process::adopted::Adopted;
use reactord_process::inherited;

/// The number of the first of them.
const START: RawFd = 3;

/// More than any unit has.
const COUNT_MAX: RawFd = 1024;

/// A socket with the name that the service manager has for it, which several may share.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its name, which may be empty.
    pub name: String,
    /// It, which listens.
    pub socket: Adopted,
}

/// Those that were passed to this process, in their order, if any were. They can be taken once, and before this process
/// opens anything.
///
/// # Errors
/// Which of them cannot be listened on, and why.
pub fn take() -> Result<Vec<Passed>, String> {
    let variable = |name: &str| std::env::var(name).ok();
    let own_pid = std::process::id().to_string();
    let (count, names) = announced(variable, &own_pid)?;
    let names = names.into_iter().chain(std::iter::repeat(String::new()));
    let take = |(number, name): (RawFd, String)| match adopt(number) {
        Ok(socket) => Ok(Passed { name, socket }),
        Err(why) => Err(format!("the service manager has passed descriptor {number} ({name:?}) to listen on: {why}")),
    };
    (START..START + count).zip(names).map(take).collect()
}

/// The sockets by names that no two of them have: the second of a name has its number behind it.
pub fn with_distinct_names(passed: Vec<Passed>) -> impl Iterator<Item = (String, Adopted)> {
    let mut seen = BTreeMap::<String, usize>::new();
    passed.into_iter().map(move |Passed { name, socket }| {
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        let name = if *count == 1 { name } else { format!("{name}-{count}") };
        (name, socket)
    })
}

/// How many there are, and the names that are known.
fn announced(variable: impl Fn(&str) -> Option<String>, own_pid: &str) -> Result<(RawFd, Vec<String>), String> {
    // Otherwise they were for a process that this one comes from.
    let Some(count) = variable("LISTEN_FDS").filter(|_| variable("LISTEN_PID").as_deref() == Some(own_pid)) else {
        return Ok((0, Vec::new()));
    };
    let expected = || format!("the environment's LISTEN_FDS is {count:?}, 0 to {COUNT_MAX} are expected");
    let count = count.parse().ok().filter(|count| (0..=COUNT_MAX).contains(count)).ok_or_else(expected)?;
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    Ok((count, names.split(':').map(str::to_owned).collect()))
}

fn adopt(number: RawFd) -> Result<Adopted, String> {
    let taken = inherited::take(number).map_err(|error| error.to_string())?;
    Adopted::new(taken).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_for_the_process_that_is_named_and_have_the_names_that_they_were_given() {
        let with = |pid: &str, count: &str, names: Option<&str>| {
            announced(
                |name| match name {
                    "LISTEN_PID" => Some(pid.to_owned()),
                    "LISTEN_FDS" => Some(count.to_owned()),
                    _ => names.map(str::to_owned),
                },
                "7",
            )
        };
        assert_eq!(with("7", "2", Some("http:admin")), Ok((2, vec!["http".to_owned(), "admin".to_owned()])));
        assert_eq!(with("7", "1", None), Ok((1, vec![String::new()])));
        assert_eq!(with("8", "2", None), Ok((0, Vec::new())));
        for count in ["-1", "1025", "many"] {
            assert!(with("7", count, None).unwrap_err().contains(count));
        }
        assert_eq!(announced(|_| None, "7"), Ok((0, Vec::new())));
    }
}
