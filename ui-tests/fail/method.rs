use std::net::TcpListener;

struct Server;

impl Server {
    #[prefork::main(workers = 4)]
    fn serve(&self, _: TcpListener) {}
}

struct Associated;

impl Associated {
    // Only its call shows that this is an associated function: it is not found.
    #[prefork::main]
    fn serve(_: TcpListener) {}
}

fn main() {}
