//! The program `reactord-proxy`: what clients, servers and operators are promised, through replacements of its process.

#[path = "proxy/asked.rs"]
mod asked;
#[path = "proxy/beginnings.rs"]
mod beginnings;
#[path = "proxy/clients.rs"]
mod clients;
#[path = "proxy/crowd.rs"]
mod crowd;
#[path = "proxy/full.rs"]
mod full;
#[path = "proxy/health.rs"]
mod health;
#[path = "proxy/limits.rs"]
mod limits;
#[path = "proxy/reloads.rs"]
mod reloads;
#[path = "proxy/rig.rs"]
mod rig;
#[path = "proxy/tls.rs"]
mod tls;
#[path = "proxy/tls_beginnings.rs"]
mod tls_beginnings;
#[path = "proxy/tls_clients.rs"]
mod tls_clients;
#[path = "proxy/tls_rig.rs"]
mod tls_rig;
#[path = "proxy/unlucky.rs"]
mod unlucky;
#[path = "proxy/ways.rs"]
mod ways;
