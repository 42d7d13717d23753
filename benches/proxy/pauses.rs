//! How long nobody serves when a proxy is replaced whose clients take slowly what is sent to them, or take it as fast as they
//! can, and how much of it is in the proxy then and has to be copied.

use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::contestants::Replaced;
use super::flood;
use super::loads::{Backend, Load};
use super::rig::{Server, median, stay_on};

/// Some clients, and how they take what is sent to them.
struct Takers {
    connections: usize,
    /// So much at a time of each, at most.
    bytes_max: usize,
    /// And then they rest.
    rest: Duration,
}

/// Until what the kernel keeps for those who are slow is full.
const FILLED_WITHIN: Duration = Duration::from_secs(5);

/// Replaces the proxy so often, and prints what that took.
pub(crate) fn measure(slow: usize, bulk: usize, takeovers: usize, proxy: &Replaced) -> Result<()> {
    let backend = Backend::start(Load::Bulk { connections: slow + bulk })?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("takeover");
    let mut server = proxy.start(backend.address(), &path)?;
    let at = server.address();
    let stops = AtomicBool::new(false);
    let slow_ones = Takers { connections: slow, bytes_max: 2048, rest: Duration::from_millis(20) };
    let quick_ones = Takers { connections: bulk, bytes_max: 1 << 20, rest: Duration::from_micros(100) };
    println!("\n{}: {slow} pairs whose clients take slowly, {bulk} that take all they can", proxy.name);
    let mut took = Vec::new();
    let ended = std::thread::scope(|threads| {
        let takers = [&slow_ones, &quick_ones].map(|takers| threads.spawn(|| takers.take_until(at, &stops)));
        std::thread::sleep(FILLED_WITHIN);
        let replaced = (0..takeovers).try_for_each(|_| {
            if takers.iter().any(|taker| taker.is_finished()) {
                return Err(Error::other("the clients are gone"));
            }
            took.push(replace(&mut server, &mut proxy.successor(at, backend.address(), &path))?);
            Ok(())
        });
        stops.store(true, Ordering::Relaxed);
        let taken = takers.map(|taker| taker.join().expect("it returns its errors"));
        taken.into_iter().fold(replaced, |first, next| next.and(first))
    });
    if !took.is_empty() {
        print(&took);
    }
    ended
}

/// What one takeover took.
struct Took {
    pause_us: f64,
    dirty: f64,
    bytes: f64,
}

/// The successor starts on the processor that it is to have: on the other one it would wait for the clients.
fn replace(server: &mut Server, successor: &mut std::process::Command) -> Result<Took> {
    stay_on(0)?;
    let summary = server.replace(successor);
    stay_on(1)?;
    let summary = summary?;
    let figure = |unit: &str| {
        let before = summary.split(unit).next().and_then(|before| before.split(' ').next_back());
        before.and_then(|figure| figure.parse().ok()).ok_or_else(|| Error::other(format!("no {unit} in {summary:?}")))
    };
    let pause = summary.rsplit("pause ").next().and_then(|pause| pause.split(' ').next()?.parse().ok());
    let pause_us = pause.ok_or_else(|| Error::other(format!("no pause in {summary:?}")))?;
    Ok(Took { pause_us, dirty: figure(" dirty")?, bytes: figure(" bytes")? })
}

fn print(all: &[Took]) {
    let over_all = |figure: &dyn Fn(&Took) -> f64| median(all.iter().map(figure).collect());
    let mut pauses: Vec<f64> = all.iter().map(|took| took.pause_us).collect();
    pauses.sort_by(f64::total_cmp);
    println!(
        "replaced {} times; pause, us: median {:.0}, 99th percentile {:.0}, worst {:.0}; dirty {:.0}, bytes copied {:.0}",
        all.len(),
        median(pauses.clone()),
        pauses[(pauses.len() * 99 / 100).min(pauses.len() - 1)],
        pauses[pauses.len() - 1],
        over_all(&|took| took.dirty),
        over_all(&|took| took.bytes),
    );
}

impl Takers {
    /// Connects, and takes until it is to stop.
    ///
    /// # Errors
    /// If a connection is lost by then.
    fn take_until(&self, at: SocketAddr, stops: &AtomicBool) -> Result<()> {
        let sockets = (0..self.connections).map(|_| TcpStream::connect(at)).collect::<Result<Vec<TcpStream>>>()?;
        let mut sink = vec![0; self.bytes_max];
        while !stops.load(Ordering::Relaxed) {
            for socket in &sockets {
                match flood::take(socket, &mut sink) {
                    Ok(0) => return Err(Error::other("a connection has ended")),
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
            std::thread::sleep(self.rest);
        }
        Ok(())
    }
}
