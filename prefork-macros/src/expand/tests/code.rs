//! Generated code.

use proc_macro2::{Span, TokenTree};
use syn::Stmt;

use super::*;

fn assert_main(args: TokenStream, item: TokenStream, expected: TokenStream) {
    let (_, main) = split(args, item);
    let expected: ItemFn = syn::parse2(expected).expect("the expectation is a function");
    assert_eq!(text(&main), text(&expected));
}

#[test]
fn main_is_one_call_into_runtime() {
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
                        |__context, __listener| {
                            ::prefork::__private::prepared(move || {
                                let __returned = serve(__listener);
                                ::prefork::__private::note_error!(__returned);
                                __returned
                            })
                        }
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
                        |__context, __listener| {
                            let __argument1 = ::prefork::__private::argument::<prefork::Shutdown>(__context)?;
                            ::prefork::__private::prepared(move || {
                                let __returned = serve(__listener, __argument1);
                                ::prefork::__private::note_error!(__returned);
                                __returned
                            })
                        }
                    ).needing(&[::prefork::__private::needs::<prefork::Shutdown>()]))
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
fn tls_arguments_come_from_the_context() {
    for (options, types, method) in [
        (quote!(key = "k", cert = "c"), quote!(c: &std::path::Path, k: &Path), "cert_files"),
        (quote!(cert_pem = b"c", key_pem = b"k"), quote!(c: &[u8], k: (&'static [u8])), "cert_pem"),
    ] {
        let item = quote!(fn serve(ln: TcpListener, #types, stop: Shutdown) {});
        let main = text(&split(options, item).1);
        let suffix = if method == "cert_pem" { "pem" } else { "file" };
        let supplies = format!(
            "let __argument1 = :: prefork :: __private :: cert_{suffix} (__context) ? ; \
             let __argument2 = :: prefork :: __private :: key_{suffix} (__context) ? ; \
             let __argument3 = :: prefork :: __private :: argument :: < Shutdown > (__context) ? ;"
        );
        assert!(main.contains(&supplies), "{main}");
        let call = main.rsplit(". ").next().expect("a call");
        let (cert, key) = (call.find('c').expect("cert"), call.rfind("k").expect("key"));
        assert!(call.starts_with(method) && cert < key, "certificate first: {call}");
    }
}

#[test]
fn function_is_kept_token_for_token() {
    let function = quote! {
        /// Serves.
        #[inline(never)]
        #[allow(clippy::needless_pass_by_value)]
        pub(crate) fn serve(#[allow(unused)] mut ln: TcpListener, (_): Shutdown) -> Result<(), E> {
            not valid Rust, and never parsed;
        }
    };
    let expansion = expand(quote!(), function.clone()).to_string();
    assert!(expansion.starts_with(&function.to_string()), "{expansion}");
}

#[test]
fn cfg_of_the_function_and_its_arguments_applies_to_the_call() {
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
    let cfg = "# [cfg (feature = \"x\")]";
    let made = format!("{cfg} let __argument1 = :: prefork :: __private :: argument :: < Shutdown >");
    assert!(text(&main).contains(&made), "{}", text(&main));
    let passed = format!("serve (__listener , {cfg} __argument1)");
    assert!(text(&main).contains(&passed), "{}", text(&main));
}

#[test]
fn function_called_main_moves_into_main() {
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
    assert!(
        text(call).contains("prepared (move | | { let __returned = main (__listener) ;"),
        "{}",
        text(call)
    );
}

#[test]
fn crate_option_replaces_path_of_runtime() {
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
fn async_function_is_called_on_runtime() {
    let args = quote!(runtime = "multi_thread");
    let (_, main) = split(
        args,
        quote!(
            async fn serve(ln: tokio::net::TcpListener, pool: Pool) {}
        ),
    );
    let main = text(&main);
    let argument = "async_argument :: < Pool , _ > (__context) . await ? ;";
    assert!(main.contains("async | __context , __listener |") && main.contains(argument), "{main}");
    assert!(main.contains(":: prefork :: __private :: call_async (:: prefork"), "{main}");
    assert!(main.contains(". runtime (:: prefork :: Runtime :: MultiThread)"), "{main}");
}

/// The user's expressions must not see the names that generated code binds.
#[test]
fn names_in_generated_code_are_hygienic() {
    fn collect_spans(tokens: TokenStream, found: &mut Vec<Span>) {
        for tree in tokens {
            match tree {
                TokenTree::Group(group) => collect_spans(group.stream(), found),
                TokenTree::Ident(ident) if ident == "__context" || ident == "__listener" => {
                    found.push(ident.span())
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    collect_spans(
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
#[cfg(feature = "rustls")]
fn rustls_options_without_config_argument_are_refused() {
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
