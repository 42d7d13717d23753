//! What tells the service manager how this process is, if one has started it and wants to know (sd_notify(3)).
//!
//! It is told from loops, so it is waited for only with what it must not miss, and not for long. It is no crate that does
//! this, because none that is well kept sends to an abstract socket without waiting.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use log::{debug, warn};
use rustix::net::{SendFlags, SocketAddrUnix, sendto};
use rustix::time::{ClockId, clock_gettime};

/// Where the service manager listens: a path, or the name of an abstract socket behind an `@`.
const SOCKET: &str = "NOTIFY_SOCKET";

/// How much time may pass between two signs of life, in us, and whose they are to be (sd_watchdog_enabled(3)).
const WATCHDOG_TIME: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// How long a service manager may take to make room for what it must not miss.
const PATIENCE: Duration = Duration::from_secs(1);

/// What it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Word<'w> {
    /// This process serves, or serves again as before.
    Ready,
    /// It is being replaced, or what it runs is: ready comes when that has ended, whether well or not.
    Reloading,
    /// It is going to exit.
    Stopping,
    /// The loop turns.
    Watchdog,
    /// The main process of the service is the one with this id from now on.
    MainPid(u32),
    /// What a person is to read.
    Status(&'w str),
}

impl Word<'_> {
    /// Whether a service is misjudged by who misses it.
    fn must_arrive(self) -> bool {
        !matches!(self, Self::Watchdog | Self::Status(_))
    }
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("READY=1"),
            Self::Reloading => {
                let now = clock_gettime(ClockId::Monotonic);
                write!(f, "RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000)
            }
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Watchdog => f.write_str("WATCHDOG=1"),
            Self::MainPid(pid) => write!(f, "MAINPID={pid}"),
            Self::Status(line) => {
                f.write_str("STATUS=")?;
                // The next line would be another word.
                line.chars().try_for_each(|letter| f.write_char(if letter.is_control() { ' ' } else { letter }))
            }
        }
    }
}

/// The service manager that has started this process.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddrUnix,
    watchdog: Option<Watchdog>,
}

/// Signs of life that a service manager waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watchdog {
    time: Duration,
    /// Whether this process is the one that is to give them.
    is_for_this_process: bool,
}

impl ServiceManager {
    /// The one that the environment names, if it names one.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        Self::of(|name| std::env::var_os(name))
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let name = variable(SOCKET).filter(|name| !name.is_empty())?;
        match connect(&name) {
            Ok((socket, address)) => Some(Self { socket, address, watchdog: Watchdog::of(variable) }),
            Err(error) => {
                warn!("The service manager cannot be told anything on {}: {error}", name.display());
                None
            }
        }
    }

    /// How often it is to be told that the loop turns, if it waits for that: so often that one that comes late is in time.
    /// Whoever has taken over from the process that it waits for does that in its place.
    #[must_use]
    pub fn watchdog_beat(&self, has_taken_over: bool) -> Option<Duration> {
        let watchdog = self.watchdog.filter(|watchdog| watchdog.is_for_this_process || has_taken_over)?;
        Some(watchdog.time / 2)
    }

    /// Tells it all this at once. What it does not take is logged, and is no reason not to go on.
    pub fn tell(&self, words: &[Word<'_>]) {
        let lines: Vec<String> = words.iter().map(Word::to_string).collect();
        let (text, must_arrive) = (lines.join("\n"), words.iter().any(|word| word.must_arrive()));
        let flags = SendFlags::NOSIGNAL | if must_arrive { SendFlags::empty() } else { SendFlags::DONTWAIT };
        match sendto(&self.socket, text.as_bytes(), flags, &self.address) {
            Ok(_) => {}
            Err(errno) if must_arrive => warn!("The service manager was not told {text:?}: {errno}"),
            Err(errno) => debug!("The service manager was not told {text:?}: {errno}"),
        }
    }
}

impl Watchdog {
    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let time = number(WATCHDOG_TIME).filter(|time| *time > 0).map(Duration::from_micros)?;
        let is_for_this_process = number(WATCHDOG_PID).is_none_or(|pid| pid == u64::from(std::process::id()));
        Some(Self { time, is_for_this_process })
    }
}

fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddrUnix)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        path @ [b'/', ..] => SocketAddrUnix::new(path)?,
        _ => return Err(io::Error::other("neither a path nor an abstract socket")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    use super::*;

    /// A manager that listens on this name, as its services see it.
    fn manager(name: &str, further: &[(&str, String)]) -> ServiceManager {
        ServiceManager::of(|variable| match variable {
            SOCKET => Some(name.into()),
            other => further.iter().find(|(name, _)| *name == other).map(|(_, value)| value.into()),
        })
        .expect("it can be told")
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_socket_are_told_all_words_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("reactord-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (listens, name) in [
            (UnixDatagram::bind(&path), path.display().to_string()),
            (UnixDatagram::bind_addr(&abstract_name), format!("@{name}")),
        ] {
            manager(&name, &[]).tell(&[Word::MainPid(7), Word::Ready, Word::Status("Generation 2\nREADY=0")]);
            assert_eq!(heard(&listens.unwrap()), "MAINPID=7\nREADY=1\nSTATUS=Generation 2 READY=0");
        }
    }

    #[test]
    fn a_reload_says_when_it_began() {
        let said = Word::Reloading.to_string();
        let began_us: u64 = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(began_us > 0);
    }

    #[test]
    fn a_watchdog_is_for_the_process_it_names_or_for_its_successor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = path.to_str().unwrap();
        let beats = |pid: Option<u32>, time: &str| {
            let pid = pid.map(|pid| (WATCHDOG_PID, pid.to_string()));
            let further: Vec<_> = pid.into_iter().chain([(WATCHDOG_TIME, time.to_owned())]).collect();
            let manager = manager(name, &further);
            [false, true].map(|has_taken_over| manager.watchdog_beat(has_taken_over))
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(beats(Some(std::process::id()), "2000000"), [second; 2]);
        assert_eq!(beats(None, "2000000"), [second; 2]);
        assert_eq!(beats(Some(1), "2000000"), [None, second]);
        assert_eq!(beats(None, "0"), [None; 2]);
    }

    #[test]
    fn a_manager_that_takes_nothing_is_not_waited_for_with_what_it_may_miss() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _listens = UnixDatagram::bind(&path).unwrap();
        let manager = manager(path.to_str().unwrap(), &[]);
        // Its queue is full after a few hundred at most, and nobody reads it.
        (0..10_000).for_each(|_| manager.tell(&[Word::Watchdog, Word::Status("Generation 1")]));
    }

    #[test]
    fn what_is_no_socket_is_said_and_nobody_is_told() {
        assert!(ServiceManager::of(|_| Some("vsock:2:1234".into())).is_none());
        assert!(ServiceManager::of(|_| None).is_none());
        assert!(ServiceManager::of(|_| Some("".into())).is_none());
    }
}
