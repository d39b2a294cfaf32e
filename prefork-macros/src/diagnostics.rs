//! Collects every mistake of one attribute and its function, so that all are reported at once.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::Error;

#[derive(Default)]
pub(crate) struct Diagnostics {
    errors: Vec<Error>,
}

impl Diagnostics {
    /// A mistake that covers all of `tokens`.
    pub(crate) fn error(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(Error::new_spanned(tokens, message));
    }

    /// A mistake at a place that is no token of its own, such as an empty argument list.
    pub(crate) fn error_at(&mut self, span: Span, message: impl Display) {
        self.push(Error::new(span, message));
    }

    pub(crate) fn push(&mut self, error: Error) {
        let message = error.to_string();
        // It quotes what the user wrote, in which there may be any: a terminal obeys some.
        if message.contains(char::is_control) {
            let escape = |letter: char| -> String {
                if letter.is_control() { letter.escape_debug().collect() } else { letter.into() }
            };
            let escaped: String = message.chars().map(escape).collect();
            return self.errors.push(Error::new(error.span(), escaped));
        }
        self.errors.push(error);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// One `compile_error!` for each mistake.
    pub(crate) fn to_compile_errors(&self) -> TokenStream {
        self.errors.iter().map(Error::to_compile_error).collect()
    }
}
