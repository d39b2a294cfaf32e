#![deny(warnings)]
#![allow(dead_code)]

mod not_here {
    #[prefork::main]
    #[cfg(any())]
    fn serve(_: DoesNotExist) {}
}

mod many {
    /// Documented.
    #[prefork::main]
    #[inline(never)]
    #[must_use = "kept"]
    #[allow(clippy::unnecessary_wraps)]
    pub fn serve(_: std::net::TcpListener) -> std::io::Result<()> {
        Ok(())
    }

    // The function can still be called.
    pub fn call(ln: std::net::TcpListener) -> std::io::Result<()> {
        serve(ln)
    }
}

mod deprecated {
    #[deprecated]
    pub struct Old;

    #[allow(deprecated)]
    impl prefork::FromChild for Old {
        type Error = std::convert::Infallible;

        fn from_child(_: &prefork::ChildContext) -> Result<Self, Self::Error> {
            Ok(Self)
        }
    }

    #[prefork::main]
    #[allow(deprecated)]
    fn serve(_: std::net::TcpListener, _: Old) {}
}

fn main() {}
