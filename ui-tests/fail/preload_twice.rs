use prefork::Preloaded;
use std::net::TcpListener;

fn load() -> u32 {
    7
}

#[prefork::main(preload = load, preload = load)]
fn serve(_: TcpListener, _: Preloaded<u32>) {}
