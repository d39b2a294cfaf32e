use std::net::TcpListener;
use std::path::Path;

mod all_four {
    #[prefork::main(cert = "cert.pem", key = "key.pem", cert_pem = b"cert", key_pem = b"key")]
    fn serve(_: super::TcpListener, _cert: &super::Path, _key: &super::Path) {}
}

mod one_of_each {
    #[prefork::main(cert = "cert.pem", key_pem = b"key")]
    fn serve(_: super::TcpListener, _cert: &super::Path, _key: &super::Path) {}
}

fn main() {}
