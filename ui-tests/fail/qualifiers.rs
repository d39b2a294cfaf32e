use std::net::TcpListener;

mod unsafety {
    #[prefork::main]
    unsafe fn serve(_: super::TcpListener) {}
}

mod abi {
    #[prefork::main]
    extern "C" fn serve(_: super::TcpListener) {}
}

mod constant {
    #[prefork::main]
    const fn serve(_: &super::TcpListener) {}
}

fn main() {}
