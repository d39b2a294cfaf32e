#![deny(warnings)]
#![allow(dead_code)]

mod facade {
    pub mod server {
        pub use prefork::*;
        #[doc(hidden)]
        pub use prefork::__private;
    }
}

mod app {
    #[prefork::main(crate = crate::facade::server, network = "tcp", shutdown_grace = "1s")]
    fn serve(_: std::net::TcpListener, _: prefork::Shutdown) {}
}

macro_rules! serve_with {
    ($runtime:path) => {
        mod through_a_fragment {
            #[prefork::main(crate = $runtime, network = "tcp", shutdown_grace = "1s")]
            fn serve(_: std::net::TcpListener) {}
        }

        mod through_dollar_crate {
            #[prefork::main(crate = $crate::facade::server, network = "tcp")]
            fn serve(_: std::net::TcpListener) {}
        }
    };
}

serve_with!(crate::facade::server);

fn main() {}
