//! Clients that come and go, all the time.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use reactord_tls::Connector;

use super::certificate::Certificate;
use super::clients::Client;
use super::rig::{Server, median};

/// What is wanted, and who does it: while one waits, others go on.
const PER_SECOND: u64 = 1000;
const THREADS: u64 = 16;

/// How long as many as go.
const AT_MOST: Duration = Duration::from_secs(3);

/// How long a server has to itself before the next takes over.
const BETWEEN_TAKEOVERS: Duration = Duration::from_millis(400);

/// A message of the service, as it is and comes.
const MESSAGE: [u8; 4] = [0; 4];

/// How the clients come.
#[derive(Clone, Copy)]
enum Pace {
    /// One after the other, in each of so many threads.
    AtOnce { threads: u64 },
    /// So many a second, whoever is late. Each is one thread's.
    Clock,
}

/// What has come of them.
#[derive(Default)]
struct Come {
    took_ms: Vec<f64>,
    failures: Vec<String>,
}

pub(crate) fn measure(certificate: &Certificate, seconds: u64) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("takeover");
    let (options, connector) = (certificate.of_server(), certificate.connector()?);
    let server = Server::reactord_with(&path, &options)?;
    let address = server.address();

    let before = (server.processor_ns()?, own_processor_us()?);
    let wait = |time| {
        std::thread::sleep(time);
        Ok(())
    };
    let (come, _) = clients(address, &connector, Pace::AtOnce { threads: 4 }, wait, AT_MOST)?;
    let count = come.took_ms.len() as f64;
    let server_us = (server.processor_ns()? - before.0) as f64 / 1000.0 / count;
    let client_us = (own_processor_us()? - before.1) / count;
    println!("as many as go: {:.0} a second, {} failed", count / AT_MOST.as_secs_f64(), come.failures.len());
    println!("processor time of each, us: {server_us:.0} of the server, {client_us:.0} of the client");

    let (mut serving, mut takeovers) = (Some(server), 0);
    let replace = |time: Duration| {
        let by = Instant::now() + time;
        while let Some(server) = serving.take_if(|_| Instant::now() < by) {
            std::thread::sleep(BETWEEN_TAKEOVERS);
            serving = Some(server.taken_over_with(&path, &options)?.0);
            takeovers += 1;
        }
        Ok(())
    };
    let (come, elapsed) = clients(address, &connector, Pace::Clock, replace, Duration::from_secs(seconds))?;
    print(come, elapsed, takeovers);
    Ok(())
}

fn print(mut come: Come, elapsed: Duration, takeovers: u32) {
    come.took_ms.sort_by(f64::total_cmp);
    let count = come.took_ms.len();
    println!(
        "{PER_SECOND} a second wanted: {:.0} a second for {:.1} s, while {takeovers} successors took over; {} failed",
        count as f64 / elapsed.as_secs_f64(),
        elapsed.as_secs_f64(),
        come.failures.len(),
    );
    for failure in come.failures.iter().take(5) {
        println!("  {failure}");
    }
    if count > 0 {
        println!(
            "each took, ms, with a word and its answer: median {:.2}, 99th {:.2}, worst {:.2}",
            median(come.took_ms.clone()),
            come.took_ms[(count * 99 / 100).min(count - 1)],
            come.took_ms[count - 1],
        );
    }
}

/// Has clients come for so long, while something else is done.
fn clients(
    address: SocketAddr,
    connector: &Connector,
    pace: Pace,
    meanwhile: impl FnOnce(Duration) -> Result<()>,
    time: Duration,
) -> Result<(Come, Duration)> {
    let (begun, next) = (Instant::now(), AtomicU64::new(0));
    let threads = match pace {
        Pace::AtOnce { threads } => threads,
        Pace::Clock => THREADS,
    };
    std::thread::scope(|scope| {
        let come = || come_until(address, connector, pace, begun, time, &next);
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(come)).collect();
        let done = meanwhile(time);
        let mut together = Come::default();
        for one in all {
            let Come { took_ms, failures } = one.join().map_err(|_| Error::other("a client has panicked"))?;
            together.took_ms.extend(took_ms);
            together.failures.extend(failures);
        }
        done.map(|()| (together, begun.elapsed()))
    })
}

fn come_until(
    address: SocketAddr,
    connector: &Connector,
    pace: Pace,
    begun: Instant,
    time: Duration,
    next: &AtomicU64,
) -> Come {
    let mut come = Come::default();
    loop {
        if let Pace::Clock = pace {
            let due = begun + Duration::from_micros(next.fetch_add(1, Ordering::Relaxed) * 1_000_000 / PER_SECOND);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let now = Instant::now();
        if now >= begun + time {
            return come;
        }
        match come_and_go(address, connector) {
            Ok(()) => come.took_ms.push(now.elapsed().as_secs_f64() * 1000.0),
            Err(error) => come.failures.push(error.to_string()),
        }
    }
}

fn come_and_go(address: SocketAddr, connector: &Connector) -> Result<()> {
    let mut client = Client::connect(address, connector)?;
    client.echo(&MESSAGE)?;
    client.leave()
}

/// What this process has taken of the processors, in µs.
fn own_processor_us() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64)
}
