use prefork::Preloaded;
use std::net::TcpListener;

fn load(number: u32) -> u32 {
    number
}

#[prefork::main(preload = load)]
fn serve(_: TcpListener, _: Preloaded<u32>) {}
