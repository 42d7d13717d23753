//! What a configuration needs for TLS: certificates, keys and authorities, read from their files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use reactord::tls::{
    Certificate, ClientAuth as Auth, ClientSettings, Connectors, Pem, Roots, ServerSettings, SettingsError, Tls,
    TlsError,
};

use crate::config::mistakes::Wrong;
use crate::config::model::{CertificateFiles, ClientAuth, Config, ListenerTls, UpstreamTls};
use crate::config::places::{Places, Speaker};

/// What has been read, and found to be good.
#[derive(Debug, Default)]
pub struct Credentials {
    /// With what clients speak TLS, by listener.
    pub listeners: HashMap<String, Tls>,
    /// With what servers do, by upstream.
    pub upstreams: Connectors,
}

/// Reads all files. What is wrong with one is told at the place where it is named.
pub(super) fn load(config: &Config, places: &Places, wrong: &mut Vec<Wrong>) -> Credentials {
    let mut credentials = Credentials::default();
    let mut note = |speaker: Speaker, error: &SettingsError| {
        wrong.push(Wrong { offset: place_of(&speaker, error, places), what: error.to_string() });
    };
    for listener in &config.listeners {
        match listener.tls.as_ref().map(of_listener) {
            Some(Ok(tls)) => drop(credentials.listeners.insert(listener.name.clone(), tls)),
            Some(Err(error)) => note(Speaker::Listener(listener.name.clone()), &error),
            None => {}
        }
    }
    for upstream in &config.upstreams {
        let Some(tls) = &upstream.tls else { continue };
        let with = |settings| credentials.upstreams.clone().with(&*upstream.name, &settings);
        match of_upstream(tls).and_then(with) {
            Ok(upstreams) => credentials.upstreams = upstreams,
            Err(error) => note(Speaker::Upstream(upstream.name.clone()), &error),
        }
    }
    credentials
}

/// Where a file is named, if something is wrong with one, and else where TLS is.
fn place_of(speaker: &Speaker, error: &SettingsError, places: &Places) -> usize {
    let is_it = |file: &Path| error.file().is_some_and(|name| file.display().to_string() == name);
    let named = places.files.iter().find(|placed| placed.what.0 == *speaker && is_it(&placed.what.1));
    let speaks = places.speakers.iter().find(|placed| placed.what == *speaker);
    named.map(|placed| placed.offset).or(speaks.map(|placed| placed.offset)).unwrap_or_default()
}

fn of_listener(tls: &ListenerTls) -> Result<Tls, SettingsError> {
    let certificates: Result<Vec<_>, _> = tls.certificates.iter().map(certificate).collect();
    let client_auth = match (pem(tls.client_ca.as_ref())?, tls.client_auth) {
        (None, _) => Auth::None,
        (Some(authorities), ClientAuth::Required) => Auth::Required(authorities),
        (Some(authorities), ClientAuth::Optional) => Auth::Optional(authorities),
    };
    let settings =
        ServerSettings { certificates: certificates?, client_auth, alpn: bytes(&tls.alpn), versions: tls.versions };
    Tls::new(&settings).map_err(|error| match error {
        TlsError::Settings(error) => error,
        error => SettingsError::Verifier(error.to_string()),
    })
}

fn of_upstream(tls: &UpstreamTls) -> Result<ClientSettings, SettingsError> {
    let roots = match pem(tls.ca.as_ref())? {
        _ if !tls.verify => Roots::Unverified,
        Some(authorities) => Roots::Authorities(authorities),
        None => Roots::System,
    };
    let certificate = tls.certificate.as_ref().map(certificate).transpose()?;
    let (alpn, versions) = (bytes(&tls.alpn), tls.versions);
    Ok(ClientSettings { certificate, alpn, versions, ..ClientSettings::new(roots) })
}

fn certificate(CertificateFiles { chain, key }: &CertificateFiles) -> Result<Certificate, SettingsError> {
    Ok(Certificate { chain: Pem::read(chain)?, key: Pem::read(key)? })
}

fn pem(file: Option<&PathBuf>) -> Result<Option<Pem>, SettingsError> {
    file.map(|file| Pem::read(file)).transpose()
}

fn bytes(protocols: &[String]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.clone().into_bytes()).collect()
}
