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
    /// Connections on which nothing goes.
    Idle { pairs: usize },
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
        Self::Idle { pairs: 9000 },
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Redis { pipeline } => format!("redis-benchmark -P {pipeline}"),
            Self::Echo { connections } => format!("64 bytes and back on {connections} connections"),
            Self::Connect => "new connections, 64 bytes and back on each".to_owned(),
            Self::Bulk { connections } => format!("bulk both ways on {connections} connections"),
            Self::Idle { pairs } => format!("{pairs} idle pairs"),
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
        if let Self::Idle { pairs } = self {
            return idle(server, pairs);
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
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &address.port().to_string(), "-t", "get", "--csv", "-P", &pipeline.to_string()]);
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
        let socket = TcpStream::connect(address)?;
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
        poll.poll(&mut events, Some(Duration::from_secs(10)))?;
        if events.is_empty() {
            return Err(Error::other(format!("nothing has come for 10 s, after {received} messages")));
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

fn connect(address: SocketAddr, connections: u32) -> Result<f64> {
    let mut answer = [0; MESSAGE_BYTES];
    for _ in 0..connections {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(&[7; MESSAGE_BYTES])?;
        socket.read_exact(&mut answer)?;
    }
    Ok(connections.into())
}

/// Accepts connections on which as much as goes is sent and taken, on a port that it says on standard error, for ever.
pub(crate) fn serve_flood() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    eprintln!("listening on {}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept()?;
        let other = socket.try_clone()?;
        std::thread::spawn(move || send_all_the_time(&socket));
        std::thread::spawn(move || take_all(&other, &AtomicU64::new(0)));
    }
}

fn send_all_the_time(mut socket: &TcpStream) {
    let bytes = vec![0; 256 * 1024];
    while socket.write_all(&bytes).is_ok() {}
}

/// Takes what comes without looking at it, so that it costs little (`MSG_TRUNC`, tcp(7)).
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
    let sockets = (0..connections).map(|_| TcpStream::connect(address)).collect::<Result<Vec<TcpStream>>>()?;
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

fn idle(server: &Server, pairs: usize) -> Result<Done> {
    let before = server.resident_bytes()?;
    let mut answer = [0; MESSAGE_BYTES];
    let mut sockets = Vec::new();
    let begun = Instant::now();
    for _ in 0..pairs {
        let mut socket = TcpStream::connect(server.address())?;
        // Something goes, so that it is sure that both sides stand, and that what was needed for it is not any more.
        socket.write_all(&[7; MESSAGE_BYTES])?;
        socket.read_exact(&mut answer)?;
        sockets.push(socket);
    }
    let speed = pairs as f64 / begun.elapsed().as_secs_f64();
    Ok(Done { cost: (server.resident_bytes()?.saturating_sub(before)) as f64 / pairs as f64, speed })
}
