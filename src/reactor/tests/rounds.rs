//! Peers that make one another do things, for ever if they are let: no turn of the loop goes on for so long, and nothing of
//! what they were to do is lost, also in a takeover.

use super::opened::handed_over;
use super::*;
use crate::recipient::Recipient;
use crate::service::{Closed, Connect};

/// Two peers whose turns alternate: who is read from is held, and the other one is let go.
#[derive(Default)]
struct Alternate {
    present: Vec<PeerId>,
    bytes: usize,
}

impl StreamService for Alternate {
    type Session = ();
    const NAME: &'static str = "alternate";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, context: &mut Context<'_, Self>) {
        self.present.push(context.peer());
    }

    fn input(
        &mut self,
        (): &mut (),
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        self.bytes += input.len();
        for peer in &self.present {
            if *peer == context.peer() { context.hold(*peer) } else { context.release(*peer) }
        }
        Ok(input.len())
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[test]
fn two_who_let_each_other_go_do_not_keep_the_loop() {
    const TURN_BYTES_MAX: usize = 512 << 10;
    let mut rig = Rig::new(Alternate::default(), &Config::default());
    let mut clients = [rig.connect().0, rig.connect().0];
    let mut sent = 0;
    for client in &mut clients {
        while let Ok(bytes) = client.write(&[7; 64 << 10]) {
            sent += bytes;
        }
    }
    let bytes = |rig: &Rig<Alternate>| rig.reactor.lanes.lane.service().bytes;
    assert!(sent > 2 * TURN_BYTES_MAX, "{sent}");
    rig.turn();
    assert!(bytes(&rig) <= TURN_BYTES_MAX, "{} of {sent}", bytes(&rig));
    // All of one is read, and then the other one is held.
    let mut before = 0;
    while bytes(&rig) > before {
        before = bytes(&rig);
        (0..5).for_each(|_| rig.turn());
    }
    assert!(before > sent / 2, "{before} of {sent}");
}

/// Whoever is gone is followed by another, whose connection is given up as soon as it is there.
#[derive(Default)]
struct Revolve {
    to: Option<SocketAddr>,
    at_once: bool,
    opened: usize,
}

impl Revolve {
    fn go_round(&mut self, context: &mut Context<'_, Self>) {
        let Some(to) = self.to else { return };
        let peer = context.connect(&Connect::to_tcp(to), ()).map_err(|(_, error)| error).expect("there is room");
        self.opened += 1;
        if self.at_once {
            context.abort(peer);
        }
    }
}

impl StreamService for Revolve {
    type Session = ();
    const NAME: &'static str = "revolve";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) {}

    fn input(&mut self, (): &mut (), input: &[u8], _: usize, _: &mut Context<'_, Self>) -> Result<usize, Violation> {
        Ok(input.len())
    }

    fn connected(&mut self, (): &mut (), context: &mut Context<'_, Self>) {
        context.abort(context.peer());
    }

    fn closed(&mut self, (): (), _: &Closed, context: &mut Context<'_, Self>) {
        self.go_round(context);
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[test]
fn whoever_follows_one_who_is_gone_does_not_keep_the_loop() {
    // They come to a socket that listens and lets nobody in: the kernel does.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for at_once in [false, true] {
        let to = listener.local_addr().unwrap();
        let mut rig = Rig::new(Revolve { to: Some(to), at_once, opened: 0 }, &Config::default());
        let (client, _) = rig.connect();
        drop(client);
        let opened = |rig: &Rig<Revolve>| rig.reactor.lanes.lane.service().opened;
        rig.turn_until(|rig| opened(rig) > 0);
        let before = opened(&rig);
        rig.turn();
        let in_one_turn = opened(&rig) - before;
        assert!(in_one_turn <= 300, "{in_one_turn} were opened in one turn");
        rig.turn_until(|rig| opened(rig) > before + 2);
        rig.reactor.lanes.lane.service_mut().to = None;
        rig.turn_until(|rig| rig.keys().is_empty());
    }
}

/// Who is gone takes the next one along, each after it was sent a byte. More than one turn settles.
#[derive(Default)]
struct Dominoes {
    standing: Vec<PeerId>,
    gone: usize,
}

const DOMINOES: usize = 400;

impl StreamService for Dominoes {
    type Session = ();
    const NAME: &'static str = "dominoes";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, context: &mut Context<'_, Self>) {
        self.standing.push(context.peer());
    }

    fn input(&mut self, (): &mut (), input: &[u8], _: usize, _: &mut Context<'_, Self>) -> Result<usize, Violation> {
        Ok(input.len())
    }

    fn closed(&mut self, (): (), _: &Closed, context: &mut Context<'_, Self>) {
        self.gone += 1;
        self.standing.retain(|peer| *peer != context.peer());
        if let Some(next) = self.standing.pop() {
            context.send(next, b"!").expect("it stands");
            context.abort(next);
        }
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn save(&self, record: &mut Vec<u8>) {
        record.extend(self.standing.iter().flat_map(|peer| u64::from(*peer).to_be_bytes()));
    }

    fn restore(&mut self, _: u32, record: &[u8]) -> Result<(), RestoreError> {
        let ids = record.as_chunks::<8>().0.iter();
        self.standing = ids.map(|id| PeerId::from(u64::from_be_bytes(*id))).collect();
        Ok(())
    }
}

#[test]
fn what_one_turn_has_not_settled_is_settled_in_the_next_or_by_a_successor() {
    for takes_over in [false, true] {
        let mut rig = Rig::new(Dominoes::default(), &Config::default());
        let mut clients: Vec<Client> = (0..DOMINOES).map(|_| rig.connect().0).collect();
        drop(clients.swap_remove(0));
        let gone = |rig: &Rig<Dominoes>| rig.reactor.lanes.lane.service().gone;
        rig.reactor.lanes.watch(Recipient::Successor);
        rig.turn_until(|rig| gone(rig) > 0);
        assert!(gone(&rig) < DOMINOES, "one turn does not settle all of them");
        assert_eq!(rig.reactor.timeout(), Some(Duration::ZERO), "the next turn comes at once");
        // Whoever copies them hears of the one that is to go.
        let touches = rig.reactor.lanes.lane.table_mut().touches(Recipient::Successor);
        let ending = rig.keys().into_iter().filter(|key| rig.peer(*key).talk.is_ending()).collect::<Vec<_>>();
        let [key] = ending[..] else { panic!("one is unsettled, not {ending:?}") };
        assert!(touches.contains(&Touch::Changed { key, session: false }));
        if takes_over {
            rig = handed_over(rig, &Config::default());
        }
        rig.turn_until(|rig| rig.keys().is_empty());
    }
}
