//! What clients speak TLS with, if the command line says that they do.

use std::error::Error;

use reactord::tls::{Certificate, Pem, ServerSettings, Tls};

/// Words, and what clients speak TLS with.
type Told<'a> = (&'a [String], Option<Tls>);

/// The words of a command line before `--tls-cert FILE --tls-key FILE`, and what these files are good for.
pub(crate) fn with_tls(arguments: &[String]) -> Result<Told<'_>, Box<dyn Error>> {
    let [words @ .., tls_cert, chain, tls_key, key] = arguments else { return Ok((arguments, None)) };
    if tls_cert != "--tls-cert" || tls_key != "--tls-key" {
        return Ok((arguments, None));
    }
    let certificate = Certificate { chain: Pem::read(chain.as_ref())?, key: Pem::read(key.as_ref())? };
    let settings = ServerSettings { certificates: vec![certificate], ..ServerSettings::default() };
    Ok((words, Some(Tls::new(&settings)?)))
}
