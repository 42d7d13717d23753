//! Servers in threads of a test: what they say of themselves, and what others ask of them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;
use crate::listen::Target;
use crate::peer::PeerId;
use crate::service::{Context, RestoreError, Service, Violation};
use crate::services::Seqnum;

/// Tells all peers what another thread has put into its channel.
struct News {
    present: Vec<PeerId>,
    news: Receiver<&'static [u8]>,
}

impl Service for News {
    type Session = ();
    const NAME: &'static str = "news";
    const STATE_VERSION: u32 = 1;

    fn open(&mut self, context: &mut Context<'_, Self>) {
        self.present.push(context.peer());
        context.reply(b"hello ");
    }

    fn boundary(&self, (): &mut (), input: &[u8], _: usize) -> Result<Option<usize>, Violation> {
        Ok(Some(input.len()))
    }

    fn message(&mut self, (): &mut (), _: &[u8], _: &mut Context<'_, Self>) -> Result<(), Violation> {
        Ok(())
    }

    fn woken(&mut self, context: &mut Context<'_, Self>) {
        for news in self.news.try_iter() {
            self.present.iter().for_each(|peer| context.send(*peer, news).expect("it is here"));
        }
    }

    fn stopping(&mut self, context: &mut Context<'_, Self>) {
        self.present.iter().for_each(|peer| context.send(*peer, b"goodbye").expect("it is here"));
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// A server in a thread of its own.
struct Running {
    handle: Handle,
    said: Receiver<String>,
    thread: JoinHandle<Result<Outcome, Error>>,
}

impl Running {
    fn begin<S: StreamService + Send + 'static>(
        service: S,
        config: Config,
        run: impl FnOnce(Server<With<S, ()>>) -> Result<Outcome, Error> + Send + 'static,
    ) -> Self
    where
        Server<With<S, ()>>: Send,
    {
        Self::begin_on(1, service, config, run)
    }

    /// The same on another address of this host, with which no listener on 127.0.0.1 is matched.
    fn begin_on<S: StreamService + Send + 'static>(
        host: u8,
        service: S,
        config: Config,
        run: impl FnOnce(Server<With<S, ()>>) -> Result<Outcome, Error> + Send + 'static,
    ) -> Self
    where
        Server<With<S, ()>>: Send,
    {
        let (say, said) = channel();
        let listen = Listen::on("clients", SocketAddr::from(([127, 0, 0, host], 0)));
        let server = Server::new(config).service([listen], service).observe(move |milestone| tell(&say, &milestone));
        let handle = server.handle();
        Self { handle, said, thread: std::thread::spawn(move || run(server)) }
    }

    #[track_caller]
    fn next(&self) -> String {
        self.said.recv_timeout(Duration::from_secs(60)).expect("it has something to say")
    }

    /// Where it says that it listens.
    #[track_caller]
    fn address(&self) -> SocketAddr {
        self.next().parse().expect("it says where it listens")
    }

    fn end(self) -> Result<Outcome, Error> {
        self.thread.join().expect("it does not panic")
    }
}

fn tell(say: &Sender<String>, milestone: &Milestone<'_>) {
    let text = match milestone {
        Milestone::Ready(ready) => {
            assert_eq!((ready.pid, ready.listeners.len()), (std::process::id(), 1));
            assert_eq!(ready.listeners[0].name, "clients");
            let Target::Tcp(address) = &ready.listeners[0].at else { panic!("it listens on TCP") };
            address.to_string()
        }
        Milestone::TakenOver(takeover) => format!("taken over with {} peers", takeover.peers),
        Milestone::TakeoverBegins { pid } => format!("pid {pid} begins to take over"),
        Milestone::HandedOver(takeover) => format!("handed over with {} peers", takeover.peers),
        Milestone::TakeoverFailed { why, .. } => format!("takeover failed: {why}"),
        Milestone::Follows { pid } => format!("follows pid {pid}"),
        Milestone::Survived(survived) => format!("survived with {} peers", survived.served_on),
        Milestone::Armed { pid } => format!("pid {pid} is armed"),
        Milestone::StandbyLost { why, .. } => format!("standby lost: {why}"),
        Milestone::Gave { peers, .. } => format!("gave {peers} peers"),
        Milestone::Took { peers, .. } => format!("took {peers} peers"),
        Milestone::Heartbeat(status) => format!("generation {} lives", status.generation),
        Milestone::Stopping => "stopping".to_owned(),
        Milestone::LogLevel(level) => format!("log level {level}"),
    };
    // A test that has failed hears nothing any more.
    let _ = say.send(text);
}

fn config(path: Option<&Path>) -> Config {
    Config { takeover_path: path.map(Path::to_owned), stop_on_signals: false, ..Config::default() }
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client
}

#[test]
fn a_server_in_a_thread_says_where_it_listens_and_is_woken_and_stopped_from_another() {
    let (tell_news, news) = channel();
    let running = Running::begin(News { present: Vec::new(), news }, config(None), Server::serve);
    let mut client = connect(running.address());
    let mut hello = [0; 6];
    client.read_exact(&mut hello).unwrap();
    tell_news.send(b"news ".as_slice()).unwrap();
    tell_news.send(b"and more ".as_slice()).unwrap();
    running.handle.wake();
    let mut news = [0; 14];
    client.read_exact(&mut news).unwrap();
    assert_eq!(&news, b"news and more ");

    running.handle.stop();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "goodbye");
    drop(client);
    assert_eq!(running.next(), "stopping");
    let handle = running.handle.clone();
    assert_eq!(running.end().unwrap(), Outcome::Stopped);
    // Nothing is there any more to be reached.
    handle.wake();
    handle.stop();
}

#[test]
fn a_server_says_that_it_lives_as_often_as_it_is_to() {
    let config = Config { heartbeat: Some(Duration::from_millis(1)), ..config(None) };
    let running = Running::begin(Seqnum, config, Server::serve);
    running.address();
    for _ in 0..3 {
        assert_eq!(running.next(), "generation 1 lives");
    }
    running.handle.stop();
    assert_eq!(running.end().unwrap(), Outcome::Stopped);
}

#[test]
fn a_server_that_is_stopped_before_it_serves_stops_as_soon_as_it_does() {
    let server = Server::new(config(None)).service([], Seqnum);
    server.handle().stop();
    assert_eq!(server.serve().unwrap(), Outcome::Stopped);
}

#[test]
fn both_sides_are_told_of_a_takeover_and_of_one_that_fails() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("takeover");
    let predecessor = Running::begin(Seqnum, config(Some(&path)), Server::serve);
    let address = predecessor.address();
    let mut client = connect(address);
    client.write_all(&[0, 0, 0, 7]).unwrap();
    client.read_exact(&mut [0; 4]).unwrap();

    let from = path.clone();
    let (_, news) = channel();
    let stranger = News { present: Vec::new(), news };
    let failing = Running::begin(stranger, config(None), move |server| server.take_over(&from));
    failing.end().expect_err("it runs another service");
    let why = "takeover failed: the predecessor serves seqnum, the successor offers news";
    assert_eq!(predecessor.next(), why);

    let from = path.clone();
    let successor = Running::begin(Seqnum, config(None), move |server| server.take_over(&from));
    assert_eq!(successor.address(), address);
    assert_eq!(successor.next(), "taken over with 1 peers");
    assert_eq!(predecessor.next(), format!("pid {} begins to take over", std::process::id()));
    assert_eq!(predecessor.next(), "handed over with 1 peers");
    assert!(matches!(predecessor.end().unwrap(), Outcome::HandedOver { .. }));

    client.write_all(&[0, 0, 0, 8]).unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0, 0, 0, 8]);
    successor.handle.stop();
    drop(client);
    assert_eq!(successor.next(), "stopping");
    assert_eq!(successor.end().unwrap(), Outcome::Stopped);
}

/// A successor of whoever answers at this path, at another address.
fn succeed_on(host: u8, path: &Path, config: Config) -> Running {
    let from = path.to_owned();
    Running::begin_on(host, Seqnum, config, move |server| server.take_over(&from))
}

#[test]
fn who_has_connected_where_nobody_listens_any_more_is_let_in_also_after_the_next_takeover() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("takeover");
    let first = Running::begin(Seqnum, config(Some(&path)), Server::serve);
    let left = first.address();
    let _client = connect(left);
    // The second one has room for nobody, and leaves alone who waits.
    let second = succeed_on(2, &path, Config { max_peers: 0, ..config(None) });
    assert_eq!(second.address().ip(), std::net::Ipv4Addr::new(127, 0, 0, 2));
    first.end().unwrap();
    let mut waiting = connect(left);
    waiting.write_all(&[0, 0, 0, 9]).unwrap();
    let third = succeed_on(3, &path, config(None));
    let mut answer = [0; 4];
    waiting.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0, 0, 0, 9]);
    TcpStream::connect(left).expect_err("nobody listens there any more");
    second.end().unwrap();
    third.handle.stop();
    third.handle.stop();
    assert_eq!(third.end().unwrap(), Outcome::Stopped);
}

#[test]
fn a_server_whose_first_service_has_a_listener_and_a_queue_is_refused_before_it_listens() {
    let directory = tempfile::tempdir().unwrap();
    let [first, other, takeover] = ["first", "other", "takeover"].map(|file| directory.path().join(file));
    let (_supervisor, there) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let server = Server::new(config(Some(&takeover)))
        .service([Listen::on("first", first)], Seqnum)
        .service([Listen::on("other", other)], crate::services::Line::default());
    let refused = server.work(Queue::on(there)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "seqnum was given 1 listeners, 0 are allowed to a service that draws from a supervisor's queue"
    );
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "nothing was bound");
}
