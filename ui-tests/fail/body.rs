//! Mistakes inside the function are reported there, once, as without the attribute.

use std::net::TcpListener;

#[prefork::main(addr = ":8080")]
fn serve(ln: TcpListener) -> std::io::Result<()> {
    let port: String = ln.local_addr()?.port();
    Ok(port)
}
