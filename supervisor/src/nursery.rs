//! Starting workers of the fleet: what each inherits, where its sockets are, and by what it is spoken to from then on.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;
use reactord_process::words::{PREDECESSOR_VARIABLE, TAKEOVER_VARIABLE};

use crate::config::{Config, Replace, Supply};
use crate::directory::Directory;
use crate::fleet::WorkerId;
use crate::launch::{Inheritance, Program};
use crate::line::Line;
use crate::link::Link;

/// What workers are started with.
#[derive(Debug)]
pub(crate) struct Nursery {
    program: Program,
    supply: Supply,
    replace: Replace,
    finish_signal: Signal,
    /// Where workers' sockets are, if they have any that have a path.
    directory: Option<Directory>,
}

impl Nursery {
    pub(crate) fn new(config: &Config, program: Program, directory: Option<Directory>) -> Self {
        let Config { supply, replace, finish_signal, .. } = *config;
        Self { program, supply, replace, finish_signal, directory }
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    /// Where a worker is called that is taken over from, or given connections to. `None` where there are none of these.
    pub(crate) fn takeover_path(&self, worker: WorkerId) -> Option<String> {
        let path = self.directory.as_ref()?.takeover_path(worker);
        Some(path.into_os_string().into_string().expect("its paths are text"))
    }

    /// Removes the sockets of a worker that is gone, or was never there.
    pub(crate) fn remove_sockets(&self, worker: WorkerId) {
        if let Some(directory) = &self.directory {
            directory.remove_sockets(worker);
        }
    }

    /// Starts a worker, which takes over from another one if there is a predecessor. Returns its pid, and by what it is spoken to.
    ///
    /// # Errors
    /// If it cannot be started: there is no process then.
    pub(crate) fn start<'l>(
        &mut self,
        worker: WorkerId,
        predecessor: Option<WorkerId>,
        is_of_new_generation: bool,
        listeners: impl Iterator<Item = (BorrowedFd<'l>, SocketAddr)>,
    ) -> io::Result<(u32, Line)> {
        self.directory.as_mut().map_or(Ok(()), Directory::restore)?;
        let (line, inheritance) = self.line(worker, listeners)?;
        let variables = self.variables(worker, predecessor);
        Ok((self.program.launch(&inheritance, &variables, is_of_new_generation)?, line))
    }

    /// Both ends of what a worker is spoken to by: the supervisor's, and the worker's with whatever else it inherits.
    fn line<'l>(
        &self,
        worker: WorkerId,
        listeners: impl Iterator<Item = (BorrowedFd<'l>, SocketAddr)>,
    ) -> io::Result<(Line, Inheritance<'l>)> {
        match (self.supply, &self.directory) {
            (Supply::Listeners, Some(directory)) => {
                let notify = directory.notify_path(worker);
                let in_context = |error| io::Error::other(format!("{}: {error}", notify.display()));
                let socket = UnixDatagram::bind(&notify).map_err(in_context)?;
                socket.set_nonblocking(true)?;
                let (sockets, addresses): (Vec<BorrowedFd<'_>>, Vec<SocketAddr>) = listeners.unzip();
                let names: Vec<String> = addresses.iter().map(|address| format!("tcp-{}", address.port())).collect();
                let (names, finish_signal) = (names.join(":"), self.finish_signal);
                Ok((Line::Notify(socket), Inheritance::Listeners { sockets, names, notify, finish_signal }))
            }
            _ => {
                let (link, worker) = Link::pair()?;
                Ok((Line::Queue(link), Inheritance::Queue(worker)))
            }
        }
    }

    /// What a worker that hands over finds in its environment: where it is called, and where its predecessor is.
    fn variables(&self, worker: WorkerId, predecessor: Option<WorkerId>) -> Vec<(&'static str, OsString)> {
        let Some(directory) = self.directory.as_ref().filter(|_| self.replace == Replace::Takeover) else {
            return Vec::new();
        };
        let at = |variable, worker| (variable, directory.takeover_path(worker).into_os_string());
        let own = at(TAKEOVER_VARIABLE, worker);
        std::iter::once(own).chain(predecessor.map(|one| at(PREDECESSOR_VARIABLE, one))).collect()
    }
}
