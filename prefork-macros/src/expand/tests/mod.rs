//! - `code.rs`: generated code
//! - `mistakes.rs`: errors

mod code;
mod mistakes;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{File, Item, ItemFn};

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
