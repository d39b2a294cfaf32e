#[prefork::main("127.0.0.1:8080", workers = 4,, 8080, recover = 5)]
fn serve(_: std::net::TcpListener) {}
