//! Who has which connection, as the kernel knows it.
//!
//! At the server's end a connection is one socket, whose inode is the same from accept(2) to its end, whoever has a
//! descriptor of it. `/proc/net/tcp` says which inode belongs to which client, and `/proc/PID/fd` which process has it
//! (proc(5)). At rest, each is in exactly one process: two have it while a move copies it, and nobody when its owner is
//! gone.
//!
//! A thread looks, because to read ten thousand entries takes tens of milliseconds, in which nobody would look after the
//! load. Whoever has ordered a census is woken when it is taken.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Registry, Token, Waker};
use procfs::process::{FDTarget, Process};
use procfs::{ProcError, net};

use super::super::servers::Place;
use super::judgement::Owners;
use crate::address::Ends;

/// The token of a census that has been taken.
pub(crate) const TAKEN: Token = Token(usize::MAX - 2);

/// How long it may take until everybody is accepted, and until whoever has given a connection away has closed it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing is looked at when it is not so yet.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    pub(crate) processes: Vec<(Place, u32)>,
    /// The connections.
    pub(crate) open: Vec<Ends>,
    /// Those of them that are new: their ends may have been another one's before.
    pub(crate) new: Vec<Ends>,
}

/// What a process has open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Files {
    pub(crate) place: Place,
    pub(crate) all: usize,
    /// Those that are connections of the order.
    pub(crate) connections: usize,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) owners: Owners,
    /// The connections that two processes have.
    pub(crate) of_two: Vec<Ends>,
    /// How many were never accepted.
    pub(crate) unaccepted: usize,
    pub(crate) files: Vec<Files>,
}

pub(crate) struct Census {
    orders: mpsc::Sender<Order>,
    taken: mpsc::Receiver<io::Result<Taken>>,
}

impl Census {
    pub(crate) fn new(registry: &Registry) -> io::Result<Self> {
        let waker = Arc::new(Waker::new(registry, TAKEN)?);
        let (orders, to_take) = mpsc::channel();
        let (tell, taken) = mpsc::channel();
        thread::Builder::new().name("census".to_owned()).spawn(move || {
            let mut sockets = Sockets::default();
            for order in to_take {
                // Nobody wants to know only when the load is over.
                if tell.send(sockets.take(&order)).is_err() || waker.wake().is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { orders, taken })
    }

    /// Has a census taken, of which there is one at a time.
    pub(crate) fn order(&self, order: Order) -> io::Result<()> {
        self.orders.send(order).map_err(|_| io::Error::other("the thread that looks at processes has ended"))
    }

    /// The census that was ordered, when it has been taken.
    pub(crate) fn take(&self) -> Option<io::Result<Taken>> {
        self.taken.try_recv().ok()
    }

    /// Takes one while nobody waits for anything else.
    pub(crate) fn take_now(&self, order: Order) -> io::Result<Taken> {
        self.order(order)?;
        self.taken.recv().map_err(io::Error::other)?
    }
}

/// The inodes of the connections.
#[derive(Default)]
struct Sockets(HashMap<Ends, u64>);

impl Sockets {
    /// Looks until everything is at rest.
    fn take(&mut self, order: &Order) -> io::Result<Taken> {
        let deadline = Instant::now() + PATIENCE;
        for ends in &order.new {
            self.0.remove(ends);
        }
        loop {
            let taken = self.look(order)?;
            let at_rest = taken.of_two.is_empty() && taken.unaccepted == 0;
            if at_rest || Instant::now() >= deadline {
                return Ok(taken);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn look(&mut self, order: &Order) -> io::Result<Taken> {
        self.find(order)?;
        let mut taken = Taken::default();
        let mut owners: HashMap<u64, Vec<Place>> = HashMap::new();
        let wanted: HashSet<u64> = order.open.iter().filter_map(|ends| self.0.get(ends)).copied().collect();
        for (place, pid) in &order.processes {
            let (all, sockets) = files_of(*pid)?;
            let connections: Vec<u64> = sockets.into_iter().filter(|inode| wanted.contains(inode)).collect();
            taken.files.push(Files { place: *place, all, connections: connections.len() });
            connections.into_iter().for_each(|inode| owners.entry(inode).or_default().push(*place));
        }
        for ends in &order.open {
            match self.0.get(ends).map(|inode| owners.get(inode).map_or(&[][..], Vec::as_slice)) {
                None => taken.unaccepted += 1,
                Some([]) => {}
                Some([owner]) => drop(taken.owners.insert(*ends, *owner)),
                Some(_) => taken.of_two.push(*ends),
            }
        }
        Ok(taken)
    }

    /// Finds the sockets that are not known yet, of whom has been accepted.
    fn find(&mut self, order: &Order) -> io::Result<()> {
        if order.open.iter().all(|ends| self.0.contains_key(ends)) {
            return Ok(());
        }
        let open: HashSet<Ends> = order.open.iter().copied().collect();
        let sockets = net::tcp().map_err(io::Error::other)?;
        for socket in sockets.into_iter().filter(|socket| socket.inode > 0) {
            let ends = Ends { client: socket.remote_address, server: socket.local_address };
            if open.contains(&ends) {
                self.0.insert(ends, socket.inode);
            }
        }
        Ok(())
    }
}

/// How many files a process has open, and the inodes of those that are sockets. None if there is no such process.
fn files_of(pid: u32) -> io::Result<(usize, Vec<u64>)> {
    let files = match Process::new(pid.cast_signed()).and_then(|process| process.fd()) {
        Ok(files) => files,
        Err(ProcError::NotFound(_)) => return Ok((0, Vec::new())),
        Err(error) => return Err(io::Error::other(error)),
    };
    // Whatever is closed just now is not open.
    let targets: Vec<FDTarget> = files.flatten().map(|file| file.target).collect();
    let sockets = targets.iter().filter_map(|target| match target {
        FDTarget::Socket(inode) => Some(*inode),
        _ => None,
    });
    Ok((targets.len(), sockets.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn order(ends: Ends) -> Order {
        Order { processes: vec![(3, std::process::id())], open: vec![ends], new: vec![ends] }
    }

    fn connected(listener: &TcpListener) -> (TcpStream, Ends) {
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).unwrap();
        let ends = Ends { client: client.local_addr().unwrap(), server };
        (client, ends)
    }

    #[test]
    fn an_accepted_connection_is_its_process_s_until_it_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_client, ends) = connected(&listener);
        let (accepted, _) = listener.accept().unwrap();
        let mut sockets = Sockets::default();
        let taken = sockets.take(&order(ends)).unwrap();
        assert_eq!(taken.owners, HashMap::from([(ends, 3)]));
        assert_eq!((taken.files[0].place, taken.files[0].connections), (3, 1));

        drop(accepted);
        let again = Order { new: Vec::new(), ..order(ends) };
        let taken = sockets.take(&again).unwrap();
        assert_eq!((taken.owners.len(), taken.unaccepted), (0, 0));
    }

    #[test]
    fn a_connection_that_waits_is_nobodys() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_client, ends) = connected(&listener);
        let taken = Sockets::default().look(&order(ends)).unwrap();
        assert_eq!((taken.owners.len(), taken.unaccepted), (0, 1));
    }

    #[test]
    fn a_process_that_is_gone_has_nothing() {
        let nobody = Order { processes: vec![(0, u32::MAX >> 1)], ..Order::default() };
        let taken = Sockets::default().take(&nobody).unwrap();
        assert_eq!(taken.files, [Files { place: 0, all: 0, connections: 0 }]);
    }
}
