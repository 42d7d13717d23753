//! Programs that people use with TLS, through a proxy that ends it or begins it and is replaced again and again, with another
//! certificate each time. Who lacks one is told so.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::clients::{Conversation, Running, program, wait_for};
use super::rig::{Proxy, echo, free_address};
use super::tls_rig::{Authority, quoted};

const NAME: &str = "a.example";

/// How often the proxy is replaced while somebody is served.
const REPLACEMENTS: usize = 10;

/// A proxy that ends TLS, and gets another certificate each time that it is replaced.
struct Ending {
    proxy: Proxy,
    authority: Authority,
    listen: SocketAddr,
}

impl Ending {
    fn before(server: SocketAddr) -> Self {
        Self::with(server, |_| String::new())
    }

    /// The same with more that is said of its upstream.
    fn with(server: SocketAddr, more: impl FnOnce(&Authority) -> String) -> Self {
        let (authority, listen) = (Authority::new(), free_address());
        let config = format!(
            "[listener.l]\nbind = '{listen}'\nupstream = 'u'\ntls = {{ certificates = {} }}\n\
             [upstream.u]\nservers = ['{server}']\n{}",
            quoted(&authority.certify(NAME)),
            more(&authority)
        );
        Self { proxy: Proxy::serve(&config), authority, listen }
    }

    #[track_caller]
    fn replace(&self) {
        self.authority.certify(NAME);
        self.proxy.replace();
    }
}

#[test]
fn curl_keeps_one_connection_for_all_its_requests() {
    let (Some(curl), Some(python)) = (program("curl"), program("python3")) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/keep_alive.py");
    let mut server = Conversation::with(Command::new(python).arg(script));
    let port: u16 = server.hear().parse().expect("it says its port");
    let ending = Ending::before(([127, 0, 0, 1], port).into());
    let port = ending.listen.port();
    let mut command = Command::new(curl);
    command.args(["-sS", "--fail", "--noproxy", "*", "--resolve", &format!("{NAME}:{port}:127.0.0.1"), "--cacert"]);
    command.arg(ending.authority.file()).args(["-w", "%{num_connects} %{size_download}\\n", "-o", "/dev/null"]);
    let child = command.arg(format!("https://{NAME}:{port}/[1-{REPLACEMENTS}]")).stdout(Stdio::piped()).spawn();
    let child = child.expect("it is installed");
    for request in 1..=REPLACEMENTS {
        assert_eq!(server.hear(), format!("/{request}"));
        ending.replace();
        server.say("answer");
        ending.replace();
    }
    let output = child.wait_with_output().expect("it is a child");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let connects: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(connects.concat(), format!("1{}", "0".repeat(REPLACEMENTS - 1)), "{said}");
    assert_eq!(said.lines().filter(|line| line.ends_with(" 60000")).count(), REPLACEMENTS - 1, "{said}");
}

/// Sends each line of its input, and says what comes back.
const PYTHON: &str = r#"
import socket, ssl, sys
port, authority, version = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
connection = context.wrap_socket(socket.create_connection(("127.0.0.1", int(port)), 60), server_hostname="a.example")
reader = connection.makefile("rb")
for line in sys.stdin:
    connection.sendall(line.encode())
    print(reader.readline().decode(), end="", flush=True)
connection.unwrap()
print("ended", flush=True)
"#;

#[test]
fn openssl_and_python_go_on_and_change_their_keys() {
    let (Some(openssl), Some(python)) = (program("openssl"), program("python3")) else { return };
    let ending = Ending::before(echo(""));
    let (port, authority) = (ending.listen.port().to_string(), ending.authority.file());
    let s_client = |version: &str| {
        // What it says of its commands is no output.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 2>&1", "sh", &openssl, "s_client", "-connect", &format!("127.0.0.1:{port}")]);
        command.args(["-servername", NAME, "-verify_hostname", NAME, "-verify_return_error", version, "-CAfile"]);
        Conversation::with(command.arg(&authority))
    };
    let with_python = |version: &str| {
        Conversation::with(Command::new(&python).args(["-c", PYTHON, &port]).arg(&authority).arg(version))
    };
    let mut newer = s_client("-tls1_3");
    let mut clients = [s_client("-tls1_2"), with_python("TLSv1_3"), with_python("TLSv1_2")];
    for round in 0..REPLACEMENTS {
        newer.say(if round % 2 == 0 { "K" } else { "k" });
        newer.hear_until("KEYUPDATE");
        ending.replace();
        for client in clients.iter_mut().chain([&mut newer]) {
            let line = format!("line {round}");
            client.say(&line);
            client.hear_until(&line);
        }
    }
    let [_, pythons @ ..] = &mut clients;
    for python in pythons {
        python.end();
        assert_eq!(python.hear(), "ended");
    }
}

/// Whether this Redis was built with TLS.
fn speaks_tls(cli: &str) -> bool {
    let speaks_tls =
        Command::new(cli).args(["--tls", "--version"]).output().is_ok_and(|output| output.status.success());
    if !speaks_tls {
        eprintln!("this redis-cli speaks no TLS, so the proxy is not tried with it");
    }
    speaks_tls
}

fn redis_server(arguments: &[&str]) -> Option<Running> {
    let server = program("redis-server")?;
    let mut command = Command::new(server);
    command.args(["--bind", "127.0.0.1", "--save", ""]).args(arguments).stdout(Stdio::null());
    Some(Running(command.spawn().expect("it is installed")))
}

#[test]
fn redis_clients_speak_tls_to_the_proxy_and_the_proxy_to_the_server() {
    let (Some(cli), Some(bench)) = (program("redis-cli"), program("redis-benchmark")) else { return };
    if !speaks_tls(&cli) {
        return;
    }
    let (server, at) = (Authority::new(), free_address());
    let file = quoted(&server.certify("redis.example")).replace('\'', "");
    let (port, authority) = (at.port().to_string(), server.file().display().to_string());
    let tls = ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no", "--tls-ca-cert-file", &authority];
    let certificate = ["--tls-cert-file", &file, "--tls-key-file", &file];
    let directory = server.path("").display().to_string();
    let Some(_redis) = redis_server(&[&tls[..], &certificate, &["--dir", &directory]].concat()) else { return };
    wait_for(at);
    let ending = Ending::with(at, |_| {
        format!(
            "tls = {{ ca = '{authority}', name = 'redis.example' }}\n\
             check = {{ every = '1s', send = \"PING\\r\\n\", expect = '+PONG' }}\n"
        )
    });
    let (port, authority) = (ending.listen.port().to_string(), ending.authority.file().display().to_string());
    let to = ["-p", &port, "--tls", "--sni", NAME, "--cacert", &authority];
    let mut subscriber = Conversation::with(Command::new(&cli).args(to).args(["subscribe", "news"]));
    let head: Vec<String> = (0..3).map(|_| subscriber.hear()).collect();
    assert_eq!(head, ["subscribe", "news", "1"]);
    for round in 0..REPLACEMENTS {
        ending.replace();
        let published = Command::new(&cli).args(to).args(["publish", "news", &round.to_string()]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&published.stdout).trim(), "1", "{published:?}");
        let told: Vec<String> = (0..3).map(|_| subscriber.hear()).collect();
        assert_eq!(told, ["message", "news", &round.to_string()]);
    }
    let mut command = Command::new(bench);
    command.args(to).args(["-n", "20000", "-c", "10", "-P", "16", "-q", "-t", "set,get"]).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it is installed");
    while child.try_wait().expect("it is a child").is_none() {
        ending.replace();
    }
    let output = child.wait_with_output().expect("it is a child");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("GET: ") && !said.contains("Error"), "{said}");
    ending.proxy.stands("u/127.0.0.1");
    ending.proxy.stands(" up ");
}
