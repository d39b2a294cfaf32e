use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote;
use syn::{File, Item, ItemFn, Stmt};

use super::expand;

/// The generated items, which must be Rust.
fn items(args: TokenStream, item: TokenStream) -> Vec<Item> {
    let expansion = expand(args, item);
    let file: File = syn::parse2(expansion.clone()).unwrap_or_else(|error| {
        panic!("not Rust ({error}): {expansion}");
    });
    file.items
}

/// The generated `main`, and the user's function beside it.
fn split(args: TokenStream, item: TokenStream) -> (ItemFn, ItemFn) {
    match <[Item; 2]>::try_from(items(args, item)) {
        Ok([Item::Fn(function), Item::Fn(main)]) => (function, main),
        other => panic!("expected two functions, got {} items", other.map_or(0, |items| items.len())),
    }
}

fn text(tokens: &impl quote::ToTokens) -> String {
    quote!(#tokens).to_string()
}

fn assert_main(args: TokenStream, item: TokenStream, expected: TokenStream) {
    let (_, main) = split(args, item);
    let expected: ItemFn = syn::parse2(expected).expect("the expectation is a function");
    assert_eq!(text(&main), text(&expected));
}

/// All messages of an expansion that failed.
fn errors(args: TokenStream, item: TokenStream) -> Vec<String> {
    let mut messages = Vec::new();
    for item in items(args, item) {
        if let Item::Macro(call) = item {
            assert_eq!(text(&call.mac.path), ":: core :: compile_error");
            let message: syn::LitStr = call.mac.parse_body().expect("a message");
            messages.push(message.value());
        }
    }
    messages
}

fn assert_error(args: TokenStream, expected: &str) {
    let messages = errors(
        args,
        quote!(
            fn serve(ln: TcpListener) {}
        ),
    );
    assert_eq!(messages, [expected]);
}

fn assert_function_error(item: TokenStream, expected: &str) {
    let messages = errors(quote!(), item);
    assert_eq!(messages, [expected]);
}

#[test]
fn main_is_one_call_into_the_runtime() {
    assert_main(
        quote!(),
        quote!(
            fn serve(ln: TcpListener) {}
        ),
        quote! {
            fn main() -> ::prefork::__private::ExitCode {
                ::prefork::__private::main(
                    ::prefork::__private::no_init,
                    || ::prefork::Prefork::new(::prefork::__private::call(
                        ::prefork::__private::listener::<TcpListener, ::prefork::Blocking>(),
                        |__seat, __listener| serve(__listener)
                    ))
                )
            }
        },
    );
    let (_, main) = split(
        quote!(workers = 1, recover = 2),
        quote!(
            fn serve(ln: L) {}
        ),
    );
    assert!(matches!(main.block.stmts.as_slice(), [Stmt::Expr(syn::Expr::Call(_), None)]));
}

#[test]
fn options_become_builder_calls_in_the_order_they_are_given() {
    let args = quote! {
        recover = 5, addr = "127.0.0.1:8080", network = "tcp4", reuseport, workers = 4u32,
        recover_window = "1m 250ms", shutdown_grace = GRACE, on_child_spawn = |pid| hook(pid),
        init = setup,
    };
    assert_main(
        args,
        quote!(
            fn serve(ln: TcpListener, stop: prefork::Shutdown) {}
        ),
        quote! {
            fn main() -> ::prefork::__private::ExitCode {
                ::prefork::__private::main(
                    setup,
                    || ::prefork::Prefork::new(::prefork::__private::call(
                        ::prefork::__private::listener::<TcpListener, ::prefork::Blocking>(),
                        |__seat, __listener| serve(
                            __listener,
                            ::prefork::__private::argument::<prefork::Shutdown, _>(__seat)
                        )
                    ).needing_tls(&[::prefork::__private::needs_tls::<prefork::Shutdown>()]))
                    .recover(5)
                    .addr("127.0.0.1:8080")
                    .network(::prefork::Network::Tcp4)
                    .reuseport(true)
                    .workers(4u32)
                    .recover_window(::prefork::__private::Duration::new(60u64, 250000000u32))
                    .shutdown_grace(GRACE)
                    .on_child_spawn(|pid| hook(pid))
                )
            }
        },
    );
}

#[test]
fn expressions_are_passed_as_they_are() {
    let args = quote!(addr = ADDR, network = pick(), reuseport = cfg!(unix), backlog = 2 * K);
    let (_, main) = split(
        args,
        quote!(
            fn serve(ln: TcpListener) {}
        ),
    );
    let main = text(&main);
    for call in [". addr (ADDR)", ". network (pick ())", ". reuseport (cfg ! (unix))"] {
        assert!(main.contains(call), "{call} is not in {main}");
    }
}

#[test]
fn tls_arguments_come_from_the_seat() {
    for (options, types, method) in [
        (quote!(key = "k", cert = "c"), quote!(c: &std::path::Path, k: &Path), "cert_files"),
        (quote!(cert_pem = b"c", key_pem = b"k"), quote!(c: &[u8], k: (&'static [u8])), "cert_pem"),
    ] {
        let item = quote!(fn serve(ln: TcpListener, #types, stop: Shutdown) {});
        let main = text(&split(options, item).1);
        let suffix = if method == "cert_pem" { "pem" } else { "file" };
        let supplies = format!(
            ":: prefork :: __private :: cert_{suffix} (__seat) , \
             :: prefork :: __private :: key_{suffix} (__seat) , \
             :: prefork :: __private :: argument :: < Shutdown , _ > (__seat)"
        );
        assert!(main.contains(&supplies), "{main}");
        let call = main.rsplit(". ").next().expect("a call");
        let (cert, key) = (call.find('c').expect("cert"), call.rfind("k").expect("key"));
        assert!(call.starts_with(method) && cert < key, "certificate first: {call}");
    }
}

#[test]
fn the_function_survives_token_for_token() {
    let function = quote! {
        /// Serves.
        #[inline(never)]
        #[allow(clippy::needless_pass_by_value)]
        pub(crate) fn serve(#[allow(unused)] mut ln: TcpListener, (_): Shutdown) -> Result<(), E> {
            not valid at all, and none of our business;
        }
    };
    let expansion = expand(quote!(), function.clone()).to_string();
    assert!(expansion.starts_with(&function.to_string()), "{expansion}");
}

#[test]
fn conditions_on_the_function_and_its_arguments_hold_for_the_call() {
    let (_, main) = split(
        quote!(),
        quote! {
            #[cfg(unix)]
            #[inline]
            fn serve(ln: TcpListener, #[cfg(feature = "x")] #[allow(unused)] stop: Shutdown) {}
        },
    );
    let attrs: Vec<String> = main.attrs.iter().map(text).collect();
    assert_eq!(attrs, [quote!(#[cfg(unix)]).to_string()]);
    let call = "# [cfg (feature = \"x\")] :: prefork :: __private :: argument :: < Shutdown , _ >";
    assert!(text(&main).contains(call), "{}", text(&main));
}

#[test]
fn a_function_called_main_moves_into_main() {
    let function = quote!(
        pub fn main(ln: TcpListener) {
            body()
        }
    );
    let mut items = items(quote!(), quote!(/** Serves. */ #function));
    let Some(Item::Fn(main)) = items.pop() else { panic!("no function") };
    assert!(items.is_empty());
    assert_eq!(text(&main.vis), "pub");
    assert_eq!(main.attrs.len(), 1, "its documentation is where rustdoc looks for it");
    let [Stmt::Item(Item::Fn(inner)), Stmt::Expr(call, None)] = main.block.stmts.as_slice() else {
        panic!("expected a function and a call");
    };
    assert!(text(inner).ends_with(&function.to_string()));
    assert!(text(call).contains("| __seat , __listener | main (__listener"));
}

#[test]
fn the_runtime_can_be_elsewhere() {
    let args = quote!(crate = my::server, network = "tcp6", recover_window = "1s", init = setup);
    let (_, main) = split(
        args,
        quote!(
            fn serve(ln: TcpListener, stop: Shutdown) {}
        ),
    );
    let main = text(&main);
    assert!(main.contains("my :: server :: __private :: main"), "{main}");
    assert!(main.contains("my :: server :: Network :: Tcp6"), "{main}");
    assert!(!main.contains(":: prefork"), "{main}");
}

#[test]
#[cfg(feature = "tokio")]
fn an_async_function_is_called_on_a_runtime() {
    let args = quote!(runtime = "multi_thread");
    let (_, main) = split(
        args,
        quote!(
            async fn serve(ln: tokio::net::TcpListener) {}
        ),
    );
    let main = text(&main);
    assert!(main.contains(":: prefork :: __private :: call_async (:: prefork"), "{main}");
    assert!(main.contains(". runtime (:: prefork :: Runtime :: MultiThread)"), "{main}");
}

#[test]
#[cfg(not(feature = "tokio"))]
fn an_async_function_says_which_feature_it_needs() {
    let messages = errors(
        quote!(),
        quote!(
            async fn serve(ln: tokio::net::TcpListener) {}
        ),
    );
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("feature `tokio`"));
}

#[test]
#[cfg(feature = "rustls")]
fn what_shapes_a_configuration_is_for_functions_that_may_take_one() {
    let taking = quote!(
        fn serve(ln: TcpListener, tls: Arc<ServerConfig>) {}
    );
    let args = quote!(cert = "c", key = "k", client_ca = "ca", alpn = ["h2", NAME]);
    let (_, main) = split(args.clone(), taking.clone());
    let calls = r#". client_ca ("ca") . alpn (["h2" , NAME]) . cert_files ("c" , "k")"#;
    assert!(text(&main).contains(calls), "{}", text(&main));
    let by_itself = quote!(
        fn serve(ln: TcpListener, cert: &Path, key: &Path) {}
    );
    let messages = errors(args, by_itself);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages.iter().all(|message| message.contains("Arc<rustls::ServerConfig>")), "{messages:?}");
    let messages = errors(quote!(alpn = ["", 7], cert = "c", key = "k"), taking.clone());
    assert_eq!(messages.len(), 2, "{messages:?}");
    let messages = errors(quote!(alpn = "h2", cert = "c", key = "k"), taking);
    assert_eq!(messages, [r#"`alpn` takes an array of names, not a string: write `alpn = ["h2"]`"#]);
}

#[test]
#[cfg(not(feature = "rustls"))]
fn what_shapes_a_configuration_says_which_feature_it_needs() {
    let messages = errors(
        quote!(alpn = ["h2"]),
        quote!(
            fn serve(ln: TcpListener, tls: Tls) {}
        ),
    );
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("feature `rustls`"));
}

/// The names that generated code binds must not be ones that the user's expressions can see.
#[test]
fn the_names_in_generated_code_are_hygienic() {
    fn seats(tokens: TokenStream, found: &mut Vec<Span>) {
        for tree in tokens {
            match tree {
                TokenTree::Group(group) => seats(group.stream(), found),
                TokenTree::Ident(ident) if ident == "__seat" || ident == "__listener" => {
                    found.push(ident.span())
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    seats(
        expand(
            quote!(),
            quote!(
                fn serve(ln: TcpListener) {}
            ),
        ),
        &mut found,
    );
    let expected = format!("{:?}", Span::mixed_site());
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|span| format!("{span:?}") == expected));
}

#[test]
fn a_failed_expansion_keeps_the_function_and_a_main() {
    let function = quote!(
        pub fn serve(ln: TcpListener) {
            body()
        }
    );
    let mut kept = items(quote!(wrokers = 1), function.clone());
    assert_eq!(kept.len(), 3, "an error, the function, main");
    assert_eq!(
        text(&kept.pop()),
        quote!(
            fn main() {}
        )
        .to_string()
    );
    assert!(text(&kept.pop()).ends_with(&function.to_string()));

    let kept = items(
        quote!(wrokers = 1),
        quote!(
            fn main(ln: TcpListener) {}
        ),
    );
    assert_eq!(kept.len(), 2, "an error, and main with the function inside");

    let kept = items(
        quote!(),
        quote!(
            #[tokio::main]
            fn serve(ln: TcpListener) {}
        ),
    );
    assert!(!kept.iter().any(|item| text(item).contains("tokio :: main] fn")));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let messages = errors(
        quote!(wrokers = 4, recover, network = "udp", addr = "x", workers = 0 backlog = -1),
        quote!(
            unsafe fn serve<T>() {}
        ),
    );
    assert_eq!(messages.len(), 10, "{messages:#?}");
}

#[test]
fn options_are_checked() {
    assert_error(quote!(reuse_port), "unknown option `reuse_port`: did you mean `reuseport`?");
    assert_error(quote!(workers = 1, workers = 2), "option `workers` is given twice");
    assert_error(quote!(recover), "`recover` needs a value: write `recover = 5`");
    assert_error(quote!(recover =), "`recover` needs a value after `=`: write `recover = 5`");
    assert_error(quote!(workers(8)), "options are set with `=`: write `workers = 8`");
    assert_error(quote!(workers 8), "expected `=` after `workers`, found `8`: write `workers = 4`");
    assert_error(quote!(workers = 8 recover = 1), "missing comma before `recover`");
    assert_error(quote!(workers = 8; recover = 1), "expected a comma between options, found `;`");
    assert_error(
        quote!("127.0.0.1:80"),
        "expected an option, found a string: for the address write `addr = \"127.0.0.1:80\"`",
    );
    assert_error(quote!(crate = "a::b"), "`crate` takes a path, not a string: write `crate = a::b`");
    assert_error(
        quote!(addr = "[::1]:80", network = "tcp4"),
        "`::1` is an IPv6 address, which `network = \"tcp4\"` does not admit: \
         write `network = \"tcp6\"`",
    );
}

#[test]
fn literals_are_checked() {
    assert_error(quote!(workers = 0), "`workers` must be from 1 to 4096, not 0");
    assert_error(quote!(workers = -1), "`workers` must be from 1 to 4096, not -1");
    assert_error(quote!(workers = "8"), "`workers` takes a whole number, not a string: write `workers = 8`");
    assert_error(
        quote!(shutdown_grace = 5),
        "`shutdown_grace` takes a duration in quotes, not a number: write `shutdown_grace = \"5s\"`",
    );
    assert_error(quote!(recover_window = "0s"), "`recover_window` must be at least 1ms, not 0s");
    assert_error(
        quote!(recover_window = "366days"),
        "`recover_window` must be at most 365 days, not 366days",
    );
    assert_error(
        quote!(addr = 8080),
        "`addr` takes an address in quotes, or several in brackets, not a number: write `addr = \":8080\"`",
    );
    assert_error(quote!(network = "TCP4"), "unknown value `TCP4` of `network`: did you mean \"tcp4\"?");
    let messages = errors(
        quote!(shutdown_grace = "0s", recover_interval = "0s", recover = 0xffff_ffff, reuseport = true),
        quote!(
            fn serve(ln: TcpListener) {}
        ),
    );
    assert!(messages.is_empty(), "{messages:?}");
}

#[test]
fn signatures_are_checked() {
    assert_function_error(
        quote!(
            fn serve() {}
        ),
        "the serve function takes a listener: write `fn serve(ln: std::net::TcpListener)`",
    );
    assert_function_error(
        quote!(
            fn serve(stop: Shutdown, ln: TcpListener) {}
        ),
        "the listener comes first: move it before the others",
    );
    assert_function_error(
        quote!(
            fn serve(ln: tokio::net::TcpListener) {}
        ),
        "a tokio listener needs `async fn`",
    );
    assert_function_error(
        quote!(
            fn serve(ln: L, cert: &Path, key: &Path) {}
        ),
        "certificate and key need options: add `cert = \"cert.pem\", key = \"key.pem\"`",
    );
}
