use std::net::TcpListener;

struct Server;

impl Server {
    #[prefork::main(workers = 4)]
    fn serve(&self, _: TcpListener) {}
}

struct Associated;

impl Associated {
    // Nothing tells this one from a free function but that the call does not find it.
    #[prefork::main]
    fn serve(_: TcpListener) {}
}

fn main() {}
