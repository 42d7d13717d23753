//! Pairs of every kind, each of which knows what its bytes have to be.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reactord_tls::Version;

use crate::full::Full;
use crate::rig::{Client, PATIENCE, Proxy, address, free_address, upstream};
use crate::tls_rig::{Authority, Tls, quoted};

/// A client with its server, and how much they have said.
struct Pair {
    client: Client,
    served: Client,
    said: u32,
}

impl Pair {
    fn exchange(&mut self) {
        self.ask();
        self.answer();
    }

    fn ask(&mut self) {
        self.said += 1;
        self.client.send(format!("question {}", self.said));
        self.served.receive(format!("question {}", self.said));
    }

    fn answer(&mut self) {
        self.said += 1;
        self.served.send(format!("answer {}", self.said));
        self.client.receive(format!("answer {}", self.said));
    }

    /// Both of its connections end, and none of them in order or with anything that was not said.
    fn expect_loss(mut self) {
        for end in [&mut self.client, &mut self.served] {
            let mut rest = Vec::new();
            // A reset is an end, too.
            let _ = end.0.read_to_end(&mut rest);
            assert!(rest.is_empty(), "{rest:?}");
        }
    }
}

/// A client and a server that speak TLS, on both sides of the proxy. Half a record of either is on its way whenever somebody looks.
struct Secured {
    client: Tls,
    served: Tls,
    /// The other halves.
    rests: [Vec<u8>; 2],
    /// Whose file each process reads.
    _authority: Authority,
}

const HALF_SAID: &str = "a record that comes in two halves";

impl Secured {
    /// What a file says of it, which is to be led there.
    fn config(authority: &Authority, listen: SocketAddr, server: &TcpListener) -> String {
        let (certificate, ca) = (quoted(&authority.certify("proxy.example")), quoted(&authority.file()));
        format!(
            "[listener.tls]\nbind = '{listen}'\nupstream = 'tls'\ntls = {{ certificates = {certificate} }}\n\
             [upstream.tls]\nservers = ['{}']\ntls = {{ ca = {ca}, name = 'server.example' }}\n",
            address(server)
        )
    }

    fn begin(authority: Authority, listen: SocketAddr, server: &TcpListener) -> Self {
        let mut client = Tls::connect(listen, &authority.connector(Version::Tls13), "proxy.example");
        let (served, _) = server.accept().expect("it is connected on");
        let mut served = Tls::accept(served, &authority.acceptor("server.example")).expect("it is believed");
        let rests = [&mut client, &mut served].map(|end| end.send_half(HALF_SAID));
        Self { client, served, rests, _authority: authority }
    }

    fn exchange(&mut self) {
        let Self { client, served, rests: [of_client, of_served], .. } = self;
        say_the_rest(client, of_client, served);
        say_the_rest(served, of_served, client);
    }

    /// Neither of its connections ends as if all had been said.
    fn expect_loss(mut self) {
        for end in [&mut self.client, &mut self.served] {
            assert!(end.read().is_err(), "it is cut off");
        }
    }
}

/// Says what is left of a record, another one under another key, and half of the next.
fn say_the_rest(one: &mut Tls, rest: &mut Vec<u8>, other: &mut Tls) {
    one.send_rest(rest);
    other.receive(HALF_SAID);
    one.update();
    one.send("whole");
    other.receive("whole");
    *rest = one.send_half(HALF_SAID);
}

/// A server that sends without end. Its client checks all of it.
struct Stream {
    is_over: Arc<AtomicBool>,
    sending: JoinHandle<u64>,
}

impl Stream {
    fn begin(pair: Pair) -> (Self, Client) {
        let Pair { client, served, .. } = pair;
        let is_over = Arc::<AtomicBool>::default();
        let sending = std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || send_without_end(&served.0, &is_over)
        });
        (Self { is_over, sending }, client)
    }

    /// Its server ends it, and says how many bytes there were.
    fn finish(self) -> JoinHandle<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.sending
    }
}

/// One whose client takes some, now and then.
struct Slow {
    stream: Stream,
    client: Client,
    received: u64,
}

impl Slow {
    fn begin(pair: Pair) -> Self {
        let (stream, client) = Stream::begin(pair);
        Self { stream, client, received: 0 }
    }

    fn receive(&mut self) {
        let mut came = vec![0; SLOW_BYTES];
        self.client.0.read_exact(&mut came).expect("there is more");
        assert!(came == bytes_at(self.received, SLOW_BYTES), "behind byte {}", self.received);
        self.received += SLOW_BYTES as u64;
    }

    fn finish(self) {
        let sending = self.stream.finish();
        let received = receive_all(&self.client.0, self.received, &AtomicU64::default());
        assert_eq!(received.expect("it ends, and is not reset"), sending.join().expect("it does not panic"));
    }

    fn expect_loss(self) {
        self.stream.sending.join().expect("it does not panic");
        // What was under way may come, and then an end or a reset.
        let _ = receive_all(&self.client.0, self.received, &AtomicU64::default());
    }
}

/// One whose client takes all as fast as it can.
struct Bulk {
    stream: Stream,
    received: Arc<AtomicU64>,
    receiving: JoinHandle<io::Result<u64>>,
}

impl Bulk {
    fn begin(pair: Pair) -> Self {
        let (stream, client) = Stream::begin(pair);
        let received = Arc::<AtomicU64>::default();
        let receiving = std::thread::spawn({
            let received = Arc::clone(&received);
            move || receive_all(&client.0, 0, &received)
        });
        Self { stream, received, receiving }
    }

    /// More comes.
    fn check(&self) {
        let wanted = self.received.load(Ordering::Relaxed) + BULK_BYTES;
        let deadline = Instant::now() + PATIENCE;
        while self.received.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline && !self.receiving.is_finished(), "it stands still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn finish(self) {
        let sent = self.stream.finish().join().expect("it does not panic");
        let received = self.receiving.join().expect("what came is what was sent");
        assert_eq!(received.expect("it ends, and is not reset"), sent);
    }

    fn expect_loss(self) {
        self.stream.sending.join().expect("it does not panic");
        // A reset is an end, too.
        let _ = self.receiving.join().expect("what came is what was sent");
    }
}

/// How many bytes were sent until that was over, or nobody took them any more.
fn send_without_end(mut socket: &TcpStream, is_over: &AtomicBool) -> u64 {
    let mut sent = 0;
    while !is_over.load(Ordering::Relaxed) {
        if socket.write_all(bytes_at(sent, CHUNK_BYTES)).is_err() {
            return sent;
        }
        sent += CHUNK_BYTES as u64;
    }
    // Whoever was lost has been shut down already.
    let _ = socket.shutdown(Shutdown::Write);
    sent
}

/// How many bytes have come when they end: each of them the one that it has to be.
fn receive_all(mut socket: &TcpStream, from: u64, received: &AtomicU64) -> io::Result<u64> {
    let (mut all, mut buffer) = (from, vec![0; CHUNK_BYTES]);
    loop {
        let bytes = socket.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(all);
        }
        assert!(buffer[..bytes] == *bytes_at(all, bytes), "behind byte {all}");
        all += bytes as u64;
        received.store(all, Ordering::Relaxed);
    }
}

const CHUNK_BYTES: usize = 64 << 10;

/// After so many bytes a stream begins anew: no other step between two places is a multiple of that.
const PERIOD: usize = 1_048_573;

/// Bytes of a stream from a position on: at most a chunk.
fn bytes_at(position: u64, count: usize) -> &'static [u8] {
    static ALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let byte = |at: usize| ((at % PERIOD) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        (0..PERIOD + CHUNK_BYTES).map(byte).collect()
    });
    let from = usize::try_from(position % PERIOD as u64).expect("it is below the period");
    &ALL[from..from + count]
}

/// Pairs of every kind.
pub(crate) struct Crowd {
    proxy: Proxy,
    listen: SocketAddr,
    server: TcpListener,
    /// Where connections take their time.
    slowly: SocketAddr,
    full: Option<Full>,
    connecting: Option<Client>,
    small: Vec<Pair>,
    secured: Secured,
    /// Its client has said all, and its server has not.
    half_closed: Pair,
    bulk: Bulk,
    slow: Vec<Slow>,
    /// Those who come and go while others are copied.
    passing: Vec<Pair>,
}

/// How much of a stream comes at each check.
const BULK_BYTES: u64 = 4 << 20;
const SLOW_BYTES: usize = 3000;

impl Crowd {
    pub(crate) fn gather() -> Self {
        let [listen, slowly, securely] = [free_address(), free_address(), free_address()];
        let (server, full, authority, of_secured) = (upstream(), Full::new(), Authority::new(), upstream());
        let config = format!(
            "[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{}']\n\
             [listener.slow]\nbind = '{slowly}'\nupstream = 'slow'\n[upstream.slow]\nservers = [{{ at = '{}', name = 'full' }}]\n\
             connect_timeout = '1h'\n",
            address(&server),
            full.at
        );
        let proxy = Proxy::serve(&(config + &Secured::config(&authority, securely, &of_secured)));
        let pair = || pair(listen, &server);
        let mut half_closed = pair();
        half_closed.ask();
        half_closed.client.finish();
        half_closed.served.ends();
        let mut crowd = Self {
            small: vec![pair(), pair(), pair()],
            secured: Secured::begin(authority, securely, &of_secured),
            half_closed,
            bulk: Bulk::begin(pair()),
            slow: (0..4).map(|_| Slow::begin(pair())).collect(),
            passing: vec![pair(), pair()],
            connecting: None,
            proxy,
            listen,
            server,
            slowly,
            full: Some(full),
        };
        crowd.connect_slowly();
        crowd.check();
        crowd
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    fn connect_slowly(&mut self) {
        let mut client = Client::connect(self.slowly);
        client.send("early");
        self.proxy.stands("slow/full up connections=1");
        self.connecting = Some(client);
    }

    /// One leaves, one has said all, and one comes. The proxy knows it when this returns.
    pub(crate) fn change(&mut self) {
        let Pair { client, mut served, .. } = self.passing.remove(0);
        drop(client);
        served.ends();
        drop(served);
        if let Some(leaving) = self.passing.first_mut() {
            leaving.client.finish();
            leaving.served.ends();
        }
        let mut new = pair(self.listen, &self.server);
        new.exchange();
        self.passing.push(new);
    }

    /// Everybody goes on where he was.
    pub(crate) fn check(&mut self) {
        self.small.iter_mut().for_each(Pair::exchange);
        self.secured.exchange();
        self.half_closed.answer();
        self.bulk.check();
        self.slow.iter_mut().for_each(Slow::receive);
        self.passing.iter_mut().for_each(Pair::answer);
    }

    /// The same, and whoever was on the way to a server for all that time comes there. All end in order.
    pub(crate) fn finish(mut self) {
        self.check();
        let mut served = self.full.take().expect("it is there until the end").make_room();
        served.receive("early");
        served.send("late");
        self.connecting.take().expect("it waits").receive("late");
        self.bulk.finish();
        self.slow.into_iter().for_each(Slow::finish);
    }

    /// Nobody is served any more, and everybody knows.
    pub(crate) fn expect_loss(self) {
        self.small.into_iter().chain(self.passing).chain([self.half_closed]).for_each(Pair::expect_loss);
        self.secured.expect_loss();
        self.bulk.expect_loss();
        self.slow.into_iter().for_each(Slow::expect_loss);
        let mut connecting = self.connecting.expect("it waits");
        // A reset is an end, too.
        let _ = std::io::copy(&mut connecting.0, &mut std::io::sink());
    }
}

fn pair(listen: SocketAddr, server: &TcpListener) -> Pair {
    let client = Client::connect(listen);
    let (served, _) = server.accept().expect("it is connected on");
    Pair { client, served: Client::of(served), said: 0 }
}
