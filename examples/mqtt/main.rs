//! A broker for MQTT 3.1.1: QoS 0 and 1, wills, retained messages, keep-alive.
//!
//! In one terminal, start it, and in another, subscribe (Debian: `apt install mosquitto-clients`):
//!
//! ```sh
//! cargo run --example mqtt -- 127.0.0.1:1883 /tmp/mqtt.takeover
//! mosquitto_sub -t 'home/#' -q 1 -v
//! ```
//!
//! In a third, replace it while the subscriber waits, and publish through the successor:
//!
//! ```sh
//! cargo run --example mqtt -- /tmp/mqtt.takeover
//! mosquitto_pub -t home/kitchen -m 21.5 -q 1 -r
//! ```
//!
//! With `--tls-cert chain.pem --tls-key key.pem` behind the other words, for the successor, too, its clients speak TLS:
//! `mosquitto_sub --cafile ca.pem`.
//!
//! Conversations last as long as their connections, which a takeover does not end; a client that connects anew begins anew,
//! also if it asks for its old session. Messages of QoS 2 are not taken, and are granted to nobody.
//!
//! In a package of your own it needs
//!
//! ```toml
//! [dependencies]
//! bytes = "1"
//! log = "0.4"
//! minicbor = { version = "2", features = ["derive", "std"] }
//! mqttbytes = "0.6"
//! reactord = { path = "…", default-features = false, features = ["tls"] }
//! simple_logger = { version = "5", default-features = false, features = ["stderr", "timestamps"] }
//! ```

mod broker;
mod session;
mod tls;
mod topics;

use std::net::SocketAddr;

use broker::Broker;
use reactord::{Config, Listen, Server};
use simple_logger::SimpleLogger;
use tls::with_tls;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).without_timestamps().init()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (words, tls) = with_tls(&arguments)?;
    match words {
        [address, path] => {
            let config = Config { takeover_path: Some(path.into()), ..Config::default() };
            let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
            let listener = Listen { tls, ..Listen::on("clients", address) };
            Server::new(config).service([listener], Broker::default()).serve()?;
        }
        [path] => {
            let config = Config { tls, ..Config::default() };
            Server::new(config).service([], Broker::default()).take_over(path.as_ref())?;
        }
        _ => {
            return Err(
                "usage: mqtt ADDR:PORT PATH to serve, mqtt PATH to take over; then --tls-cert FILE --tls-key FILE"
                    .into(),
            );
        }
    }
    Ok(())
}
