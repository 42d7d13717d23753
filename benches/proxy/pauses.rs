//! How long nobody serves when a proxy is replaced whose clients take slowly what is sent to them, or take it as fast as they
//! can, and how much is copied then.

use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};

use super::contestants::{forward, forward_taking_over};
use super::loads::{Backend, Load};
use super::rig::{Server, median};

/// What somebody takes at a time who is slow, and how long it rests then.
const SLOW_BYTES: usize = 2048;
const SLOW_REST: Duration = Duration::from_millis(20);

/// Replaces the example so often, and prints what that took.
pub(crate) fn measure(slow: usize, bulk: usize, takeovers: usize) -> Result<()> {
    let backend = Backend::start(Load::Bulk { connections: slow + bulk })?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("takeover");
    let mut server = forward(backend.address(), &path)?;
    let at = server.address();
    let stops = AtomicBool::new(false);
    let summaries = std::thread::scope(|threads| {
        threads.spawn(|| take(at, slow, SLOW_BYTES, SLOW_REST, &stops));
        threads.spawn(|| take(at, bulk, usize::MAX, Duration::ZERO, &stops));
        // Until what the kernel keeps for those who are slow is full.
        std::thread::sleep(Duration::from_secs(5));
        let summaries = (0..takeovers).map(|_| replace(&mut server, backend.address(), &path)).collect();
        stops.store(true, Ordering::Relaxed);
        summaries
    });
    print(slow, bulk, summaries)
}

/// What one takeover took.
struct Took {
    pause_us: f64,
    dirty: f64,
    bytes: f64,
}

fn replace(server: &mut Server, to: SocketAddr, path: &Path) -> Result<Took> {
    let summary = server.replace(&mut forward_taking_over(to, path))?;
    server.pin()?;
    let figure = |unit: &str| {
        let before = summary.split(unit).next().and_then(|before| before.split(' ').next_back());
        before.and_then(|figure| figure.parse().ok()).ok_or_else(|| Error::other(format!("no {unit} in {summary:?}")))
    };
    let pause = summary.rsplit("pause ").next().and_then(|pause| pause.split(' ').next()?.parse().ok());
    let pause_us = pause.ok_or_else(|| Error::other(format!("no pause in {summary:?}")))?;
    Ok(Took { pause_us, dirty: figure(" dirty")?, bytes: figure(" bytes")? })
}

fn print(slow: usize, bulk: usize, all: Result<Vec<Took>>) -> Result<()> {
    let all = all?;
    let over_all = |figure: &dyn Fn(&Took) -> f64| median(all.iter().map(figure).collect());
    let mut pauses: Vec<f64> = all.iter().map(|took| took.pause_us).collect();
    pauses.sort_by(f64::total_cmp);
    println!("\n{slow} pairs whose clients take slowly, {bulk} that take all they can, replaced {} times", all.len());
    println!(
        "pause, us: median {:.0}, 99th percentile {:.0}, worst {:.0}; dirty {:.0}, bytes copied {:.0}",
        median(pauses.clone()),
        pauses[(pauses.len() * 99 / 100).min(pauses.len() - 1)],
        pauses[pauses.len() - 1],
        over_all(&|took| took.dirty),
        over_all(&|took| took.bytes),
    );
    Ok(())
}

/// Takes on so many connections at most so many bytes at a time, and then rests.
fn take(at: SocketAddr, connections: usize, bytes_max: usize, rest: Duration, stops: &AtomicBool) {
    let sockets: Vec<TcpStream> = (0..connections).map(|_| TcpStream::connect(at).expect("the proxy serves")).collect();
    let mut buffer = vec![0; bytes_max.min(1 << 20)];
    while !stops.load(Ordering::Relaxed) {
        for socket in &sockets {
            match recv(socket, &mut buffer[..], RecvFlags::TRUNC | RecvFlags::DONTWAIT).map_err(Error::from) {
                Ok((_, 0)) => panic!("a connection has ended"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("a connection is lost: {error}"),
            }
        }
        std::thread::sleep(rest);
    }
}
