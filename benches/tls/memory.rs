//! What idle connections take.

use std::io::Result;

use super::certificate::Certificate;
use super::clients::DRAIN_S;
use super::contestants::{Contestant, Running, all};
use super::rig::{Client, median};

/// What a process has anyway, and what it takes for the first ones, does not count.
const BEFORE: usize = 5000;

pub(crate) fn measure(
    certificate: &Certificate,
    rounds: impl Iterator<Item = usize>,
    connections: usize,
) -> Result<()> {
    assert!(connections > BEFORE, "--idle {connections} is at most the {BEFORE} that do not count");
    let contestants = all();
    // Of each: with TLS, without, and what makes the difference.
    let (mut bytes, mut rounds_done) = (vec![Vec::new(); contestants.len()], 0);
    for _ in rounds {
        rounds_done += 1;
        for (contestant, bytes) in contestants.iter().zip(&mut bytes) {
            match both(contestant, certificate, connections) {
                Ok(figures) => bytes.push(figures),
                Err(error) => println!("{} fails: {error}", contestant.name),
            }
        }
    }
    println!("bytes of resident memory for each idle connection, of those between {BEFORE} and {connections};");
    println!("medians of {rounds_done} rounds. Proxies have another one for each, to the server behind them");
    println!("{:>10} | {:>8} {:>8} | {:>8}", "", "TLS", "in clear", "more");
    for (contestant, bytes) in contestants.iter().zip(bytes).filter(|(_, bytes)| !bytes.is_empty()) {
        let over_rounds = |figure: &dyn Fn(&(f64, f64)) -> f64| median(bytes.iter().map(figure).collect());
        let (tls, clear) = (over_rounds(&|bytes| bytes.0), over_rounds(&|bytes| bytes.1));
        println!(
            "{:>10} | {tls:>8.0} {clear:>8.0} | {:>8.0}",
            contestant.name,
            over_rounds(&|bytes| bytes.0 - bytes.1)
        );
    }
    Ok(())
}

fn both(contestant: &Contestant, certificate: &Certificate, connections: usize) -> Result<(f64, f64)> {
    let tls = slope(&contestant.start(Some(certificate))?, &certificate.of_client(), connections)?;
    Ok((tls, slope(&contestant.start(None)?, &[], connections)?))
}

/// What each takes of those that come after the first.
fn slope(running: &Running, spoken: &[String], connections: usize) -> Result<f64> {
    let mut clients = Vec::new();
    let mut resident_bytes = Vec::new();
    for more in [BEFORE, connections - BEFORE] {
        let more = more.to_string();
        let arguments: Vec<&str> = ["-n", "0", "--drain", DRAIN_S, "--idle", &more]
            .into_iter()
            .chain(spoken.iter().map(String::as_str))
            .collect();
        let mut client = Client::begin(running.server.address(), &arguments)?;
        client.wait_until_open()?;
        clients.push(client);
        resident_bytes.push(running.server.resident_bytes()? as f64);
    }
    // With a last exchange on each: they were there.
    clients.iter().for_each(Client::interrupt);
    clients.into_iter().try_for_each(|client| client.report().map(drop))?;
    Ok((resident_bytes[1] - resident_bytes[0]) / (connections - BEFORE) as f64)
}
