//! How many may come, and who waits.

use super::rig::{Client, Proxy, address, echo, figures, free_address, program, upstream};

#[test]
fn client_beyond_the_limit_of_its_listener_waits_in_the_kernel_until_one_leaves_and_is_no_matter_of_others() {
    let [listen, elsewhere] = [free_address(), free_address()];
    let config = |max: u32| {
        format!(
            "[listener.l]\nbind = '{listen}'\nupstream = 'u'\nmax_connections = {max}\n\
             [listener.m]\nbind = '{elsewhere}'\nupstream = 'u'\n[upstream.u]\nservers = ['{}']\n",
            echo("a")
        )
    };
    let proxy = Proxy::serve(&config(2));
    let mut clients = [Client::connect(listen), Client::connect(listen)];
    clients.iter_mut().for_each(|client| client.receive("a"));
    let mut waiting = [(); 3].map(|()| Client::connect(listen));
    waiting[0].send("early");
    proxy.says(&["Accepting at l pauses, and goes on when a peer leaves: its service lets in no more there"]);
    for _ in 0..3 {
        proxy.replace();
        Client::connect(elsewhere).receive("a");
        assert_eq!(proxy.answers(&["connections"]).matches(" listener=l ").count(), 2);
    }
    let [mut one, other] = clients;
    one.ask("still there");
    drop(other);
    let [mut first, mut second, mut third] = waiting;
    first.receive("aearly");
    drop(first);
    second.receive("a");
    // One more may come by the new file.
    proxy.reload(&config(3));
    third.receive("a");
    one.ask("still there");
}

#[test]
fn client_waits_for_a_server_with_room_through_a_replacement() {
    let (listen, server, metrics) = (free_address(), upstream(), free_address());
    let proxy = Proxy::serve(&format!(
        "metrics = '{metrics}'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\n\
         [upstream.u]\nservers = [{{ at = '{}', max_connections = 1 }}]\n\
         queue = {{ max = 1, within = '1h' }}\n",
        address(&server)
    ));
    let first = Client::connect(listen);
    let served = server.accept().unwrap().0;
    let mut second = Client::connect(listen);
    second.send("patience");
    proxy.stands("waiting=1");
    assert!(figures(metrics).contains("proxy_upstream_queued_total{upstream=\"u\"} 1\n"));
    Client::connect(listen).is_reset();
    proxy.says(&["is refused: all servers have max_connections clients, and as many wait as may"]);
    proxy.replace();
    proxy.stands("waiting=1");
    let told = figures(metrics);
    assert!(told.contains("proxy_upstream_queued_total{upstream=\"u\"} 1\n"), "{told}");
    assert!(told.contains("proxy_upstream_waiting{upstream=\"u\"} 1\n"), "{told}");
    drop((first, served));
    let mut served = Client::of(server.accept().unwrap().0);
    served.receive("patience");
    served.send("rewarded");
    second.receive("rewarded");
}

#[test]
fn who_waits_too_long_is_let_go() {
    let (listen, server) = (free_address(), upstream());
    let proxy = Proxy::serve(&format!(
        "access_log = 'text'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = [{{ at = '{}', max_connections = 1 }}]\n\
         queue = {{ max = 9, within = '100ms' }}\n",
        address(&server)
    ));
    let _first = Client::connect(listen);
    let _served = server.accept().unwrap();
    Client::connect(listen).is_reset();
    proxy.notes(&["end=queue-timeout"]);
}

#[test]
fn client_that_has_ended_before_its_server_is_there_is_let_go_as_one_that_ends_later() {
    let (listen, server) = (free_address(), upstream());
    let proxy = Proxy::serve(&format!(
        "access_log = 'text'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\nhalf_close_timeout = '100ms'\n\
         [upstream.u]\nservers = [{{ at = '{}', max_connections = 1 }}]\nqueue = {{ max = 9, within = '1h' }}\n",
        address(&server)
    ));
    let first = Client::connect(listen);
    let served = server.accept().unwrap().0;
    let mut early = Client::connect(listen);
    early.send("all that it says");
    early.finish();
    // What has come before that question is heard before it is answered.
    proxy.stands("waiting=1");
    drop((first, served));
    let mut silent = Client::of(server.accept().unwrap().0);
    silent.receive("all that it says");
    proxy.notes(&["end=half-closed"]);
}

#[test]
fn client_whose_listener_is_gone_is_let_go_after_it_has_ended_as_the_defaults_of_the_file_say() {
    let ([listen, other], server) = ([free_address(), free_address()], upstream());
    let proxy = Proxy::serve(&format!(
        "access_log = 'text'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{}']\n",
        address(&server)
    ));
    let client = Client::connect(listen);
    let _silent = server.accept().unwrap();
    proxy.reload(&format!(
        "access_log = 'text'\n[defaults]\nhalf_close_timeout = '100ms'\n[listener.other]\nbind = '{other}'\nupstream = 'u'\n\
         [upstream.u]\nservers = ['{}']\n",
        address(&server)
    ));
    client.finish();
    proxy.notes(&["listener=l", "end=half-closed"]);
}

#[test]
fn address_that_may_not_connect_or_comes_too_often_is_reset() {
    let [open, shut] = [free_address(), free_address()];
    let proxy = Proxy::serve(&format!(
        "access_log = 'text'\n[listener.open]\nbind = '{open}'\nupstream = 'u'\nconnection_rate = '2/h'\n\
         [listener.shut]\nbind = '{shut}'\nupstream = 'u'\nallow = ['10.0.0.0/8']\n[upstream.u]\nservers = ['{}']\n",
        echo("a")
    ));
    (0..2).for_each(|_| Client::connect(open).receive("a"));
    Client::connect(open).is_reset();
    Client::connect(shut).is_reset();
    proxy.notes(&["listener=open", "end=too-often"]);
    proxy.notes(&["listener=shut", "end=denied"]);
}

/// The program, which may have no more than 100 open files.
fn program_with_few_files() -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 100; exec \"$@\"", "sh"]).arg(program().get_program());
    command
}

#[test]
fn with_too_few_open_files_nobody_is_let_in_who_could_not_be_served() {
    let listen = free_address();
    let proxy = Proxy::serve_with(
        &format!(
            "[listener.l]\nbind = '{listen}'\nupstream = 'u'\naccept_proxy = ['127.0.0.0/8']\nheader_timeout = '1h'\n\
             [upstream.u]\nservers = ['{}']\n",
            echo("a")
        ),
        &mut program_with_few_files(),
    );
    let said = proxy.says(&["connections are served at once: 100 files may be open"]);
    let many: usize = said.split("At most ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let mut clients: Vec<Client> = (0..3 * many).map(|_| Client::connect(listen)).collect();
    proxy.says(&["Accepting at l pauses, and goes on when a peer leaves: its service lets in no more there"]);
    assert_eq!(proxy.answers(&["connections"]).matches(" listener=l ").count(), many);
    while !clients.is_empty() {
        let let_in = &mut clients[..many];
        let_in.iter_mut().for_each(|client| client.send("PROXY UNKNOWN\r\nhello"));
        let_in.iter_mut().for_each(|client| client.receive("ahello"));
        clients.drain(..many);
    }
}

#[test]
fn with_too_few_open_files_some_clients_wait_and_nobody_is_disturbed() {
    let listen = free_address();
    let proxy = Proxy::serve_with(
        &format!("[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = ['{}']\n", echo("a")),
        &mut program_with_few_files(),
    );
    proxy.says(&["connections are served at once: 100 files may be open"]);
    let mut served: Vec<Client> = Vec::new();
    let mut waiting: Vec<Client> = (0..60).map(|_| Client::connect(listen)).collect();
    waiting.reverse();
    while waiting.len() > 40 {
        let mut client = waiting.pop().unwrap();
        client.receive("a");
        served.push(client);
        if served.len() == 8 {
            proxy.replace();
            served.iter_mut().for_each(|client| client.ask("still there"));
            // Whoever goes makes room for others.
            served.clear();
        }
    }
}
