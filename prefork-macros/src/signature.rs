//! The user's function: its kind, its arguments, and the mistakes in its signature.
//!
//! Its body is never parsed, so that the compiler reports the mistakes there itself.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, PatType, Path, ReturnType, Safety, Signature, Type, Visibility};

use prefork_options::{self as options, OptionRow};

use crate::diagnostics::Diagnostics;

/// The annotated function.
pub(crate) struct Function {
    /// All of it, exactly as it was written.
    pub(crate) tokens: TokenStream,
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    body: TokenStream,
}

/// The meaning of a `&Path` or `&[u8]` argument of the serve function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tls {
    /// The name of a file: `&Path`.
    File,
    /// PEM text: `&[u8]`.
    Pem,
}

impl Tls {
    /// The type as the user writes it.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::File => "&Path",
            Self::Pem => "&[u8]",
        }
    }

    /// The options that supply them: certificate, then key.
    pub(crate) fn rows(self) -> [&'static OptionRow; 2] {
        match self {
            Self::File => [&options::CERT, &options::KEY],
            Self::Pem => [&options::CERT_PEM, &options::KEY_PEM],
        }
    }

    /// The pair of arguments as the user writes it.
    pub(crate) fn arguments(self) -> &'static str {
        match self {
            Self::File => "cert: &Path, key: &Path",
            Self::Pem => "cert: &[u8], key: &[u8]",
        }
    }
}

impl Function {
    pub(crate) fn parse(item: TokenStream) -> syn::Result<Self> {
        let tokens = item.clone();
        let parser = |input: ParseStream<'_>| {
            let attrs = input.call(Attribute::parse_outer)?;
            let vis: Visibility = input.parse()?;
            if let Some(error) = not_a_function(input) {
                return Err(error);
            }
            Ok(Self { tokens, attrs, vis, sig: input.parse()?, body: input.parse()? })
        };
        parser.parse2(item)
    }

    pub(crate) fn is_async(&self) -> bool {
        self.sig.asyncness.is_some()
    }

    pub(crate) fn is_main(&self) -> bool {
        self.sig.ident == "main"
    }

    /// The arguments, without a receiver.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &PatType> {
        self.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(argument) => Some(argument),
            FnArg::Receiver(_) => None,
        })
    }

    /// The arguments for certificate and key, if they are right after the listener.
    pub(crate) fn tls(&self) -> Option<Tls> {
        let mut after_listener = self.arguments().skip(1).map(|argument| tls(&argument.ty));
        match (after_listener.next().flatten(), after_listener.next().flatten()) {
            (Some(cert), Some(key)) if cert == key => Some(cert),
            _ => None,
        }
    }

    /// Both of them, for a message.
    pub(crate) fn tls_arguments(&self) -> TokenStream {
        let mut arguments = self.arguments().skip(1);
        let (cert, key) = (arguments.next(), arguments.next());
        quote!(#cert, #key)
    }

    /// Whether the function takes a listener, and no argument that could be made from certificate and key.
    pub(crate) fn takes_no_tls(&self) -> bool {
        let is_other = |ty: &Type| match bare(ty) {
            Type::Reference(_) => tls(ty).is_none(),
            ty => names(ty, &["Shutdown"]) || names(ty, &["ChildContext"]),
        };
        let mut arguments = self.arguments();
        self.sig.receiver().is_none()
            && arguments.next().is_some_and(|listener| tls(&listener.ty).is_none())
            && arguments.all(|argument| is_other(&argument.ty))
    }

    /// The return type, unless it is left out.
    pub(crate) fn output(&self) -> Option<&Type> {
        match &self.sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, output) => Some(output),
        }
    }

    /// The function without the attributes that would start another runtime. It replaces the function once
    /// these were reported, so that they cause no further error.
    pub(crate) fn without_runtime(&self) -> TokenStream {
        let Self { tokens, attrs, vis, sig, body } = self;
        if !attrs.iter().any(starts_runtime) {
            return tokens.clone();
        }
        let kept = attrs.iter().filter(|attr| !starts_runtime(attr));
        quote!(#(#kept)* #vis #sig #body)
    }

    /// Reports the mistakes in the function that are mistakes with any options.
    pub(crate) fn check(&self, report: &mut Diagnostics) {
        self.check_attributes(report);
        self.check_qualifiers(report);
        self.check_generics(report);
        if self.listener_is_first(report) {
            self.check_kind_of_listener(report);
            self.check_tls_arguments(report);
        }
    }

    fn check_attributes(&self, report: &mut Diagnostics) {
        for attr in self.attrs.iter().filter(|attr| starts_runtime(attr)) {
            let path = path_text(attr.path());
            report
                .error(attr, format!("remove `#[{path}]`: prefork starts the runtime itself, in each child"));
        }
    }

    fn check_qualifiers(&self, report: &mut Diagnostics) {
        let sig = &self.sig;
        if let Some(token) = &sig.constness {
            report.error(token, "the serve function cannot be `const`: it runs until it is stopped");
        }
        if let Safety::Unsafe(token) = &sig.safety {
            report.error(
                token,
                "the serve function cannot be `unsafe`: generated code calls it; \
                 use an `unsafe` block inside it",
            );
        }
        if let Some(abi) = &sig.abi {
            report.error(abi, "the serve function cannot be `extern`: it takes Rust types");
        }
        if let Some(variadic) = &sig.variadic {
            report.error(variadic, "the serve function cannot be variadic");
        }
        if sig.asyncness.is_some() && !cfg!(feature = "tokio") {
            report.error(
                sig.asyncness,
                "an `async fn` needs the feature `tokio` of prefork: add \
                 `features = [\"tokio\"]` to the dependency",
            );
        }
    }

    fn check_generics(&self, report: &mut Diagnostics) {
        let generics = &self.sig.generics;
        if !generics.params.is_empty() {
            report.error(
                generics,
                "the serve function cannot be generic: prefork calls it, with concrete types",
            );
        }
        if let Some(clause) = &generics.where_clause {
            report.error(clause, "the serve function cannot have a `where` clause");
        }
        for argument in self.arguments() {
            if contains_impl(argument.ty.to_token_stream()) {
                report.error(
                    &argument.ty,
                    "the serve function cannot take an `impl Trait`: name the concrete type",
                );
            }
        }
    }

    /// Checks the order of the arguments.
    fn listener_is_first(&self, report: &mut Diagnostics) -> bool {
        let mut arguments = self.arguments();
        if let Some(receiver) = self.sig.receiver() {
            report.error(
                receiver,
                "the serve function cannot take `self`: make it a free function whose first \
                 argument is the listener",
            );
            return false;
        }
        let Some(first) = arguments.next() else {
            let name = &self.sig.ident;
            let example = if self.is_async() {
                format!("async fn {name}(ln: tokio::net::TcpListener)")
            } else {
                format!("fn {name}(ln: std::net::TcpListener)")
            };
            report.error_at(
                self.sig.paren_token.span.join(),
                format!("the serve function takes a listener: write `{example}`"),
            );
            return false;
        };
        let is_listener = |argument: &PatType| {
            ["TcpListener", "UnixListener"].iter().any(|listener| names(&argument.ty, &[listener]))
        };
        let Some(late) = arguments.find(|later| is_listener(later)) else {
            return true;
        };
        report.error(
            late,
            if is_listener(first) {
                "several listeners are one argument: a tuple in the order of the addresses, such as \
                 `(web, admin): (TcpListener, UnixListener)`"
            } else {
                "the listener comes first: move it before the others"
            },
        );
        false
    }

    /// Checks only types that are written in full; traits check the others.
    fn check_kind_of_listener(&self, report: &mut Diagnostics) {
        let Some(listener) = self.arguments().next() else {
            return;
        };
        if !self.is_async() && names(&listener.ty, &["tokio", "net", "TcpListener"]) {
            report.error(&listener.ty, "a tokio listener needs `async fn`");
        }
        if self.is_async() && names(&listener.ty, &["std", "net", "TcpListener"]) {
            report.error(&listener.ty, "an `async fn` takes a `tokio::net::TcpListener`");
        }
    }

    /// `&Path` and `&[u8]` are the certificate and the key: two of a kind, after the listener.
    fn check_tls_arguments(&self, report: &mut Diagnostics) {
        if self.tls().is_some() && self.arguments().skip(3).all(|rest| tls(&rest.ty).is_none()) {
            return;
        }
        let kinds = self.arguments().filter_map(|argument| Some((argument, tls(&argument.ty)?)));
        let kinds: Vec<_> = kinds.collect();
        let Some((first, kind)) = kinds.first() else {
            return;
        };
        let (wanted, name) = (kind.arguments(), kind.type_name());
        let after = format!("`{wanted}` come right after the listener");
        match kinds.get(1) {
            None => report
                .error(first, format!("a single `{name}`: certificate and key are both needed, {after}")),
            Some((second, other)) if other != kind => report
                .error(second, format!("certificate and key are of one type: `{wanted}`, not one of each")),
            Some(_) if kinds.len() > 2 => {
                let (third, _) = kinds[2];
                report.error(third, format!("too many arguments for TLS: only {after}"));
            }
            Some(_) => report.error(first, after),
        }
    }
}

/// The meaning of the argument type, if it is one of the TLS forms. These have no type of their own that a
/// trait could distinguish.
pub(crate) fn tls(ty: &Type) -> Option<Tls> {
    let Type::Reference(reference) = bare(ty) else {
        return None;
    };
    match bare(&reference.elem) {
        Type::Path(_) if names(&reference.elem, &["Path"]) => Some(Tls::File),
        Type::Slice(slice) if names(&slice.elem, &["u8"]) => Some(Tls::Pem),
        _ => None,
    }
}

/// Whether the type is a path that ends in these segments.
fn names(ty: &Type, segments: &[&str]) -> bool {
    let Type::Path(ty) = bare(ty) else {
        return false;
    };
    ty.qself.is_none() && ends_with(&ty.path, segments)
}

fn ends_with(path: &Path, segments: &[&str]) -> bool {
    path.segments.len() >= segments.len()
        && path.segments.iter().rev().zip(segments.iter().rev()).all(|(a, b)| a.ident == b)
}

/// The type without the parentheses and invisible groups around it.
fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        _ => ty,
    }
}

fn contains_impl(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|tree| match tree {
        TokenTree::Ident(ident) => ident == "impl",
        TokenTree::Group(group) => contains_impl(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// Whether the attribute wraps a function in a runtime, as `#[tokio::main]` does.
fn starts_runtime(attr: &Attribute) -> bool {
    const RUNTIMES: &[&str] = &["tokio", "async_std", "actix_web", "actix_rt", "ntex", "rocket"];
    RUNTIMES.iter().any(|runtime| ends_with(attr.path(), &[runtime, "main"]))
}

fn path_text(path: &Path) -> String {
    let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
    segments.join("::")
}

/// The error if an item of another kind follows the attributes and the visibility.
fn not_a_function(input: ParseStream<'_>) -> Option<Error> {
    if input.fork().call(Signature::parse).is_ok() {
        return None;
    }
    let ahead = input.fork();
    let mut words = Vec::<Ident>::new();
    while let Ok(word) = ahead.call(Ident::parse_any) {
        if word == "fn" {
            // A function with a mistake in its signature, which the parser reports.
            return None;
        }
        words.push(word);
    }
    const ITEMS: &[&str] =
        &["struct", "enum", "union", "trait", "impl", "mod", "use", "static", "type", "const", "let"];
    let kind = words.into_iter().find(|word| ITEMS.iter().any(|item| word == item));
    let message = "`#[prefork::main]` belongs on the function that serves, such as \
                   `fn serve(ln: std::net::TcpListener)`";
    Some(match kind {
        Some(kind) => Error::new_spanned(&kind, format!("{message}, not on `{kind}`")),
        None => input.error(message),
    })
}

/// From the first to the last token of `tokens`, as far as the compiler lets a macro say so.
pub(crate) fn first_and_last(tokens: &impl ToTokens) -> (Span, Span) {
    let mut spans = tokens.to_token_stream().into_iter().map(|tree| tree.span());
    let first = spans.next().unwrap_or_else(|| tokens.span());
    (first, spans.last().unwrap_or(first))
}
