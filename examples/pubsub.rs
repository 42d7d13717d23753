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
//! minicbor = { version = "2", features = ["derive", "std"] }
//! reactord = { path = "…", default-features = false }
//! simple_logger = { version = "5", default-features = false, features = ["stderr", "timestamps"] }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use minicbor::{Decode, Encode};
use reactord::{Closed, Config, Context, Listen, PeerId, RestoreError, SendError, Server, Service, Violation};
use simple_logger::SimpleLogger;

#[derive(Default, Encode, Decode)]
struct Topic {
    #[n(0)]
    subscribers: BTreeSet<u64>,
    #[n(1)]
    published_last: String,
}

/// All topics by name: the state that all peers share.
#[derive(Default)]
struct PubSub(BTreeMap<String, Topic>);

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
                let topic = self.0.entry(name.to_owned()).or_default();
                topic.subscribers.insert(context.peer().into());
                context.reply(format!("{}\n", topic.published_last).as_bytes());
            }
            ["PUB", name, text] => {
                let topic = self.0.entry(name.to_owned()).or_default();
                text.clone_into(&mut topic.published_last);
                let published = format!("{name} {text}\n");
                for subscriber in topic.subscribers.iter().copied().map(PeerId::from) {
                    // A subscriber that does not keep up would miss a text unawares, so it is closed instead.
                    if let Err(SendError::Full { .. }) = context.send(subscriber, published.as_bytes()) {
                        context.close_peer(subscriber);
                    }
                }
                context.reply(format!("{}\n", topic.subscribers.len()).as_bytes());
            }
            _ => return Err(Violation::new("a line is neither `SUB topic` nor `PUB topic text`")),
        }
        Ok(())
    }

    fn closed(&mut self, (): (), _: &Closed, context: &mut Context<'_, Self>) {
        for topic in self.0.values_mut() {
            topic.subscribers.remove(&context.peer().into());
        }
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn save(&self, record: &mut Vec<u8>) {
        minicbor::encode(&self.0, record).expect("encoding into a Vec does not fail");
    }

    fn restore(&mut self, _: u32, record: &[u8]) -> Result<(), RestoreError> {
        self.0 = minicbor::decode(record).map_err(|error| RestoreError::new(error.to_string()))?;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).without_timestamps().init()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [address, path] => {
            let config = Config { takeover_path: Some(path.into()), ..Config::default() };
            let listener = Listen::on("clients", address.parse::<SocketAddr>()?);
            Server::new(config).service([listener], PubSub::default()).serve()?;
        }
        // Without a listener of its own, it takes over the predecessor's.
        [path] => drop(Server::new(Config::default()).service([], PubSub::default()).take_over(path.as_ref())?),
        _ => return Err("usage: pubsub ADDR:PORT PATH to serve, pubsub PATH to take over".into()),
    }
    Ok(())
}
