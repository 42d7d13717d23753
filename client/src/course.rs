//! The course of a load: its parts, one after the other, until it is over or a signal arrives.

use std::io;
use std::time::{Duration, Instant};

use crate::connect;
use crate::error::Error;
use crate::load::Load;
use crate::options::Options;
use crate::report::Report;
use crate::tls::Tls;
use crate::wakeups::{STOPS, Wakeups};

/// Does what the options ask for.
pub(crate) fn run(options: &Options) -> Result<Report, Error> {
    let connections = options.demand.connections();
    connect::make_room(connections, connect::OTHER_FILES)?;
    let tls = options.tls.as_ref().map(|asked| Tls::new(asked, options.server.ip())).transpose()?;
    let mut wakeups = Wakeups::new(&STOPS)?;
    let opened = connect::open_all(&mut wakeups, options.server, tls.as_ref(), connections, |_| false)?;
    let mut load = Load::new(wakeups, options.server, tls, options.demand, opened);
    send(&mut load, options.duration)?;
    let turn = |load: &mut Load, deadline| load.turn(deadline, &mut |_| {}).map(|()| true);
    drain(&mut load, options.drain, turn)?;
    close(&mut load, options.drain, turn)?;
    Ok(load.into_report_and_wakeups().0)
}

/// The first part: sends until the time is over, a signal arrives, or no connection is left.
fn send(load: &mut Load, duration: Option<Duration>) -> io::Result<()> {
    let start = Instant::now();
    let end = duration.and_then(|duration| start.checked_add(duration));
    load.begin_sending(start);
    load.end_at(end);
    while end.is_none_or(|end| Instant::now() < end) && load.stops() == 0 && load.any_open() {
        load.turn(end, &mut |_| {})?;
    }
    load.end_sending(start);
    Ok(())
}

/// The second part: waits up to `limit` for all that is due, or until a second signal. `turn` is one turn of the load, which ends
/// at that instant at the latest, and says whether another one makes sense.
pub(crate) fn drain(
    load: &mut Load,
    limit: Duration,
    turn: impl FnMut(&mut Load, Option<Instant>) -> io::Result<bool>,
) -> io::Result<()> {
    let deadline = load.begin_draining(limit);
    let stops_max = load.stops().min(1);
    wait(load, deadline, stops_max, turn)?;
    load.end_draining();
    Ok(())
}

/// The third part: waits up to `limit` until all who speak TLS have said that nothing more will come, or until another signal.
pub(crate) fn close(
    load: &mut Load,
    limit: Duration,
    turn: impl FnMut(&mut Load, Option<Instant>) -> io::Result<bool>,
) -> io::Result<()> {
    let deadline = load.begin_closing(limit);
    let stops_max = load.stops();
    wait(load, deadline, stops_max, turn)?;
    load.end_closing();
    Ok(())
}

fn wait(
    load: &mut Load,
    deadline: Option<Instant>,
    stops_max: u32,
    mut turn: impl FnMut(&mut Load, Option<Instant>) -> io::Result<bool>,
) -> io::Result<()> {
    while load.is_waiting(deadline) && load.stops() <= stops_max && turn(load, deadline)? {}
    Ok(())
}
