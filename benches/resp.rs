//! How fast the example `resp` is, beside `redis-server`.
//!
//! ```sh
//! apt install redis-server redis-tools
//! cargo build --release --examples && cargo bench --bench resp
//! ```
//!
//! Both have one thread, on a processor of its own, and are asked by `redis-benchmark`, which has the other one. The rounds
//! are interleaved, and who begins changes. The table gives medians over the rounds; the ratios are medians of the ratios
//! of each round, of which none begins after some minutes. Then each gets a command of 800,000 words, 8 MB, while another client says PING, one after the other.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use argh::FromArgs;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
mod rig;

use rig::{Server, median};

/// Compares the example `resp` with redis-server.
#[derive(FromArgs)]
struct Arguments {
    /// rounds of both servers (default: 5)
    #[argh(option, default = "5")]
    rounds: usize,
    /// requests of each test of redis-benchmark, in thousands (default: 500); 0 leaves them out
    #[argh(option, default = "500")]
    thousands: u32,
    /// minutes after which no round of a test begins, but one of each (default: 5)
    #[argh(option, default = "5.0")]
    minutes: f64,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

/// Nothing is waited for longer than this.
const WAITED_MAX_S: u64 = 60;

const TESTS: [&str; 4] = ["ping_mbulk", "set", "get", "incr"];

/// How many words the long command has, its name not counted. Each is 10 bytes with its length.
const WORDS: usize = 800_000;

fn main() -> Result<()> {
    let arguments: Arguments = argh::from_env();
    // The servers have the first processor for themselves.
    rig::stay_on(1)?;
    let begun = Instant::now();
    let minutes_left = || (arguments.minutes - begun.elapsed().as_secs_f64() / 60.0).max(0.0);
    println!("{:>10} {:>5} | {:>9} {:>9} {:>6} | {:>6} {:>6} {:>6}", "", "-P", "resp", "redis", "/", "µs", "µs", "/");
    for pipeline in if arguments.thousands > 0 { &[16, 1][..] } else { &[] } {
        for test in TESTS {
            // One at a time takes longer.
            let requests = arguments.thousands * if *pipeline == 1 { 200 } else { 1000 };
            compare(test, *pipeline, requests, rig::rounds(arguments.rounds, minutes_left()))?;
        }
    }
    println!("\n{:>24} | {:>8} {:>8} {:>6} | others wait: {:>8} {:>8}", "", "resp", "redis", "/", "resp", "redis");
    for (name, exist) in [("DEL of words that exist", true), ("of words that do not", false)] {
        compare_long(name, exist, rig::rounds(arguments.rounds, minutes_left()))?;
    }
    Ok(())
}

/// Runs `measure` for both, in turns, and returns what it found in each round.
fn in_turns<T: Copy>(
    rounds: impl Iterator<Item = usize>,
    mut measure: impl FnMut(&Server) -> Result<T>,
) -> Result<Vec<[T; 2]>> {
    let mut found = Vec::new();
    for round in rounds {
        let first = round % 2;
        let mut both = [None; 2];
        for server in [first, 1 - first] {
            let started = if server == 0 { start_resp()? } else { start_redis()? };
            started.pin()?;
            both[server] = Some(measure(&started)?);
        }
        found.push(both.map(|one| one.expect("both were measured")));
    }
    Ok(found)
}

fn start_resp() -> Result<Server> {
    let example = Path::new(env!("CARGO_BIN_EXE_reactord")).with_file_name("examples").join("resp");
    assert!(example.exists(), "{} is missing: cargo build --release --examples", example.display());
    let takeover_path = std::env::temp_dir().join(format!("resp-bench-{}", std::process::id()));
    Server::start(Command::new(example).arg("127.0.0.1:0").arg(takeover_path))
}

fn start_redis() -> Result<Server> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let script = "exec redis-server --bind 127.0.0.1 --port $0 --save '' --appendonly no 1>&2";
    let mut command = Command::new("sh");
    Server::start_at(command.args(["-c", script, &address.port().to_string()]), address, "eady to accept")
}

/// What a test of redis-benchmark finds.
#[derive(Clone, Copy)]
struct Figures {
    requests_per_second: f64,
    processor_us_per_request: f64,
}

fn compare(test: &str, pipeline: u32, requests: u32, rounds: impl Iterator<Item = usize>) -> Result<()> {
    let rounds = in_turns(rounds, |server| ask(server, test, pipeline, requests))?;
    let over_rounds = |figure: &dyn Fn(&[Figures; 2]) -> f64| median(rounds.iter().map(figure).collect());
    let speed = |server: usize| over_rounds(&|round| round[server].requests_per_second);
    let processor = |server: usize| over_rounds(&|round| round[server].processor_us_per_request);
    println!(
        "{test:>10} {pipeline:>5} | {:>9.0} {:>9.0} {:>6.3} | {:>6.2} {:>6.2} {:>6.3}",
        speed(0),
        speed(1),
        over_rounds(&|round| round[0].requests_per_second / round[1].requests_per_second),
        processor(0),
        processor(1),
        over_rounds(&|round| round[0].processor_us_per_request / round[1].processor_us_per_request)
    );
    Ok(())
}

fn ask(server: &Server, test: &str, pipeline: u32, requests: u32) -> Result<Figures> {
    let port = server.address().port().to_string();
    let before = server.processor_ns()?;
    let mut command = Command::new("timeout");
    command.args([
        WAITED_MAX_S.to_string().as_str(),
        "taskset",
        "-c",
        "1",
        "redis-benchmark",
        "-p",
        &port,
        "-t",
        test,
        "--csv",
        "-P",
        &pipeline.to_string(),
    ]);
    let output = command.args(["-n", &requests.to_string()]).output()?;
    let processor_ns = server.processor_ns()? - before;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // "SET","123456.78",…: a heading comes first.
    let speed = said.lines().last().and_then(|line| line.split('"').nth(3)).and_then(|speed| speed.parse().ok());
    Ok(Figures {
        requests_per_second: speed.ok_or_else(|| Error::other(format!("redis-benchmark said {said:?}")))?,
        processor_us_per_request: processor_ns as f64 / 1000.0 / f64::from(requests),
    })
}

/// What came of the long command.
#[derive(Clone, Copy)]
struct Long {
    answered: Duration,
    others_waited: Duration,
}

fn compare_long(name: &str, exist: bool, rounds: impl Iterator<Item = usize>) -> Result<()> {
    let rounds = in_turns(rounds, |server| long_command(server.address(), exist))?;
    let over_rounds = |figure: &dyn Fn(&[Long; 2]) -> f64| median(rounds.iter().map(figure).collect());
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    println!(
        "{name:>24} | {:>5.0} ms {:>5.0} ms {:>6.3} | {:>21.1} ms {:>5.1} ms",
        over_rounds(&|round| ms(round[0].answered)),
        over_rounds(&|round| ms(round[1].answered)),
        over_rounds(&|round| ms(round[0].answered) / ms(round[1].answered)),
        over_rounds(&|round| ms(round[0].others_waited)),
        over_rounds(&|round| ms(round[1].others_waited)),
    );
    Ok(())
}

/// Has 800,000 keys deleted at once, while another client asks all the time.
fn long_command(address: SocketAddr, exist: bool) -> Result<Long> {
    let words: Vec<String> = (0..WORDS).map(word).collect();
    let mut client = connect(address)?;
    if exist {
        let pairs = words.iter().flat_map(|word| [word.as_str(), "value"]);
        exchange(&mut client, &command("MSET", 2 * WORDS, pairs), "+OK\r\n")?;
    }
    let delete = command("DEL", WORDS, words.iter().map(String::as_str));
    let deleted = format!(":{}\r\n", if exist { WORDS } else { 0 });
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let other = threads.spawn(|| longest_wait(address, &ended));
        let begun = Instant::now();
        let exchanged = exchange(&mut client, &delete, &deleted);
        let answered = begun.elapsed();
        ended.store(true, Ordering::Relaxed);
        exchanged?;
        Ok(Long { answered, others_waited: other.join().expect("it does not panic")? })
    })
}

/// Four letters for each number.
fn word(number: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
    (0..4).map(|place| char::from(LETTERS[number >> (5 * place) & 31])).collect()
}

fn command<'w>(name: &str, words: usize, all: impl Iterator<Item = &'w str>) -> Vec<u8> {
    let mut command = format!("*{}\r\n${}\r\n{name}\r\n", words + 1, name.len());
    all.for_each(|word| command += &format!("${}\r\n{word}\r\n", word.len()));
    command.into()
}

fn longest_wait(address: SocketAddr, ended: &AtomicBool) -> Result<Duration> {
    let mut client = connect(address)?;
    let mut longest = Duration::ZERO;
    while !ended.load(Ordering::Relaxed) {
        let begun = Instant::now();
        exchange(&mut client, b"PING\r\n", "+PONG\r\n")?;
        longest = longest.max(begun.elapsed());
    }
    Ok(longest)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(Duration::from_secs(WAITED_MAX_S)))?;
    client.set_write_timeout(Some(Duration::from_secs(WAITED_MAX_S)))?;
    Ok(client)
}

fn exchange(client: &mut TcpStream, command: &[u8], answer: &str) -> Result<()> {
    client.write_all(command)?;
    let mut answered = vec![0; answer.len()];
    client.read_exact(&mut answered)?;
    if answered == answer.as_bytes() {
        return Ok(());
    }
    Err(Error::other(format!("{answer:?} was expected, {:?} came", String::from_utf8_lossy(&answered))))
}
