//! Starts and reaps processes without holding up the load.
//!
//! A process that is started gets a copy of the table of open files, to close it all again: with ten thousand
//! connections that takes milliseconds, in which nobody would look after the load. So a thread does it that gave up
//! sharing the table when there was next to nothing in it (unshare(2)). To reap a process takes as long if anybody has
//! looked at its files in `/proc`, because the kernel forgets those entries then.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread;

use log::debug;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

enum Order {
    /// Make the command in the thread, whose files are not those of the rest, and start it.
    Start(Box<dyn FnOnce() -> io::Result<Command> + Send>),
    Reap(Child),
    /// The same of one that this process has not started itself.
    ReapAdopted(Pid),
}

pub(crate) struct Launcher {
    orders: mpsc::Sender<Order>,
    started: mpsc::Receiver<io::Result<Child>>,
}

impl Launcher {
    /// To be called while few files are open.
    pub(crate) fn new() -> io::Result<Self> {
        let (orders, to_do) = mpsc::channel();
        let (tell, started) = mpsc::channel();
        thread::Builder::new().name("launcher".to_owned()).spawn(move || {
            if let Err(errno) = unshare(CloneFlags::CLONE_FILES) {
                debug!("Successors start with a copy of all connections: {errno}");
            }
            for order in to_do {
                match order {
                    // Nobody wants to know only when the launcher is gone, and then there are no further orders.
                    Order::Start(start) => drop(tell.send(start().and_then(|mut command| command.spawn()))),
                    // How it ended is known.
                    Order::Reap(mut child) => drop(child.wait()),
                    Order::ReapAdopted(pid) => drop(waitpid(pid, None)),
                }
            }
        })?;
        Ok(Self { orders, started })
    }

    /// Starts a process, and waits until it is started. A descriptor that its command holds has to be opened by
    /// `command` itself: the thread has none of those that were opened since.
    pub(crate) fn start(&self, command: impl FnOnce() -> io::Result<Command> + Send + 'static) -> io::Result<Child> {
        let ended = || io::Error::other("the thread that starts processes has ended");
        self.orders.send(Order::Start(Box::new(command))).map_err(|_| ended())?;
        self.started.recv().map_err(|_| ended())?
    }

    /// Takes a process that has ended from the kernel's table, some time.
    pub(crate) fn reap(&self, child: Child) {
        // Without the thread it stays a zombie until this program ends.
        let _ = self.orders.send(Order::Reap(child));
    }

    /// The same of a process that was adopted.
    pub(crate) fn reap_adopted(&self, pid: Pid) {
        // As above.
        let _ = self.orders.send(Order::ReapAdopted(pid));
    }
}
