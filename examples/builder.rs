//! The `hello` example without the attribute: `main` calls the builder.
//!
//! ```console
//! $ cargo run --example builder
//! $ curl http://127.0.0.1:8080/
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use std::{env, process};

use prefork::{Network, Prefork};

fn main() -> ExitCode {
    // Every child runs this program again from the start, so the code before the builder runs in the master
    // and in each child. It may read arguments and set up logging. It must not open files for writing, start
    // threads or bind sockets.
    let addr = env::var("PREFORK_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());

    let result = Prefork::new(serve)
        .network(Network::Tcp4)
        .recover(5)
        .recover_window("60s")
        .on_master_ready(|pids: &[u32]| eprintln!("on_master_ready: {pids:?}"))
        .listen_and_serve(addr);

    // A child ends when the serve function returns and does not reach this line. The master reaches it when
    // no child is left, after a stop or an error.
    match result {
        Ok(()) => {
            eprintln!("process {} says goodbye", process::id());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn serve(ln: TcpListener) -> io::Result<()> {
    for stream in ln.incoming() {
        match stream {
            Ok(stream) => drop(thread::spawn(move || answer(stream))),
            Err(error) => {
                eprintln!("cannot accept: {error}");
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = format!("hello from process {}\n", process::id());
    let length = body.len();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(response.as_bytes())
}
