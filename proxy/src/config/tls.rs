//! `tls` of a listener and of an upstream, as values.

use std::path::{Path, PathBuf};

use reactord::Target;
use reactord::tls::{Version, Versions};

use crate::config::keys;
use crate::config::model::{At, CertificateFiles, ClientAuth, ListenerTls, Server, UpstreamTls};
use crate::config::places::{Placed, Places, Speaker};
use crate::config::reading::{Section, Value, text};
use crate::config::values::{host_name, one_of};

/// What is read of one who speaks TLS, where the files are noted.
struct Tls<'s, 'a, 'i> {
    section: Section<'a, 'i>,
    speaker: Speaker,
    places: &'s mut Places,
}

/// With what the clients of a listener speak it, if they do.
pub(super) fn of_listener(name: &str, listener: &Section<'_, '_>, places: &mut Places) -> Option<ListenerTls> {
    let section = listener.section("tls", &keys::LISTENER_TLS)?;
    let mut tls = Tls::of(Speaker::Listener(name.to_owned()), section, listener, places);
    let client_ca = tls.file("client_ca");
    if section.has("client_auth") && !section.has("client_ca") {
        section.note_at("client_auth", "clients are asked for a certificate only with client_ca: who signs it");
    }
    Some(ListenerTls {
        certificates: tls.certificates(),
        client_ca,
        client_auth: section.text("client_auth", client_auth).unwrap_or_default(),
        alpn: alpn(&section),
        versions: versions(&section),
    })
}

/// With what the servers of an upstream speak it, if they do.
pub(super) fn of_upstream(
    name: &str,
    upstream: &Section<'_, '_>,
    servers: &[Server],
    places: &mut Places,
) -> Option<UpstreamTls> {
    let section = upstream.section("tls", &keys::UPSTREAM_TLS)?;
    let mut tls = Tls::of(Speaker::Upstream(name.to_owned()), section, upstream, places);
    let verify = section.is_true("verify").unwrap_or(true);
    if !verify && section.has("ca") {
        section.note_at("ca", "with verify = false everybody is believed, and ca counts for nothing");
    }
    let name = section.text("name", server_name);
    let is_nameless = |server: &Server| matches!(server.at, At::Known(Target::Unix(_)));
    if !section.has("name") && servers.iter().any(is_nameless) {
        section.note_lack("name", "a Unix socket has no name that a certificate could have: tls needs name");
    }
    Some(UpstreamTls {
        ca: tls.file("ca"),
        name,
        verify,
        certificate: tls.own_certificate(),
        alpn: alpn(&section),
        versions: versions(&section),
    })
}

impl<'s, 'a, 'i> Tls<'s, 'a, 'i> {
    fn of(speaker: Speaker, section: Section<'a, 'i>, whose: &Section<'_, '_>, places: &'s mut Places) -> Self {
        let offset = whose.value("tls").map_or(0, |value| value.span().start);
        places.speakers.push(Placed { offset, what: speaker.clone() });
        Self { section, speaker, places }
    }

    /// The file that a key names.
    fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let value = self.section.value(key)?;
        self.file_of(value)
    }

    fn file_of(&mut self, value: &Value<'_>) -> Option<PathBuf> {
        let file = self.section.reading().meaning(value, |value| text(value).and_then(file))?;
        self.places.files.push(Placed { offset: value.span().start, what: (self.speaker.clone(), file.clone()) });
        Some(file)
    }

    /// Those of a listener: strings or tables.
    fn certificates(&mut self) -> Vec<CertificateFiles> {
        let section = self.section;
        let values: Vec<&Value<'_>> = section.list("certificates").collect();
        if values.is_empty() {
            section.note_lack("certificates", "clients are shown a certificate: certificates is missing");
        }
        if section.has("key") && values.len() > 1 {
            section.note_at(
                "key",
                "of several certificates, each has its key in its file, or is { chain = .., key = .. }",
            );
        }
        let key = self.file("key");
        values.into_iter().filter_map(|value| self.certificate(value, key.as_deref())).collect()
    }

    fn certificate(&mut self, value: &Value<'_>, key: Option<&Path>) -> Option<CertificateFiles> {
        if value.get_ref().is_str() {
            let chain = self.file_of(value)?;
            let key = key.map_or_else(|| chain.clone(), Path::to_owned);
            return Some(CertificateFiles { chain, key });
        }
        let section = Section::of(self.section.reading(), value, &keys::CERTIFICATE)?;
        for missing in ["chain", "key"].into_iter().filter(|key| !section.has(key)) {
            section.note_lack(missing, format!("a certificate needs chain and key: {missing} is missing"));
        }
        let chain = self.file_of(section.value("chain")?);
        let key = self.file_of(section.value("key")?);
        Some(CertificateFiles { chain: chain?, key: key? })
    }

    /// What is shown to servers that ask.
    fn own_certificate(&mut self) -> Option<CertificateFiles> {
        if self.section.has("key") && !self.section.has("certificate") {
            self.section.note_at("key", "a key is that of certificate, which is missing");
        }
        let key = self.file("key");
        let chain = self.file("certificate")?;
        let key = key.unwrap_or_else(|| chain.clone());
        Some(CertificateFiles { chain, key })
    }
}

fn file(path: &str) -> Result<PathBuf, String> {
    if Path::new(path).is_absolute() { Ok(path.into()) } else { Err(format!("{path:?} is no path that begins with /")) }
}

fn client_auth(word: &str) -> Result<ClientAuth, String> {
    one_of(&[("required", ClientAuth::Required), ("optional", ClientAuth::Optional)], word)
}

/// A name or an address that a certificate may be for.
fn server_name(name: &str) -> Result<String, String> {
    if name.parse::<std::net::IpAddr>().is_ok() { Ok(name.to_owned()) } else { host_name(name) }
}

fn alpn(section: &Section<'_, '_>) -> Vec<String> {
    let protocol = |name: &str| match name.len() {
        1..=255 => Ok(name.to_owned()),
        bytes => Err(format!("the name of a protocol has 1 to 255 bytes, not {bytes}")),
    };
    section.texts("alpn", protocol).into_iter().map(|(_, protocol)| protocol).collect()
}

fn versions(section: &Section<'_, '_>) -> Versions {
    let version = |word: &str| one_of(&[("1.2", Version::Tls12), ("1.3", Version::Tls13)], word);
    let mut versions: Vec<Version> =
        section.texts("versions", version).into_iter().map(|(_, version)| version).collect();
    versions.dedup();
    match *versions {
        [version] => Versions::Only(version),
        _ => Versions::Both,
    }
}
