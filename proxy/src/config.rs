//! What the proxy is to do, as its file says it: [`Config::read`].
//!
//! Reading does not stop at what is wrong. Each table is read with the keys that it may have ([`TABLES`]), each value is
//! either what it means or a mistake with its place, and at last what stands in different places has to fit together.

mod changes;
mod checks;
mod defaults;
mod keys;
mod listeners;
mod loading;
mod mistakes;
mod model;
mod open_files;
mod places;
mod reading;
mod sni;
mod tls;
mod upstreams;
mod values;

use toml::de::DeTable;

pub use changes::{Changes, changes};
pub use keys::{TABLES, Table};
pub use loading::Credentials;
pub use mistakes::{Mistake, Mistakes};
pub use model::{
    AccessLog, At, Balance, CertificateFiles, Check, ClientAuth, Config, Eject, HostPort, Listener, ListenerTls,
    OnDown, OnRemoved, ProxyVersion, Queue, Rate, Route, Server, Upstream, UpstreamTls,
};
pub use open_files::TooFewFiles;
pub use sni::Sni;

use defaults::{ForListeners, ForUpstreams};
use mistakes::Wrong;
use places::{Placed, Places};
use reading::{Reading, Section};

/// Servers have numbers of 16 bits, and some of those are for servers that are gone from the file and have connections still.
const SERVERS_MAX: usize = 50_000;

/// What listener and upstream are called when the command line says both.
const SIMPLE: &str = "main";

impl Config {
    /// What the text of a file says, which is TOML. `name` is the file's, for the mistakes. Files that it names are not read.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    pub fn read(name: &str, text: &str) -> Result<Self, Mistakes> {
        let (config, _, wrong) = Self::read_with_places(text);
        if wrong.is_empty() { Ok(config) } else { Err(Mistakes::new(name, text, wrong)) }
    }

    /// The same with the certificates, keys and authorities that it names, which are read now.
    ///
    /// # Errors
    /// All that is wrong with it, or if nothing is, with these, each with its place.
    pub fn load(name: &str, text: &str) -> Result<(Self, Credentials), Mistakes> {
        let (config, places, mut wrong) = Self::read_with_places(text);
        let credentials =
            if wrong.is_empty() { loading::load(&config, &places, &mut wrong) } else { Credentials::default() };
        if wrong.is_empty() { Ok((config, credentials)) } else { Err(Mistakes::new(name, text, wrong)) }
    }

    fn read_with_places(text: &str) -> (Self, Places, Vec<Wrong>) {
        let (document, errors) = DeTable::parse_recoverable(text);
        let reading = Reading::new(errors.is_empty());
        let top = Section::open(&reading, document.get_ref(), 0, &keys::TOP);
        let (config, places) = read_all(&top);
        if errors.is_empty() {
            // Where some of the file could not be read, what it says elsewhere need not fit together.
            let upstreams: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
            checks::check(&places, &upstreams, &reading);
        }
        let mut wrong = reading.into_wrong();
        wrong.extend(errors.iter().map(|error| Wrong {
            offset: error.span().map_or(text.len(), |span| span.start),
            what: error.message().to_owned(),
        }));
        (config, places, wrong)
    }

    /// What a command line without a file says: all who connect here are led there. It is what a file says that has one listener
    /// and one upstream with one server, both called `main`.
    ///
    /// # Errors
    /// What is wrong with either of them.
    pub fn simple(listen: &str, upstream: &str) -> Result<Self, String> {
        let quoted = |text: &str| format!("{text:?}");
        let text = format!(
            "[listener.{SIMPLE}]\nbind = {}\nupstream = \"{SIMPLE}\"\n[upstream.{SIMPLE}]\nservers = {}\n",
            quoted(listen),
            quoted(upstream)
        );
        let what = |mistakes: Mistakes| mistakes.all.into_iter().map(|mistake| mistake.what).collect::<Vec<_>>();
        Self::read("", &text).map_err(|mistakes| what(mistakes).join("; "))
    }
}

fn read_all(top: &Section<'_, '_>) -> (Config, Places) {
    let mut places = Places::default();
    let defaults = top.section("defaults", &keys::DEFAULTS);
    let for_listeners = defaults.map_or_else(ForListeners::default, |own| ForListeners::default().overridden(&own));
    let for_upstreams = defaults.map_or_else(ForUpstreams::default, |own| ForUpstreams::default().overridden(&own));
    let named = top.named("listener", &keys::LISTENER);
    let listeners = named.iter().map(|(name, own)| listeners::read(name, own, &for_listeners, &mut places)).collect();
    let named = top.named("upstream", &keys::UPSTREAM);
    let read = |(name, own): &(String, Section<'_, '_>)| upstreams::read(name, own, &for_upstreams, &mut places);
    let upstreams: Vec<Upstream> = named.iter().map(read).collect();
    check_number(top, &upstreams);
    if !top.has("listener") {
        top.note_lack("listener", "there is no [listener.NAME], so nobody could connect");
    }
    let config = Config {
        takeover: top.text("takeover", values::socket_path),
        metrics: read_metrics(top, &mut places),
        access_log: top.text("access_log", access_log).unwrap_or_default(),
        on_removed: defaults.and_then(|own| own.read("on_removed", defaults::on_removed)).unwrap_or_default(),
        half_close_timeout: for_listeners.half_close_timeout,
        listeners,
        upstreams,
    };
    (config, places)
}

/// As many as have numbers.
fn check_number(top: &Section<'_, '_>, upstreams: &[Upstream]) {
    let servers: usize = upstreams.iter().map(|upstream| upstream.servers.len()).sum();
    if servers > SERVERS_MAX {
        top.note_at("upstream", format!("upstreams have {servers} servers together, and {SERVERS_MAX} are possible"));
    }
}

fn read_metrics(top: &Section<'_, '_>, places: &mut Places) -> Option<std::net::SocketAddr> {
    let address = top.text("metrics", values::address)?;
    let offset = top.value("metrics")?.span().start;
    places.binds.push(Placed { offset, what: (String::new(), address.into()) });
    Some(address)
}

fn access_log(word: &str) -> Result<AccessLog, String> {
    values::one_of(&[("off", AccessLog::Off), ("text", AccessLog::Text), ("json", AccessLog::Json)], word)
}
