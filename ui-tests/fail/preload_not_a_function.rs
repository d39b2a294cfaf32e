use prefork::Preloaded;
use std::net::TcpListener;

#[prefork::main(preload = 7)]
fn serve(_: TcpListener, _: Preloaded<u32>) {}
