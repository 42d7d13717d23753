//! Messages that come back.

use std::io::{Error, ErrorKind, Result, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use reactord_tls::{Connector, Suite};

use super::certificate::Certificate;
use super::clients::{Client, Secured, WAITED_MAX};
use super::contestants::{Contestant, PROXY, SERVER, all};
use super::rig::{median, stay_on};

const CONNECTIONS: usize = 50;

/// What all clients want most, and all servers have.
const SUITE: Suite = Suite::Tls13Aes256GcmSha384;
const MESSAGES_BYTES: [usize; 2] = [64, 16 * 1024];

/// What one of them has done in one round.
#[derive(Clone, Copy)]
struct Done {
    /// Processor time of the server, in µs a message.
    cost: f64,
    messages_per_second: f64,
}

pub(crate) fn measure<R: Iterator<Item = usize>>(
    certificate: &Certificate,
    rounds: &dyn Fn() -> R,
    seconds: u64,
) -> Result<()> {
    // The servers have the first processor for themselves.
    stay_on(1)?;
    let (contestants, connector) = (all(), certificate.connector()?);
    for bytes in MESSAGES_BYTES {
        let mut done = Vec::new();
        for round in rounds() {
            let mut of_round = vec![None; contestants.len()];
            // Each is the first as often as the others.
            for who in (0..contestants.len()).map(|place| (place + round) % contestants.len()) {
                let time = Duration::from_secs(seconds);
                match put_on(&contestants[who], certificate, &connector, bytes, time) {
                    Ok(figures) => of_round[who] = Some(figures),
                    Err(error) => println!("{} fails in round {}: {error}", contestants[who].name, round + 1),
                }
            }
            done.push(of_round);
        }
        println!("{bytes} bytes and back on {CONNECTIONS} connections, medians of {} rounds", done.len());
        println!(
            "{:>10} | {:>9} {:>10} {:>10} | {:>10} {:>10} {:>10}",
            "", "us each", "/ reactord", "/ proxy", "a second", "reactord /", "proxy /"
        );
        let beside = [SERVER, PROXY].map(|name| contestants.iter().position(|one| one.name == name));
        (0..contestants.len()).for_each(|who| print(contestants[who].name, who, beside, &done));
    }
    Ok(())
}

fn put_on(
    contestant: &Contestant,
    certificate: &Certificate,
    connector: &Connector,
    bytes: usize,
    time: Duration,
) -> Result<Done> {
    let running = contestant.start(Some(certificate))?;
    let mut clients = Clients::connect(running.server.address(), connector, bytes)?;
    clients.exchange(time / 10)?;
    let (before_ns, begun) = (running.server.processor_ns()?, Instant::now());
    let messages = clients.exchange(time)?;
    let (elapsed, spent_ns) = (begun.elapsed(), running.server.processor_ns()? - before_ns);
    Ok(Done { cost: spent_ns as f64 / 1000.0 / messages, messages_per_second: messages / elapsed.as_secs_f64() })
}

/// Figures of the rounds in which it has come to the end, and ratios of those in which whom it is compared with has, too.
fn print(name: &str, who: usize, beside: [Option<usize>; 2], rounds: &[Vec<Option<Done>>]) {
    let done: Vec<Done> = rounds.iter().filter_map(|round| round[who]).collect();
    if done.is_empty() {
        return println!("{name:>10} | no round has come to the end");
    }
    let over_rounds = |figure: &dyn Fn(&Done) -> f64| median(done.iter().map(figure).collect());
    let ratio = |own: Option<usize>, figure: &dyn Fn(Done, Done) -> f64| {
        let both = rounds.iter().filter_map(|round| Some(figure(round[own?]?, round[who]?)));
        let ratios: Vec<f64> = both.collect();
        if ratios.is_empty() { "-".to_owned() } else { format!("{:.3}", median(ratios)) }
    };
    let cost = |own| ratio(own, &|own, other| other.cost / own.cost);
    let speed = |own| ratio(own, &|own, other| own.messages_per_second / other.messages_per_second);
    println!(
        "{name:>10} | {:>9.2} {:>10} {:>10} | {:>10.0} {:>10} {:>10}",
        over_rounds(&|done| done.cost),
        cost(beside[0]),
        cost(beside[1]),
        over_rounds(&|done| done.messages_per_second),
        speed(beside[0]),
        speed(beside[1]),
    );
}

/// All clients of a server, each with one message on its way.
struct Clients {
    poll: Poll,
    all: Vec<(mio::net::TcpStream, Secured)>,
    message: Vec<u8>,
    buffer: Vec<u8>,
}

impl Clients {
    fn connect(address: SocketAddr, connector: &Connector, bytes: usize) -> Result<Self> {
        let (poll, message) = (Poll::new()?, (0..bytes).map(|place| place as u8).collect::<Vec<u8>>());
        let mut all = Vec::new();
        for number in 0..CONNECTIONS {
            let mut client = Client::connect(address, connector)?;
            if client.suite() != SUITE {
                return Err(Error::other(format!("it has agreed on {:?}, the others have {SUITE:?}", client.suite())));
            }
            client.echo(&message)?;
            client.socket.set_nonblocking(true)?;
            let mut socket = mio::net::TcpStream::from_std(client.socket);
            poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
            all.push((socket, client.secured));
        }
        Ok(Self { poll, all, message, buffer: Secured::buffer() })
    }

    /// Has messages go and come for so long, and says how many have come.
    fn exchange(&mut self, time: Duration) -> Result<f64> {
        let by = Instant::now() + time;
        for (socket, secured) in &mut self.all {
            send(socket, secured, &self.message)?;
        }
        let (mut events, mut under_way, mut come) = (Events::with_capacity(CONNECTIONS), self.all.len(), 0);
        while under_way > 0 {
            self.poll.poll(&mut events, Some(WAITED_MAX))?;
            if events.is_empty() {
                let waited_s = WAITED_MAX.as_secs();
                return Err(Error::other(format!("nothing has come for {waited_s} s, after {come} messages")));
            }
            let goes_on = Instant::now() < by;
            for event in &events {
                let (socket, secured) = &mut self.all[event.token().0];
                secured.read(socket, &mut self.buffer)?;
                if secured.has_come(&self.message)? {
                    come += 1;
                    if goes_on {
                        send(socket, secured, &self.message)?;
                    } else {
                        under_way -= 1;
                    }
                }
            }
        }
        Ok(f64::from(come))
    }
}

/// The kernel has room for one message of each.
fn send(socket: &mut mio::net::TcpStream, secured: &mut Secured, message: &[u8]) -> Result<()> {
    let sealed = secured.seal(message)?;
    match socket.write(sealed)? {
        bytes if bytes == sealed.len() => Ok(()),
        _ => Err(Error::new(ErrorKind::WriteZero, "the kernel has no room for a message")),
    }
}
