//! Workers that give back: the chat in each language, with a scripted supervisor and with `reactord supervise`. Clients
//! keep their names and their half-typed lines whatever becomes of the processes.

#[path = "supervisor/client.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod client;
#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
mod harness;
#[path = "worker/supervisor.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod supervisor;

#[path = "chat/languages.rs"]
mod languages;
#[path = "chat/soak.rs"]
mod soak;

use std::path::Path;

use client::supervise;
use harness::{Peer, Server};
use languages::Chat;
use nix::sys::signal::Signal;
use soak::Soak;
use supervisor::ScriptedSupervisor;

#[test]
fn the_chat_in_each_language_has_sixty_lines_of_code_at_most() {
    for (file, lines) in languages::lines_of_code() {
        assert!(lines <= 60, "{file} has {lines}");
    }
}

/// A chat that has said that it serves.
#[track_caller]
fn start(chat: &Chat) -> (ScriptedSupervisor, Server) {
    println!("{}", chat.language);
    let (mut supervisor, worker) = ScriptedSupervisor::start(chat.start(), Path::new(""));
    supervisor.expect("ready 2");
    supervisor.expect("want 900");
    (supervisor, worker)
}

/// A client that has said its name and `hi`, and then half a line, all of which the worker has read.
#[track_caller]
fn enter(supervisor: &mut ScriptedSupervisor, name: &str, others: &[&Peer]) -> (u64, Peer) {
    let (id, client) = supervisor.offer();
    supervisor.expect(&format!("took {id}"));
    client.send(format!("{name}\nhi\nhal").as_bytes());
    [&client].iter().chain(others).for_each(|each| each.expect(format!("{name}: hi\n").as_bytes()));
    (id, client)
}

/// What the worker says next, but for that it has room.
#[track_caller]
fn hear_next(supervisor: &mut ScriptedSupervisor) -> String {
    loop {
        let word = supervisor.hear().expect("the worker has more to say");
        if word != "want 1" {
            return word;
        }
    }
}

/// The number of the connection that the worker gives back next.
#[track_caller]
fn hear_back(supervisor: &mut ScriptedSupervisor) -> u64 {
    let word = hear_next(supervisor);
    let id = word.strip_prefix("back ").and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("a connection is to be given back: {word:?}"))
}

/// The worker says nothing more but that it has room, and exits.
#[track_caller]
fn expect_exit(supervisor: &mut ScriptedSupervisor, worker: &Server) {
    while let Some(word) = supervisor.hear() {
        assert_eq!(word, "want 1");
    }
    assert_eq!(worker.output(0), (String::new(), String::new()));
}

#[test]
fn names_and_half_typed_lines_go_from_a_chat_in_each_language_to_the_next() {
    let chats = languages::chats();
    for (chat, next) in chats.iter().zip(chats.iter().cycle().skip(1)) {
        let (mut supervisor, worker) = start(chat);
        let (ada_id, ada) = enter(&mut supervisor, "Ada", &[]);
        let (bob_id, bob) = enter(&mut supervisor, "Bob", &[&ada]);
        let (_, nameless) = supervisor.offer();
        supervisor.expect("took 3");
        supervisor.say("finish", &[]);
        let mut given: Vec<u64> = (0..3).map(|_| hear_back(&mut supervisor)).collect();
        given.sort_unstable();
        assert_eq!(given, [ada_id, bob_id, 3]);
        expect_exit(&mut supervisor, &worker);

        let (mut next_supervisor, _next) = start(next);
        for (id, state) in [(ada_id, &b"Ada\nhal"[..]), (bob_id, b"Bob\nhal"), (3, b"\n")] {
            let back = supervisor.take_back(id);
            assert_eq!(back.state, state);
            next_supervisor.pass_on(id, back);
            next_supervisor.expect(&format!("took {id}"));
        }
        // Who has said something is in the room.
        for (client, rest, line) in [
            (&ada, &b"f a line\n"[..], "Ada: half a line\n"),
            (&bob, b"f\n", "Bob: half\n"),
            (&nameless, b"Cleo\nhello\n", "Cleo: hello\n"),
        ] {
            client.send(rest);
            expect_sooner_or_later(client, line);
        }
        ada.send(b"bye\n");
        [&ada, &bob, &nameless].iter().for_each(|each| expect_sooner_or_later(each, "Ada: bye\n"));
    }
}

/// The client hears this line, and nothing before but what the others have said.
#[track_caller]
fn expect_sooner_or_later(client: &Peer, line: &str) {
    let mut heard = hear_line(client);
    while heard != line {
        assert!(["Ada: half a line\n", "Bob: half\n", "Cleo: hello\n"].contains(&heard.as_str()), "{heard:?}");
        heard = hear_line(client);
    }
}

#[track_caller]
fn hear_line(client: &Peer) -> String {
    let mut line = String::new();
    while !line.ends_with('\n') {
        line.push(char::from(client.receive(1)[0]));
    }
    line
}

#[test]
fn a_chat_in_each_language_gives_as_many_as_are_wanted_and_goes_on_with_the_others() {
    for chat in languages::chats() {
        let (mut supervisor, worker) = start(&chat);
        let (_, ada) = enter(&mut supervisor, "Ada", &[]);
        let (_, bob) = enter(&mut supervisor, "Bob", &[&ada]);
        supervisor.say("give 1", &[]);
        let id = hear_back(&mut supervisor);
        supervisor.expect("want 1");
        let (away, here) = if id == 1 { (&ada, &bob) } else { (&bob, &ada) };
        here.send(b"\n");
        here.receive("Ada: hal\n".len());
        away.stays_silent_for(std::time::Duration::from_millis(50));
        // It comes back.
        let back = supervisor.take_back(id);
        supervisor.pass_on(id, back);
        supervisor.expect(&format!("took {id}"));
        away.send(b"\n");
        [away, here].iter().for_each(|each| drop(each.receive("Ada: hal\n".len())));
        for (client, id) in [(ada, 1), (bob, 2)] {
            drop(client);
            supervisor.expect(&format!("done {id}"));
            supervisor.expect("want 1");
        }
        supervisor.say("finish", &[]);
        expect_exit(&mut supervisor, &worker);
    }
}

/// Ada, who has typed half a line, is alone with this worker, which serves her until she leaves.
#[track_caller]
fn expect_served_to_the_end(ada: &Peer, worker: &Server) {
    ada.send(b"f\n");
    ada.expect(b"Ada: half\n");
    assert!(worker.is_running());
    ada.end_sending();
    ada.expect_end();
}

#[test]
fn what_is_refused_stays_with_a_chat_in_each_language_until_it_ends() {
    for chat in languages::chats() {
        let (mut supervisor, worker) = start(&chat);
        let (id, ada) = enter(&mut supervisor, "Ada", &[]);
        supervisor.say("give 1", &[]);
        assert_eq!(hear_back(&mut supervisor), id);
        supervisor.refuse(id);
        supervisor.say("finish", &[]);
        expect_served_to_the_end(&ada, &worker);
        assert_eq!(hear_next(&mut supervisor), format!("done {id}"));
        expect_exit(&mut supervisor, &worker);
    }
}

#[test]
fn what_is_refused_when_a_chat_in_each_language_has_said_that_it_leaves_stays_with_it_until_it_ends() {
    for chat in languages::chats() {
        let (mut supervisor, worker) = start(&chat);
        let (id, ada) = enter(&mut supervisor, "Ada", &[]);
        supervisor.say("finish", &[]);
        assert_eq!(hear_back(&mut supervisor), id);
        while !supervisor.has_heard_all() {
            supervisor.expect("want 1");
        }
        supervisor.refuse(id);
        expect_served_to_the_end(&ada, &worker);
        expect_exit(&mut supervisor, &worker);
    }
}

#[test]
fn what_was_refused_by_a_supervisor_that_then_dies_stays_with_a_chat_in_each_language() {
    for chat in languages::chats() {
        let (mut supervisor, worker) = start(&chat);
        let (id, ada) = enter(&mut supervisor, "Ada", &[]);
        supervisor.say("give 1", &[]);
        assert_eq!(hear_back(&mut supervisor), id);
        supervisor.refuse(id);
        supervisor.die();
        expect_served_to_the_end(&ada, &worker);
        assert_eq!(worker.output(0), (String::new(), String::new()));
    }
}

#[test]
fn a_chat_in_each_language_keeps_its_clients_when_the_supervisor_dies() {
    for chat in languages::chats() {
        let (mut supervisor, worker) = start(&chat);
        let (_, ada) = enter(&mut supervisor, "Ada", &[]);
        supervisor.die();
        expect_served_to_the_end(&ada, &worker);
        assert_eq!(worker.output(0), (String::new(), String::new()));
    }
}

#[test]
fn a_chat_in_each_language_gives_more_back_than_the_socket_takes_and_hears_each_refusal() {
    /// More than fit into the socket at once, with a descriptor each.
    const CLIENTS: usize = 400;
    for chat in languages::chats() {
        let (mut supervisor, worker) = start(&chat);
        let clients: Vec<Peer> = (0..CLIENTS)
            .map(|_| {
                let (id, client) = supervisor.offer();
                supervisor.expect(&format!("took {id}"));
                client
            })
            .collect();
        supervisor.say(&format!("give {CLIENTS}"), &[]);
        let mut given: Vec<u64> = Vec::new();
        for _ in 0..CLIENTS {
            given.push(hear_back(&mut supervisor));
            supervisor.refuse(*given.last().expect("it was just pushed"));
        }
        given.sort_unstable();
        assert_eq!(given, (1..=CLIENTS as u64).collect::<Vec<u64>>());
        supervisor.say("finish", &[]);
        clients[0].send(b"Ada\nhi\n");
        clients[0].expect(b"Ada: hi\n");
        drop(clients);
        // Whatever it has not said before it exits, its end says.
        while let Some(word) = supervisor.hear() {
            assert!(word == "want 1" || word.starts_with("done "), "{word}");
        }
        assert_eq!(worker.output(0), (String::new(), String::new()));
    }
}

#[test]
fn a_chat_that_no_supervisor_has_started_says_so() {
    for chat in languages::chats() {
        let worker = Server::spawn(Path::new(""), chat.start().env_remove("REACTORD_QUEUE"));
        let (_, said) = worker.output(1);
        assert!(said.contains("REACTORD_QUEUE"), "{}: {said}", chat.language);
    }
}

// ── Under `reactord supervise` ─────────────────────────────────────────────────────────────────────────────────────

/// Three clients of two workers: two that have said their names and type, and one that has said nothing.
#[track_caller]
fn three_clients(supervisor: &Server) -> [Peer; 3] {
    let clients = [(); 3].map(|()| Peer::connect(supervisor.address()));
    for (client, name) in clients.iter().zip(["Ada", "Bob"]) {
        client.send(format!("{name}\nhi\nhal").as_bytes());
        expect_line(client, &format!("{name}: hi\n"));
    }
    clients
}

/// The client hears this line, sooner or later.
#[track_caller]
fn expect_line(client: &Peer, line: &str) {
    while hear_line(client) != line {}
}

#[test]
fn clients_of_a_chat_in_each_language_notice_nothing_of_three_generations() {
    for chat in languages::chats() {
        println!("{}", chat.language);
        let supervisor = supervise("--workers 2", &chat.command);
        // One that is not ready yet would be ended, and not told to finish.
        supervisor.wait_for_lines(2, |line| line.ends_with("is ready"));
        let clients = three_clients(&supervisor);
        for generation in 2..=4 {
            supervisor.signal(Signal::SIGHUP);
            supervisor.wait_for_line(|line| line.contains(&format!("Generation {generation} serves")));
            for (client, name) in clients.iter().zip(["Ada", "Bob"]) {
                client.send(b"f\nhal");
                expect_line(client, &format!("{name}: half\n"));
            }
        }
        // It has said nothing yet, and is known to have done so.
        clients[2].send(b"Cleo\nhello\n");
        expect_line(&clients[2], "Cleo: hello\n");
        // All workers but the last two have exited.
        supervisor.wait_for_lines(6, |line| line.contains(" exited with code 0"));
        supervisor.signal(Signal::SIGTERM);
        drop(clients);
        assert_eq!(supervisor.exit_code(), 0);
    }
}

#[test]
fn nobody_is_lost_in_a_chat_in_any_language_but_who_was_a_killed_workers() {
    for chat in languages::chats() {
        let soak =
            Soak { workers: 2, clients: 50, hangups: 5, ends_one_in: 2, killed_one_in: 2, replaced_one_in: 2, seed: 7 };
        println!("{}: {}", chat.language, soak.run(&chat));
    }
}

/// What `docs/reliability.md` tells of. `cargo test --test chat -- --ignored --nocapture` runs it in all languages, and
/// with `CHAT=Python`, for instance, in one.
#[test]
#[ignore = "it takes minutes"]
fn nobody_is_lost_among_a_thousand_in_fifty_generations_but_who_was_a_killed_workers() {
    let only = std::env::var("CHAT");
    for chat in languages::chats().iter().filter(|chat| only.as_ref().map_or(true, |only| only == chat.language)) {
        let seed = fastrand::u64(..);
        println!("{}, seed {seed}:", chat.language);
        let soak =
            Soak { workers: 4, clients: 1000, hangups: 50, ends_one_in: 4, killed_one_in: 4, replaced_one_in: 4, seed };
        println!("{}: {}", chat.language, soak.run(chat));
    }
}
