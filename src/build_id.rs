//! What this build calls itself.

/// Name and version of this library, with the commit that it was built from where that is known: `reactord 0.1.0+5dbce3e`. A
/// build from sources that are not as they were committed has `.modified` behind that.
pub const BUILD: &str = concat!("reactord ", env!("REACTORD_VERSION"));
