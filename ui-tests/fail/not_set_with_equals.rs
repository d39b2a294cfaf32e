#[prefork::main(workers(4), addr: ":80", reuseport(true), recover 5, backlog())]
fn serve(_: std::net::TcpListener) {}
