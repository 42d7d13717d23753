//! With what a server opens connections that speak TLS.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use reactord_tls::{ClientSettings, Connector, SettingsError};

/// With what a server opens connections that speak TLS: settings that have been found to be good, by names that its services
/// [know](crate::ConnectTls::with). Cloning it shares them.
///
/// A connection that is being opened goes to a successor with the name alone, and is opened there with what has that name
/// there: so certificates and keys are changed by a takeover, and none travels.
#[derive(Clone, Default)]
pub struct Connectors(Arc<BTreeMap<String, Connector>>);

impl Connectors {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These, and one more with this name.
    ///
    /// # Errors
    /// If something is wrong with the settings: which file, and what.
    pub fn with(mut self, name: impl Into<String>, settings: &ClientSettings) -> Result<Self, SettingsError> {
        Arc::make_mut(&mut self.0).insert(name.into(), Connector::new(settings)?);
        Ok(self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one with this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Connector> {
        self.0.get(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl PartialEq for Connectors {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.is_empty() && other.0.is_empty())
    }
}

impl Eq for Connectors {}

impl fmt::Debug for Connectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
