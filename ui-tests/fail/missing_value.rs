#[prefork::main(recover, workers =, cert_pem = , on_child_spawn, key_pem = KEY, addr =)]
fn serve(_: std::net::TcpListener, _: &[u8], _: &[u8]) {}
