//! What a listener needs so that its clients speak TLS.

use std::fmt;
use std::sync::Arc;

use reactord_tls::{Acceptor, NoRandomness, ServerSettings, SettingsError, Specimen, TicketKeys};
use zeroize::Zeroizing;

use super::preface::Preface;

/// What the clients of a listener speak TLS with: settings that have been found to be good, and the keys of the tickets with
/// which clients resume. Cloning it shares both.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
    /// What clients say in clear before, if any do.
    preface: Option<Arc<dyn Preface>>,
}

struct Shared {
    acceptor: Acceptor,
    tickets: Arc<TicketKeys>,
    /// It takes a signature, and is there before anybody is served. `None` if no handshake moves.
    specimen: Option<Specimen>,
}

/// Why there is no TLS to be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// Something is wrong with the settings: which file, and what.
    Settings(SettingsError),
    /// The system gives no random numbers.
    Randomness(NoRandomness),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Randomness(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// With these settings, and with ticket keys of its own until a predecessor's come.
    ///
    /// # Errors
    /// If something is wrong with the settings: which file, and what.
    pub fn new(settings: &ServerSettings) -> Result<Self, TlsError> {
        let tickets = Arc::new(TicketKeys::new().map_err(TlsError::Randomness)?);
        let acceptor = Acceptor::new(settings, tickets.clone()).map_err(TlsError::Settings)?;
        let specimen = Specimen::of(&acceptor);
        Ok(Self { shared: Arc::new(Shared { acceptor, tickets, specimen }), preface: None })
    }

    /// The same where clients say something in clear before their handshakes. Their service is told what that was
    /// ([`Accepted::preface`](crate::Accepted::preface)).
    #[must_use]
    pub fn after(self, preface: impl Preface + 'static) -> Self {
        Self { preface: Some(Arc::new(preface)), ..self }
    }

    /// What clients say in clear before their handshakes, if any do.
    pub(crate) fn preface(&self) -> Option<&dyn Preface> {
        self.preface.as_deref()
    }

    pub(crate) fn acceptor(&self) -> &Acceptor {
        &self.shared.acceptor
    }

    /// The keys of tickets, for a successor.
    pub(crate) fn save_tickets(&self) -> Zeroizing<Vec<u8>> {
        self.shared.tickets.save()
    }

    /// A handshake by which a successor sees whether it goes on with those that have been answered here. Empty if none of them
    /// moves.
    pub(crate) fn specimen(&self) -> Zeroizing<Vec<u8>> {
        self.shared.specimen.as_ref().map(Specimen::save).unwrap_or_default()
    }

    /// Whether handshakes that a predecessor has answered go on here, whose specimen this is.
    pub(crate) fn goes_on_with(&self, specimen: &[u8]) -> bool {
        specimen.is_empty()
            || Specimen::read(specimen).is_some_and(|specimen| specimen.goes_on_with(&self.shared.acceptor))
    }

    /// Goes on with the ticket keys of a predecessor; with its own if it cannot read those.
    pub(crate) fn adopt_tickets(&self, saved: &[u8]) {
        if !self.shared.tickets.adopt(saved) {
            log::debug!("{} bytes of a predecessor are no ticket keys: its clients do not resume", saved.len());
        }
    }

    // ── A standby's ────────────────────────────────────────────────────────────────────────────────────────────────

    /// The name of the key that seals tickets: when there is another one, a standby is to be told of all.
    pub(crate) fn ticket_key(&self) -> [u8; 16] {
        self.shared.tickets.sealing()
    }

    /// Goes on with these ticket keys, if they are those of the active as they are by now.
    pub(crate) fn follow_tickets(&self, saved: &[u8]) {
        // They may be those of another listener.
        let _ = self.shared.tickets.follow(saved);
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        let same_preface = match (&self.preface, &other.preface) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        Arc::ptr_eq(&self.shared, &other.shared) && same_preface
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
