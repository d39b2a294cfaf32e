#[prefork::main]
fn serve(_: std::net::TcpListener) {}

fn main() {}
