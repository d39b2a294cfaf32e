// The compiler's own words for what is no expression; the options after it are still read.
#[prefork::main(workers = +, recover = 5 5, addrs = ":80")]
fn serve(_: std::net::TcpListener) {}
