use std::net::TcpListener;

mod files {
    #[prefork::main(cert = "cert.pem", key = "key.pem")]
    fn serve(_: super::TcpListener) {}
}

mod embedded {
    #[prefork::main(cert_pem = include_bytes!("x"), key_pem = include_bytes!("x"))]
    fn serve(_: super::TcpListener, _: prefork::Shutdown) {}
}

mod as_in_go {
    #[prefork::main(cert = "cert.pem", key = "key.pem")]
    fn serve(_: super::TcpListener, _cert: &str, _key: &str) {}
}

fn main() {}
