//! Programs that people use, through a proxy that is replaced again and again with alternating configurations. Who lacks one is
//! told so.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::rig::{PATIENCE, Proxy, free_address};

/// How often the proxy is replaced, at least, while somebody is served.
const REPLACEMENTS: usize = 6;

/// A process that is ended when this is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        self.0.wait().expect("it is a child");
    }
}

/// The program of this name, where it is to be found.
pub(crate) fn program(name: &str) -> Option<String> {
    let elsewhere = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let places = elsewhere.map(|version| version.path().join("bin")).chain(["/usr/bin", "/usr/sbin"].map(Into::into));
    let found = places.map(|place| place.join(name)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("{name} is not installed, so the proxy is not tried with it");
    }
    found.and_then(|path| path.to_str().map(str::to_owned))
}

/// Waits until somebody listens there.
#[track_caller]
pub(crate) fn wait_for(at: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(at).is_err() {
        assert!(Instant::now() < deadline, "nobody listens at {at}");
        std::thread::yield_now();
    }
}

/// A proxy whose listener and servers are others in every second process.
struct Alternating {
    proxy: Proxy,
    configs: [String; 2],
    replaced: usize,
}

impl Alternating {
    fn before(server: SocketAddr) -> (Self, SocketAddr) {
        let [listen, elsewhere] = [free_address(), free_address()];
        let configs = [
            format!("[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{server}']\n"),
            format!(
                "[listener.l]\nbind = ['{listen}', '{elsewhere}']\nupstream = 'v'\n\
                 [upstream.v]\nservers = [{{ at = '{server}', name = 'another' }}]\n"
            ),
        ];
        (Self { proxy: Proxy::serve(&configs[0]), configs, replaced: 0 }, listen)
    }

    #[track_caller]
    fn replace(&mut self) {
        self.replaced += 1;
        self.proxy.reload(&self.configs[self.replaced % 2]);
    }

    /// Replaces it until a process has ended, which has to end well.
    #[track_caller]
    fn replace_during(&mut self, command: &mut Command) -> String {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it is installed");
        while child.try_wait().expect("it is a child").is_none() {
            self.replace();
        }
        let output = child.wait_with_output().expect("it is a child");
        assert!(output.status.success(), "after {} replacements: {output:?}", self.replaced);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A command as another user, if this is root: postgres and sshd want one.
fn as_user(user: &str, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        command.args(["--reuid", user, "--regid", user, "--init-groups", program]);
        return command;
    }
    Command::new(program)
}

fn postgres(directory: &Path) -> Option<(Running, SocketAddr)> {
    let [initdb, postgres] = [program("initdb")?, program("postgres")?];
    let (at, data) = (free_address(), directory.join("data"));
    let owned = Command::new("chown").arg("postgres:").arg(directory).status().expect("coreutils are there");
    assert!(owned.success());
    let made = as_user("postgres", &initdb).arg("-D").arg(&data).args(["-A", "trust", "-N"]).output().expect("it runs");
    assert!(made.status.success(), "{made:?}");
    let mut command = as_user("postgres", &postgres);
    command.arg("-D").arg(&data).arg("-k").arg(directory).args(["-F", "-c", "listen_addresses=127.0.0.1", "-p"]);
    let child = command.arg(at.port().to_string()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let running = Running(child.expect("it is installed"));
    wait_for(at);
    Some((running, at))
}

fn psql(at: SocketAddr) -> Command {
    let mut command = Command::new("psql");
    command.args(["-XqAt", "-h", "127.0.0.1", "-U", "postgres", "-p", &at.port().to_string(), "postgres"]);
    command
}

/// A conversation with a program: a line in, a line out.
pub(crate) struct Conversation {
    running: Running,
    answers: BufReader<std::process::ChildStdout>,
}

impl Conversation {
    pub(crate) fn with(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("it is installed");
        let answers = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Self { running: Running(child), answers }
    }

    pub(crate) fn say(&mut self, line: &str) {
        let input = self.running.0.stdin.as_mut().expect("it is a pipe");
        writeln!(input, "{line}").expect("it reads");
    }

    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it is a text");
        line.trim_end().to_owned()
    }

    /// Waits for this line, whatever comes before.
    #[track_caller]
    pub(crate) fn hear_until(&mut self, wanted: &str) {
        let mut line = String::new();
        while line.trim_end() != wanted {
            line.clear();
            let bytes = self.answers.read_line(&mut line).expect("it is a text");
            assert!(bytes > 0, "it ends before it says {wanted:?}");
        }
    }

    /// Says that there is nothing more to be said.
    pub(crate) fn end(&mut self) {
        drop(self.running.0.stdin.take());
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }
}

#[test]
fn open_transaction_of_psql_stays_on_its_backend_and_pgbench_has_no_failed_transaction() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let Some((_postgres, server)) = postgres(directory.path()) else { return };
    let (mut proxy, listen) = Alternating::before(server);
    let mut session = Conversation::with(&mut psql(listen));
    let pid = session.ask("BEGIN; SELECT pg_backend_pid();");
    assert!(pid.parse::<u32>().is_ok(), "{pid}");
    session.say("CREATE TABLE kept (n int);");
    for round in 0..REPLACEMENTS {
        session.say(&format!("INSERT INTO kept VALUES ({round});"));
        proxy.replace();
        assert_eq!(session.ask("SELECT pg_backend_pid();"), pid);
    }
    let bench = program("pgbench").expect("it comes with postgres");
    let port = listen.port().to_string();
    let to = ["-h", "127.0.0.1", "-U", "postgres", "-p", &port];
    let made = Command::new(&bench).args(to).args(["-i", "-q", "postgres"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let said = proxy.replace_during(Command::new(&bench).args(to).args(["-c", "4", "-t", "300", "postgres"]));
    assert!(said.contains("1200/1200") && said.contains("number of failed transactions: 0"), "{said}");
    session.say("COMMIT;");
    assert_eq!(session.ask("SELECT count(*) FROM kept;"), REPLACEMENTS.to_string());
}

#[test]
fn redis_pipelines_and_subscriptions_go_on() {
    let (Some(server), Some(cli), Some(bench)) =
        (program("redis-server"), program("redis-cli"), program("redis-benchmark"))
    else {
        return;
    };
    let (directory, at) = (tempfile::tempdir().unwrap(), free_address());
    let mut command = Command::new(server);
    command
        .args(["--port", &at.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(directory.path());
    let _redis = Running(command.stdout(Stdio::null()).spawn().unwrap());
    wait_for(at);
    let (mut proxy, listen) = Alternating::before(at);
    let port = listen.port().to_string();
    let mut subscriber = Conversation::with(Command::new(&cli).args(["-p", &port, "subscribe", "news"]));
    let head: Vec<String> = (0..3).map(|_| subscriber.hear()).collect();
    assert_eq!(head, ["subscribe", "news", "1"]);
    for round in 0..REPLACEMENTS {
        proxy.replace();
        let published = Command::new(&cli).args(["-p", &port, "publish", "news", &round.to_string()]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&published.stdout).trim(), "1");
        let told: Vec<String> = (0..3).map(|_| subscriber.hear()).collect();
        assert_eq!(told, ["message", "news", &round.to_string()]);
    }
    let said = proxy
        .replace_during(Command::new(bench).args(["-p", &port, "-n", "100000", "-P", "16", "-q", "-t", "set,get"]));
    assert!(!said.contains("Error"), "{said}");
}

#[test]
fn ssh_session_and_scp_go_on_with_every_byte() {
    let (Some(sshd), Some(ssh), Some(scp), Some(keygen)) =
        (program("sshd"), program("ssh"), program("scp"), program("ssh-keygen"))
    else {
        return;
    };
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("sshd is tried as root alone");
    }
    let (directory, at) = (tempfile::tempdir().unwrap(), free_address());
    let path = |name: &str| directory.path().join(name).to_str().expect("it is UTF-8").to_owned();
    for key in ["host", "user"] {
        let made = Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]).status().unwrap();
        assert!(made.success());
    }
    std::fs::create_dir_all("/run/sshd").unwrap();
    let config = format!(
        "ListenAddress {at}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nPermitRootLogin yes\nPidFile none\nUsePAM no\n\
         Subsystem sftp internal-sftp\n",
        path("host"),
        path("user.pub")
    );
    std::fs::write(path("sshd_config"), config).unwrap();
    let _sshd =
        Running(Command::new(sshd).args(["-D", "-f", &path("sshd_config")]).stderr(Stdio::null()).spawn().unwrap());
    wait_for(at);
    let (mut proxy, listen) = Alternating::before(at);
    let options = format!(
        "-F/dev/null -i{} -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oLogLevel=ERROR",
        path("user")
    );
    let options: Vec<&str> = options.split(' ').collect();
    let port = listen.port().to_string();
    let mut session = Conversation::with(Command::new(ssh).args(&options).args(["-p", &port, "root@127.0.0.1", "cat"]));
    for round in 0..REPLACEMENTS {
        proxy.replace();
        assert_eq!(session.ask(&format!("line {round}")), format!("line {round}"));
    }
    let bytes: Vec<u8> = (0..32_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(path("sent"), &bytes).unwrap();
    let to = format!("root@127.0.0.1:{}", path("received"));
    proxy.replace_during(Command::new(scp).args(&options).args(["-q", "-P", &port, &path("sent"), &to]));
    assert!(std::fs::read(path("received")).unwrap() == bytes, "the same bytes");
    assert_eq!(session.ask("still there"), "still there");
}

/// A Python with the package `websockets`: `.ci/run` makes one.
fn python_with_websockets() -> Option<Command> {
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients").join("bin/python");
    let has_it = |python: &&Path| {
        Command::new(python).args(["-c", "import websockets"]).output().is_ok_and(|output| output.status.success())
    };
    let found = [&*ours, Path::new("python3")].into_iter().find(has_it);
    if found.is_none() {
        eprintln!("no Python has the package websockets, so the proxy is not tried with it");
    }
    found.map(Command::new)
}

#[test]
fn websockets_go_on_through_fifty_replacements_with_every_frame_and_every_pong() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/websocket.py");
    let with = |arguments: &[&str]| {
        python_with_websockets().map(|mut python| Conversation::with(python.arg(script).args(arguments)))
    };
    let Some(mut server) = with(&["server"]) else { return };
    let port: u16 = server.hear().parse().expect("it says its port");
    let (mut proxy, listen) = Alternating::before(([127, 0, 0, 1], port).into());
    let mut client = with(&["client", &listen.port().to_string()]).expect("it was there");
    for _ in 0..50 {
        proxy.replace();
        assert_eq!(client.ask("does it go on?"), "goes on", "after {} replacements", proxy.replaced);
    }
    let said = client.ask("end");
    assert!(said.contains(" frames were sent and "), "{said}");
    assert!(client.running.0.wait().unwrap().success());
}
