//! Real binaries: what clients, operators and successors see of the daemon, byte for byte.
//!
//! One file for each thing that is promised, in `integration/`; what there is to harm is in `hostile/`.

#[allow(dead_code, unused_imports, reason = "other tests need other parts of it")]
mod harness;
mod hostile;
#[path = "harness/standby.rs"]
mod standbys;

mod integration {
    mod callers;
    mod command_line;
    pub(crate) mod failing;
    mod failures;
    mod figures;
    mod half_closed;
    mod lanes;
    mod library;
    mod limits;
    mod line;
    mod load;
    mod moves;
    mod standby;
    mod standby_tls;
    mod status;
    mod steal;
    mod stopping;
    mod takeover_path;
    mod takeovers;
    mod tls;
    mod tls_clients;
    mod upgrade;
    mod versions;
}
