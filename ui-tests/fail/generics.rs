use std::net::TcpListener;

mod parameters {
    #[prefork::main]
    fn serve<'a, T: 'a, const N: usize>(_: super::TcpListener)
    where
        T: Copy,
    {
    }
}

mod impl_trait {
    #[prefork::main]
    fn serve(_: impl Into<super::TcpListener>, _: Option<impl Copy>) {}
}

mod empty_where_clause {
    #[prefork::main]
    fn serve(_: super::TcpListener)
    where
        String: Clone,
    {
    }
}

fn main() {}
