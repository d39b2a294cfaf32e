//! After a mistake in the attribute the function still exists, for editors and for its callers.

use std::net::TcpListener;

#[prefork::main(wrokers = 4)]
fn serve(ln: TcpListener) {
    helper(ln);
}

fn helper(ln: TcpListener) {
    serve(ln);
}
