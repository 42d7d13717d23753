//! What the proxies are put under, and what it leads to.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustix::net::{RecvFlags, recv};

use super::contestants::Proxy;
use super::rig::Server;

/// Nothing is waited for longer than this.
const WAITED_MAX: Duration = Duration::from_secs(10);

/// A run of redis-benchmark takes no longer than this, in s.
const REDIS_MAX_S: &str = "300";

/// What a proxy is put under.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Load {
    /// Requests of redis-benchmark, so many at a time on each of its 50 connections.
    Redis { pipeline: u32 },
    /// 64 bytes and back, one after the other on each of so many connections.
    Echo { connections: usize },
    /// Connections on which 64 bytes go and come.
    Connect,
    /// As much as goes in both directions of so many connections.
    Bulk { connections: usize },
    /// Connections on which nothing goes: what each of them costs that comes after some.
    Idle { before: usize, pairs: usize },
}

/// What was done, and what it has cost the proxy.
#[derive(Clone, Copy)]
pub(crate) struct Done {
    /// For each operation; the unit is the load's.
    pub(crate) cost: f64,
    /// Operations in a second.
    pub(crate) speed: f64,
}

const MESSAGE_BYTES: usize = 64;
const MB: f64 = 1e6;

impl Load {
    pub(crate) const ALL: [Self; 7] = [
        Self::Redis { pipeline: 1 },
        Self::Redis { pipeline: 16 },
        Self::Echo { connections: 100 },
        Self::Echo { connections: 1000 },
        Self::Connect,
        Self::Bulk { connections: 4 },
        Self::Idle { before: 5000, pairs: 9000 },
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Redis { pipeline } => format!("redis-benchmark -P {pipeline}"),
            Self::Echo { connections } => format!("64 bytes and back on {connections} connections"),
            Self::Connect => "new connections, 64 bytes and back on each".to_owned(),
            Self::Bulk { connections } => format!("bulk both ways on {connections} connections"),
            Self::Idle { before, pairs } => format!("{pairs} idle pairs, those after the first {before}"),
        }
    }

    pub(crate) fn cost_unit(self) -> &'static str {
        match self {
            Self::Redis { .. } | Self::Echo { .. } | Self::Connect => "us each",
            Self::Bulk { .. } => "us for a MB",
            Self::Idle { .. } => "bytes each",
        }
    }

    pub(crate) fn speed_unit(self) -> &'static str {
        if matches!(self, Self::Bulk { .. }) { "MB/s" } else { "each second" }
    }

    /// Puts a proxy under it: a percentage of what is usual.
    pub(crate) fn put_on(self, proxy: &Proxy, percent: u32) -> Result<Done> {
        let server = &proxy.server;
        let some = |usual: u32| (usual * percent / 100).max(1);
        let work = || match self {
            Self::Redis { pipeline } => {
                redis(server.address(), pipeline, some(if pipeline == 1 { 50_000 } else { 400_000 }))
            }
            Self::Echo { connections } => echo(server.address(), connections, some(100_000)),
            Self::Connect => connect(server.address(), some(5_000)),
            Self::Bulk { connections } => bulk(server.address(), connections, Duration::from_millis(some(1500).into())),
            Self::Idle { .. } => Ok(0.0),
        };
        if let Self::Idle { before, pairs } = self {
            return idle(server, before, pairs);
        }
        let (before, begun) = (server.processor_ns()?, Instant::now());
        let done = work()?;
        let (elapsed, spent_ns) = (begun.elapsed(), server.processor_ns()? - before);
        Ok(Done { cost: spent_ns as f64 / 1000.0 / done, speed: done / elapsed.as_secs_f64() })
    }
}

/// What a proxy leads to.
pub(crate) struct Backend(Server);

impl Backend {
    pub(crate) fn start(load: Load) -> Result<Self> {
        let own = |role: &str| Server::start(Command::new(std::env::current_exe()?).arg(role));
        Ok(Self(match load {
            Load::Redis { .. } => {
                let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
                let script = "exec redis-server --bind 127.0.0.1 --port $0 --save '' --appendonly no 1>&2";
                let mut command = Command::new("sh");
                Server::start_at(command.args(["-c", script, &address.port().to_string()]), address, "eady to accept")?
            }
            Load::Bulk { .. } => own("--flood")?,
            Load::Echo { .. } | Load::Connect | Load::Idle { .. } => own("--echo")?,
        }))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

fn redis(address: SocketAddr, pipeline: u32, requests: u32) -> Result<f64> {
    let mut command = Command::new("timeout");
    command.args([REDIS_MAX_S, "redis-benchmark", "-p", &address.port().to_string(), "-t", "get", "--csv"]);
    command.args(["-P", &pipeline.to_string()]);
    let output = command.args(["-n", &requests.to_string()]).output()?;
    if output.status.success() {
        Ok(requests.into())
    } else {
        Err(Error::other(format!("redis-benchmark: {output:?}")))
    }
}

fn echo(address: SocketAddr, connections: usize, messages: u32) -> Result<f64> {
    let mut poll = Poll::new()?;
    let mut sockets = HashMap::new();
    for number in 0..connections {
        let socket = connected(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = mio::net::TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
        socket.write_all(&[7; MESSAGE_BYTES])?;
        sockets.insert(Token(number), (socket, 0));
    }
    let mut events = Events::with_capacity(1024);
    let (mut received, mut buffer) = (0, [0; 2 * MESSAGE_BYTES]);
    while received < messages {
        poll.poll(&mut events, Some(WAITED_MAX))?;
        if events.is_empty() {
            let waited_s = WAITED_MAX.as_secs();
            return Err(Error::other(format!("nothing has come for {waited_s} s, after {received} messages")));
        }
        for event in &events {
            let (socket, bytes) = sockets.get_mut(&event.token()).expect("it was registered");
            match socket.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(more) => *bytes += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if *bytes >= MESSAGE_BYTES {
                *bytes -= MESSAGE_BYTES;
                received += 1;
                socket.write_all(&[7; MESSAGE_BYTES])?;
            }
        }
    }
    Ok(received.into())
}

/// A connection on which nothing is waited for longer than it should be.
fn connected(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, WAITED_MAX)?;
    socket.set_read_timeout(Some(WAITED_MAX))?;
    socket.set_write_timeout(Some(WAITED_MAX))?;
    Ok(socket)
}

/// One on which 64 bytes have gone and come.
fn echoed(address: SocketAddr) -> Result<TcpStream> {
    let mut socket = connected(address)?;
    socket.write_all(&[7; MESSAGE_BYTES])?;
    socket.read_exact(&mut [0; MESSAGE_BYTES])?;
    Ok(socket)
}

fn connect(address: SocketAddr, connections: u32) -> Result<f64> {
    for _ in 0..connections {
        drop(echoed(address)?);
    }
    Ok(connections.into())
}

fn send_all_the_time(mut socket: &TcpStream) {
    let bytes = vec![0; 256 * 1024];
    while socket.write_all(&bytes).is_ok() {}
}

/// Takes what comes without looking at it, as the other side does.
fn take_all(socket: &TcpStream, taken: &AtomicU64) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok((_, bytes @ 1..)) = recv(socket, &mut buffer[..], RecvFlags::TRUNC) {
        taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    // So that the other direction ends as well, whatever has become of it.
    let _ = socket.shutdown(Shutdown::Both);
}

/// Says how many MB have come in both directions. As many are taken to have gone as have come: both ways are alike.
fn bulk(address: SocketAddr, connections: usize, time: Duration) -> Result<f64> {
    let sockets = (0..connections).map(|_| connected(address)).collect::<Result<Vec<TcpStream>>>()?;
    let taken = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for socket in &sockets {
            threads.spawn(|| send_all_the_time(socket));
            threads.spawn(|| take_all(socket, &taken));
        }
        std::thread::sleep(time);
        for socket in &sockets {
            // One that has failed has ended already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    });
    Ok(2.0 * taken.load(Ordering::Relaxed) as f64 / MB)
}

/// What a process has anyway, and what it takes for the first ones, does not count.
fn idle(server: &Server, before: usize, pairs: usize) -> Result<Done> {
    let begun = Instant::now();
    // Something goes, so that it is sure that both sides stand, and that what was needed for it is not any more.
    let open = |count: usize| (0..count).map(|_| echoed(server.address())).collect::<Result<Vec<TcpStream>>>();
    let first = open(before)?;
    let first_bytes = server.resident_bytes()?;
    let rest = open(pairs - before)?;
    let speed = (first.len() + rest.len()) as f64 / begun.elapsed().as_secs_f64();
    Ok(Done { cost: server.resident_bytes()?.saturating_sub(first_bytes) as f64 / rest.len() as f64, speed })
}
