//! Errors in place of generated code.

use prefork_options::OPTIONS;

use super::*;

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
fn failed_expansion_keeps_function_and_main() {
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
        quote!(wrokers = 4, recover, network = "udp", addr = "x", workers = 8193 backlog = -1),
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
fn unknown_option_without_similar_name_lists_all_options() {
    let names: Vec<String> = OPTIONS.iter().map(|row| format!("`{}`", row.name)).collect();
    let message = format!("unknown option `colour`: the options are {}", names.join(", "));
    assert_error(quote!(colour = "blue"), &message);
}

#[test]
fn literals_are_checked() {
    assert_error(quote!(max_workers = 0), "`max_workers` must be from 1 to 8192, not 0");
    assert_error(quote!(workers = -1), "`workers` must be from 0 to 8192, not -1");
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

#[test]
#[cfg(not(feature = "tokio"))]
fn async_function_without_feature_names_it() {
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
#[cfg(not(feature = "rustls"))]
fn rustls_options_without_feature_name_it() {
    let messages = errors(
        quote!(alpn = ["h2"]),
        quote!(
            fn serve(ln: TcpListener, tls: Tls) {}
        ),
    );
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("feature `rustls`"));
}

#[test]
#[cfg(not(feature = "config"))]
fn configuration_file_without_feature_names_it() {
    let messages = errors(
        quote!(config = "/etc/app.toml"),
        quote!(
            fn serve(ln: TcpListener) {}
        ),
    );
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("feature `config`"));
}

#[test]
#[cfg(feature = "config")]
fn configuration_file_is_an_option() {
    let messages = errors(
        quote!(config = 5),
        quote!(
            fn serve(ln: TcpListener) {}
        ),
    );
    let expected = "`config` takes the name of a file in quotes, not a number: write `config = \"/etc/app/prefork.toml\"`";
    assert_eq!(messages, [expected]);
}

#[test]
fn value_with_control_characters_is_quoted_on_one_line() {
    let function = quote!(
        fn serve(ln: TcpListener) {}
    );
    let messages = errors(quote!(network = "tcp\n\u{1b}"), function);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].starts_with(r"unknown value `tcp\n\u{1b}` of `network`"), "{messages:?}");
}
