#[prefork::main(workers = 2, addr = ":80", workers = 4, reuseport, reuseport = false)]
fn serve(_: std::net::TcpListener) {}
