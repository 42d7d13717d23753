//! What a program that serves does besides: how it begins, what it tells the service manager that has started it, what
//! it does when it has handed over, and how it exits. The daemon `reactord` is made of this, and the proxy.
//!
//! It is there with the feature `program`, which brings log lines and sd_notify(3) with it; the library alone has neither.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use reactord::program::{Afterwards, Begins, exit_code_of, serve, server};
//! use reactord::services::Line;
//! use reactord::{Config, Listen, Program};
//!
//! # fn main() -> ExitCode {
//! let path = std::path::PathBuf::from("/run/lines.takeover");
//! let config = Config {
//!     takeover_path: Some(path.clone()),
//!     survive_signals: true,
//!     successor: Some(Program::of_this_process()),
//!     upgrade_on_hangup: true,
//!     ..Config::default()
//! };
//! let listen = Listen::on("lines", std::net::SocketAddr::from(([127, 0, 0, 1], 1234)));
//! let afterwards = Afterwards::Exit(0).prepare(path).expect("signals can be watched");
//! let begins = reactord::Inheritance::from_environment().map_or(Begins::Anew, Begins::AsTold);
//! match serve(&config, &begins, |config| server(config).service([listen.clone()], Line::default())) {
//!     Ok(outcome) => ExitCode::from(afterwards.end(outcome)),
//!     Err(error) => ExitCode::from(exit_code_of(&error)),
//! }
//! # }
//! ```

mod afterwards;
mod beginning;
mod exit;
mod reaper;
mod reporting;
mod takeover_path;

pub use afterwards::{Afterwards, Prepared};
pub use beginning::{Begins, Predecessor, call, serve};
pub use exit::{EXIT_SERVE, EXIT_TAKEOVER, exit_code_of, fail};
pub use reporting::server;
pub use takeover_path::{check_length, checked_path, default_path};
