use std::net::TcpListener;
use std::path::Path;

mod certificate_alone {
    #[prefork::main(cert = "cert.pem", key = "key.pem")]
    fn serve(_: super::TcpListener, _cert: &super::Path) {}
}

mod one_of_each {
    #[prefork::main(cert = "cert.pem", key = "key.pem")]
    fn serve(_: super::TcpListener, _cert: &super::Path, _key: &[u8]) {}
}

mod too_late {
    #[prefork::main(cert = "cert.pem", key = "key.pem")]
    fn serve(_: super::TcpListener, _: prefork::Shutdown, _cert: &super::Path, _key: &super::Path) {}
}

mod too_early {
    #[prefork::main(cert_pem = b"cert", key_pem = b"key")]
    fn serve(_cert: &[u8], _key: &[u8], _: super::TcpListener) {}
}

mod too_many {
    #[prefork::main(cert_pem = b"cert", key_pem = b"key")]
    fn serve(_: super::TcpListener, _cert: &[u8], _key: &[u8], _chain: &[u8]) {}
}

fn main() {}
