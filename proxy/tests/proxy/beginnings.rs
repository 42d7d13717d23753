//! What a client has to say before it is led anywhere: a PROXY header, the name in its ClientHello.

use super::rig::{Client, Proxy, address, client_hello, free_address, upstream};

fn behind_a_proxy(listen: std::net::SocketAddr, accepted: &str, server: std::net::SocketAddr) -> String {
    format!(
        "access_log = 'text'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\naccept_proxy = ['{accepted}']\nheader_timeout = '2s'\n\
         [upstream.u]\nservers = ['{server}']\nsend_proxy = 'v1'\n"
    )
}

#[test]
fn header_tells_where_a_client_comes_from_and_is_passed_on() {
    let (listen, server) = (free_address(), upstream());
    let proxy = Proxy::serve(&behind_a_proxy(listen, "127.0.0.0/8", address(&server)));
    let mut client = Client::connect(listen);
    let header = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    client.send(&header[..20]);
    proxy.replace();
    client.send(format!("{}and more", &header[20..]));
    let mut served = Client::of(server.accept().unwrap().0);
    served.receive(header);
    served.receive("and more");
    proxy.replace();
    assert!(proxy.answers(&["connections"]).contains("192.0.2.7:4711"));
    drop((client, served));
    proxy.notes(&["client=192.0.2.7:4711", "passed_on_by=127.0.0.1:"]);
}

#[test]
fn header_that_is_none_or_does_not_end_is_named_and_its_client_reset() {
    let (listen, server) = (free_address(), upstream());
    let proxy = Proxy::serve(&behind_a_proxy(listen, "127.0.0.0/8", address(&server)));
    let mut half = Client::connect(listen);
    half.send("PROXY TCP4 192.0");
    let mut none = Client::connect(listen);
    none.send("GET / HTTP/1.1\r\n");
    none.is_reset();
    proxy.notes(&["end=no-header"]);
    half.is_reset();
    proxy.notes(&["end=header-timeout"]);
}

#[test]
fn header_from_where_it_may_not_come_is_bytes_like_any_others() {
    let (listen, server) = (free_address(), upstream());
    let _proxy = Proxy::serve(&behind_a_proxy(listen, "10.0.0.0/8", address(&server)));
    let mut client = Client::connect(listen);
    let header = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    client.send(header);
    let mut served = Client::of(server.accept().unwrap().0);
    let own = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", client.0.local_addr().unwrap().port(), listen.port());
    served.receive(own);
    served.receive(header);
}

#[test]
fn name_in_a_client_hello_says_where_a_client_is_led_and_the_server_gets_it_whole() {
    let listen = free_address();
    let [api, web] = [upstream(), upstream()];
    let proxy = Proxy::serve(&format!(
        "access_log = 'text'\n[listener.l]\nbind = '{listen}'\nheader_timeout = '2s'\notherwise = 'close'\n\
         sni = {{ 'api.example.org' = 'api', '*.example.org' = 'web' }}\n\
         [upstream.api]\nservers = ['{}']\n[upstream.web]\nservers = ['{}']\n",
        address(&api),
        address(&web)
    ));
    for (name, server, record_bytes) in [("api.example.org", &api, 16_000), ("a.example.org", &web, 7)] {
        let mut client = Client::connect(listen);
        let hello = client_hello(Some(name), record_bytes);
        client.send(&hello[..30]);
        proxy.replace();
        client.send(&hello[30..]);
        let mut served = Client::of(server.accept().unwrap().0);
        served.receive(&hello);
        served.send("answer");
        client.receive("answer");
    }
    for (bytes, end) in [
        (client_hello(None, 100), "end=no-route"),
        (client_hello(Some("example.com"), 100), "end=no-route"),
        (b"GET / HTTP/1.1\r\n".to_vec(), "end=no-hello"),
        (client_hello(Some("api.example.org"), 100)[..40].to_vec(), "end=header-timeout"),
    ] {
        let mut client = Client::connect(listen);
        client.send(bytes);
        client.is_reset();
        proxy.notes(&[end]);
    }
}
