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

mod configuration {
    use std::net::TcpListener;
    use std::sync::Arc;

    #[prefork::main(
        cert = "cert.pem",
        key = "key.pem",
        client_ca = "ca.pem",
        alpn = ["h2", "http/1.1"],
    )]
    fn serve(_: TcpListener, _: prefork::Shutdown, _: Arc<prefork::rustls::ServerConfig>) {}
}

mod acceptor_and_expressions {
    use prefork::tokio_rustls::TlsAcceptor;

    const PROTOCOLS: [&str; 1] = ["http/1.1"];

    #[prefork::main(cert_pem = b"cert", key_pem = b"key", client_ca_pem = b"ca", alpn = PROTOCOLS)]
    async fn serve(_: tokio::net::TcpListener, _: TlsAcceptor) {
        std::future::ready(()).await;
    }
}

/// Certificate and key are in the environment.
mod left_to_the_operator {
    use std::net::TcpListener;
    use std::sync::Arc;

    #[prefork::main]
    fn serve(_: TcpListener, _: Arc<prefork::rustls::ServerConfig>) {}
}

fn main() {}
