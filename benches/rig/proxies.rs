//! HAProxy and nginx as those are beside whom a proxy is measured: with one thread, and room for as many as all others have.

use std::io::{Result, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

pub(crate) const HAPROXY: &str = "/usr/sbin/haproxy";
pub(crate) const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// From where to where one leads, and what it may write to.
#[derive(Clone, Copy)]
pub(crate) struct Route<'r> {
    pub(crate) at: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) directory: &'r Path,
}

/// HAProxy, with these options besides, and these of its `bind`.
pub(crate) fn haproxy(route: Route<'_>, options: &str, of_bind: &str) -> Result<Command> {
    let Route { at, to, directory } = route;
    let path = directory.join("haproxy.cfg");
    let mut file = std::fs::File::create(&path)?;
    writeln!(
        file,
        "global\n nbthread 1\n maxconn 9500\n maxpipes 50\ndefaults\n mode tcp\n {options}\n timeout connect 5s\n timeout client 1h\n \
         timeout server 1h\nlisten proxy\n bind {at}{of_bind}\n server one {to}"
    )?;
    let mut command = Command::new(HAPROXY);
    command.arg("-db").arg("-f").arg(path);
    Ok(command)
}

/// nginx, with these options of its `listen`, and these of its `server`.
pub(crate) fn nginx(route: Route<'_>, of_listen: &str, of_server: &str) -> Result<Command> {
    let Route { at, to, directory } = route;
    let path = directory.join("nginx.conf");
    let mut file = std::fs::File::create(&path)?;
    writeln!(
        file,
        "load_module {NGINX_STREAM};\ndaemon off;\nmaster_process off;\nerror_log stderr;\npid {}/pid;\nworker_rlimit_nofile 20000;\n\
         events {{ worker_connections 19000; }}\n\
         stream {{ server {{ listen {at}{of_listen} backlog=4096;{of_server} proxy_pass {to}; proxy_timeout 1h; }} }}",
        directory.display()
    )?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(path);
    Ok(command)
}
