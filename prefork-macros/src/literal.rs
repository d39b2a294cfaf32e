//! Option values. Literals are checked here, by the rows of the table of options; any other expression
//! passes, and the compiler checks its type.

use std::time::Duration;

use prefork_options::address;
use prefork_options::{Kind, Network, OptionRow, Problem, Value as Parsed, nearest};
use syn::{Expr, ExprArray, Lit, Path, UnOp};

use crate::args::Given;
use crate::diagnostics::Diagnostics;

/// A value that passed, as the builder gets it.
pub(crate) enum BuilderArgument {
    /// The user's expression, unchanged.
    Expr(Expr),
    /// A switch without a value: `true`.
    On,
    Duration(Duration),
    /// A number of bytes.
    Size(u64),
    /// A list in brackets, unchanged.
    List(Expr),
    /// A function that loads, and that returns a value or a `Result`.
    Loader(Expr),
    /// A variant of one of the runtime's enums.
    Variant {
        of: &'static str,
        variant: &'static str,
    },
}

/// A literal among the expressions.
struct Literal<'a> {
    lit: &'a Lit,
    negative: bool,
}

/// `None` if the value was reported, here or by the parser.
pub(crate) fn check(given: &Given, report: &mut Diagnostics) -> Option<BuilderArgument> {
    let (row, Some(expr)) = (given.row, &given.value) else {
        return (given.row.kind == Kind::Switch).then_some(BuilderArgument::On);
    };
    if let (Kind::Addrs | Kind::Protocols, Expr::Array(list)) = (row.kind, bare(expr)) {
        return check_list(row, list, report).then(|| BuilderArgument::List(expr.clone()));
    }
    let checked = match literal(expr) {
        Some(literal) if row.kind == Kind::Protocols => Err(wrong_kind(row, &literal)),
        Some(literal) => check_literal(row, &literal, expr),
        None => Ok(BuilderArgument::Expr(expr.clone())),
    };
    checked.map_err(|message| report.error(expr, message)).ok()
}

/// The value of an option that is a path, not an expression; `None` as for [`check`].
pub(crate) fn check_path(given: &Given, report: &mut Diagnostics) -> Option<Path> {
    let (expr, row) = (given.value.as_ref()?, given.row);
    match bare(expr) {
        Expr::Path(expr) if expr.qself.is_none() => return Some(expr.path.clone()),
        _ => {}
    }
    let message = match literal(expr) {
        Some(literal) => wrong_kind(row, &literal),
        None => format!("`{}` takes a path: write `{}`", row.name, row.usage()),
    };
    report.error(expr, message);
    None
}

/// Checks the form of every literal address. `network` is the one that the options name; `None` if it is
/// known at run time only.
pub(crate) fn check_addresses(addrs: &Expr, network: Option<Option<Network>>, report: &mut Diagnostics) {
    let each: Vec<&Expr> = match bare(addrs) {
        Expr::Array(list) => list.elems.iter().collect(),
        _ => vec![addrs],
    };
    for expr in each {
        let Some(addr) = text(expr) else { continue };
        // If the network is not known yet, a path can be that of a Unix socket.
        let form = match network {
            Some(network) => address::parse(&addr, network),
            None => address::parse(&addr, None)
                .or_else(|reason| address::parse(&addr, Some(Network::Unix)).map_err(|_| reason)),
        };
        if let Err(reason) = form {
            report.error(expr, reason);
        }
    }
}

/// Checks every literal entry of a list.
fn check_list(row: &OptionRow, list: &ExprArray, report: &mut Diagnostics) -> bool {
    if list.elems.is_empty() {
        report.error(list, format!("`{}` is empty: write `{}`", row.name, row.usage()));
        return false;
    }
    let mut passed = true;
    for expr in &list.elems {
        let literal = literal(expr);
        let checked = literal.map_or(Ok(()), |literal| check_literal(row, &literal, expr).map(drop));
        if let Err(message) = checked {
            report.error(expr, message);
            passed = false;
        }
    }
    passed
}

fn check_literal(row: &OptionRow, literal: &Literal<'_>, expr: &Expr) -> Result<BuilderArgument, String> {
    let parse = |text: &str| row.kind.parse(text).map_err(|problem| message(row, text, &problem));
    let parsed = match (row.kind, literal.lit) {
        (Kind::Count(..) | Kind::Signed(..), Lit::Int(number)) => {
            // The compiler reports a negative zero itself.
            let negative = literal.negative && number.base10_digits() != "0";
            parse(&format!("{}{}", if negative { "-" } else { "" }, number.base10_digits()))?
        }
        _ if literal.negative => return Err(wrong_kind(row, literal)),
        (Kind::Size, Lit::Int(bytes)) => parse(bytes.base10_digits())?,
        // A decimal 660 is a mistake: permissions are octal.
        (Kind::Mode, Lit::Int(mode)) if !mode.to_string().starts_with("0o") => {
            return Err(format!("`{0}` is in octal: write `{0} = 0o{mode}`", row.name));
        }
        (Kind::Mode, Lit::Int(mode)) => parse(&mode.to_string())?,
        (
            Kind::Duration(..)
            | Kind::Size
            | Kind::Mode
            | Kind::Network
            | Kind::Readiness
            | Kind::Runtime
            | Kind::Cpus
            | Kind::TcpAddr
            | Kind::Account
            | Kind::Owner
            | Kind::Title
            | Kind::File
            | Kind::Protocols,
            Lit::Str(text),
        ) => parse(&text.value())?,
        // PEM text can be a string; the name of a file is a mistake.
        (Kind::Pem, Lit::Str(text)) if text.value().contains("-----BEGIN") => return Ok(as_it_is(expr)),
        // The form of addresses depends on the network, which is another option.
        (Kind::Addrs, Lit::Str(_))
        | (Kind::Account, Lit::Int(_))
        | (Kind::Pem, Lit::ByteStr(_))
        | (Kind::Switch, Lit::Bool(_)) => return Ok(as_it_is(expr)),
        _ => return Err(wrong_kind(row, literal)),
    };
    Ok(match (parsed, row.kind.names()) {
        (Parsed::Duration(duration), _) => BuilderArgument::Duration(duration),
        (Parsed::Size(bytes), _) => BuilderArgument::Size(bytes),
        (parsed, Some(names)) => {
            let spelling = parsed.spell();
            let known = names.variants.iter().find(|(name, _)| *name == spelling);
            known.map_or_else(
                || as_it_is(expr),
                |(_, variant)| BuilderArgument::Variant { of: names.type_name, variant },
            )
        }
        (_, None) => as_it_is(expr),
    })
}

fn as_it_is(expr: &Expr) -> BuilderArgument {
    BuilderArgument::Expr(expr.clone())
}

/// The message about a wrong value, with a correction.
fn message(row: &OptionRow, written: &str, problem: &Problem) -> String {
    let (name, usage) = (row.name, row.usage());
    match (row.kind, problem) {
        (_, Problem::Empty) => format!("`{name}` is empty: write `{usage}`"),
        (_, Problem::Address(reason)) => reason.clone(),
        (Kind::Count(least, most), _) => format!("`{name}` must be from {least} to {most}, not {written}"),
        (Kind::Signed(least, most), _) => format!("`{name}` must be from {least} to {most}, not {written}"),
        (Kind::Duration(..), Problem::NoUnit) => {
            format!("`{name} = \"{written}\"` lacks its unit: write \"{written}s\" for seconds")
        }
        (Kind::Duration(..), Problem::Below(least)) => {
            format!("`{name}` must be at least {least}, not {written}")
        }
        (Kind::Duration(..), Problem::Above(most)) => {
            format!("`{name}` must be at most {most}, not {written}")
        }
        (Kind::Duration(..), _) => {
            format!("`{written}` is not a duration: write `{usage}`; units are ms, s, m, h, days")
        }
        (Kind::Size, Problem::Below(_)) => format!("`{name}` must be more than zero"),
        (Kind::Size, _) => format!("`{written}` is not a size: write `{usage}`, or a number of bytes"),
        (Kind::Mode, Problem::Above(_)) => format!("`{name}` must be from 0o000 to 0o777, not {written}"),
        (Kind::Mode, _) => format!("`{written}` is no file mode in octal: write `{usage}`"),
        (Kind::Cpus, _) => format!("`{written}` is no list of CPUs: write `{usage}`, or such as \"0-3,8\""),
        (Kind::Title, _) => format!("`{name}` cannot have control characters: write `{usage}`"),
        (Kind::Protocols, _) => "the name of a protocol has 1 to 255 bytes".to_owned(),
        (kind, _) => unknown_name(row, written, kind),
    }
}

fn unknown_name(row: &OptionRow, written: &str, kind: Kind) -> String {
    let name = row.name;
    let variants = kind.names().map_or(&[][..], |names| names.variants);
    let known = variants.iter().map(|(spelling, _)| (*spelling, (*spelling).to_owned()));
    match nearest(&written.to_lowercase(), known) {
        Some(spelling) => format!("unknown value `{written}` of `{name}`: did you mean \"{spelling}\"?"),
        None => {
            let names: Vec<String> = variants.iter().map(|(spelling, _)| format!("\"{spelling}\"")).collect();
            format!("unknown value `{written}` of `{name}`: it is one of {}", names.join(", "))
        }
    }
}

fn wrong_kind(row: &OptionRow, literal: &Literal<'_>) -> String {
    let expected = match row.kind {
        Kind::Addrs => "an address in quotes, or several in brackets",
        Kind::TcpAddr => "an address in quotes",
        Kind::Mode => "a file mode in octal",
        Kind::Owner => "the name of a user in quotes",
        Kind::Network | Kind::Readiness | Kind::Runtime => "a name in quotes",
        Kind::Switch => "nothing, or a bool",
        Kind::Count(..) | Kind::Signed(..) => "a whole number",
        Kind::Account => "a name in quotes, or a number",
        Kind::Title => "text in quotes",
        Kind::Cpus => "CPUs in quotes",
        Kind::Files => "a list of paths",
        Kind::Duration(..) => "a duration in quotes",
        Kind::Size => "a size in quotes, or a number of bytes",
        Kind::File => "the name of a file in quotes",
        Kind::Pem => "the material itself as bytes",
        Kind::Protocols => "an array of names",
        Kind::Function => "a function or a closure",
        Kind::Logger => "a value that implements `log::Log`",
        Kind::CratePath => "a path",
    };
    let found = match literal.lit {
        Lit::Str(_) => "a string",
        Lit::ByteStr(_) => "a byte string",
        Lit::CStr(_) => "a C string",
        Lit::Byte(_) | Lit::Char(_) => "a character",
        Lit::Int(_) => "a number",
        Lit::Float(_) => "a decimal number",
        Lit::Bool(_) => "a bool",
        _ => "this literal",
    };
    let name = row.name;
    format!("`{name}` takes {expected}, not {found}: write `{}`", correction(row, literal))
}

/// The correction, with the user's value if that makes sense.
fn correction(row: &OptionRow, literal: &Literal<'_>) -> String {
    let name = row.name;
    match (row.kind, literal.lit) {
        (Kind::Duration(..), Lit::Int(number)) if !literal.negative => {
            let unit = if number.suffix().is_empty() { "s" } else { number.suffix() };
            let text = format!("{}{unit}", number.base10_digits());
            if row.kind.parse(&text).is_ok() {
                return format!("{name} = \"{text}\"");
            }
        }
        (Kind::Addrs | Kind::TcpAddr, Lit::Int(port)) if port.base10_parse::<u16>().is_ok() => {
            return format!("{name} = \":{}\"", port.base10_digits());
        }
        (Kind::Count(..) | Kind::Signed(..), Lit::Str(text)) if row.kind.parse(&text.value()).is_ok() => {
            return format!("{name} = {}", text.value());
        }
        (Kind::Cpus, Lit::Int(cpu)) => return format!("{name} = \"{}\"", cpu.base10_digits()),
        (Kind::Files, Lit::Str(path)) => return format!("{name} = [{}]", path.token()),
        (Kind::Protocols, Lit::Str(text)) => return format!("{name} = [{}]", text.token()),
        (Kind::Pem, Lit::Str(text)) => return format!("{name} = include_bytes!({})", text.token()),
        (Kind::CratePath, Lit::Str(text)) if syn::parse_str::<Path>(&text.value()).is_ok() => {
            return format!("{name} = {}", text.value());
        }
        _ => {}
    }
    row.usage()
}

/// The literal that this expression is.
fn literal(expr: &Expr) -> Option<Literal<'_>> {
    match bare(expr) {
        Expr::Lit(literal) => Some(Literal { lit: &literal.lit, negative: false }),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => {
            let inner = literal(&unary.expr)?;
            Some(Literal { lit: inner.lit, negative: !inner.negative })
        }
        _ => None,
    }
}

/// The expression without parentheses and without the invisible groups that macros put around it.
fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Group(group) => bare(&group.expr),
        Expr::Paren(paren) => bare(&paren.expr),
        _ => expr,
    }
}

/// The text of a string literal.
pub(crate) fn text(expr: &Expr) -> Option<String> {
    match literal(expr)? {
        Literal { lit: Lit::Str(text), negative: false } => Some(text.value()),
        _ => None,
    }
}
