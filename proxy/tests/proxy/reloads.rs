//! A changed configuration is taken up by a replacement, and nobody who is connected notices.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use reactord::Upgraded;

use super::rig::{Client, PATIENCE, Proxy, address, echo, figures, free_address, upstream};

#[test]
fn listeners_and_servers_are_added_removed_and_moved_and_connections_stay() {
    let [one, other, third] = [free_address(), free_address(), free_address()];
    let [a, b] = [echo("a"), echo("b")];
    let proxy =
        Proxy::serve(&format!("[listener.one]\nbind = '{one}'\nupstream = 'u'\n[upstream.u]\nservers = ['{a}']\n"));
    let mut stays = Client::connect(one);
    stays.receive("a");
    for round in 0..3 {
        // The server is another, and the listener has moved.
        proxy.reload(&format!(
            "[listener.one]\nbind = '{other}'\nupstream = 'u'\n[listener.new]\nbind = '{third}'\nupstream = 'v'\n\
             [upstream.u]\nservers = ['{b}']\n[upstream.v]\nservers = ['{a}', '{b}']\nbalance = 'least-connections'\n"
        ));
        stays.ask(&format!("gone {round}"));
        proxy.says(&["Configuration: ", "one"]);
        Client::connect(other).receive("b");
        assert!(TcpStream::connect(one).is_err());
        let mut new = Client::connect(third);
        proxy.reload(&format!(
            "[listener.one]\nbind = ['{one}', '{other}']\nupstream = 'u'\n[upstream.u]\nservers = ['{a}']\n"
        ));
        stays.ask(&format!("back {round}"));
        Client::connect(other).receive("a");
        let mut first = [0];
        std::io::Read::read_exact(&mut new.0, &mut first).unwrap();
        new.ask("its server is gone, and its listener");
    }
    stays.finish();
    stays.ends();
}

/// Ends threads of a test also when the test fails: they would be waited for otherwise.
pub(crate) struct OverAtEnd<'t>(pub(crate) &'t AtomicBool);

impl Drop for OverAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn listener_moves_to_all_addresses_and_back_and_whoever_connects_meanwhile_is_let_in() {
    let (listen, server) = (free_address(), echo("a"));
    let [all, another] = [[0; 4], [127, 0, 0, 2]].map(|address| SocketAddr::from((address, listen.port())));
    let config =
        |bind| format!("[listener.l]\nbind = '{bind}'\nupstream = 'u'\n[upstream.u]\nservers = ['{server}']\n");
    let proxy = Proxy::serve(&config(listen));
    let mut stays = Client::connect(listen);
    stays.receive("a");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = OverAtEnd(&is_over);
        let come = || {
            while !is_over.load(Ordering::Relaxed) {
                Client::connect(listen).receive("a");
            }
        };
        let coming = scope.spawn(come);
        for round in 0..5 {
            proxy.reload(&config(all));
            Client::connect(another).receive("a");
            stays.ask(&format!("all {round}"));
            proxy.replace();
            proxy.reload(&config(listen));
            assert!(TcpStream::connect(another).is_err(), "nobody is to listen there");
            stays.ask(&format!("one {round}"));
            assert!(!coming.is_finished(), "somebody was refused");
        }
        // What else is wrong with a file leaves the listener as it was.
        let taken = upstream();
        proxy.write(&format!("metrics = '{}'\n{}", address(&taken), config(all)));
        let Upgraded::Failed { said, .. } = proxy.try_to_replace() else { panic!("the port is another's") };
        assert!(said.contains("Address already in use"), "{said}");
        assert!(TcpStream::connect(another).is_err());
        stays.ask("as it was");
    });
}

#[test]
fn mistake_in_a_file_leaves_everything_as_it_was_and_is_the_answer() {
    let (listen, server) = (free_address(), echo("a"));
    let config = format!("[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{server}']\n");
    let proxy = Proxy::serve(&config);
    let mut client = Client::connect(listen);
    client.receive("a");
    proxy.write(&config.replace("upstream = 'u'", "upstraem = 'u'"));
    let Upgraded::Failed { said, serves_on, .. } = proxy.try_to_replace() else { panic!("it has mistakes") };
    assert!(serves_on && said.contains("proxy.toml:3:1:") && said.contains("upstream"), "{said}");
    client.ask("still there");
    Client::connect(listen).receive("a");

    let taken = upstream();
    proxy.write(&config.replace(&listen.to_string(), &address(&taken).to_string()));
    let Upgraded::Failed { said, .. } = proxy.try_to_replace() else { panic!("the port is another's") };
    assert!(said.contains("Address already in use"), "{said}");
    client.ask("still there");
    proxy.reload(&config);
    client.ask("through a good one");
}

#[test]
fn figures_that_the_file_does_not_ask_for_any_more_are_not_to_be_had_and_are_again() {
    let [listen, metrics] = [free_address(), free_address()];
    let config =
        format!("[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{}']\n", echo("a"));
    let with_figures = format!("metrics = '{metrics}'\n{config}");
    let proxy = Proxy::serve(&with_figures);
    for _ in 0..2 {
        assert!(figures(metrics).contains("proxy_listener_connections{listener=\"l\"}"));
        proxy.reload(&config);
        assert!(TcpStream::connect(metrics).is_err());
        proxy.replace();
        Client::connect(listen).receive("a");
        proxy.reload(&with_figures);
    }
}

#[test]
fn connections_whose_server_is_gone_are_closed_if_the_file_says_so() {
    let listen = free_address();
    let [a, b] = [echo("a"), echo("b")];
    let config = |server| {
        format!(
            "access_log = 'text'\n[defaults]\non_removed = 'close'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{server}']\n"
        )
    };
    let proxy = Proxy::serve(&config(a));
    let mut client = Client::connect(listen);
    client.receive("a");
    proxy.reload(&config(b));
    client.ends();
    drop(client);
    proxy.notes(&["end=removed", "takeovers=1"]);
    let mut client = Client::connect(listen);
    client.receive("b");
    proxy.reload(&config(b));
    client.ask("its server is there");
    proxy.reload(&config(a).replace("'close'", "'200ms'"));
    client.0.set_read_timeout(Some(PATIENCE)).unwrap();
    client.ends();
}

#[test]
fn connections_whose_server_is_gone_do_as_the_last_file_says() {
    let listen = free_address();
    let [a, b] = [echo("a"), echo("b")];
    let config = |server, on_removed| {
        format!(
            "[defaults]\non_removed = '{on_removed}'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{server}']\n"
        )
    };
    let proxy = Proxy::serve(&config(a, "1h"));
    let mut client = Client::connect(listen);
    client.receive("a");
    proxy.reload(&config(b, "1h"));
    client.ask("for an hour");
    proxy.reload(&config(b, "keep"));
    client.ask("for as long as it likes");
    proxy.reload(&config(b, "close"));
    client.ends();
}
