//! What it costs to pass bytes on: `reactord proxy` beside HAProxy and nginx, and a loop that only copies.
//!
//! ```sh
//! apt install haproxy nginx-light libnginx-mod-stream redis-server redis-tools
//! cargo build --release --workspace --examples && cargo bench --bench proxy
//! ```
//!
//! Each has one thread, on the first processor; clients and what they are connected on to share the other one. All are
//! measured in each round, one after the other, and who begins changes. The tables give the proxy's processor time for each
//! operation and what was done in a second, as medians over the rounds; the ratios to HAProxy are medians of the ratios of
//! each round. Processor time says more than speed does, which also depends on the other processor.

mod contestants;
mod copying;
mod loads;
mod pauses;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
#[path = "../rig/mod.rs"]
mod rig;

use std::io::{Error, Result};

use argh::FromArgs;

use contestants::{Contestant, all};
use loads::{Backend, Done, Load};
use rig::median;

/// Compares proxies.
#[derive(FromArgs)]
struct Arguments {
    /// rounds (default: 5)
    #[argh(option, default = "5")]
    rounds: usize,
    /// only loads with this in their names
    #[argh(option, default = "String::new()")]
    load: String,
    /// only proxies with this in their names, and haproxy
    #[argh(option, default = "String::new()")]
    only: String,
    /// a percentage of what is done otherwise (default: 100)
    #[argh(option, default = "100")]
    percent: u32,
    /// so many takeovers of the example forward by another one, instead of all that, with clients that take slowly what is sent
    /// to them and clients that take all they can
    #[argh(option)]
    takeovers: Option<usize>,
    /// be the loop that only copies: where it listens, and where it leads
    #[argh(option)]
    copy: Option<String>,
    /// be who echoes
    #[argh(switch)]
    echo: bool,
    /// be who sends all the time, and takes all that comes
    #[argh(switch)]
    flood: bool,
    /// given by `cargo bench`
    #[argh(switch)]
    #[allow(dead_code, reason = "cargo passes it, and nothing depends on it")]
    bench: bool,
}

/// How many pairs there are in takeovers whose clients take slowly what is sent to them, and how many that take all they can.
const SLOW: usize = 200;
const BULK: usize = 100;

/// What others are compared with.
const REFERENCE: &str = "haproxy";

fn main() -> Result<()> {
    let arguments: Arguments = argh::from_env();
    match &arguments {
        Arguments { copy: Some(way), .. } => return copying::serve(way),
        Arguments { echo: true, .. } => return rig::bare::serve(),
        Arguments { flood: true, .. } => return loads::serve_flood(),
        _ => {}
    }
    rig::raise_limit();
    rig::stay_on(1)?;
    if let Some(takeovers) = arguments.takeovers {
        return pauses::measure(SLOW, BULK, takeovers);
    }
    let contestants: Vec<Contestant> = all()
        .into_iter()
        .filter(|contestant| contestant.name == REFERENCE || contestant.name.contains(&arguments.only))
        .collect();
    for load in Load::ALL.into_iter().filter(|load| load.name().contains(&arguments.load)) {
        compare(load, &contestants, &arguments)?;
    }
    Ok(())
}

/// Puts all under the same load, and prints a table.
fn compare(load: Load, contestants: &[Contestant], arguments: &Arguments) -> Result<()> {
    println!("\n{}, medians of {} rounds", load.name(), arguments.rounds);
    let backend = Backend::start(load)?;
    let mut rounds: Vec<Vec<Done>> = Vec::new();
    for round in 0..arguments.rounds {
        let mut done = vec![None; contestants.len()];
        for place in 0..contestants.len() {
            let who = (place + round) % contestants.len();
            let proxy = contestants[who].start(backend.address())?;
            done[who] = Some(load.put_on(&proxy, arguments.percent)?);
        }
        rounds.push(done.into_iter().flatten().collect());
    }
    let reference = contestants.iter().position(|contestant| contestant.name == REFERENCE);
    let reference = reference.ok_or_else(|| Error::other("haproxy is not installed"))?;
    println!("{:>16} | {:>12} {:>7} | {:>12} {:>7}", "", load.cost_unit(), "/", load.speed_unit(), "/");
    for (who, contestant) in contestants.iter().enumerate() {
        let over_rounds = |figure: &dyn Fn(&[Done]) -> f64| median(rounds.iter().map(|round| figure(round)).collect());
        println!(
            "{:>16} | {:>12.2} {:>7.3} | {:>12.0} {:>7.3}",
            contestant.name,
            over_rounds(&|round| round[who].cost),
            over_rounds(&|round| round[who].cost / round[reference].cost),
            over_rounds(&|round| round[who].speed),
            over_rounds(&|round| round[who].speed / round[reference].speed),
        );
    }
    Ok(())
}
