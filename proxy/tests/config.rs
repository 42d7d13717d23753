//! What files of the proxy mean, and what is said of those that are wrong.

mod file;

use std::net::SocketAddr;
use std::time::Duration;

use file::{LEAST, with};
use reactord::Target;
use reactord::tls::{Version, Versions};
use reactord_proxy::config::{
    AccessLog, At, Balance, CertificateFiles, Check, ClientAuth, Config, Eject, HostPort, Mistakes, OnDown, OnRemoved,
    ProxyVersion, Queue, Rate, Route, TABLES, changes,
};

/// A whole file, as a user may begin with.
const WHOLE: &str = include_str!("../proxy.toml");

fn read(text: &str) -> Config {
    Config::read("proxy.toml", text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

fn mistakes(text: &str) -> Mistakes {
    Config::read("proxy.toml", text).expect_err("it has mistakes")
}

fn tcp(text: &str) -> Target {
    Target::Tcp(text.parse().expect("it is an address"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn whole_file_means_what_it_says() {
    let config = read(WHOLE);
    assert_eq!(config.takeover.as_deref(), Some("/run/reactord-proxy/takeover".as_ref()));
    assert_eq!(config.metrics, Some(SocketAddr::from(([127, 0, 0, 1], 9101))));
    assert_eq!((config.access_log, config.on_removed), (AccessLog::Json, OnRemoved::Keep));

    let [postgres, tls] = config.listeners.as_slice() else { panic!("{:#?}", config.listeners) };
    assert_eq!((postgres.name.as_str(), tls.name.as_str()), ("postgres", "tls"));
    assert_eq!(postgres.bind, [tcp("[::]:5432")], "IPv6 includes IPv4");
    assert_eq!(postgres.route, Route::Upstream("pg".to_owned()));
    assert_eq!((postgres.max_connections, postgres.keepalive), (Some(10_000), Some(seconds(60))));
    assert_eq!((postgres.idle_timeout, postgres.half_close_timeout), (None, Some(seconds(3600))));
    let allowed = postgres.allow.as_ref().expect("not everybody may");
    assert!(allowed.contain([10, 9, 8, 7].into()) && !allowed.contain([11, 0, 0, 0].into()));
    assert_eq!((&tls.allow, tls.deny.is_empty()), (&None, true));
    assert!(tls.accept_proxy.contain([10, 1, 2, 3].into()));
    assert_eq!(tls.connection_rate, Some(Rate { count: 100, per: seconds(1) }));
    let Route::Sni(sni) = &tls.route else { panic!("{:?}", tls.route) };
    assert_eq!(
        (sni.upstream(Some("api.example.org")), sni.upstream(Some("x.example.org"))),
        (Some("api"), Some("web"))
    );
    assert_eq!(sni.upstream(None), None);
}

#[test]
fn upstreams_of_the_whole_file_mean_what_they_say() {
    let config = read(WHOLE);
    let [api, pg, web] = config.upstreams.as_slice() else { panic!("{:#?}", config.upstreams) };
    assert_eq!((pg.balance, pg.on_down, pg.send_proxy), (Balance::LeastConnections, OnDown::Keep, None));
    assert_eq!((pg.connect_timeout, pg.retries), (seconds(5), 3));
    let check = Check { every: seconds(2), within: seconds(1), rise: 2, fall: 3, send: None, expect: None };
    assert_eq!(pg.check, Some(check));
    assert_eq!(pg.eject, Some(Eject { failures: 5, period: seconds(30) }));
    assert_eq!(pg.queue, Some(Queue { max: 1000, within: seconds(10) }));
    let [first, backup] = pg.servers.as_slice() else { panic!("{:#?}", pg.servers) };
    assert_eq!((first.name.as_str(), first.backup, first.max_connections), ("10.0.0.7:5432", false, None));
    assert_eq!(
        (&backup.at, backup.backup, backup.max_connections),
        (&At::Known(tcp("10.0.0.8:5432")), true, Some(200))
    );
    assert_eq!(api.servers[0].at, At::Known(Target::Unix("/run/api.sock".into())));
    assert_eq!((api.send_proxy, &api.check), (Some(ProxyVersion::V2), &None));
    let named = HostPort { host: "web.internal".to_owned(), port: 443, resolve: Some(seconds(30)) };
    assert_eq!(web.servers[0].at, At::Named(named));
}

#[test]
fn command_line_without_a_file_is_the_least_that_a_file_says() {
    assert_eq!(Config::simple("127.0.0.1:1", "127.0.0.1:2"), Ok(read(LEAST)));
    let unix = Config::simple("unix:/run/a b.sock", "db.example.org:5432").expect("it is right");
    assert_eq!(unix.listeners[0].bind, [Target::Unix("/run/a b.sock".into())]);
    let error = Config::simple("localhost:1", "10.0.0.1").expect_err("neither is right");
    assert!(error.contains("\"localhost:1\" is no address") && error.contains("\"10.0.0.1\" has no port"), "{error}");
}

#[test]
fn defaults_hold_where_nothing_else_is_said_and_off_takes_them_back() {
    let config = read(
        "[defaults]\nidle_timeout = \"2h\"\ncheck = {}\nqueue = { max = 5 }\nretries = 0\non_removed = \"10m\"\n\
         [listener.a]\nbind = \"127.0.0.1:1\"\nupstream = \"a\"\n[listener.b]\nbind = \"127.0.0.1:2\"\nupstream = \"b\"\nidle_timeout = \"never\"\n\
         [upstream.a]\nservers = \"127.0.0.1:3\"\n[upstream.b]\nservers = \"127.0.0.1:4\"\ncheck = \"off\"\nretries = 1\n",
    );
    assert_eq!(config.on_removed, OnRemoved::CloseAfter(seconds(600)));
    assert_eq!((config.listeners[0].idle_timeout, config.listeners[1].idle_timeout), (Some(seconds(7200)), None));
    let (a, b) = (&config.upstreams[0], &config.upstreams[1]);
    assert_eq!((a.check.as_ref().map(|check| check.fall), a.retries), (Some(3), 0));
    assert_eq!((&b.check, b.retries, b.queue), (&None, 1, Some(Queue { max: 5, within: seconds(10) })));
}

#[test]
fn every_key_is_read_in_the_table_that_may_have_it() {
    for (table, key) in TABLES.iter().flat_map(|table| table.keys.iter().map(move |key| (table, *key))) {
        let text = with(table.heading, &format!("{key} = 1979-05-27"));
        let found = mistakes(&text);
        let told =
            found.all.iter().any(|mistake| mistake.what.contains("expected") || mistake.what.contains("duplicate key"));
        assert!(told && !found.to_string().contains("unknown"), "{} {key}: {found}", table.heading);
    }
}

/// Each mistake with the line that makes it, by the table that it is in.
const WRONG: [(&str, &str, &str); 73] = [
    ("at the beginning", "acces_log = \"json\"", "1:1: unknown key acces_log: did you mean access_log?"),
    ("at the beginning", "access_log = \"jsn\"", "1:14: \"jsn\" is unknown: did you mean \"json\"?"),
    ("at the beginning", "access_log = \"xml\"", "1:14: \"xml\" is unknown: \"off\", \"text\" or \"json\" is expected"),
    ("at the beginning", "metrics = \"9101\"", "1:11: \"9101\" is no address to listen on"),
    ("at the beginning", "metrics = \"unix:/m\"", "1:11: \"unix:/m\" is no address with a port"),
    ("at the beginning", "metrics = \"127.0.0.1:1\"", "3:8: 127.0.0.1:1: metrics listens there already"),
    ("at the beginning", "takeover = \"run/t\"", "1:12: \"run/t\" is no path that begins with /"),
    ("at the beginning", "defaults = 7", "1:12: a table is expected, not 7"),
    ("[defaults]", "idle_timeout = 30", "2:16: a duration such as \"5s\" is expected, not 30: a duration has a unit"),
    ("[defaults]", "idle_timeout = \"30\"", "2:16: \"30\" is no duration"),
    ("[defaults]", "idle_timeout = \"0s\"", "2:16: \"0s\" would be over before it begins"),
    ("[defaults]", "connect_timeout = \"never\"", "2:19: \"never\" is no duration"),
    ("[defaults]", "connect_timeout = \"99999d\"", "2:19: \"99999d\" is longer than a year"),
    ("[defaults]", "keepalive = \"20h\"", "2:13: 20h is out of the kernel's range, 1s to 32767s"),
    (
        "[defaults]",
        "on_removed = \"drop\"",
        "\"keep\" or \"close\", or after how long they are closed, such as \"10m\", is expected",
    ),
    ("[defaults]", "bind = \"127.0.0.1:3\"", "2:1: unknown key bind: it belongs to [listener.NAME], not to [defaults]"),
    ("[defaults]", "max_connections = 0", "2:19: a number from 1 to 1000000000 is expected, not 0"),
    ("[defaults]", "retries = -1", "2:11: a number from 0 to 100 is expected, not -1"),
    ("[listener.NAME]", "allow = [\"10.0.0.0/33\"]", "2:10: \"10.0.0.0/33\" is no network"),
    ("[listener.NAME]", "allow = [\"10.1.2.3/8\"]", "has more than a prefix of 8 bits: did you mean \"10.0.0.0/8\"?"),
    ("[listener.NAME]", "deny = [1]", "2:9: a string is expected, not 1"),
    ("[listener.NAME]", "connection_rate = \"100\"", "2:19: \"100\" is no rate"),
    ("[listener.NAME]", "connection_rate = \"0/s\"", "2:19: \"0/s\" is no rate"),
    ("[listener.NAME]", "maxconn = 5", "2:1: unknown key maxconn: did you mean max_connections?"),
    (
        "[listener.NAME]",
        "otherwise = \"main\"",
        "2:13: otherwise is for names that sni does not have, and there is no sni",
    ),
    ("[listener.NAME]", "sni = { a = \"main\" }", "with sni, the upstream of all other names is otherwise"),
    ("[listener.NAME]", "sni = { \"a.*\" = \"main\" }", "* may only stand for all before the first dot"),
    ("[listener.NAME]", "sni = { \"a_b..c\" = \"main\" }", "2:9: \"a_b..c\" is no name of a host"),
    ("[listener.NAME]", "sni = { \"1.2.3.4\" = \"main\" }", "2:9: \"1.2.3.4\" is no name of a host"),
    ("[listener.NAME]", "sni = { a = \"main\", A = \"main\" }", "2:21: a is led somewhere already"),
    ("[listener.NAME]", "sni = \"a\"", "2:7: a table is expected, not \"a\""),
    ("[listener.NAME]", "tls = true", "2:7: a table is expected, not true"),
    ("[listener.NAME]", "tls = {}", "2:7: clients are shown a certificate: certificates is missing"),
    (
        "[listener.NAME]",
        "tls = { certificates = [\"/a\", \"/b\"], key = \"/k\" }",
        "2:44: of several certificates, each has its key in its file",
    ),
    (
        "[listener.NAME]",
        "tls = { certificates = { chain = \"/a\" } }",
        "2:24: a certificate needs chain and key: key is missing",
    ),
    (
        "tls of a listener",
        "client_auth = \"optional\"",
        "clients are asked for a certificate only with client_ca: who signs it",
    ),
    (
        "tls of a listener",
        "client_ca = \"/ca\", client_auth = \"maybe\"",
        "\"maybe\" is unknown: \"required\" or \"optional\" is expected",
    ),
    ("tls of a listener", "versions = \"1.1\"", "\"1.1\" is unknown: did you mean \"1.2\"?"),
    ("tls of a listener", "alpn = [\"h2\", \"\"]", "the name of a protocol has 1 to 255 bytes, not 0"),
    ("tls of a listener", "crt = \"/a\"", "2:34: unknown key crt: did you mean certificates?"),
    ("tls of a listener", "key = \"k.pem\"", "2:40: \"k.pem\" is no path that begins with /"),
    ("a certificate", "cert = \"/a\"", "unknown key cert: a certificate may have chain, key"),
    ("tls of an upstream", "verify = \"none\"", "7:10: true or false is expected, not \"none\""),
    ("tls of an upstream", "verify = false\nca = \"/ca\"", "8:6: with verify = false everybody is believed"),
    ("tls of an upstream", "name = \"a..b\"", "7:8: \"a..b\" is no name of a host"),
    ("tls of an upstream", "key = \"/k\"", "7:7: a key is that of certificate, which is missing"),
    ("tls of an upstream", "ca-file = \"/ca\"", "7:1: unknown key ca-file: did you mean ca?"),
    ("[upstream.NAME]", "balance = \"leastconn\"", "\"leastconn\" is unknown: \"round-robin\", \"least-connections\""),
    ("[upstream.NAME]", "balance = \"round_robin\"", "\"round_robin\" is unknown: did you mean \"round-robin\"?"),
    ("[upstream.NAME]", "send_proxy = \"v3\"", "6:14: \"v3\" is unknown: did you mean \"v1\"?"),
    ("[upstream.NAME]", "send_proxy = true", "6:14: a string is expected, not true"),
    ("[upstream.NAME]", "check = true", "6:9: a table is expected, not true"),
    ("[upstream.NAME]", "on_down = \"drain\"", "6:11: \"drain\" is unknown: \"keep\" or \"close\" is expected"),
    (
        "[upstream.NAME]",
        "idle_timeout = \"1h\"",
        "unknown key idle_timeout: it belongs to [defaults], not to [upstream.NAME]",
    ),
    (
        "a server",
        "colour = 3",
        "unknown key colour: a server may have at, backup, max_connections, name, resolve, weight",
    ),
    ("a server", "weight = 257", "a number from 0 to 256 is expected, not 257"),
    ("a server", "backup = 1", "true or false is expected, not 1"),
    ("a server", "backup = true", "upstream main has only backup servers"),
    ("a server", "resolve = \"1s\"", "only a name is resolved, and this server has none"),
    ("a server", "name = \"a b\"", "\"a b\" is no name"),
    ("a server", "max_connections = \"5\"", "a number is expected, not \"5\""),
    ("check", "within = \"3s\"", "7:10: a check may take 3s, and the next one begins after 2s"),
    ("check", "rise = 0", "7:8: a number from 1 to 1000 is expected, not 0"),
    ("check", "expect = \"\"", "7:10: nothing is said with \"\""),
    ("check", "inter = \"2s\"", "7:1: unknown key inter: did you mean every?"),
    ("eject", "failures = 0", "7:12: a number from 1 to 1000 is expected, not 0"),
    ("eject", "for = 5", "7:7: a duration such as \"5s\" is expected, not 5"),
    ("queue", "max = 0", "7:7: a number from 1 to 1000000000 is expected, not 0"),
    ("queue", "timeout = \"1s\"", "7:1: unknown key timeout: did you mean within?"),
    ("at the beginning", "[listener.\"a b\"]\nbind = \"127.0.0.1:9\"\nupstream = \"main\"", "1:11: \"a b\" is no name"),
    (
        "at the beginning",
        "[listener.b]\nbind = \"127.0.0.1:9\"",
        "1:1: listener b leads nowhere: it needs upstream or sni",
    ),
    ("at the beginning", "[listener.b]\nupstream = \"main\"", "1:1: listener b listens nowhere"),
    ("at the beginning", "[upstream.close]\nservers = \"127.0.0.1:7\"", "1:1: no upstream can have the name close"),
];

#[test]
fn each_mistake_is_named_with_its_place_and_what_was_meant() {
    for (heading, line, told) in WRONG {
        let found = mistakes(&with(heading, line)).to_string();
        let expected = if told.starts_with(|first: char| first.is_ascii_digit()) {
            format!("proxy.toml:{told}")
        } else {
            told.to_owned()
        };
        assert!(found.contains(&expected), "{heading} {line}\n  told:     {found}\n  expected: {expected}");
    }
}

/// Where a listener listens and a server is, and what is said of that.
const PLACES: [(&str, &str, &str); 18] = [
    ("localhost:5432", "127.0.0.1:2", "2:8: \"localhost:5432\" is no address to listen on"),
    (
        "*:5432",
        "127.0.0.1:2",
        "2:8: \"*:5432\" is no address: did you mean \"[::]:5432\", which is IPv6 and IPv4, or \"0.0.0.0:5432\"?",
    ),
    (":5432", "127.0.0.1:2", "did you mean \"[::]:5432\""),
    ("127.0.0.1", "127.0.0.1:2", "\"127.0.0.1\" is no address to listen on"),
    ("unix:a", "127.0.0.1:2", "\"a\" is no path that begins with /"),
    ("127.0.0.1:1", "127.0.0.1", "5:11: \"127.0.0.1\" has no port: 127.0.0.1:5432 is expected"),
    ("127.0.0.1:1", "::1", "\"::1\" has no port: [::1]:5432 is expected"),
    ("127.0.0.1:1", "fe80::1:2:80443", "\"80443\" is no port: a number from 1 to 65535 is expected"),
    ("127.0.0.1:1", "db", "\"db\" has no port: HOST:PORT is expected"),
    ("127.0.0.1:1", "db:x", "\"x\" is no port"),
    ("127.0.0.1:1", "db:0", "\"db:0\": nobody can be reached on port 0"),
    ("127.0.0.1:1", "127.0.0.1:0", "nobody can be reached on port 0"),
    ("127.0.0.1:1", "-db-:5", "\"-db-\" is no name of a host"),
    ("127.0.0.1:1", "10.0.0.256:5", "\"10.0.0.256\" is no name of a host"),
    ("127.0.0.1:1", "http://db:5", "did you mean \"[http://db]:5\"?"),
    ("127.0.0.1:1", "127.0.0.1:1", "5:11: 127.0.0.1:1 leads back to where its clients come from, 127.0.0.1:1"),
    ("[::]:1", "127.0.0.1:1", "127.0.0.1:1 leads back to where its clients come from, [::]:1"),
    ("unix:/run/a", "unix:/run/a", "unix:/run/a leads back to where its clients come from, unix:/run/a"),
];

#[test]
fn places_that_cannot_be_are_mistakes() {
    for (bind, server, told) in PLACES {
        let text = LEAST.replace("127.0.0.1:1", bind).replace("127.0.0.1:2", server);
        let found = mistakes(&text).to_string();
        assert!(found.contains(told), "{bind} {server}\n  told:     {found}\n  expected: {told}");
    }
}

#[test]
fn tls_means_what_it_says() {
    let text = "[listener.l]\nbind = '127.0.0.1:1'\nupstream = 'u'\n\
                tls = { certificates = ['/a.pem', { chain = '/b.crt', key = '/b.key' }], client_ca = '/ca.pem', versions = '1.3' }\n\
                [upstream.u]\nservers = ['db.example:5', '10.0.0.1:5']\ntls = { certificate = '/own.pem', alpn = 'h2' }\n";
    let config = read(text);
    let tls = config.listeners[0].tls.as_ref().expect("it speaks TLS");
    let files = |chain: &str, key: &str| CertificateFiles { chain: chain.into(), key: key.into() };
    assert_eq!(tls.certificates, [files("/a.pem", "/a.pem"), files("/b.crt", "/b.key")]);
    assert_eq!((tls.client_auth, tls.versions), (ClientAuth::Required, Versions::Only(Version::Tls13)));
    let upstream = &config.upstreams[0];
    let tls = upstream.tls.as_ref().expect("it speaks TLS");
    assert_eq!((tls.verify, &tls.ca, tls.versions), (true, &None, Versions::Both));
    assert_eq!(tls.certificate, Some(files("/own.pem", "/own.pem")));
    let names: Vec<String> = upstream.servers.iter().map(|server| tls.name_of(server)).collect();
    assert_eq!(names, ["db.example", "10.0.0.1"]);
    let unix = text.replace("10.0.0.1:5", "unix:/run/db");
    assert!(mistakes(&unix).to_string().contains("7:7: a Unix socket has no name that a certificate could have"));
    let named = unix.replace("alpn = 'h2'", "name = 'db.example'");
    assert_eq!(read(&named).upstreams[0].tls.as_ref().and_then(|tls| tls.name.as_deref()), Some("db.example"));
}

#[test]
fn each_file_that_is_no_good_is_named_where_the_file_names_it() {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let bad = directory.path().join("bad.pem");
    std::fs::write(&bad, "-----BEGIN CERTIFICATE-----\nno certificate\n-----END CERTIFICATE-----\n")
        .expect("it can be written");
    let bad = bad.display();
    let text = format!(
        "[listener.l]\nbind = '127.0.0.1:1'\nupstream = 'u'\ntls = {{ certificates = '/nowhere.pem' }}\n\
         [listener.m]\nbind = '127.0.0.1:2'\nupstream = 'u'\ntls = {{ certificates = ['{bad}'] }}\n\
         [upstream.u]\nservers = '127.0.0.1:3'\ntls = {{ name = 'a', ca = '{bad}' }}\n"
    );
    read(&text);
    let found = Config::load("proxy.toml", &text).expect_err("none of them is good").to_string();
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 3, "{found}");
    assert!(lines[0].starts_with("proxy.toml:4:24: /nowhere.pem cannot be read: No such file"), "{found}");
    assert!(lines[1].starts_with(&format!("proxy.toml:8:25: {bad} is no PEM file: ")), "{found}");
    assert!(lines[2].starts_with(&format!("proxy.toml:11:26: {bad} is no PEM file: ")), "{found}");
}

#[test]
fn place_that_two_listen_on_is_a_mistake_of_the_later() {
    let listeners = |first: &str, second: &str| {
        format!(
            "{LEAST}[listener.b]\nbind = {first}\nupstream = \"main\"\n[listener.c]\nbind = {second}\nupstream = \"main\"\n"
        )
    };
    let cases = [
        ("\"127.0.0.1:3\"", "\"127.0.0.1:3\"", "10:8: 127.0.0.1:3: listener b listens there already, on 127.0.0.1:3"),
        (
            "\"127.0.0.1:3\"",
            "\"0.0.0.0:3\"",
            "10:8: 0.0.0.0:3: listener b listens on what this includes, or is included in",
        ),
        ("\"0.0.0.0:3\"", "\"[::]:3\"", "10:8: [::]:3: listener b listens on what this includes"),
        (
            "\"unix:/run/x\"",
            "[\"127.0.0.1:3\", \"unix:/run/x\"]",
            "10:24: unix:/run/x: listener b listens there already",
        ),
        ("[\"10.0.0.1:3\", \"10.0.0.1:3\"]", "\"127.0.0.1:4\"", "7:23: 10.0.0.1:3: listener b listens there already"),
    ];
    for (first, second, told) in cases {
        let found = mistakes(&listeners(first, second)).to_string();
        assert!(found.contains(told), "{first} {second}\n  told:     {found}\n  expected: {told}");
    }
    read(&listeners("\"127.0.0.1:0\"", "\"127.0.0.1:0\""));
    read(&listeners("\"127.0.0.1:3\"", "[\"[::1]:3\", \"127.0.0.2:3\"]"));
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = "metrics = 5\n\n[listener.a]\nbind = \"127.0.0.1:1\"\nupstream = \"mian\"\ncolour = 1\n\n[upstream.main]\nservers = []\n";
    assert_eq!(
        mistakes(text).to_string(),
        "proxy.toml:1:11: a string is expected, not 5\n\
         proxy.toml:5:12: listener a leads to upstream mian, which is unknown: did you mean main?\n\
         proxy.toml:6:1: unknown key colour: [listener.NAME] may have accept_proxy, allow, bind, connection_rate, deny, \
         half_close_timeout, header_timeout, idle_timeout, keepalive, max_connections, otherwise, sni, tls, upstream, user_timeout\n\
         proxy.toml:9:11: upstream main has no servers"
    );
}

#[test]
fn file_that_is_no_toml_is_told_with_the_place_of_each_fault() {
    let found = mistakes("metrics = 1.2.3\n[listener.a]\nbnd = \"127.0.0.1:1\"\n[listener.b\nbind = 5\nbind = 6\n");
    let places: Vec<_> = found.all.iter().map(|mistake| (mistake.line, mistake.column)).collect();
    assert!([(1, 14), (3, 1), (4, 12), (6, 1)].iter().all(|place| places.contains(place)), "{found}");
    assert!(!found.to_string().contains("which is unknown") && !found.to_string().contains("nobody"), "{found}");
    assert!(
        Config::read("empty", "")
            .expect_err("nobody could connect")
            .to_string()
            .starts_with("empty:1:1: there is no [listener.NAME]")
    );
}

#[test]
fn columns_are_counted_in_characters() {
    let found = mistakes(&format!("access_log = \"off\" # é\n{}", LEAST.replace("127.0.0.1:2", "é:1")));
    assert_eq!(found.to_string(), "proxy.toml:6:11: \"é\" is no name of a host");
    let found = mistakes("listener.\"é\" = 1\n");
    assert!(found.to_string().contains("proxy.toml:1:16: a table is expected, not 1"), "{found}");
}

#[test]
fn what_connections_need_is_compared_with_the_open_files_allowed() {
    let config = read(&LEAST.replace("upstream = \"main\"", "upstream = \"main\"\nmax_connections = 1000"));
    let needed = config.open_files().expect("there is a limit");
    assert_eq!(needed, 2 * 1000 + 2 + 64);
    assert_eq!((config.check_open_files(needed), config.connections_within(needed)), (Ok(()), 1000));
    let error = config.check_open_files(1024).expect_err("that is too few");
    assert_eq!(
        error.to_string(),
        "max_connections of all listeners, 1000, need 2066 open files; the process may have 1024"
    );
    let unlimited = read(LEAST);
    assert_eq!((unlimited.open_files(), unlimited.check_open_files(10)), (None, Ok(())));
    assert_eq!((unlimited.connections_within(1024), unlimited.connections_within(3)), (479, 0));
}

#[test]
fn changes_between_two_files_are_told_by_name() {
    let earlier = read(WHOLE);
    assert_eq!(changes(&earlier, &earlier).to_string(), "nothing changed");
    let later = WHOLE
        .replace("[\"0.0.0.0:5432\", \"[::]:5432\"]", "\"0.0.0.0:5433\"")
        .replace("{ at = \"10.0.0.8:5432\", backup = true, max_connections = 200 }", "\"10.0.0.9:5432\"")
        .replace("every = \"2s\"", "every = \"3s\"")
        .replace("100/s", "50/s")
        .replace("on_removed = \"keep\"", "on_removed = \"close\"");
    assert_eq!(
        changes(&earlier, &read(&later)).to_string(),
        "listener moved: postgres; listener changed: tls; upstream changed: pg; server added: pg/10.0.0.9:5432; \
         server removed: pg/10.0.0.8:5432; what holds for all changed"
    );
    let nothing_left = changes(&earlier, &read(LEAST));
    assert_eq!(nothing_left.listeners.removed, ["postgres", "tls"]);
    assert_eq!(
        nothing_left.servers.removed,
        ["api/unix:/run/api.sock", "pg/10.0.0.7:5432", "pg/10.0.0.8:5432", "web/web.internal:443"]
    );
}
