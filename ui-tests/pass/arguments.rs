#![deny(warnings)]
#![allow(dead_code, unused_parens)]

mod patterns {
    use std::net::TcpListener;

    use prefork::{ChildContext, Shutdown};

    #[prefork::main]
    fn serve(mut ln: TcpListener, _: Shutdown, (_context): ChildContext, ref _again @ _: Shutdown) {
        ln = ln.try_clone().unwrap_or(ln);
        drop(ln);
    }
}

mod attributes {
    use std::net::TcpListener;

    #[prefork::main]
    fn serve(
        #[allow(unused_variables)] ln: TcpListener,
        #[cfg(any())] nothing: DoesNotExist,
        #[cfg(all())] _stop: prefork::Shutdown,
        #[cfg_attr(all(), allow(unused_variables))] context: prefork::ChildContext,
    ) {
    }
}

mod own_type {
    use std::net::TcpListener;

    struct Slot(usize);

    impl prefork::FromChild for Slot {
        fn from_child(context: &prefork::ChildContext) -> Self {
            Self(context.slot() as usize)
        }
    }

    #[prefork::main]
    fn serve(_: TcpListener, slot: Slot) {
        println!("{}", slot.0);
    }
}

fn main() {}
