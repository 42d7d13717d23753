//! What the proxy is to do, as its file says it.

mod model;
mod sni;

pub use model::{
    AccessLog, At, Balance, Check, Config, Eject, HostPort, Listener, OnDown, OnRemoved, ProxyVersion, Queue, Rate,
    Route, Server, Upstream,
};
pub use sni::Sni;
