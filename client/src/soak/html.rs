//! The page of a soak: one file, without scripts and without anything from elsewhere.

use std::error::Error;
use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

use super::killing::death::{Death, Deaths};
use super::moving::moved::Moves;
use super::moving::plan::Side;
use super::options::{Options, Target};
use super::outcome::{Fate, Outcome, Sample};
use super::picture::{self, NARROW, STYLE, WIDE, duration, grouped};
use crate::demand::Pace;

/// What the page looks like, by day and by night, on a screen and on a phone.
const PAGE_STYLE: &str = include_str!("page.css");

/// The page.
pub(crate) fn page(outcome: &Outcome) -> Result<String, Box<dyn Error>> {
    let mut page = String::new();
    let title = match outcome.options {
        Options { moves: 1.., .. } => "Connections moved under load",
        Options { kill_active: 1.., .. } => "A server killed under load",
        Options { takeovers: 1.., .. } => "A server replaced under load",
        _ => "A server under load",
    };
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}: reactord soak</title>\n\
         <style>\n{PAGE_STYLE}{STYLE}</style></head>\n<body><main>\n<h1>{title}</h1>\n"
    )?;
    write_verdict(&mut page, outcome)?;
    write_tiles(&mut page, outcome)?;

    if let Some(moves) = &outcome.moves {
        write_moves(&mut page, outcome, moves)?;
    }
    if let Some(deaths) = &outcome.deaths {
        write_deaths(&mut page, outcome, deaths)?;
    }
    section(
        &mut page,
        "Round trips over time",
        "Each point is a slice of time, and a round trip is in the slice in which its answer arrived. The bands are \
         the takeovers, from the start of the successor to the exit of the predecessor, each with its pause above it, the \
         only time in which nobody serves; the moves; and the deaths, from the kill to the next standby that is armed.",
        &[(picture::round_trips(outcome, WIDE)?, "wide"), (picture::round_trips(outcome, NARROW)?, "narrow")],
    )?;
    write_distributions(&mut page, outcome)?;
    if !outcome.takeovers.is_empty() {
        section(
            &mut page,
            "Pause and copy of each takeover",
            "The copy is made while the predecessor goes on serving. Only what changed in its last moments is sent \
             during the pause, which therefore does not grow with the number of connections.",
            &[
                (picture::bars(outcome, "pause", |summary| summary.pause_us as f64 * 1e3)?, "half"),
                (picture::bars(outcome, "copy", |summary| summary.copy_us as f64 * 1e3)?, "half"),
            ],
        )?;
        write_table(&mut page, outcome)?;
    }
    write_usage(&mut page, outcome)?;
    write_options(&mut page, outcome)?;
    page.push_str("</main></body></html>\n");
    Ok(page)
}

/// What the round trips were like, whatever the servers did.
fn write_distributions(page: &mut String, outcome: &Outcome) -> Result<(), Box<dyn Error>> {
    let (title, text) = match outcome {
        Outcome { moves: Some(_), .. } => (
            "During moves, and without",
            "The share of the round trips that took no longer than this, of all connections, whether they were moved or \
             not; each nine has the same room. A round trip counts as during a move if any part of it falls into a band \
             above.",
        ),
        Outcome { deaths: Some(_), .. } => (
            "During deaths, and without",
            "The share of the round trips that took no longer than this, on all connections that have gone on; each nine has \
             the same room. A round trip counts as during a death if any part of it falls into a band above: from the kill to \
             the next standby that is armed.",
        ),
        Outcome { takeovers, .. } if takeovers.is_empty() => ("Distribution", "Each nine has the same room."),
        _ => (
            "During takeovers, and without",
            "The share of the round trips that took no longer than this; each nine has the same room. A round trip \
             counts as during a takeover if any part of it falls into a band above. Part of what is to be seen then is \
             that three processes want the processors, the client, the predecessor and the successor, and that the kernel \
             starts one and forgets another.",
        ),
    };
    let pictures =
        [(picture::distributions(outcome, WIDE)?, "wide"), (picture::distributions(outcome, NARROW)?, "narrow")];
    section(page, title, text, &pictures)?;
    Ok(())
}

/// What came of the moves, in words and as a picture of their pauses.
fn write_moves(page: &mut String, outcome: &Outcome, moves: &Moves) -> Result<(), Box<dyn Error>> {
    let mut text = format!(
        "{} moves of random sets of connections between {} servers, {} connections in all, while the others are served. A \
         connection that moves is paused, in a batch with others; the bars are the largest pause of a batch in each move.",
        grouped(moves.all.len() as u64),
        moves.servers,
        grouped(moves.connections_moved()),
    );
    let [givers, takers] = [Side::Giver, Side::Taker].map(|side| moves.killed(side) as u64);
    if givers + takers > 0 {
        let gone = outcome.report.gone_with_server;
        write!(
            text,
            " In {} of them the giver was killed, in {} the taker, and with them went the {} connections that they owned, \
             with {} messages on their way; new ones were opened in their place.",
            grouped(givers),
            grouped(takers),
            grouped(gone.connections as u64),
            grouped(gone.messages),
        )?;
    }
    section(page, "Moves", &text, &[(picture::pauses_of_moves(moves)?, "half")])?;
    for (number, made) in moves.all.iter().enumerate().filter(|(_, made)| !made.is_good()) {
        writeln!(page, "<p class=\"verdict bad\">Move {}: {}</p>", number + 1, escaped(&made.to_string()))?;
    }
    Ok(())
}

/// What came of the deaths, in words, as pictures, and one by one.
fn write_deaths(page: &mut String, outcome: &Outcome, deaths: &Deaths) -> Result<(), Box<dyn Error>> {
    let gone = outcome.report.gone_with_server;
    let text = format!(
        "The server was killed {} with SIGKILL, and each time its standby served on. {} connections were reset, with {} messages on \
         their way{}. The bars are the time from the kill to the first answer, and to the next standby \
         that is armed.",
        times(deaths.all.len()),
        grouped(deaths.connections_reset() as u64),
        grouped(gone.messages),
        if deaths.failed() == 0 { ": exactly as many as the survivors say" } else { "" },
    );
    let pictures = [
        (picture::times_of_deaths(deaths, "kill to first answer", |death| death.answered_after)?, "half"),
        (picture::times_of_deaths(deaths, "kill to armed again", |death| death.armed_after)?, "half"),
    ];
    section(page, "Deaths", &text, &pictures)?;
    write_table_of_deaths(page, outcome, deaths)?;
    Ok(())
}

fn write_table_of_deaths(page: &mut String, outcome: &Outcome, deaths: &Deaths) -> std::fmt::Result {
    page.push_str(
        "<section><div class=\"scroll\"><table><thead><tr><th>death</th><th>at</th><th>served on</th><th>reset</th>\
         <th>nobody served</th><th>first answer</th><th>armed again</th><th>worst round trip</th></tr></thead><tbody>\n",
    );
    for (number, death) in deaths.all.iter().enumerate() {
        let Death { begun, told, reset, answered_after, armed_after, complaints, .. } = death;
        let time = |time: Option<Duration>| time.map_or("-".to_owned(), |time| duration(time.as_nanos() as f64));
        let served_on = told.map_or("-".to_owned(), |told| grouped(told.served_on));
        write!(page, "<tr><td>{}</td><td>{:.2} s</td><td>{served_on}</td>", number + 1, begun.as_secs_f64())?;
        write!(page, "<td>{}</td><td>{}</td>", grouped(reset.all() as u64), time(death.unserved()))?;
        write!(page, "<td>{}</td><td>{}</td>", time(*answered_after), time(*armed_after))?;
        writeln!(page, "<td>{}</td></tr>", duration(outcome.worst_during_ns(number) as f64))?;
        for complaint in complaints {
            writeln!(page, "<tr><td></td><td colspan=\"7\" class=\"killed\">{}</td></tr>", escaped(complaint))?;
        }
    }
    page.push_str("</tbody></table></div></section>\n");
    Ok(())
}

/// What the processes use, over the whole load and around its first takeover.
fn write_usage(page: &mut String, outcome: &Outcome) -> Result<(), Box<dyn Error>> {
    if outcome.samples.is_empty() {
        return Ok(());
    }
    let whole = Duration::ZERO..outcome.report.duration;
    let mut pictures = Vec::new();
    add_usage(&mut pictures, outcome, &whole, ["process", "its successor, in turns"])?;
    let mut text = "Memory that is resident, and open files, over the whole time".to_owned();
    if let Some((takeover, _)) = outcome.carried_through().next() {
        let around = Duration::from_millis(20);
        let span = takeover.begun.saturating_sub(around)..takeover.ended + around;
        add_usage(&mut pictures, outcome, &span, ["predecessor", "successor"])?;
        text.push_str(
            ", and below around the first takeover: for its length, two processes have a descriptor of each connection",
        );
    }
    text.push('.');
    section(page, "What the processes use", &text, &pictures)?;
    Ok(())
}

fn add_usage(
    pictures: &mut Vec<(String, &'static str)>,
    outcome: &Outcome,
    span: &Range<Duration>,
    [one, other]: [&str; 2],
) -> Result<(), Box<dyn Error>> {
    let resident = |sample: &Sample| Some(sample.usage.resident_bytes as f64 / f64::from(1 << 20));
    let open_files = |sample: &Sample| sample.usage.open_files.map(|count| count as f64);
    let mebibytes = |mebibytes: f64| format!("{mebibytes:.0} MiB");
    let files = |count: f64| grouped(count as u64);
    let [memory, descriptors] = ["memory", "open files"].map(|what| format!("{what} of {}", article(one)));
    pictures.push((picture::usage(outcome, span, resident, &mebibytes, [&memory, other])?, "half"));
    pictures.push((picture::usage(outcome, span, open_files, &files, [&descriptors, other])?, "half"));
    Ok(())
}

fn article(noun: &str) -> String {
    if noun == "process" { format!("a {noun}") } else { format!("the {noun}") }
}

fn section(page: &mut String, title: &str, text: &str, pictures: &[(String, &str)]) -> std::fmt::Result {
    write!(page, "<section><h2>{title}</h2>\n<p>{text}</p>\n<div class=\"pictures\">\n")?;
    for (picture, class) in pictures {
        writeln!(page, "<figure class=\"{class}\" role=\"img\" aria-label=\"{title}\">{picture}</figure>")?;
    }
    page.push_str("</div></section>\n");
    Ok(())
}

fn write_verdict(page: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let report = &outcome.report;
    let connections: usize = outcome.counts().iter().map(|(_, count)| count.opened).sum();
    let class = if outcome.is_good() { "good" } else { "bad" };
    let lost = report.lost();
    let nothing = report.everything_came_back();
    let reset = outcome.deaths.as_ref().map_or(0, Deaths::connections_reset);
    let sentence = if nothing && reset > 0 {
        "Nothing was lost but connections that were reset.".to_owned()
    } else if nothing {
        "Nothing was lost.".to_owned()
    } else {
        format!(
            "{} messages and {} connections were lost, and {} answers were out of order.",
            grouped(lost),
            grouped(report.connections_lost() as u64),
            grouped(report.discontinuities)
        )
    };
    write!(page, "<p class=\"verdict {class}\"><strong>{sentence}</strong> ")?;
    write!(page, "{} connections, {} messages", grouped(connections as u64), grouped(report.sent))?;
    let carried_through = outcome.carried_through().count();
    if outcome.options.takeovers > 0 {
        write!(page, ", the server replaced {}", times(carried_through))?;
    }
    if let Some(moves) = &outcome.moves {
        write!(page, ", {} times one moved to another server", grouped(moves.connections_moved()))?;
    }
    if let Some(deaths) = &outcome.deaths {
        write!(page, ", the server killed {}", times(deaths.all.len()))?;
        write!(page, ", {} connections reset because of that", grouped(deaths.connections_reset() as u64))?;
    }
    match outcome.killed() {
        0 => {}
        killed => write!(page, ", {killed} more successors killed on the way")?,
    }
    if let Some(tls) = &report.tls {
        write!(page, ", {} TLS handshakes", grouped(tls.handshakes))?;
        write!(page, ", {} changes of keys", grouped(tls.keys_changed))?;
        write!(page, ", {} nonces in clear, {} of them twice", grouped(tls.nonces), grouped(tls.nonces_repeated))?;
    }
    writeln!(page, "; every byte checked.</p>")?;
    for trouble in outcome.death.iter().chain(&outcome.complaints) {
        writeln!(page, "<p class=\"verdict bad\">{}</p>", escaped(trouble))?;
    }
    Ok(())
}

fn times(number: usize) -> String {
    match number {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{} times", grouped(number as u64)),
    }
}

fn write_tiles(page: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let [(_, between), (_, during)] = outcome.distributions();
    let longest_pause = outcome.carried_through().map(|(_, summary)| summary.pause_us).max();
    let mut tiles: Vec<(String, String)> = Vec::new();
    if let Some(pause_us) = longest_pause {
        tiles.push((duration(pause_us as f64 * 1e3), "longest pause".to_owned()));
    }
    if let Some(pauses_ns) = outcome.moves.as_ref().map(Moves::pauses_ns).filter(|pauses_ns| !pauses_ns.is_empty()) {
        tiles.push((duration(pauses_ns.value_at_quantile(0.5) as f64), "median pause of a move".to_owned()));
        tiles.push((duration(pauses_ns.max() as f64), "longest pause of a move".to_owned()));
    }
    tiles.push((grouped(outcome.report.per_second().round() as u64), "messages a second".to_owned()));
    for (name, times_ns) in outcome.deaths.iter().flat_map(Deaths::times_ns) {
        if !times_ns.is_empty() {
            tiles.push((duration(times_ns.value_at_quantile(0.5) as f64), format!("{name}, median")));
        }
    }
    let what = match outcome {
        Outcome { moves: Some(_), .. } => "moves",
        Outcome { deaths: Some(_), .. } => "deaths",
        _ => "takeovers",
    };
    for (distribution, median, worst) in [
        (between, "median round trip".to_owned(), format!("worst round trip between {what}")),
        (during, format!("median round trip during {what}"), format!("worst round trip during {what}")),
    ] {
        if !distribution.is_empty() {
            tiles.push((duration(distribution.value_at_quantile(0.5) as f64), median));
            tiles.push((duration(distribution.max() as f64), worst));
        }
    }
    page.push_str("<div class=\"tiles\">\n");
    for (value, label) in tiles {
        writeln!(page, "<div class=\"tile\"><b>{value}</b><span>{label}</span></div>")?;
    }
    page.push_str("</div>\n");
    Ok(())
}

fn write_table(page: &mut String, outcome: &Outcome) -> std::fmt::Result {
    page.push_str(
        "<section><div class=\"scroll\"><table><thead><tr><th>takeover</th><th>at</th><th>peers</th><th>copy</th><th>pause</th>\
         <th>worst round trip</th></tr></thead><tbody>\n",
    );
    for (number, takeover) in outcome.takeovers.iter().enumerate() {
        write!(page, "<tr><td>{}</td><td>{:.2} s</td>", number + 1, takeover.begun.as_secs_f64())?;
        match &takeover.fate {
            Fate::TookOver(summary) => {
                let (copy, pause) = (duration(summary.copy_us as f64 * 1e3), duration(summary.pause_us as f64 * 1e3));
                write!(page, "<td>{}</td><td>{copy}</td><td>{pause}</td>", grouped(summary.peers))?;
            }
            Fate::Killed => {
                write!(page, "<td colspan=\"3\" class=\"killed\">successor killed, predecessor went on</td>")?
            }
            Fate::Declined(unfit) => {
                let name = unfit.name();
                write!(page, "<td colspan=\"3\" class=\"killed\">successor {name}, predecessor went on</td>")?
            }
            Fate::Failed(reason) => {
                write!(page, "<td colspan=\"3\" class=\"killed\">failed: {}</td>", escaped(reason))?
            }
        }
        writeln!(page, "<td>{}</td></tr>", duration(outcome.worst_during_ns(number) as f64))?;
    }
    page.push_str("</tbody></table></div></section>\n");
    Ok(())
}

fn write_options(page: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let options = &outcome.options;
    let demand = &options.demand;
    let Pace::Clock { per_second } = demand.pace else { unreachable!("a soak is paced by the clock") };
    let mut command = format!(
        "reactord-client soak --connections {} --active {} --rate {per_second} --fragmenting {} --slow-readers {} --churn {}",
        demand.connections(),
        demand.sending + demand.fragmenting,
        demand.fragmenting,
        demand.slow_readers,
        demand.churn_per_second,
    );
    if let Some(tls) = &options.tls {
        command.push_str(" --tls");
        if let Some(version) = tls.version {
            write!(command, " --tls-version {}", version.name())?;
        }
    }
    match options.target {
        Target::Attach(address) => write!(command, " --attach {address}")?,
        Target::Start { .. } if options.kill_active > 0 => {
            let interval = options.interval.as_secs_f64();
            write!(command, " --kill-active {} --interval {interval} --seed {}", options.kill_active, options.seed)?;
        }
        Target::Start { .. } => {
            let interval = options.interval.as_secs_f64();
            write!(command, " --takeovers {} --interval {interval}", options.takeovers)?;
            let kill = if options.moves > 0 {
                write!(command, " --moves {} --servers {}", options.moves, options.servers)?;
                "--kill-movers"
            } else {
                "--kill-successors"
            };
            write!(command, " {kill} {} --seed {}", options.kill_share, options.seed)?;
        }
    }
    if options.takeovers + options.moves + options.kill_active == 0 {
        write!(command, " --duration {}", options.duration.as_secs_f64())?;
    }
    page.push_str("<section><h2>How it was made</h2>\n<p>");
    for (kind, count) in outcome.counts().into_iter().filter(|(_, count)| count.opened > 0) {
        write!(page, "{} connections {kind}. ", grouped(count.opened as u64))?;
    }
    writeln!(
        page,
        "Client and server share one machine, and its processors. reactord {}.</p>\n<pre>{command}</pre></section>",
        env!("CARGO_PKG_VERSION")
    )
}

/// Text that says nothing to HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_escaped() {
        assert_eq!(escaped("<b>&"), "&lt;b&gt;&amp;");
    }
}
