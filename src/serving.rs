//! The daemon's services as a server, however it comes to serve: by listening, from a supervisor's queue, from a predecessor.

use reactord::program::{Begins, Predecessor, call, serve, server};
#[cfg(feature = "fault-points")]
use reactord::services::{Counted, Published, Relayed};
use reactord::services::{Line, Metrics, Seqnum};
#[cfg(feature = "fault-points")]
use reactord::tls::Tls;
use reactord::worker::Queue;
use reactord::{Config, Error, Listen, Offer, Outcome, Server, Services, StreamService, Successor, With};

use crate::options::BuiltIn;

/// How a server comes to serve.
pub(crate) enum Way {
    Serve(Begins),
    Work(Queue),
    TakeOver(Box<Successor>),
}

/// What a server is made of.
pub(crate) struct Plan {
    pub(crate) services: Vec<BuiltIn>,
    /// Where the first of them listens: nowhere, or where its predecessor does, if that is empty.
    pub(crate) listen: Vec<Listen>,
    pub(crate) steals: bool,
    /// Where its figures are to be had.
    pub(crate) metrics: Option<Listen>,
    pub(crate) config: Config,
}

/// What a successor can run that runs some of these services, whether or not it was asked for figures.
pub(crate) fn offers(services: &[BuiltIn]) -> Vec<Offer> {
    services.iter().flat_map(|service| offers_of(*service)).chain([Offer::of::<Metrics>()]).collect()
}

fn offers_of(service: BuiltIn) -> Vec<Offer> {
    match service {
        BuiltIn::Seqnum => vec![Offer::of::<Seqnum>()],
        BuiltIn::Line => vec![Offer::of::<Line>()],
        #[cfg(feature = "fault-points")]
        BuiltIn::Counted => vec![Offer::of::<Counted>(), Offer::of::<Relayed>(), Offer::of::<Published>()],
    }
}

/// Serves until that has come to its end.
pub(crate) fn run(plan: Plan, way: Way) -> Result<Outcome, Error> {
    let Plan { services, listen, steals, metrics, config } = plan;
    // Whoever is told to take over hears first whether there are figures to be taken over.
    let way = match way {
        Way::Serve(Begins::AsTold(inheritance)) => {
            let successor = call(&Predecessor::Starter(inheritance), &offers(&services)).map_err(Error::Takeover)?;
            Way::TakeOver(Box::new(successor))
        }
        way => way,
    };
    let start = Start { metrics: metrics.map(|listen| vec![listen]), way, config }.like_its_predecessor();
    let line = if steals { Line::stealing() } else { Line::default() };
    #[cfg(feature = "fault-points")]
    if services == [BuiltIn::Counted] {
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = in_clear_and_secured(listen, start.config.tls.as_ref());
        let beside = |name| (!listen.is_empty()).then(|| Listen::on(name, at));
        return match (&start.way, listen.is_empty()) {
            (Way::Serve(_) | Way::Work(_), true) => start.run(|server| server.service([], Counted::default())),
            _ => start.run(|server| {
                let server = server.service(listen.clone(), Counted::default());
                server.service(beside(Relayed::NAME), Relayed).service(beside(Published::NAME), Published::default())
            }),
        };
    }
    #[cfg(feature = "fault-points")]
    let listen = match *services {
        // Who waits lets nobody in, of either kind.
        [BuiltIn::Line] if !listen.is_empty() => in_clear_and_secured(listen, start.config.tls.as_ref()),
        _ => listen,
    };
    match *services {
        [BuiltIn::Seqnum] => start.run(|server| server.service(listen.clone(), Seqnum)),
        [BuiltIn::Line] => start.run(|server| server.service(listen.clone(), line)),
        _ => start.run(|server| server.service(listen.clone(), Seqnum).service([], line)),
    }
}

/// The same listeners in clear, and another one for those who speak TLS if there is something to speak it with, so that there are both.
/// A successor is told of each of them, since it takes none over in clear that it was not told of.
#[cfg(feature = "fault-points")]
fn in_clear_and_secured(listen: Vec<Listen>, tls: Option<&Tls>) -> Vec<Listen> {
    let Some(tls) = tls else { return listen };
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let listen = if listen.is_empty() { vec![Listen::on(Counted::NAME, at)] } else { listen };
    let secured = Listen { tls: Some(tls.clone()), ..Listen::on("secured", at) };
    listen.into_iter().map(|listen| Listen { tls: None, ..listen }).chain([secured]).collect()
}

/// How a server comes to serve, and where its figures are to be had beside that, if anywhere: at these listeners, or at
/// those that its predecessor has.
struct Start {
    metrics: Option<Vec<Listen>>,
    way: Way,
    config: Config,
}

impl Start {
    /// The same, with figures also if its predecessor has them.
    fn like_its_predecessor(self) -> Self {
        let had_some =
            matches!(&self.way, Way::TakeOver(successor) if successor.services().any(|one| one == Metrics::NAME));
        Self { metrics: self.metrics.or(had_some.then(Vec::new)), ..self }
    }

    /// Serves with what `of` makes of a server without services.
    fn run<S: StreamService, Before: Services>(
        self,
        of: impl Fn(Server<()>) -> Server<With<S, Before>>,
    ) -> Result<Outcome, Error> {
        let Self { metrics, way, config } = self;
        match metrics {
            Some(listeners) => {
                way.run(config, |config| of(server(config)).service(listeners.clone(), Metrics::default()))
            }
            None => way.run(config, |config| of(server(config))),
        }
    }
}

impl Way {
    fn run<S: StreamService, Before: Services>(
        self,
        config: Config,
        server: impl Fn(Config) -> Server<With<S, Before>>,
    ) -> Result<Outcome, Error> {
        match self {
            Self::Serve(begins) => serve(&config, &begins, server),
            Self::Work(queue) => server(config).work(queue),
            Self::TakeOver(successor) => server(config).take_over_from(*successor),
        }
    }
}
