//! Another binary in place of the supervisor's: the same process executes it, once that was tried out.
//!
//! What the process has goes along as it is: descriptors that are not close-on-exec, children, blocked signals. What
//! the binary knows (`state`) is written into a file in memory, whose number is in the environment. Before that, the
//! new binary is run once as a child that only reads such a file and its command line, and says by its exit code whether it
//! would go on with both; so one that does not start, or hangs, leaves the running one as it was. If it would not, it says why
//! in that file.
//!
//! What [cannot change](Fixed) is what it was; all else is as the command line says that the new binary is executed with.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mio::unix::pipe::Receiver;
use nix::sys::signal::Signal;
use reactord_process::frame::printable;
use reactord_process::inherited;
use reactord_process::last_words::{LastWords, with_last_line};
use reactord_process::requests::{self, Argument};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::children::send_signal;
use crate::error::Error;
use crate::fixed::Fixed;
use crate::fleet::Exit;
use crate::state::State;

/// The environment variables with the number of the file: to go on with it, or only to say whether it is understood.
const RESUME: &str = "REACTORD_RESUME";
const TRIAL: &str = "REACTORD_RESUME_TRIAL";

/// How often what a trial says is read in one turn: half of what a pipe holds, pipe(7).
const READS_PER_TURN: u32 = 8;

/// How many such turns are at once when it has ended: twice what the pipe holds.
const LAST_TURNS: u32 = 4;

/// What is not for workers.
pub(crate) const VARIABLES: [&str; 2] = [RESUME, TRIAL];

/// The exit code of a binary that would go on, and of one that says in the file why it would not. No other program is likely
/// to exit with either.
const EXIT_UNDERSTOOD: u8 = 113;
const EXIT_OBJECTS: u8 = 114;

/// What the reason may have of that file.
const REASON_BYTES_MAX: u64 = 4096;

/// What this process was before it executed the binary that runs now.
#[derive(Debug)]
pub(crate) struct Resumption {
    state: Box<State>,
}

/// How a supervisor is begun.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// From nothing.
    Fresh,
    /// By going on with what an earlier binary had.
    Resumed(Resumption),
    /// Not at all: it is only asked whether this binary would go on.
    Trial(Examination),
}

/// What a binary has to say of that is tried out.
#[derive(Debug)]
pub(crate) struct Examination {
    paper: File,
    state: Box<State>,
}

impl Examination {
    /// Says whether this process would go on with a command line that says this. Returns the exit code to leave with.
    ///
    /// # Errors
    /// If it cannot say why not.
    pub(crate) fn answer(mut self, fixed: &Fixed) -> Result<u8, Error> {
        match self.state.fixed.as_ref().and_then(|before| fixed.contradiction(before)) {
            None => Ok(EXIT_UNDERSTOOD),
            Some(objection) => {
                self.object(&objection).map_err(Error::while_doing("the trial"))?;
                Ok(EXIT_OBJECTS)
            }
        }
    }

    fn object(&mut self, objection: &str) -> io::Result<()> {
        self.paper.set_len(0)?;
        self.paper.rewind()?;
        self.paper.write_all(objection.as_bytes())
    }
}

/// Whether this process has, or reads, what an earlier binary had, as the environment says.
pub(crate) fn goes_on() -> bool {
    VARIABLES.iter().any(|variable| std::env::var_os(variable).is_some())
}

/// Whether this process was a supervisor already, as the environment says.
///
/// # Errors
/// If the state that it left is not understood.
pub(crate) fn beginning() -> Result<Beginning, Error> {
    let read = |number: OsString| {
        let number: RawFd = number.to_str().and_then(|number| number.parse().ok()).ok_or("it has no number")?;
        let file = inherited::take(number).map_err(|error| error.to_string())?;
        let mut file = File::from(file);
        let state = State::read(&mut file).map_err(|error| error.to_string())?;
        Ok((file, Box::new(state)))
    };
    let in_context = |error: String| Error::State(error);
    if let Some(number) = std::env::var_os(TRIAL) {
        let (paper, state) = read(number).map_err(in_context)?;
        return Ok(Beginning::Trial(Examination { paper, state }));
    }
    match std::env::var_os(RESUME) {
        Some(number) => Ok(Beginning::Resumed(Resumption { state: read(number).map_err(in_context)?.1 })),
        None => Ok(Beginning::Fresh),
    }
}

impl Resumption {
    /// A descriptor that was kept under this name.
    pub(crate) fn take_kept(&mut self, name: &str) -> Option<OwnedFd> {
        self.state.take_kept(name)
    }

    pub(crate) fn into_state(self) -> State {
        *self.state
    }
}

/// The binary that is executed, as the one that runs was found: by its name, so that what is there now counts.
pub(crate) fn own_path() -> io::Result<PathBuf> {
    let name = std::env::args_os().next().unwrap_or_default();
    let found = std::env::current_dir()
        .ok()
        .and_then(|directory| which::which_in(&name, std::env::var_os("PATH"), directory).ok());
    found.map_or_else(std::env::current_exe, Ok)
}

/// What is to take the supervisor's place.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) path: PathBuf,
    /// Besides its own name.
    pub(crate) arguments: Vec<OsString>,
}

impl Replacement {
    /// What is asked for, and otherwise this binary, found at `own_path`, with the arguments that this process has.
    pub(crate) fn asked_for(requests::Upgrade { binary, arguments, .. }: &requests::Upgrade, own_path: &Path) -> Self {
        let text = |bytes: &Vec<u8>| OsStr::from_bytes(bytes).to_owned();
        let arguments = arguments.as_ref().map(|given| given.iter().map(|Argument(bytes)| text(bytes)).collect());
        Self {
            path: binary.as_ref().map_or_else(|| own_path.to_owned(), |binary| text(binary).into()),
            arguments: arguments.unwrap_or_else(|| std::env::args_os().skip(1).collect()),
        }
    }
}

/// A binary that is tried out: a child that only says whether it would go on with this state and these arguments.
#[derive(Debug)]
pub(crate) struct Trial {
    pid: u32,
    paper: File,
    standard_error: Receiver,
    said: LastWords,
}

/// Why a binary is not executed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Objection {
    pub(crate) why: String,
    /// It is refused, rather than that the binary has failed.
    pub(crate) is_refused: bool,
    /// What the binary wrote to standard error.
    pub(crate) said: String,
}

/// As the log tells it: whoever asks is told all that was said.
impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_last_line(&self.why, &self.said))
    }
}

impl Trial {
    /// Tries it with `state`.
    pub(crate) fn begin(Replacement { path, arguments }: &Replacement, state: &State) -> io::Result<Self> {
        let paper = state.write()?;
        let mut trial = Command::new(path);
        trial.arg0(path).args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        trial.env_remove(RESUME).env(TRIAL, paper.as_raw_fd().to_string());
        let mut child = trial.spawn()?;
        let standard_error = Receiver::from(child.stderr.take().expect("it was asked for"));
        let trial = Self { pid: child.id(), paper, standard_error, said: LastWords::default() };
        match trial.standard_error.set_nonblocking(true) {
            Ok(()) => Ok(trial),
            Err(error) => {
                trial.kill();
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What wakes the loop when it says something.
    pub(crate) fn source(&mut self) -> &mut Receiver {
        &mut self.standard_error
    }

    /// Hears what it has said by now, unless it goes on and on. Returns whether that is all.
    pub(crate) fn hear(&mut self) -> bool {
        let mut buffer = [0; 4096];
        for _ in 0..READS_PER_TURN {
            let Ok(bytes @ 1..) = self.standard_error.read(&mut buffer) else {
                return true;
            };
            self.said.keep(&buffer[..bytes]);
        }
        false
    }

    /// Hears what it has said last: the pipe may be full, and who has it open, too, may go on to fill it.
    fn hear_out(&mut self) {
        for _ in 0..LAST_TURNS {
            if self.hear() {
                return;
            }
        }
    }

    /// What it has shown by its end.
    ///
    /// # Errors
    /// Why its binary is not to be executed.
    pub(crate) fn judge(mut self, exit: &Exit) -> Result<(), Objection> {
        if *exit == Exit::Code(EXIT_UNDERSTOOD.into()) {
            return Ok(());
        }
        self.hear_out();
        let objection = (*exit == Exit::Code(EXIT_OBJECTS.into())).then(|| self.objection()).flatten();
        let is_refused = objection.is_some();
        let why = objection.unwrap_or_else(|| format!("its trial, pid {}, {exit}", self.pid));
        Err(Objection { why, is_refused, said: self.said.text() })
    }

    /// What it has written in the place of the state.
    fn objection(&mut self) -> Option<String> {
        let mut objection = String::new();
        self.paper.rewind().ok()?;
        (&mut self.paper).take(REASON_BYTES_MAX).read_to_string(&mut objection).ok()?;
        Some(printable(&objection))
    }

    /// Ends it. Returns what it has said.
    pub(crate) fn kill(mut self) -> String {
        send_signal(self.pid, Signal::SIGKILL);
        self.hear_out();
        self.said.text()
    }
}

/// Becomes another binary. Returns only if it cannot be executed.
pub(crate) fn execute(
    Replacement { path, arguments }: &Replacement,
    state: &State,
    descriptors: &[BorrowedFd<'_>],
) -> io::Error {
    let executed = || {
        let file = state.write()?;
        let text = |text: &[u8]| CString::new(text).map_err(io::Error::other);
        let words: io::Result<Vec<CString>> = std::iter::once(path.as_os_str().to_owned())
            .chain(arguments.iter().cloned())
            .map(|argument| text(argument.as_bytes()))
            .collect();
        let variables: io::Result<Vec<CString>> = std::env::vars_os()
            .filter(|(name, _)| !VARIABLES.iter().any(|variable| name == variable))
            .chain([(RESUME.into(), file.as_raw_fd().to_string().into())])
            .map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect();
        let (words, variables) = (words?, variables?);
        for descriptor in descriptors {
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        // Not with std, which changes the dispositions of signals even if it fails.
        match nix::unistd::execve(&text(path.as_os_str().as_bytes())?, &words, &variables) {
            Err(errno) => Err(io::Error::from(errno)),
            Ok(never) => match never {},
        }
    };
    let Err::<std::convert::Infallible, io::Error>(error) = executed();
    for descriptor in descriptors {
        // It was possible a moment ago.
        let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trial that has said so much that the pipe is nearly full.
    fn talking() -> (mio::unix::pipe::Sender, Trial) {
        let (mut says, standard_error) = mio::unix::pipe::new().unwrap();
        let paper = File::open("/dev/null").unwrap();
        let trial = Trial { pid: 0, paper, standard_error, said: LastWords::default() };
        let said = b"so it goes on\n".repeat(4000);
        assert_eq!(says.write(&said).unwrap(), said.len());
        says.write_all(b"this is the end\n").unwrap();
        (says, trial)
    }

    #[test]
    fn a_trial_that_says_much_is_heard_in_turns_and_its_last_words_with_its_end() {
        let (_says, mut trial) = talking();
        assert!(!trial.hear(), "it has said more");
        assert!(trial.hear() && trial.said.text().ends_with("this is the end"), "{}", trial.said.text());
        let (_says, trial) = talking();
        let Err(Objection { said, .. }) = trial.judge(&Exit::Code(1)) else { panic!("it has failed") };
        assert!(said.ends_with("this is the end"), "{said}");
    }

    #[test]
    fn what_is_not_asked_for_is_as_this_process_was_started() {
        let own = Replacement::asked_for(&requests::Upgrade::default(), Path::new("/own"));
        assert_eq!((own.path, own.arguments), ("/own".into(), std::env::args_os().skip(1).collect()));
        let request = requests::Upgrade {
            binary: Some(b"/other".to_vec()),
            arguments: Some(vec![Argument(b"supervise".to_vec()), Argument(b"\xff".to_vec())]),
            timeout_ms: 1,
        };
        let other = Replacement::asked_for(&request, Path::new("/own"));
        assert_eq!(other.path, Path::new("/other"));
        assert_eq!(other.arguments, [OsStr::new("supervise"), OsStr::from_bytes(b"\xff")]);
    }
}
