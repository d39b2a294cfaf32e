use std::net::TcpListener;

#[prefork::main]
fn serve(_: TcpListener, _: Vec<String>, _: &str, _: &prefork::Shutdown) {}
