//! The same as `hello`, without the macro.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Whatever stands here runs in the master and again in every child.
    let result = prefork::Prefork::new(serve)
        .on_master_ready(|pids: &[u32]| println!("on_master_ready: {pids:?}"))
        .listen_and_serve("127.0.0.1:8080");
    result?;
    println!("only the master comes here");
    Ok(())
}

fn serve(ln: TcpListener) -> std::io::Result<()> {
    for stream in ln.incoming() {
        let stream = stream?;
        thread::spawn(move || answer(stream));
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = format!("hello from process {}\n", std::process::id());
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
