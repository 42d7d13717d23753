//! A successor's process, as whoever started it sees it: two threads wait for what takes time, and the loop does not.
//!
//! One starts the process and waits for its end, the other passes on what it writes to standard error. What they have to
//! say wakes the loop.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::debug;
use mio::net::UnixStream;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use reactord_process::last_words::LastWords;

use super::inheritance::STANDARD_ERROR_VARIABLE;

/// What a pipe takes whole (`PIPE_BUF`, pipe(7)): a line of the successor is not torn by one of this process.
const LINE_BYTES_MAX: usize = 4096;

/// What both threads do needs little of a stack.
const STACK_BYTES: usize = 128 * 1024;

/// What is new of the process.
#[derive(Debug)]
pub(crate) enum News {
    Started {
        pid: u32,
    },
    NotStarted(io::Error),
    /// It will say nothing more: it has ended, or serves with a standard error of its own.
    Quiet,
    /// `None` where somebody else has waited for it.
    Ended(Option<ExitStatus>),
}

/// A process that is being started, or was.
#[derive(Debug)]
pub(crate) struct Launch {
    news: Receiver<News>,
    woken: UnixStream,
    process: Arc<Mutex<Process>>,
    said: Arc<Mutex<LastWords>>,
}

#[derive(Debug, Default)]
struct Process {
    child: Option<Child>,
    is_given_up: bool,
}

/// How a thread tells the loop what is new.
#[derive(Clone)]
struct Herald {
    news: Sender<News>,
    waking: Arc<UnixStream>,
}

impl Herald {
    fn tell(&self, news: News) {
        // A loop that has ended listens to nobody, and one that is woken already need not be again.
        let _ = self.news.send(news);
        let _ = (&*self.waking).write(&[0]);
    }
}

impl Launch {
    /// Starts the process. If it `is_heard`, what it writes to standard error is passed on and kept.
    ///
    /// # Errors
    /// If the means for that cannot be had.
    pub(crate) fn begin(mut command: Command, is_heard: bool) -> io::Result<Self> {
        let (woken, waking) = UnixStream::pair()?;
        let (sender, news) = channel();
        let herald = Herald { news: sender, waking: Arc::new(waking) };
        let (process, said) = (Arc::<Mutex<Process>>::default(), Arc::<Mutex<LastWords>>::default());
        command.stderr(if is_heard { Stdio::piped() } else { Stdio::inherit() });
        let (watched, heard) = (process.clone(), said.clone());
        let watch = move || start_and_wait(command, is_heard, &watched, heard, &herald);
        in_a_thread("successor", watch)?;
        Ok(Self { news, woken, process, said })
    }

    /// What wakes the loop when there is something new.
    pub(crate) fn source(&mut self) -> &mut UnixStream {
        &mut self.woken
    }

    /// What is new, if anything is.
    pub(crate) fn news(&mut self) -> Option<News> {
        // Whatever is written from here on comes with an event of its own.
        while matches!(self.woken.read(&mut [0; 16]), Ok(bytes) if bytes > 0) {}
        self.news.try_recv().ok()
    }

    /// The same, waiting so long for it at most.
    pub(crate) fn news_within(&self, patience: Duration) -> Option<News> {
        self.news.recv_timeout(patience).ok()
    }

    /// Waits until it has nothing more to say, at most so long.
    pub(crate) fn wait_for_quiet(&self, patience: Duration) {
        self.wait_for(patience, |news| matches!(news, News::Quiet | News::Ended(_) | News::NotStarted(_)));
    }

    /// Waits until it is started, or is known not to be, at most so long. What is [killed](Self::kill) is killed by then, also
    /// if it was only being started.
    pub(crate) fn wait_for_start(&self, patience: Duration) {
        self.wait_for(patience, |news| !matches!(news, News::Quiet));
    }

    /// Whether it ends within that time, or has not been there.
    pub(crate) fn ends_within(&self, patience: Duration) -> bool {
        self.wait_for(patience, |news| matches!(news, News::Ended(_) | News::NotStarted(_)))
    }

    fn wait_for(&self, patience: Duration, is_awaited: impl Fn(&News) -> bool) -> bool {
        let until = Instant::now() + patience;
        while let Some(news) = self.news_within(until.saturating_duration_since(Instant::now())) {
            if is_awaited(&news) {
                return true;
            }
        }
        false
    }

    /// Kills the process, also if it is only being started.
    pub(crate) fn kill(&self) {
        let mut process = lock(&self.process);
        process.is_given_up = true;
        process.kill();
    }

    /// Nobody here waits for it any more: how it ends is for whoever looks after all children of this process, as process 1
    /// does.
    pub(crate) fn leave(&self) {
        lock(&self.process).child = None;
    }

    /// The end of what it has said so far.
    pub(crate) fn said(&self) -> String {
        lock(&self.said).text()
    }
}

impl Process {
    fn kill(&mut self) {
        if let Some(child) = &mut self.child
            && let Err(error) = child.kill()
        {
            debug!("Successor pid {} is not killed: {error}", child.id());
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing can panic under it halfway through a change.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_a_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // It ends by itself, or with the process.
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(work).map(drop)
}

fn start_and_wait(
    command: Command,
    is_heard: bool,
    process: &Mutex<Process>,
    said: Arc<Mutex<LastWords>>,
    herald: &Herald,
) {
    let mut child = match spawn(command, is_heard) {
        Ok(child) => child,
        Err(error) => return herald.tell(News::NotStarted(error)),
    };
    let pid = child.id();
    match child.stderr.take() {
        Some(stderr) => pass_on_in_a_thread(stderr, said, herald.clone()),
        None => herald.tell(News::Quiet),
    }
    {
        let mut process = lock(process);
        process.child = Some(child);
        if process.is_given_up {
            process.kill();
        }
    }
    herald.tell(News::Started { pid });
    wait_for_end(pid);
    let child = lock(process).child.take();
    herald.tell(News::Ended(child.and_then(|mut child| child.wait().ok())));
}

/// Starts the process. This thread waits until it executes its program, as vfork(2) does; no page table is copied.
fn spawn(mut command: Command, is_heard: bool) -> io::Result<Child> {
    if !is_heard {
        return command.spawn();
    }
    // Without close-on-exec, so that it is inherited under its number; nobody else would take it for anything.
    let standard_error = rustix::io::dup(io::stderr())?;
    command.env(STANDARD_ERROR_VARIABLE, standard_error.as_raw_fd().to_string()).spawn()
}

/// Waits until the process has ended, and leaves it to be waited for: so its number stays its own until nobody will
/// signal it any more.
fn wait_for_end(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed());
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::errno::Errno::EINTR) {}
}

fn pass_on_in_a_thread(stderr: ChildStderr, said: Arc<Mutex<LastWords>>, herald: Herald) {
    let quiet = herald.clone();
    let passing = move || {
        pass_on(stderr, &said);
        herald.tell(News::Quiet);
    };
    if let Err(error) = in_a_thread("successor-says", passing) {
        debug!("What the successor says is not heard: {error}");
        quiet.tell(News::Quiet);
    }
}

/// Passes lines on to this process's standard error, which may make it wait, and keeps the last of them.
fn pass_on(mut stderr: ChildStderr, said: &Mutex<LastWords>) {
    let mut line = Vec::new();
    let mut buffer = [0; LINE_BYTES_MAX];
    loop {
        let bytes = match stderr.read(&mut buffer) {
            Ok(bytes @ 1..) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
        };
        lock(said).keep(&buffer[..bytes]);
        line.extend_from_slice(&buffer[..bytes]);
        let whole = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let whole = if line.len() - whole > LINE_BYTES_MAX { line.len() } else { whole };
        write_all(&line[..whole]);
        line.drain(..whole);
    }
    write_all(&line);
}

/// Writes lines to standard error, as far as it takes them.
fn write_all(mut bytes: &[u8]) {
    let standard_error = io::stderr();
    while !bytes.is_empty() {
        let whole = bytes.iter().take(LINE_BYTES_MAX).rposition(|byte| *byte == b'\n').map(|end| end + 1);
        let piece = &bytes[..whole.unwrap_or(bytes.len().min(LINE_BYTES_MAX))];
        // Not through the standard library's lock, which a log line must not wait for.
        match rustix::io::write(standard_error.as_fd(), piece) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            // A pipe or a terminal that somebody has told not to wait, for all who share it.
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Launch {
        // Not every sh(1) knows descriptors over 9.
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        Launch::begin(command, true).unwrap()
    }

    /// Its news up to its end, and how it ended.
    fn end(launch: &Launch) -> Option<ExitStatus> {
        let mut is_quiet = false;
        let mut ended = None;
        while !is_quiet || ended.is_none() {
            match launch.news_within(PATIENCE).expect("it ends") {
                News::Started { pid } => assert!(pid > 0),
                News::NotStarted(error) => panic!("{error}"),
                News::Quiet => is_quiet = true,
                News::Ended(status) => ended = Some(status),
            }
        }
        ended.flatten()
    }

    #[test]
    fn what_a_process_says_and_how_it_ends_is_heard() {
        let launch = shell("echo one >&2; echo two >&2; exit 7");
        assert_eq!(end(&launch).unwrap().code(), Some(7));
        assert_eq!(launch.said(), "one\ntwo");
    }

    #[test]
    fn a_process_that_cannot_be_started_is_news_with_the_reason() {
        let launch = Launch::begin(Command::new("/nowhere/at/all"), true).unwrap();
        let Some(News::NotStarted(error)) = launch.news_within(PATIENCE) else { panic!("it is told") };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_process_is_killed_whether_it_runs_by_then_or_not() {
        let launch = shell("exec sleep 1000");
        launch.kill();
        assert_eq!(end(&launch).unwrap().signal(), Some(9));
        let launch = shell("exec sleep 1000");
        assert!(matches!(launch.news_within(PATIENCE), Some(News::Started { .. } | News::Quiet)));
        launch.kill();
        assert_eq!(end(&launch).unwrap().signal(), Some(9));
    }

    #[test]
    fn once_its_start_was_waited_for_one_that_was_killed_while_it_was_started_runs_no_more() {
        let launch = shell("exec sleep 1000");
        launch.kill();
        launch.wait_for_start(PATIENCE);
        // The thread has nothing left to do but to wait for its end.
        let status = lock(&launch.process).child.as_mut().map(|child| child.wait().unwrap());
        assert!(status.is_none_or(|status| status.signal() == Some(9)));
    }

    #[test]
    fn one_that_goes_on_with_another_standard_error_is_quiet_and_has_not_ended() {
        let launch = shell("exec 2>&$REACTORD_STANDARD_ERROR; exec sleep 1000");
        launch.wait_for_quiet(PATIENCE);
        launch.kill();
        let mut news = std::iter::from_fn(|| launch.news_within(PATIENCE));
        let status = news.find_map(|news| if let News::Ended(status) = news { status } else { None });
        assert_eq!(status.expect("it ends").signal(), Some(9), "it had not ended by itself");
    }
}
