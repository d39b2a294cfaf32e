mod on_struct {
    #[prefork::main]
    struct Server;
}

mod on_mod {
    #[prefork::main(workers = 4)]
    pub mod server {}
}

mod on_impl {
    struct Server;

    #[prefork::main]
    unsafe impl Send for Server {}
}

mod on_const {
    #[prefork::main]
    pub const WORKERS: usize = 4;
}

mod on_use {
    #[prefork::main]
    pub use std::net::TcpListener;
}

fn main() {}
