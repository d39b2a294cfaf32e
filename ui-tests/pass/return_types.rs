#![deny(warnings)]
#![allow(dead_code)]

mod exit_code {
    #[prefork::main]
    fn serve(_: std::net::TcpListener) -> std::process::ExitCode {
        std::process::ExitCode::from(3)
    }
}

mod boxed {
    #[prefork::main]
    fn serve(_: std::net::TcpListener) -> Result<(), Box<dyn std::error::Error>> {
        Err("no".into())
    }
}

mod never {
    #[prefork::main]
    fn serve(_: std::net::TcpListener) -> ! {
        loop {
            std::thread::park();
        }
    }
}

mod async_never {
    #[prefork::main]
    async fn serve(_: tokio::net::TcpListener) -> ! {
        std::future::pending().await
    }
}

mod debug_only {
    #[derive(Debug)]
    pub struct Error;

    #[prefork::main]
    async fn serve(_: tokio::net::TcpListener) -> Result<(), Error> {
        Err(Error)
    }
}

mod opaque {
    #[prefork::main]
    fn serve(_: std::net::TcpListener) -> impl std::process::Termination {}
}

mod own {
    use std::process::{ExitCode, Termination};

    pub struct Outcome;

    impl Termination for Outcome {
        fn report(self) -> ExitCode {
            ExitCode::SUCCESS
        }
    }

    #[prefork::main]
    fn serve(_: std::net::TcpListener) -> Outcome {
        Outcome
    }
}

fn main() {}
