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
        type Error = std::num::TryFromIntError;

        fn from_child(context: &prefork::ChildContext) -> Result<Self, Self::Error> {
            u8::try_from(context.slot())?;
            Ok(Self(context.slot()))
        }
    }

    #[prefork::main]
    fn serve(_: TcpListener, slot: Slot) {
        println!("{}", slot.0);
    }

    mod beside_awaited {
        use super::Slot;

        struct Pool;

        impl prefork::AsyncFromChild for Pool {
            type Error = String;

            async fn from_child(_: &prefork::ChildContext) -> Result<Self, String> {
                tokio::task::yield_now().await;
                Ok(Self)
            }
        }

        #[prefork::main]
        async fn serve(
            _: tokio::net::TcpListener,
            _: Pool,
            #[cfg(any())] nothing: DoesNotExist,
            slot: Slot,
            _: prefork::Shutdown,
        ) {
            println!("{}", slot.0);
        }

        fn builder() -> prefork::Prefork {
            async fn several(_: tokio::net::TcpListener, _: Pool, _: Slot, _: Pool) {}
            let _ = prefork::Prefork::new(several);
            prefork::Prefork::new(|_: tokio::net::TcpListener, _: Slot, _: Pool| async {})
        }
    }
}

fn main() {}
