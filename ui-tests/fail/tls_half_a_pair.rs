use std::net::TcpListener;
use std::path::Path;

mod certificate {
    #[prefork::main(cert = "cert.pem")]
    fn serve(_: super::TcpListener, _cert: &super::Path, _key: &super::Path) {}
}

mod key {
    #[prefork::main(key_pem = b"key")]
    fn serve(_: super::TcpListener, _cert: &[u8], _key: &[u8]) {}
}

mod misspelled {
    #[prefork::main(certificate = "cert.pem", key = "key.pem")]
    fn serve(_: super::TcpListener, _cert: &super::Path, _key: &super::Path) {}
}

fn main() {}
