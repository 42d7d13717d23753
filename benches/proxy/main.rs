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
//!
//! Nothing is waited for without an end. What cannot run is left out, and why is said; so is what has failed.

mod contestants;
mod copying;
mod flood;
mod loads;
mod pauses;

#[allow(dead_code, reason = "it has what other benchmarks need, too")]
#[path = "../rig/mod.rs"]
mod rig;

use std::io::Result;

use argh::FromArgs;

use contestants::{Contestant, Replaced, all};
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
    /// so many takeovers of the proxy and of the example forward, instead of all that, with clients that take slowly what is
    /// sent to them and clients that take all they can
    #[argh(option)]
    takeovers: Option<usize>,
    /// pairs in takeovers whose clients take slowly what is sent to them (default: 200)
    #[argh(option, default = "200")]
    slow: usize,
    /// pairs in takeovers whose clients take all they can (default: 100)
    #[argh(option, default = "100")]
    bulk: usize,
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

/// What others are compared with.
const REFERENCE: &str = "haproxy";

fn main() -> Result<()> {
    let arguments: Arguments = argh::from_env();
    match &arguments {
        Arguments { copy: Some(way), .. } => return copying::serve(way),
        Arguments { echo: true, .. } => return rig::bare::serve(),
        Arguments { flood: true, .. } => return flood::serve(),
        _ => {}
    }
    rig::raise_limit();
    rig::stay_on(1)?;
    if let Some(takeovers) = arguments.takeovers {
        for proxy in Replaced::all(&arguments.only) {
            if let Err(error) = pauses::measure(arguments.slow, arguments.bulk, takeovers, &proxy) {
                println!("{} has not come to the end: {error}", proxy.name);
            }
        }
        return Ok(());
    }
    let contestants: Vec<Contestant> = all()
        .into_iter()
        .filter(|contestant| contestant.name == REFERENCE || contestant.name.contains(&arguments.only))
        .collect();
    for load in Load::ALL.into_iter().filter(|load| load.name().contains(&arguments.load)) {
        println!("\n{}, medians of {} rounds", load.name(), arguments.rounds);
        if let Err(error) = compare(load, &contestants, &arguments) {
            println!("left out: {error}");
        }
    }
    Ok(())
}

/// Puts all under the same load, and prints a table.
fn compare(load: Load, contestants: &[Contestant], arguments: &Arguments) -> Result<()> {
    let backend = Backend::start(load)?;
    let mut rounds: Vec<Vec<Option<Done>>> = Vec::new();
    for round in 0..arguments.rounds {
        let mut done = vec![None; contestants.len()];
        for place in 0..contestants.len() {
            let who = (place + round) % contestants.len();
            let proxy = contestants[who].start(backend.address());
            match proxy.and_then(|proxy| load.put_on(&proxy, arguments.percent)) {
                Ok(figures) => done[who] = Some(figures),
                Err(error) => println!("{} fails in round {}: {error}", contestants[who].name, round + 1),
            }
        }
        rounds.push(done);
    }
    println!("{:>16} | {:>12} {:>7} | {:>12} {:>7}", "", load.cost_unit(), "/", load.speed_unit(), "/");
    let reference = contestants.iter().position(|contestant| contestant.name == REFERENCE);
    contestants.iter().enumerate().for_each(|(who, contestant)| print(contestant, who, reference, &rounds));
    Ok(())
}

/// Prints the line of one of them: of the rounds in which it has come to the end, and ratios of those in which the other one
/// has, too.
fn print(contestant: &Contestant, who: usize, reference: Option<usize>, rounds: &[Vec<Option<Done>>]) {
    let done: Vec<Done> = rounds.iter().filter_map(|round| round[who]).collect();
    let beside: Vec<(Done, Done)> = rounds.iter().filter_map(|round| Some((round[who]?, round[reference?]?))).collect();
    let over_rounds = |figure: &dyn Fn(&Done) -> f64| median(done.iter().map(figure).collect());
    let ratio = |figure: &dyn Fn(&Done) -> f64| match beside.as_slice() {
        [] => "-".to_owned(),
        beside => format!("{:.3}", median(beside.iter().map(|(one, other)| figure(one) / figure(other)).collect())),
    };
    if done.is_empty() {
        return println!("{:>16} | no round has come to the end", contestant.name);
    }
    println!(
        "{:>16} | {:>12.2} {:>7} | {:>12.0} {:>7}",
        contestant.name,
        over_rounds(&|done| done.cost),
        ratio(&|done| done.cost),
        over_rounds(&|done| done.speed),
        ratio(&|done| done.speed),
    );
}
