#[prefork::main(addr = ":80" network = "tcp4" reuseport workers = 4; recover = 5)]
fn serve(_: std::net::TcpListener) {}
