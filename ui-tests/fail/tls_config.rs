use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use prefork::rustls::ServerConfig;

mod function_takes_paths {
    #[prefork::main(cert = "cert.pem", key = "key.pem", alpn = ["http/1.1"])]
    fn serve(_: super::TcpListener, _cert: &super::Path, _key: &super::Path) {}
}

mod function_takes_no_tls {
    #[prefork::main(client_ca = "ca.pem")]
    fn serve(_: super::TcpListener) {}
}

mod malformed {
    #[prefork::main(alpn = "h2", client_ca = b"ca")]
    fn serve(_: super::TcpListener, _: super::Arc<super::ServerConfig>) {}
}

mod names {
    #[prefork::main(alpn = ["h2", "", 1], client_ca = "ca.pem", client_ca_pem = b"ca")]
    fn serve(_: super::TcpListener, _: super::Arc<super::ServerConfig>) {}
}

fn main() {}
