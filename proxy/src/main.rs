//! The program `reactord-proxy`.

fn main() {
    reactord_cli::say(concat!("reactord-proxy ", env!("CARGO_PKG_VERSION"), "\n"));
}
