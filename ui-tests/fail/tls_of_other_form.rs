use std::net::TcpListener;
use std::path::Path;

mod files_as_bytes {
    #[prefork::main(cert = "cert.pem", key = "key.pem")]
    fn serve(_: super::TcpListener, _cert: &[u8], _key: &[u8]) {}
}

mod bytes_as_files {
    #[prefork::main(cert_pem = b"cert", key_pem = b"key")]
    fn serve(_: super::TcpListener, _cert: &super::Path, _key: &super::Path) {}
}

fn main() {}
