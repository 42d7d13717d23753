//! The command line of `reactord move`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use argh::FromArgs;
use reactord::Which;
use reactord::program::checked_path;
use reactord_cli::values::count;

/// Move peers from one server to another, which both go on serving.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "move",
    help_triggers("-h", "--help"),
    example = "All:        {command_name} /run/a.takeover /run/b.takeover\nHalf:       {command_name} /run/a.takeover /run/b.takeover --share 50%",
    error_code(0, "All that were to move have moved."),
    error_code(2, "The command line cannot be understood, or contradicts itself."),
    error_code(3, "Not all have moved; the others are served where they were.")
)]
pub(crate) struct Arguments {
    /// takeover path of the server that has the peers
    #[argh(positional, arg_name = "FROM", from_str_fn(checked_path))]
    from: PathBuf,

    /// takeover path of the server that is to have them
    #[argh(positional, arg_name = "TO", from_str_fn(checked_path))]
    to: PathBuf,

    /// move so many (default: all)
    #[argh(option, arg_name = "N", from_str_fn(count))]
    count: Option<usize>,

    /// move such a part of them, as in 50%
    #[argh(option, arg_name = "PERCENT", from_str_fn(share))]
    share: Option<Which>,

    /// move the peer that connects from this address; may be given several times
    #[argh(option, arg_name = "ADDR", from_str_fn(peer))]
    peer: Vec<SocketAddr>,
}

/// What is to be moved, and where to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) which: Which,
}

impl Arguments {
    pub(crate) fn request(self) -> Result<Move, String> {
        let Self { from, to, count, share, peer } = self;
        if from == to {
            return Err(format!("FROM and TO are both {}", from.display()));
        }
        let which = match (count, share, peer) {
            (None, None, peers) if peers.is_empty() => Which::All,
            (Some(count), None, peers) if peers.is_empty() => Which::Count(count as u64),
            (None, Some(share), peers) if peers.is_empty() => share,
            (None, None, peers) => Which::From(peers),
            _ => return Err("--count, --share and --peer contradict each other: which peers are meant?".to_owned()),
        };
        Ok(Move { from, to, which })
    }
}

/// A percentage, with up to three decimals.
fn share(value: &str) -> Result<Which, String> {
    let allowed = || "0.001% to 100% is expected".to_owned();
    let number = value.strip_suffix('%').ok_or_else(allowed)?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_plain = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || !is_plain(whole) || !is_plain(decimals) || decimals.len() > 3 {
        return Err(allowed());
    }
    let thousandths: u32 = format!("{whole}{decimals:0<3}").parse().map_err(|_| allowed())?;
    if (1..=100_000).contains(&thousandths) { Ok(Which::Share(thousandths, 100_000)) } else { Err(allowed()) }
}

/// An address with its port, also as logs name it: with brackets, whatever it is.
fn peer(value: &str) -> Result<SocketAddr, String> {
    let as_logged = || {
        let (ip, port) = value.strip_prefix('[')?.split_once("]:")?;
        Some(SocketAddr::from((ip.parse::<Ipv4Addr>().ok()?, port.parse().ok()?)))
    };
    let address = value.parse().ok().or_else(as_logged);
    address.ok_or_else(|| "an address with its port is expected, as in 127.0.0.1:40000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Move, String> {
        let arguments = [&["/a", "/b"], arguments].concat();
        Arguments::from_args(&["move"], &arguments).map_err(|exit| exit.output)?.request()
    }

    #[test]
    fn peers_are_chosen_in_one_way() {
        for (arguments, which) in [
            (&[][..], Which::All),
            (&["--count", "5"], Which::Count(5)),
            (&["--share", "50%"], Which::Share(50_000, 100_000)),
            (&["--share", "33.3%"], Which::Share(33_300, 100_000)),
            (
                &["--peer", "[::1]:5", "--peer", "127.0.0.1:6", "--peer", "[127.0.0.1]:7"],
                Which::From(["[::1]:5", "127.0.0.1:6", "127.0.0.1:7"].map(|from| from.parse().unwrap()).to_vec()),
            ),
        ] {
            assert_eq!(parsed(arguments).map(|request| request.which), Ok(which));
        }
        assert!(parsed(&["--count", "5", "--share", "5%"]).unwrap_err().contains("contradict"));
    }

    #[test]
    fn a_wrong_choice_is_named_with_what_is_allowed() {
        for (arguments, allowed) in [
            (["--count", "0"], "1 to"),
            (["--share", "50"], "0.001% to 100%"),
            (["--share", "0%"], "0.001% to 100%"),
            (["--share", "101%"], "0.001% to 100%"),
            (["--share", "1.2345%"], "0.001% to 100%"),
            (["--share", "-5%"], "0.001% to 100%"),
            (["--peer", "localhost"], "an address with its port"),
            (["--peer", "[127.0.0.1]"], "an address with its port"),
            (["--peer", "[127.0.0.1:7"], "an address with its port"),
        ] {
            let error = parsed(&arguments).unwrap_err();
            assert!(error.contains(allowed), "{error}");
        }
        let same = Arguments::from_args(&["move"], &["/a", "/a"]).unwrap();
        assert!(same.request().unwrap_err().contains("both /a"));
    }
}
