use prefork::Preloaded;
use std::net::TcpListener;

#[prefork::main(preload = app::load)]
fn serve(_: TcpListener, _: Preloaded<u32>) {}
