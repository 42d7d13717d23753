//! Publish-subscribe in one file: a state that all peers share, and messages from one peer to others.
//!
//! A peer sends lines: `SUB topic` subscribes it and is answered with the text that was published last, if any was;
//! `PUB topic text` sends `topic text` to all subscribers, and is answered with how many there are.
//!
//! In one terminal, start it, and in another, subscribe:
//!
//! ```sh
//! cargo run --example pubsub -- 127.0.0.1:1234 /tmp/pubsub.takeover
//! nc 127.0.0.1 1234            # type: SUB news
//! ```
//!
//! In a third, replace it while the subscriber waits, and publish through the successor:
//!
//! ```sh
//! cargo run --example pubsub -- /tmp/pubsub.takeover
//! nc 127.0.0.1 1234            # type: PUB news it works
//! ```
//!
//! The first process has exited, the subscriber reads `news it works`, and has noticed nothing.
//!
//! In a package of your own it needs
//!
//! ```toml
//! [dependencies]
//! log = "0.4"
//! memchr = "2"
//! reactord = { path = "…", default-features = false }
//! simple_logger = { version = "5", default-features = false, features = ["stderr", "timestamps"] }
//! ```

use std::collections::BTreeSet;
use std::net::SocketAddr;

use reactord::{
    Closed, Config, Context, Entries, Keyed, Listen, PeerId, RestoreError, SendError, Server, Service, Violation,
};
use simple_logger::SimpleLogger;

/// The state that all peers share, by the names of topics. A takeover copies it while the predecessor serves.
#[derive(Default)]
struct PubSub {
    subscribers: Keyed<String, BTreeSet<PeerId>>,
    published_last: Keyed<String, String>,
}

impl Service for PubSub {
    type Session = ();
    const NAME: &'static str = "pubsub";
    const STATE_VERSION: u32 = 1;

    fn open(&mut self, _: &mut Context<'_, Self>) {}

    fn boundary(&self, (): &mut (), input: &[u8], searched: usize) -> Result<Option<usize>, Violation> {
        Ok(memchr::memchr(b'\n', &input[searched..]).map(|newline| searched + newline + 1))
    }

    fn message(&mut self, (): &mut (), line: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        match String::from_utf8_lossy(line).trim_end().splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["SUB", name] => {
                self.subscribers.get_or_insert_with(name.to_owned(), BTreeSet::new).insert(context.peer());
                let published_last = self.published_last.get(name).map_or("", String::as_str);
                context.reply(format!("{published_last}\n").as_bytes());
            }
            ["PUB", name, text] => {
                self.published_last.insert(name.to_owned(), text.to_owned());
                let published = format!("{name} {text}\n");
                let subscribers = self.subscribers.get(name).into_iter().flatten();
                for subscriber in subscribers.clone() {
                    // A subscriber that does not keep up would miss a text unawares, so it is closed instead.
                    if let Err(SendError::Full { .. }) = context.send(*subscriber, published.as_bytes()) {
                        context.close_peer(*subscriber);
                    }
                }
                context.reply(format!("{}\n", subscribers.count()).as_bytes());
            }
            _ => return Err(Violation::new("a line is neither `SUB topic` nor `PUB topic text`")),
        }
        Ok(())
    }

    fn closed(&mut self, (): (), _: &Closed, context: &mut Context<'_, Self>) {
        self.subscribers.for_each_mut(|_, subscribers| {
            // Only what is changed is copied again.
            if subscribers.contains(&context.peer()) {
                subscribers.remove(&context.peer());
            }
        });
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        match map {
            0 => Some(&mut self.subscribers),
            1 => Some(&mut self.published_last),
            _ => None,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).without_timestamps().init()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [address, path] => {
            let config = Config { takeover_path: Some(path.into()), ..Config::default() };
            let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
            let listener = Listen::on("clients", address);
            Server::new(config).service([listener], PubSub::default()).serve()?;
        }
        // Without a listener of its own, it takes over the predecessor's.
        [path] => drop(Server::new(Config::default()).service([], PubSub::default()).take_over(path.as_ref())?),
        _ => return Err("usage: pubsub ADDR:PORT PATH to serve, pubsub PATH to take over".into()),
    }
    Ok(())
}
