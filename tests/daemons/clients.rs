//! Clients of a daemon over HTTP: those whose requests are under way, and one that keeps its connection and is idle.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use procfs::net::{TcpState, tcp};

use crate::harness::PATIENCE;

/// How long an answer may take that is slow on purpose.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);

/// What every answer ends with.
const BODY: &[u8] = b"ok\n";

/// One request, and when its answer was whole.
fn ask(stream: &mut TcpStream, path: &str) -> Result<Instant, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(BODY) && !answer.ends_with(b"3\r\nok\n\r\n0\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(format!("the connection ends after {:?}", String::from_utf8_lossy(&answer))),
            Ok(bytes) => answer.extend_from_slice(&buffer[..bytes]),
            Err(error) => return Err(error.to_string()),
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(Instant::now())
    } else {
        Err(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the listener is always there");
    stream.set_read_timeout(Some(ANSWER_PATIENCE)).expect("a timeout can be set");
    stream
}

/// Requests that are under way, and an idle connection over which one was answered before.
pub(crate) struct Clients {
    slow: Vec<JoinHandle<Result<Instant, String>>>,
    idle: JoinHandle<Instant>,
}

/// What became of them.
pub(crate) struct Outcome {
    /// When each answer was whole, or why there was none.
    pub(crate) answers: Vec<Result<Instant, String>>,
    /// When the idle connection ended.
    pub(crate) ended: Instant,
}

impl Clients {
    /// Returns when the daemon has accepted all of them, and has read their requests.
    ///
    /// # Errors
    /// If one was answered before that was seen: connections are counted among all that the machine has.
    #[track_caller]
    pub(crate) fn under_way(address: SocketAddr, requests: usize) -> Result<Self, String> {
        let mut idle = connect(address);
        ask(&mut idle, "/quick").expect("a quick request is answered");
        let idle = std::thread::spawn(move || {
            // However it ends: what matters is when.
            let _ = idle.read(&mut [0]);
            Instant::now()
        });
        let slow = (0..requests).map(|_| std::thread::spawn(move || ask(&mut connect(address), "/slow")));
        let slow: Vec<JoinHandle<_>> = slow.collect();
        let deadline = Instant::now() + PATIENCE;
        while accepted(address) < requests + 1 {
            if slow.iter().any(JoinHandle::is_finished) {
                return Err("a request was over before all were seen to be under way".to_owned());
            }
            assert!(Instant::now() < deadline, "the requests should be under way");
            std::thread::yield_now();
        }
        Ok(Self { slow, idle })
    }

    pub(crate) fn outcome(self) -> Outcome {
        let answers = self.slow.into_iter().map(|slow| slow.join().expect("it returns how that failed")).collect();
        Outcome { answers, ended: self.idle.join().expect("it waits for the end") }
    }
}

/// How many connections to this address a process has accepted that has read all that was sent on them.
fn accepted(address: SocketAddr) -> usize {
    let connections = tcp().expect("/proc tells of connections").into_iter();
    let theirs = connections.filter(|entry| entry.local_address == address && entry.state == TcpState::Established);
    theirs.filter(|entry| entry.inode != 0 && entry.rx_queue == 0).count()
}
