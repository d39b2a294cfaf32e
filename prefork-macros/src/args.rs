//! The attribute's option list.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Expr, Lit, Token, parenthesized, token};

use prefork_options::{Kind, OptionRow};

use crate::diagnostics::Diagnostics;

/// The options as the user gave them, in that order.
#[derive(Default)]
pub(crate) struct Args {
    given: Vec<Given>,
    /// Options that an unknown name most likely means. They are never expanded, and never reported as
    /// missing.
    meant: Vec<(&'static OptionRow, Ident)>,
}

/// A known option that is given once.
pub(crate) struct Given {
    pub(crate) row: &'static OptionRow,
    pub(crate) name: Ident,
    /// `None` if it is missing (allowed for a switch only) or was reported as malformed.
    pub(crate) value: Option<Expr>,
}

/// What follows an option's name.
enum Written {
    Nothing,
    Value(Expr),
    Malformed(Error),
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, report: &mut Diagnostics) -> Self {
        let mut args = Self::default();
        let parsed = (|input: ParseStream<'_>| args.read(input, report)).parse2(tokens);
        if let Err(error) = parsed {
            report.push(error);
        }
        args
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Given> {
        self.given.iter()
    }

    pub(crate) fn get(&self, row: &OptionRow) -> Option<&Given> {
        self.given.iter().find(|given| given.row == row)
    }

    /// The place where the user gave this option, possibly misspelt.
    pub(crate) fn mention(&self, row: &OptionRow) -> Option<&Ident> {
        let meant = || self.meant.iter().find(|(meant, _)| *meant == row).map(|(_, name)| name);
        self.get(row).map(|given| &given.name).or_else(meant)
    }

    /// Reads to the end: a malformed option does not hide the mistakes in the options after it.
    fn read(&mut self, input: ParseStream<'_>, report: &mut Diagnostics) -> syn::Result<()> {
        while !input.is_empty() {
            if input.peek(Ident::peek_any) {
                let name = input.call(Ident::parse_any)?;
                let row = prefork_options::find(&name.to_string());
                let written = written(input, &name, row)?;
                self.take(name, row, written, report);
            } else {
                report.push(not_a_name(input));
                skip_to_comma(input)?;
            }
            separator(input, report)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        name: Ident,
        row: Option<&'static OptionRow>,
        written: Written,
        report: &mut Diagnostics,
    ) {
        let Some(row) = row else {
            let meant = prefork_options::meant_by(&name.to_string());
            self.meant.extend(meant.map(|row| (row, name.clone())));
            return report.error(&name, unknown(&name, meant));
        };
        if self.given.iter().any(|given| given.row == row) {
            return report.error(&name, format!("option `{name}` is given twice"));
        }
        let value = match written {
            Written::Value(value) => Some(value),
            Written::Nothing => {
                if row.kind != Kind::Switch {
                    let usage = row.usage();
                    report.error(&name, format!("`{name}` needs a value: write `{usage}`"));
                }
                None
            }
            Written::Malformed(error) => {
                report.push(error);
                None
            }
        };
        self.given.push(Given { row, name, value });
    }
}

/// Reads what follows `name`, up to the next comma or the start of another option.
fn written(input: ParseStream<'_>, name: &Ident, row: Option<&'static OptionRow>) -> syn::Result<Written> {
    let usage = row.map_or_else(|| format!("{name} = value"), OptionRow::usage);
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(Written::Nothing);
    }
    if input.peek(Token![=]) {
        let equals = input.parse::<Token![=]>()?;
        if input.is_empty() || input.peek(Token![,]) {
            let message = format!("`{name}` needs a value after `=`: write `{usage}`");
            return Ok(Written::Malformed(Error::new_spanned(equals, message)));
        }
        return Ok(match input.parse() {
            Ok(value) => Written::Value(value),
            Err(error) => {
                skip_to_comma(input)?;
                Written::Malformed(error)
            }
        });
    }
    if input.peek(token::Paren) {
        return in_parentheses(input, name, &usage).map(Written::Malformed);
    }
    let is_switch = row.is_some_and(|row| row.kind == Kind::Switch);
    if is_switch && input.peek(Ident::peek_any) {
        // The next option: only a comma is missing between the two.
        return Ok(Written::Nothing);
    }
    let error = match peek_tree(input) {
        Some(found) => Error::new_spanned(
            &found,
            format!("expected `=` after `{name}`, found `{found}`: write `{usage}`"),
        ),
        None => input.error("unexpected end of the options"),
    };
    skip_to_comma(input)?;
    Ok(Written::Malformed(error))
}

/// Reports `workers(4)`, with the same value after `=`.
fn in_parentheses(input: ParseStream<'_>, name: &Ident, usage: &str) -> syn::Result<Error> {
    let content;
    let parentheses = parenthesized!(content in input);
    let value: TokenStream = content.parse()?;
    let usage = if value.is_empty() { usage.to_owned() } else { format!("{name} = {value}") };
    let message = format!("options are set with `=`: write `{usage}`");
    Ok(Error::new(parentheses.span.join(), message))
}

/// Reads the comma after an option, or reports that it is missing.
fn separator(input: ParseStream<'_>, report: &mut Diagnostics) -> syn::Result<()> {
    let Some(next) = peek_tree(input) else {
        return Ok(());
    };
    if !input.peek(Token![,]) {
        if let TokenTree::Ident(name) = &next {
            report.error(name, format!("missing comma before `{name}`"));
            return Ok(());
        }
        report.error(&next, format!("expected a comma between options, found `{next}`"));
        skip_to_comma(input)?;
    }
    input.parse::<Option<Token![,]>>()?;
    Ok(())
}

fn not_a_name(input: ParseStream<'_>) -> Error {
    if let Ok(Lit::Str(text)) = input.fork().parse::<Lit>() {
        let value = text.token();
        return Error::new_spanned(
            &text,
            format!("expected an option, found a string: for the address write `addr = {value}`"),
        );
    }
    let found = peek_tree(input).map(|found| format!(", found `{found}`")).unwrap_or_default();
    input.error(format!("expected an option such as `addr = \"127.0.0.1:8080\"`{found}"))
}

fn unknown(name: &Ident, meant: Option<&OptionRow>) -> String {
    match meant {
        Some(row) => format!("unknown option `{name}`: did you mean `{}`?", row.name),
        None => format!("unknown option `{name}`: the options are {}", list()),
    }
}

/// All option names.
fn list() -> String {
    let names: Vec<String> = prefork_options::OPTIONS.iter().map(|row| format!("`{}`", row.name)).collect();
    names.join(", ")
}

fn skip_to_comma(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

fn peek_tree(input: ParseStream<'_>) -> Option<TokenTree> {
    input.fork().parse().ok()
}
