//! Whether one process goes on with the handshakes of another, before there are any: by one that nobody means.
//!
//! What a server answers depends on its certificates, its settings and its version of rustls. So it tells its successor of a
//! handshake that it has answered itself; a successor that would have said the same goes on with all.

use zeroize::Zeroizing;

use crate::bytes::Reader;
use crate::handshake::{Handshake, SavedHandshake};
use crate::settings::{Acceptor, ClientSettings, Connector, Roots, Versions};
use crate::suite::Version;

/// A handshake that was answered, with a digest of all that it does not show of the settings.
pub struct Specimen {
    settings: [u8; 32],
    handshake: SavedHandshake,
}

impl Specimen {
    /// One of a client of TLS 1.3 that asks for all protocols. `None` if no handshake moves that has been answered, as with
    /// TLS 1.2.
    #[must_use]
    pub fn of(acceptor: &Acceptor) -> Option<Self> {
        let versions = Versions::Only(Version::Tls13);
        let settings = ClientSettings { versions, sends_name: false, ..ClientSettings::new(Roots::Unverified) };
        let connector = Connector::new(&ClientSettings { alpn: acceptor.alpn().to_vec(), ..settings }).ok()?;
        let (mut first_words, mut out) = (Vec::new(), Vec::new());
        Handshake::connect(&connector, "localhost", &mut first_words).ok()?;
        let mut handshake = Handshake::accept(acceptor).ok()?;
        handshake.hear(&first_words, &mut out).ok()?;
        Some(Self { settings: acceptor.digest(), handshake: handshake.save().ok()? })
    }

    /// As bytes.
    #[must_use]
    pub fn save(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&self.settings[..], self.handshake.bytes()].concat())
    }

    /// What was [saved](Self::save). `None` if it is too short to be that.
    #[must_use]
    pub fn read(saved: &[u8]) -> Option<Self> {
        let mut reader = Reader(saved);
        Some(Self { settings: reader.array()?, handshake: SavedHandshake::read(reader.0) })
    }

    /// Whether handshakes that were answered where this is from go on with these settings, and in this process.
    #[must_use]
    pub fn goes_on_with(self, acceptor: &Acceptor) -> bool {
        self.settings == acceptor.digest() && Handshake::restore(acceptor, self.handshake).is_ok()
    }
}
