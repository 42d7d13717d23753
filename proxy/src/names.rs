//! Names of servers, resolved again and again in a thread of its own, so that no loop ever waits for it.
//!
//! The system resolves them (getaddrinfo(3)), which does not say for how long an answer holds; so the file says how often it is
//! asked. Whoever has an address keeps it while the name cannot be resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A name that could not be resolved is tried again after so long, if not sooner.
const AGAIN: Duration = Duration::from_secs(5);

/// So many are resolved at once where all are wanted: each that is not answered for keeps a thread, which waits, and has a socket open.
pub const AT_ONCE: usize = 32;

/// A port of a host with a name, and how often it is resolved. Without that it is until it has succeeded once.
pub type Asked = (String, u16, Option<Duration>);

/// What has become known of a name. The same is not told twice in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The host, as it was asked for.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What there is to know.
    pub news: News,
}

/// What there is to know of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It has these addresses from now on: at least one, sorted.
    Addresses(Vec<SocketAddr>),
    /// It cannot be resolved, for this reason. Its last addresses hold, if it has had any.
    Failed(String),
}

/// Hosts and ports, with the addresses of each, or why it has none.
pub type Resolved = BTreeMap<(String, u16), Result<Vec<SocketAddr>, String>>;

/// Resolves all of these names, several at once, and waits for no longer than `patience`: a name server that does not answer for
/// some keeps nobody waiting for the others.
#[must_use]
pub fn resolve_all(names: BTreeSet<(String, u16)>, patience: Duration) -> Resolved {
    resolve_all_by(look_up, names, patience)
}

fn resolve_all_by(
    look_up: impl Fn(&str, u16) -> Result<Vec<SocketAddr>, String> + Clone + Send + 'static,
    names: BTreeSet<(String, u16)>,
    patience: Duration,
) -> Resolved {
    let until = Instant::now() + patience;
    let (tell, told) = channel();
    let left = Arc::new(Mutex::new(names.clone().into_iter()));
    for _ in 0..AT_ONCE.min(names.len()) {
        let (look_up, tell, left) = (look_up.clone(), tell.clone(), Arc::clone(&left));
        let next = move || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let look_up_each = move || {
            while let Some(name) = next() {
                let answer = look_up(&name.0, name.1);
                if tell.send((name, answer)).is_err() {
                    // Nobody waits any more.
                    return;
                }
            }
        };
        // Where there can be no thread, the others do it, or nobody has answered.
        let _ = thread::Builder::new().name("names".to_owned()).spawn(look_up_each);
    }
    drop(tell);
    let unanswered = format!("the system has not answered within {} s", patience.as_secs_f32());
    let mut resolved: Resolved = names.into_iter().map(|name| (name, Err(unanswered.clone()))).collect();
    while let Ok((name, answer)) = told.recv_timeout(until.saturating_duration_since(Instant::now())) {
        resolved.insert(name, answer);
    }
    resolved
}

/// What the system says of a name (getaddrinfo(3)).
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    sorted((host, port).to_socket_addrs().map_err(|error| error.to_string())?)
}

/// These addresses, each once and in an order that is the same each time, if there are any.
fn sorted(addresses: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, String> {
    let addresses: BTreeSet<SocketAddr> = addresses.collect();
    if addresses.is_empty() { Err("it has no addresses".to_owned()) } else { Ok(addresses.into_iter().collect()) }
}

/// A thread that resolves names, until this is dropped.
#[derive(Debug)]
pub struct Resolver {
    /// The thread ends when this does.
    _alive: Sender<()>,
}

impl Resolver {
    /// Starts a thread that resolves names, one after the other, at once and then as often as each is to be. It tells what is
    /// new. When the resolver is dropped, the thread ends, after the answer that it may be waiting for; nothing is told then.
    ///
    /// # Errors
    /// If there can be no other thread.
    pub fn start(names: Vec<Asked>, tell: impl FnMut(Told) + Send + 'static) -> io::Result<Self> {
        let (alive, ended) = channel();
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || run(Names::new(names, Instant::now()), &ended, look_up, tell))?;
        Ok(Self { _alive: alive })
    }
}

fn run(
    mut names: Names,
    ended: &Receiver<()>,
    resolve: impl Fn(&str, u16) -> Result<Vec<SocketAddr>, String>,
    mut tell: impl FnMut(Told),
) {
    while let Some(due) = names.next_due() {
        match ended.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
        let Some((host, port)) = names.due(Instant::now()) else { continue };
        let answer = resolve(&host, port);
        if matches!(ended.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)) {
            return;
        }
        if let Some(news) = names.answered(&host, port, answer, Instant::now()) {
            tell(Told { host, port, news });
        }
    }
}

/// All names, and what is known of them. It knows no thread and no clock.
struct Names {
    known: BTreeMap<(String, u16), Known>,
}

struct Known {
    every: Option<Duration>,
    /// When it is to be resolved next; never, if it was to be once and was.
    due: Option<Instant>,
    last: Option<News>,
    addresses: Vec<SocketAddr>,
}

impl Names {
    fn new(asked: Vec<Asked>, now: Instant) -> Self {
        let mut known = BTreeMap::new();
        for (host, port, every) in asked {
            let name =
                known.entry((host, port)).or_insert(Known { every, due: Some(now), last: None, addresses: Vec::new() });
            // Who wants it more often sees to it for all.
            name.every = [name.every, every].into_iter().flatten().min();
        }
        Self { known }
    }

    fn next_due(&self) -> Option<Instant> {
        self.known.values().filter_map(|name| name.due).min()
    }

    fn due(&self, now: Instant) -> Option<(String, u16)> {
        let due = self.known.iter().filter_map(|(key, name)| Some((name.due?, key)));
        due.min().filter(|(due, _)| *due <= now).map(|(_, key)| key.clone())
    }

    /// Notes an answer, and gives back what is new in it.
    fn answered(
        &mut self,
        host: &str,
        port: u16,
        answer: Result<Vec<SocketAddr>, String>,
        now: Instant,
    ) -> Option<News> {
        let name = self.known.get_mut(&(host.to_owned(), port))?;
        let news = answer.map_or_else(News::Failed, News::Addresses);
        name.due = match &news {
            News::Addresses(_) => name.every.map(|every| now + every),
            News::Failed(_) => Some(now + name.every.unwrap_or(AGAIN).min(AGAIN)),
        };
        name.note(news)
    }
}

impl Known {
    fn note(&mut self, news: News) -> Option<News> {
        let new = match &news {
            News::Addresses(addresses) => *addresses != self.addresses || matches!(self.last, Some(News::Failed(_))),
            // Reasons may alternate, and one of them is enough.
            News::Failed(_) => !matches!(self.last, Some(News::Failed(_))),
        };
        if let News::Addresses(addresses) = &news {
            self.addresses.clone_from(addresses);
        }
        self.last = Some(news.clone());
        new.then_some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 443))
    }

    fn one(every: Option<Duration>) -> (Names, Instant) {
        let names = Names::new(vec![("web".to_owned(), 443, every)], Instant::now());
        let due = names.next_due().expect("it is to be resolved at once");
        assert_eq!(names.due(due), Some(("web".to_owned(), 443)));
        (names, due)
    }

    #[test]
    fn addresses_are_told_once_and_again_when_they_change() {
        let (mut names, now) = one(Some(EVERY));
        let both = News::Addresses(vec![address(1), address(2)]);
        assert_eq!(names.answered("web", 443, Ok(vec![address(1), address(2)]), now), Some(both));
        assert_eq!((names.next_due(), names.due(now)), (Some(now + EVERY), None));
        assert_eq!(names.answered("web", 443, Ok(vec![address(1), address(2)]), now + EVERY), None);
        let one = News::Addresses(vec![address(2)]);
        assert_eq!(names.answered("web", 443, Ok(vec![address(2)]), now + EVERY), Some(one));
    }

    #[test]
    fn addresses_are_the_same_whatever_their_order_and_none_are_a_failure() {
        let found = [address(2), address(1), address(2)];
        assert_eq!(sorted(found.into_iter()), Ok(vec![address(1), address(2)]));
        assert_eq!(sorted(std::iter::empty()), Err("it has no addresses".to_owned()));
    }

    #[test]
    fn failure_is_told_once_and_its_end_even_with_the_same_addresses() {
        let (mut names, now) = one(Some(EVERY));
        let addresses = News::Addresses(vec![address(1)]);
        assert_eq!(names.answered("web", 443, Ok(vec![address(1)]), now), Some(addresses.clone()));
        let failed = |reason: &str| News::Failed(reason.to_owned());
        assert_eq!(names.answered("web", 443, Err("no".to_owned()), now), Some(failed("no")));
        assert_eq!(names.next_due(), Some(now + AGAIN));
        assert_eq!(names.answered("web", 443, Err("still not".to_owned()), now), None);
        assert_eq!(names.answered("web", 443, Ok(vec![address(1)]), now), Some(addresses));
    }

    #[test]
    fn name_that_is_resolved_once_is_tried_until_it_succeeds() {
        let (mut names, now) = one(None);
        assert!(names.answered("web", 443, Err("no".to_owned()), now).is_some());
        assert_eq!(names.next_due(), Some(now + AGAIN));
        assert!(names.answered("web", 443, Ok(vec![address(1)]), now).is_some());
        assert_eq!((names.next_due(), names.due(now + EVERY)), (None, None));
    }

    #[test]
    fn name_that_two_ask_for_is_resolved_as_often_as_the_one_who_wants_it_more_often() {
        let asked = |every| ("web".to_owned(), 443, every);
        let mut names = Names::new(vec![asked(None), asked(Some(EVERY)), asked(Some(EVERY * 2))], Instant::now());
        let now = names.next_due().expect("it is to be resolved at once");
        names.answered("web", 443, Ok(vec![address(1)]), now);
        assert_eq!((names.known.len(), names.next_due()), (1, Some(now + EVERY)));
    }

    #[test]
    fn name_that_is_answered_for_late_holds_up_no_other() {
        let (found, finds) = channel();
        let finds = Arc::new(Mutex::new(finds));
        // More than are resolved at once, behind the one that waits for all of them.
        let others = 2 * AT_ONCE;
        let look_up = move |host: &str, port| {
            if host == "late" {
                let finds = finds.lock().unwrap();
                finds.iter().take(others).for_each(drop);
                return Err("no such name".to_owned());
            }
            found.send(()).unwrap();
            Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))])
        };
        let ports = 1..=u16::try_from(others).unwrap();
        let names = ports.map(|port| ("web".to_owned(), port)).chain([("late".to_owned(), 1)]);
        let mut resolved = resolve_all_by(look_up, names.collect(), Duration::from_secs(600));
        assert_eq!(resolved.remove(&("late".to_owned(), 1)), Some(Err("no such name".to_owned())));
        assert_eq!(resolved.len(), others);
        for ((_, port), answer) in resolved {
            assert_eq!(answer, Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))]));
        }
    }

    #[test]
    fn name_that_nobody_answers_for_has_no_addresses_when_the_time_is_over() {
        let (answer, no_answer) = channel::<Result<Vec<SocketAddr>, String>>();
        let no_answer = Arc::new(Mutex::new(no_answer));
        let look_up = move |_: &str, _| no_answer.lock().unwrap().recv().unwrap_or(Ok(Vec::new()));
        let name = ("web".to_owned(), 443);
        let resolved = resolve_all_by(look_up, [name.clone()].into(), Duration::ZERO);
        assert_eq!(resolved[&name], Err("the system has not answered within 0 s".to_owned()));
        drop(answer);
    }

    #[test]
    fn thread_tells_what_the_system_says_and_ends_with_its_resolver() {
        let (told, heard) = channel();
        let tell = move |news| told.send(news).expect("somebody listens");
        let names = vec![("localhost".to_owned(), 7, Some(EVERY)), ("no.such.name.invalid".to_owned(), 7, Some(EVERY))];
        let resolver = Resolver::start(names, tell).expect("there can be a thread");
        let mut all: Vec<Told> = heard.iter().take(2).collect();
        all.sort_by(|one, other| one.host.cmp(&other.host));
        let News::Addresses(addresses) = &all[0].news else { panic!("{all:?}") };
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 7), "{addresses:?}");
        assert!(matches!(all[1].news, News::Failed(_)), "{all:?}");
        drop(resolver);
        assert_eq!(heard.iter().next(), None, "the thread has ended, and what it tells with");
    }
}
