//! The body of the fuzz target `attribute`, in `tests/fuzz`, which has the files of this crate: any arguments of the
//! attribute, on any item.

use proc_macro2::TokenStream;
use syn::{File, Item, ItemFn, LitStr};

use crate::expand::expand;

/// The item, if the input has the arguments alone.
const FUNCTION: &str = "fn serve(ln: std::net::TcpListener) {}";

/// The arguments are the first line of the input, and the item is the rest. The expansion of what is Rust is Rust, and
/// has one `main`; each mistake is told in one line.
pub(crate) fn attribute(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (args, item) = text.split_once('\n').unwrap_or((&text, FUNCTION));
    let (Ok(args), Ok(item)) = (args.parse::<TokenStream>(), item.parse::<TokenStream>()) else { return };
    let is_function = syn::parse2::<ItemFn>(item.clone()).is_ok();
    let expansion = expand(args, item);
    let file = match syn::parse2::<File>(expansion.clone()) {
        Ok(file) => file,
        Err(error) => {
            assert!(!is_function, "not Rust ({error}): {expansion}");
            return;
        }
    };
    let is_main = |item: &&Item| matches!(item, Item::Fn(function) if function.sig.ident == "main");
    assert!(file.items.iter().any(|item| is_main(&item)), "there is no main: {expansion}");
    for item in &file.items {
        let Item::Macro(call) = item else { continue };
        let Ok(message) = call.mac.parse_body::<LitStr>() else { continue };
        let message = message.value();
        assert!(!message.contains(char::is_control), "not one line: {message:?}");
    }
}

#[cfg(test)]
mod tests;
