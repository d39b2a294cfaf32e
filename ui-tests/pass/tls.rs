#![deny(warnings)]
#![allow(dead_code)]

mod files {
    use std::net::TcpListener;
    use std::path::Path;

    #[prefork::main(key = "key.pem", cert = "cert.pem")]
    fn serve(_: TcpListener, _cert: &Path, _key: &std::path::Path, _: prefork::Shutdown) {}
}

mod paths_from_expressions {
    use std::net::TcpListener;
    use std::path::{Path, PathBuf};

    #[prefork::main(cert = PathBuf::from("cert.pem"), key = concat!("key", ".pem"))]
    fn serve(_: TcpListener, _cert: &'static Path, _key: &'static Path) {}
}

mod embedded {
    use std::net::TcpListener;

    static KEY: &str = "-----BEGIN PRIVATE KEY-----";

    #[prefork::main(cert_pem = include_bytes!("tls.rs"), key_pem = KEY)]
    fn serve(_: TcpListener, _cert: &[u8], _key: &[u8]) {}
}

mod embedded_async {
    #[prefork::main(cert_pem = b"cert", key_pem = b"key")]
    async fn serve(_: tokio::net::TcpListener, cert: &[u8], key: &[u8]) {
        std::future::ready(()).await;
        println!("{} {}", cert.len(), key.len());
    }
}

fn main() {}
