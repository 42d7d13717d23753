//! What these tests stand on: a proxy with its configuration, and servers behind it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reactord::{Status, Upgrade, Upgraded, upgrade};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};
use tempfile::TempDir;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Lines that a thread collects and a test waits for.
#[derive(Default)]
pub(crate) struct Lines {
    all: Mutex<Vec<String>>,
    more: Condvar,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.all.lock().expect("no thread that holds it panics")
    }

    pub(crate) fn read(source: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::<Self>::default();
        let reader = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                reader.lock().push(line);
                reader.more.notify_all();
            }
        });
        lines
    }

    #[track_caller]
    fn wait(&self, wanted: &[&str]) -> String {
        self.wait_for(wanted, |line| wanted.iter().all(|part| line.contains(part)))
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, wanted: &[&str], is_wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lock();
        loop {
            if let Some(line) = lines.iter().find(|line| is_wanted(line)) {
                return line.clone();
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            assert!(!remaining.is_zero(), "no line has {wanted:?}:\n{}", lines.join("\n"));
            lines = self.more.wait_timeout(lines, remaining).expect("no thread that holds it panics").0;
        }
    }
}

/// A proxy, through all processes that it is. The last one is ended when this is dropped.
pub(crate) struct Proxy {
    directory: TempDir,
    first: Child,
    log: Arc<Lines>,
    output: Arc<Lines>,
}

/// The program with these arguments.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_reactord-proxy"))
}

/// An address of this machine that nobody listens on, and whose port the kernel gives to nobody else while this process lives: a
/// socket is bound to it. Whoever says `SO_REUSEADDR`, as servers do, can listen there all the same, since that one does not.
pub(crate) fn free_address() -> SocketAddr {
    static KEPT: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("there is room for a socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("it is no connection");
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("the kernel has a port");
    let address = getsockname(&socket).expect("it is bound").try_into().expect("it is of IPv4");
    KEPT.lock().expect("nobody panics with it").push(socket);
    address
}

impl Proxy {
    /// One that serves with this configuration.
    #[track_caller]
    pub(crate) fn serve(config: &str) -> Self {
        Self::serve_with(config, &mut program())
    }

    /// The same as `command` starts it.
    #[track_caller]
    pub(crate) fn serve_with(config: &str, command: &mut Command) -> Self {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        std::fs::write(directory.path().join("proxy.toml"), config).expect("it can be written");
        let command = command.arg("-c").arg(directory.path().join("proxy.toml"));
        let command = command.arg("-t").arg(directory.path().join("takeover"));
        let mut first = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let log = Lines::read(first.stderr.take().expect("it is a pipe"));
        let output = Lines::read(first.stdout.take().expect("it is a pipe"));
        let proxy = Self { directory, first, log, output };
        proxy.says(&["Starting Takeover channel on ["]);
        proxy
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("takeover")
    }

    /// A path in a directory of this test's own.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Another configuration, which the next process reads.
    pub(crate) fn write(&self, config: &str) {
        std::fs::write(self.directory.path().join("proxy.toml"), config).expect("it can be written");
    }

    /// Has it replaced.
    #[track_caller]
    pub(crate) fn replace(&self) {
        let upgraded = self.try_to_replace();
        assert!(matches!(upgraded, Upgraded::HandedOver { .. }), "{upgraded:?}");
    }

    #[track_caller]
    pub(crate) fn try_to_replace(&self) -> Upgraded {
        upgrade(&self.path(), &Upgrade::default(), |_| {}).expect("it can be asked")
    }

    /// Has another configuration taken up.
    #[track_caller]
    pub(crate) fn reload(&self, config: &str) {
        self.write(config);
        self.replace();
    }

    /// Waits for a log line that has all of these.
    #[track_caller]
    pub(crate) fn says(&self, wanted: &[&str]) -> String {
        self.log.wait(wanted)
    }

    /// How many log lines have this by now.
    pub(crate) fn count_said(&self, wanted: &str) -> usize {
        self.log.lock().iter().filter(|line| line.contains(wanted)).count()
    }

    /// Waits for a line of the access log that has all of these.
    #[track_caller]
    pub(crate) fn notes(&self, wanted: &[&str]) -> String {
        self.output.wait(wanted)
    }

    /// Asks it, as an operator does.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        program().arg("ctl").arg(self.path()).args(arguments).output().expect("the program can be started")
    }

    /// The same, if it has to be answered.
    #[track_caller]
    pub(crate) fn answers(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is a text")
    }

    /// Asks how the servers stand until they stand so.
    #[track_caller]
    pub(crate) fn stands(&self, wanted: &str) {
        self.comes_to_answer("status", wanted);
    }

    /// Asks who the clients are until that is said of one.
    #[track_caller]
    pub(crate) fn lists(&self, wanted: &str) {
        self.comes_to_answer("connections", wanted);
    }

    #[track_caller]
    fn comes_to_answer(&self, question: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.answers(&[question]);
            if answer.contains(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{wanted} is not in {answer}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Ok(Status { pid, .. }) = Status::of(&self.path()) {
            let pid = Pid::from_raw(i32::try_from(pid).expect("it is a pid"));
            // It may have ended by itself meanwhile.
            let _ = kill(pid, Signal::SIGKILL);
        }
        // Likewise.
        let _ = self.first.kill();
        self.first.wait().expect("it is a child");
    }
}

/// The figures that are to be had there.
#[track_caller]
pub(crate) fn figures(at: SocketAddr) -> String {
    let mut asking = Client::connect(at);
    asking.send("GET /metrics HTTP/1.0\r\n\r\n");
    let mut told = String::new();
    asking.0.read_to_string(&mut told).expect("it ends, and is a text");
    told
}

/// A listener in whose stead a server is. Many may connect before one is accepted: where more do than its backlog holds, the kernel lets them
/// in with cookies (tcp(7), `tcp_syncookies`) and may forget them, and whoever waits for the server to speak first waits for ever.
pub(crate) fn upstream() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the kernel has a port");
    rustix::net::listen(&listener, 4096).expect("it is bound");
    listener
}

pub(crate) fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("it is bound")
}

/// A server that sends back what comes, after its name. It ends with the process.
pub(crate) fn echo(name: &'static str) -> SocketAddr {
    let listener = upstream();
    let at = address(&listener);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || send_back(client, name));
        }
    });
    at
}

fn send_back(mut client: TcpStream, name: &str) {
    let mut buffer = [0; 4096];
    if client.write_all(name.as_bytes()).is_err() {
        return;
    }
    while let Ok(bytes @ 1..) = client.read(&mut buffer) {
        if client.write_all(&buffer[..bytes]).is_err() {
            return;
        }
    }
}

/// A client of a proxy.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    #[track_caller]
    pub(crate) fn connect(at: SocketAddr) -> Self {
        Self::of(TcpStream::connect(at).expect("somebody listens"))
    }

    pub(crate) fn of(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("it is no time of zero");
        Self(socket)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("it stands");
    }

    #[track_caller]
    pub(crate) fn receive(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut received = vec![0; expected.len()];
        self.0.read_exact(&mut received).expect("so much comes");
        assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(expected));
    }

    /// Sends something, and waits until it has come back.
    #[track_caller]
    pub(crate) fn ask(&mut self, text: &str) {
        self.send(text);
        self.receive(text);
    }

    pub(crate) fn finish(&self) {
        self.0.shutdown(Shutdown::Write).expect("it stands");
    }

    /// Waits for the end of what comes.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("it ends, and is not reset");
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// Waits for a reset.
    #[track_caller]
    pub(crate) fn is_reset(&mut self) {
        let mut buffer = [0; 64];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => panic!("it ends, and is not reset"),
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                    return;
                }
            }
        }
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        let socket = OwnedFd::from(self.0);
        rustix::net::connect_unspec(&socket).expect("a connection can be reset");
    }
}

/// The file `name` is removed when a test is through with it, as all in its directory is.
pub(crate) fn listen_on(path: &Path) -> std::os::unix::net::UnixListener {
    std::os::unix::net::UnixListener::bind(path).expect("the path is free")
}

/// A ClientHello that asks for this name, in records of so many bytes.
pub(crate) fn client_hello(name: Option<&str>, record_bytes: usize) -> Vec<u8> {
    let extension = |number: u16, body: &[u8]| {
        [&number.to_be_bytes()[..], &u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    };
    let mut extensions = extension(43, &[2, 3, 4]);
    if let Some(name) = name {
        let length = u16::try_from(name.len()).unwrap();
        let list = [&(length + 3).to_be_bytes()[..], &[0], &length.to_be_bytes(), name.as_bytes()].concat();
        extensions.extend(extension(0, &list));
    }
    let mut body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1];
    message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    message.extend(body);
    let record = |bytes: &[u8]| [&[22, 3, 1][..], &u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    message.chunks(record_bytes).flat_map(record).collect()
}
