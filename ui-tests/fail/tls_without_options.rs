use std::net::TcpListener;

mod files {
    #[prefork::main(addr = ":8443")]
    fn serve(_: super::TcpListener, _cert: &std::path::Path, _key: &std::path::Path) {}
}

mod embedded {
    #[prefork::main]
    fn serve(_: super::TcpListener, _cert: &[u8], _key: &[u8]) {}
}

fn main() {}
