//! Turns a plan into tokens, or mistakes into errors.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Attribute, PatType, Path, Type};

use crate::args::Args;
use crate::diagnostics::Diagnostics;
use crate::literal::BuilderArgument;
use crate::rules::{BuilderCall, Expansion, check};
use crate::signature::{Function, Tls, first_and_last};

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut report = Diagnostics::default();
    let args = Args::parse(args, &mut report);
    let function = match Function::parse(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            report.push(error);
            let errors = report.to_compile_errors();
            return quote!(#errors #item fn main() {});
        }
    };
    let plan = check(&args, &function, &mut report);
    if report.is_empty() { main_and_function(&plan, &function) } else { fallback(&report, &function) }
}

/// The expansion of a mistake: the errors; the user's function, so that editors and its callers still find
/// it; and a `main`, because its absence would be another error.
fn fallback(report: &Diagnostics, function: &Function) -> TokenStream {
    let (errors, item, vis) = (report.to_compile_errors(), function.without_runtime(), &function.vis);
    if function.is_main() {
        quote!(#errors #vis fn main() { #item })
    } else {
        quote!(#errors #item fn main() {})
    }
}

fn main_and_function(plan: &Expansion, function: &Function) -> TokenStream {
    let here = Span::mixed_site();
    let runtime = Runtime { path: plan.runtime.as_ref() };
    let attrs = function.attrs.iter().filter(|attr| concerns_main(attr));
    let item = &function.tokens;
    let exit_code = runtime.private("ExitCode", here);
    let call = runtime_call(plan, function, &runtime);
    if function.is_main() {
        // Both are called `main`: the inner one is the user's, and hides the other from the call.
        let docs = function.attrs.iter().filter(|attr| attr.path().is_ident("doc"));
        let vis = &function.vis;
        quote_spanned!(here=> #(#docs)* #(#attrs)* #vis fn main() -> #exit_code { #item #call })
    } else {
        quote_spanned!(here=> #item #(#attrs)* fn main() -> #exit_code { #call })
    }
}

/// The body of `main`. The compiler reports a wrong type of `init` at the function that is called here, so
/// that function has the span of `init`.
fn runtime_call(plan: &Expansion, function: &Function, runtime: &Runtime<'_>) -> TokenStream {
    let here = Span::mixed_site();
    let builder = builder(plan, function, runtime);
    let (span, init) = match &plan.init {
        Some((name, init)) => (here.located_at(name.span()), init.to_token_stream()),
        None => (here, runtime.private("no_init", here)),
    };
    let run = runtime.private("main", span);
    quote_spanned!(span=> #run(#init, || #builder))
}

/// Attributes of the function that its caller needs too: `cfg`, because the call needs the function, and
/// `allow`, because the same lints apply to the call.
fn concerns_main(attr: &Attribute) -> bool {
    attr.path().is_ident("cfg") || attr.path().is_ident("allow")
}

fn builder(plan: &Expansion, function: &Function, runtime: &Runtime<'_>) -> TokenStream {
    let here = Span::mixed_site();
    let prefork = runtime.item("Prefork", here);
    let serve = serve_call(function, runtime);
    let calls = plan.calls.iter().map(|call| builder_call(call, runtime));
    quote_spanned!(here=> #prefork::new(#serve) #(#calls)*)
}

fn builder_call(call: &BuilderCall, runtime: &Runtime<'_>) -> TokenStream {
    let here = Span::mixed_site();
    let method = &call.method;
    let values = call.values.iter().map(|value| match value {
        BuilderArgument::Expr(expr) | BuilderArgument::List(expr) => expr.to_token_stream(),
        BuilderArgument::On => quote_spanned!(here=> true),
        BuilderArgument::Duration(duration) => {
            let (path, seconds) = (runtime.private("Duration", here), duration.as_secs());
            let nanoseconds = duration.subsec_nanos();
            quote_spanned!(here=> #path::new(#seconds, #nanoseconds))
        }
        BuilderArgument::Loader(function) => {
            // The compiler reports a function of another form there.
            let here = here.located_at(first_and_last(function).0);
            let (result, value) = (runtime.private("LoadsResult", here), runtime.private("LoadsValue", here));
            let loader = runtime.private("loader", here);
            quote_spanned!(here=> { use #result as _; use #value as _; (&&#loader(#function)).load() })
        }
        BuilderArgument::Size(bytes) => quote_spanned!(here=> #bytes),
        BuilderArgument::Variant { of, variant } => {
            let (path, variant) = (runtime.item(of, here), Ident::new(variant, here));
            quote_spanned!(here=> #path::#variant)
        }
    });
    quote_spanned!(here=> .#method(#(#values),*))
}

/// `call(listener::<L, Mode>(), |context, listener| { let argument1 = …?; prepared(move || { let returned =
/// serve(listener, argument1, …); note the error in returned; returned }) })`: first the arguments, of which each can
/// fail, and then the call. For an `async` function the closure is `async` as well.
///
/// Only here the type of the error is known, and with it how the error becomes a text.
///
/// An invalid return type violates a bound of `call`, which the compiler reports at the path of `call`: so
/// that path has the span of the type, from its first to its last token.
fn serve_call(function: &Function, runtime: &Runtime<'_>) -> TokenStream {
    let here = Span::mixed_site();
    let (first, last) = match function.output() {
        Some(output) => first_and_last(output),
        None => (here, here),
    };
    let (first, last) = (here.located_at(first), here.located_at(last));
    let call = Ident::new(if function.is_async() { "call_async" } else { "call" }, last);
    let runtime_path = runtime.path_at(first);
    let (context, listener) = (Ident::new("__context", here), Ident::new("__listener", here));
    let serve = &function.sig.ident;
    let name_of = |position| match position {
        0 => listener.clone(),
        _ => format_ident!("__argument{position}", span = here),
    };
    let values = function.arguments().enumerate().skip(1).map(|(position, argument)| {
        let name = name_of(position);
        let value = argument_value(position, argument, function, runtime, &context);
        let cfgs = cfgs_of(argument);
        quote_spanned!(here=> #(#cfgs)* let #name = #value?;)
    });
    let arguments = function.arguments().enumerate().map(|(position, argument)| {
        let (cfgs, name) = (cfgs_of(argument), name_of(position));
        quote_spanned!(here=> #(#cfgs)* #name)
    });
    let is_async = function.is_async().then(|| quote_spanned!(here=> async));
    let served = noted(quote_spanned!(here=> #serve(#(#arguments),*)), function, runtime);
    let prepared = runtime.private("prepared", here);
    let first_argument = first_argument(function, runtime);
    let needs = needs_of_arguments(function, runtime);
    quote_spanned!(first=> #runtime_path::__private::#call(
        #first_argument, #is_async |#context, #listener| {
            #(#values)*
            #prepared(move || #served)
        }
    ) #needs)
}

/// The call `served`, and a note of the error that it returns.
fn noted(served: TokenStream, function: &Function, runtime: &Runtime<'_>) -> TokenStream {
    if matches!(function.output(), Some(Type::Never(_))) {
        // What follows it is unreachable, of which the compiler would warn.
        return served;
    }
    let here = Span::mixed_site();
    let (returned, note) = (Ident::new("__returned", here), runtime.private("note_error", here));
    let with_note = |value| {
        quote_spanned!(here=> {
            let #returned = #value;
            #note!(#returned);
            #returned
        })
    };
    if !function.is_async() {
        return with_note(served);
    }
    let serving = Ident::new("__serving", here);
    let awaited = with_note(quote_spanned!(here=> #serving.await));
    quote_spanned!(here=> {
        let #serving = #served;
        async move #awaited
    })
}

/// What the master needs to know about the function's arguments before it starts a child.
fn needs_of_arguments(function: &Function, runtime: &Runtime<'_>) -> TokenStream {
    let here = Span::mixed_site();
    let mut arguments = further_arguments(function).peekable();
    if arguments.peek().is_none() {
        return TokenStream::new();
    }
    let needs = arguments.map(|argument| {
        let ty = &argument.ty;
        let span = here.located_at(first_and_last(ty).0);
        let cfgs = cfgs_of(argument);
        if function.is_async() {
            let needs = runtime.private("async_needs", span);
            quote_spanned!(span=> #(#cfgs)* #needs::<#ty, _>())
        } else {
            let needs = runtime.private("needs", span);
            quote_spanned!(span=> #(#cfgs)* #needs::<#ty>())
        }
    });
    quote_spanned!(here=> .needing(&[#(#needs),*]))
}

fn cfgs_of(argument: &PatType) -> impl Iterator<Item = &Attribute> {
    argument.attrs.iter().filter(|attr| attr.path().is_ident("cfg"))
}

/// The arguments after the listener, and after certificate and key if the function takes these.
fn further_arguments(function: &Function) -> impl Iterator<Item = &PatType> {
    function.arguments().skip(if function.tls().is_some() { 3 } else { 1 })
}

/// Names the type of the listener, with the span of the user's type, and the mode, although the function
/// implies it: otherwise the compiler would report a listener of the other kind at the call.
fn first_argument(function: &Function, runtime: &Runtime<'_>) -> TokenStream {
    let Some(argument) = function.arguments().next() else { return TokenStream::new() };
    let ty = &argument.ty;
    let (first, _) = first_and_last(ty);
    let span = Span::mixed_site().located_at(first);
    let mode = runtime.item(if function.is_async() { "Async" } else { "Blocking" }, span);
    let supply = runtime.private("listener", span);
    quote_spanned!(span=> #supply::<#ty, #mode>())
}

fn argument_value(
    position: usize,
    argument: &PatType,
    function: &Function,
    runtime: &Runtime<'_>,
    context: &Ident,
) -> TokenStream {
    let ty = &argument.ty;
    let (first, _) = first_and_last(ty);
    let span = Span::mixed_site().located_at(first);
    let supply = match (position, function.tls()) {
        (1, Some(Tls::File)) => "cert_file",
        (2, Some(Tls::File)) => "key_file",
        (1, Some(Tls::Pem)) => "cert_pem",
        (2, Some(Tls::Pem)) => "key_pem",
        _ if function.is_async() => {
            let supply = runtime.private("async_argument", span);
            return quote_spanned!(span=> #supply::<#ty, _>(#context).await);
        }
        _ => {
            let supply = runtime.private("argument", span);
            return quote_spanned!(span=> #supply::<#ty>(#context));
        }
    };
    let supply = runtime.private(supply, span);
    quote_spanned!(span=> #supply(#context))
}

/// The path of the runtime crate in generated code.
struct Runtime<'a> {
    path: Option<&'a Path>,
}

impl Runtime<'_> {
    fn item(&self, name: &str, span: Span) -> TokenStream {
        let (path, name) = (self.path_at(span), Ident::new(name, span));
        quote_spanned!(span=> #path::#name)
    }

    fn private(&self, name: &str, span: Span) -> TokenStream {
        let (path, name) = (self.path_at(span), Ident::new(name, span));
        quote_spanned!(span=> #path::__private::#name)
    }

    /// A path that the user wrote keeps its span, because it may be the mistake. The default path takes the
    /// span of the code around it: if its tokens had different spans, a message would show everything
    /// between them.
    fn path_at(&self, span: Span) -> TokenStream {
        match self.path {
            Some(path) => path.to_token_stream(),
            None => quote_spanned!(span=> ::prefork),
        }
    }
}

#[cfg(test)]
mod tests;
