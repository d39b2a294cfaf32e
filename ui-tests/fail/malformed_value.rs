// The compiler reports what is not an expression; the options after it are still checked.
#[prefork::main(workers = +, recover = 5 5, addrs = ":80")]
fn serve(_: std::net::TcpListener) {}
