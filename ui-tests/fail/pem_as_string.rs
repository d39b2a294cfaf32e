#[prefork::main(cert_pem = "cert.pem", key_pem = "key.pem")]
fn serve(_: std::net::TcpListener, _: &[u8], _: &[u8]) {}
