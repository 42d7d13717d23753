//! How long nobody serves while a successor takes over idle peers that speak TLS, beside as many that do not.

use std::io::{Error, Result};
use std::path::PathBuf;

use tempfile::TempDir;

use super::certificate::Certificate;
use super::clients::DRAIN_S;
use super::rig::{Client, Server, median};

/// A server that is taken over again and again, with its peers.
struct Chain {
    name: &'static str,
    server: Option<Server>,
    options: Vec<String>,
    clients: Client,
    path: PathBuf,
    pauses_us: Vec<f64>,
    copies_us: Vec<f64>,
    _directory: TempDir,
}

pub(crate) fn measure(certificate: &Certificate, peers: usize, takeovers: impl Iterator<Item = usize>) -> Result<()> {
    let mut plain = Chain::begin("in clear", Vec::new(), &[], peers)?;
    let mut tls = Chain::begin("TLS", certificate.of_server(), &certificate.of_client(), peers)?;
    for _ in takeovers {
        plain.take_over()?;
        tls.take_over()?;
    }
    let takeovers = tls.pauses_us.len();
    println!("{takeovers} takeovers of each of two servers with {peers} idle peers, in turns");
    println!("{:>10} | {:>9} {:>9} {:>9} | {:>12}", "", "pause, us", "99th", "worst", "us each peer");
    let pauses = [plain.end(peers)?, tls.end(peers)?];
    println!("{:>10} | {:>9.2}", "ratio", pauses[1] / pauses[0]);
    Ok(())
}

impl Chain {
    fn begin(name: &'static str, options: Vec<String>, spoken: &[String], peers: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("takeover");
        let server = Server::reactord_with(&path, &options)?;
        let peers = peers.to_string();
        let arguments =
            ["-n", "0", "--drain", DRAIN_S, "--idle", &peers].into_iter().chain(spoken.iter().map(String::as_str));
        let mut clients = Client::begin(server.address(), &arguments.collect::<Vec<_>>())?;
        clients.wait_until_open()?;
        let [pauses_us, copies_us] = [Vec::new(), Vec::new()];
        Ok(Self { name, server: Some(server), options, clients, path, pauses_us, copies_us, _directory: directory })
    }

    fn take_over(&mut self) -> Result<()> {
        let server = self.server.take().ok_or_else(|| Error::other("nobody serves"))?;
        let (successor, summary) = server.taken_over_with(&self.path, &self.options)?;
        self.server = Some(successor);
        self.pauses_us.push(figure(&summary, "pause ")?);
        self.copies_us.push(figure(&summary, "copy ")?);
        Ok(())
    }

    /// Prints its row, and returns the median of its pauses. Nothing may be lost.
    fn end(self, peers: usize) -> Result<f64> {
        self.clients.interrupt();
        self.clients.report()?;
        let mut pauses_us = self.pauses_us;
        pauses_us.sort_by(f64::total_cmp);
        let late = (pauses_us.len() * 99).div_ceil(100).saturating_sub(1);
        let (pause_us, copy_us) = (median(pauses_us.clone()), median(self.copies_us) / peers as f64);
        println!(
            "{:>10} | {pause_us:>9.0} {:>9.0} {:>9.0} | {copy_us:>12.2}",
            self.name,
            pauses_us[late],
            pauses_us[pauses_us.len() - 1]
        );
        Ok(pause_us)
    }
}

/// The figure behind a name, in µs.
fn figure(summary: &str, name: &str) -> Result<f64> {
    let us = summary.split(name).nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    us.ok_or_else(|| Error::other(format!("there is no figure for {name}in: {summary}")))
}
