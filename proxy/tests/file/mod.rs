//! Files with one thing in them that a test is about.

/// The least that a file has to say.
pub(crate) const LEAST: &str =
    "[listener.main]\nbind = \"127.0.0.1:1\"\nupstream = \"main\"\n[upstream.main]\nservers = \"127.0.0.1:2\"\n";

/// The same with one more line, in the table of this heading.
pub(crate) fn with(heading: &str, line: &str) -> String {
    let before_server = LEAST.split_once("servers").expect("it has servers").0;
    match heading {
        "at the beginning" => format!("{line}\n{LEAST}"),
        "[defaults]" => format!("[defaults]\n{line}\n{LEAST}"),
        "[listener.NAME]" => LEAST.replacen("]\n", &format!("]\n{line}\n"), 1),
        "[upstream.NAME]" => format!("{LEAST}{line}\n"),
        "a server" => format!("{before_server}servers = [{{ at = \"127.0.0.1:2\", {line} }}]\n"),
        "tls of a listener" => {
            let tls = format!("]\ntls = {{ certificates = \"/c.pem\", {line} }}\n");
            LEAST.replacen("]\n", &tls, 1)
        }
        "a certificate" => {
            let tls = format!("]\ntls = {{ certificates = {{ chain = \"/c.pem\", key = \"/k.pem\", {line} }} }}\n");
            LEAST.replacen("]\n", &tls, 1)
        }
        "tls of an upstream" => format!("{LEAST}[upstream.main.tls]\n{line}\n"),
        table => format!("{LEAST}[upstream.main.{table}]\n{line}\n"),
    }
}
