//! A worker that serves one client at a time: it says who serves whom, and echoes. `reactord` is all it needs.
//!
//! ```sh
//! cargo build --release --example worker
//! reactord supervise -p 1234 --workers 4 -- target/release/examples/worker
//! ```

use std::io::{self, Write};
use std::net::Shutdown;
use std::process::ExitCode;

use reactord::worker::{Connection, Queue};

fn main() -> ExitCode {
    match Queue::inherit().map_err(|error| error.to_string()).and_then(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn work(mut queue: Queue) -> Result<(), String> {
    while let Some(client) = queue.accept().map_err(|error| error.to_string())? {
        if let Err(error) = serve(&client) {
            eprintln!("client {}: {error}", client.peer);
        }
        queue.done(client.id).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn serve(Connection { peer, local, stream, .. }: &Connection) -> io::Result<()> {
    let mut stream = stream;
    writeln!(stream, "worker {}, client {peer}, server {local}", std::process::id())?;
    io::copy(&mut &*stream, &mut stream)?;
    stream.shutdown(Shutdown::Both)
}
