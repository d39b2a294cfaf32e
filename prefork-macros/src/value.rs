//! What an option's value turns into. Literals are checked here; any other expression passes, for
//! the types of the runtime to judge.

use std::time::Duration;

use syn::{Expr, ExprArray, Lit, LitInt, Path, UnOp};

use crate::address;
use crate::args::Given;
use crate::options::{Names, Spec, Takes, closest};
use crate::report::Report;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_DAYS: u32 = 365;
/// Read, write and execute for everybody.
const MODE_MAX: u32 = 0o777;

/// A value that passed, as the builder gets it.
pub(crate) enum Value {
    /// An expression of the user's, as it is.
    Expr(Expr),
    /// A switch without a value: `true`.
    On,
    Duration(Duration),
    /// A number of bytes.
    Size(u64),
    /// A list in brackets, as it is.
    List(Expr),
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

/// `None` if the value is reported, now or when it was parsed.
pub(crate) fn check(given: &Given, report: &mut Report) -> Option<Value> {
    let Some(expr) = &given.value else {
        return (given.spec.takes == Takes::Switch).then_some(Value::On);
    };
    if let (Takes::Addr | Takes::Protocols, Expr::Array(list)) = (given.spec.takes, bare(expr)) {
        return check_list(given.spec, list, report).then(|| Value::List(expr.clone()));
    }
    if let (Takes::Protocols, Some(literal)) = (given.spec.takes, literal(expr)) {
        report.error(expr, wrong_kind(given.spec, &literal));
        return None;
    }
    let checked = match literal(expr) {
        Some(literal) => check_literal(given.spec, &literal, expr),
        None => Ok(Value::Expr(expr.clone())),
    };
    checked.map_err(|message| report.error(expr, message)).ok()
}

/// The value of an option that is no expression but a path; `None` as for [`check`].
pub(crate) fn check_path(given: &Given, report: &mut Report) -> Option<Path> {
    let (expr, spec) = (given.value.as_ref()?, given.spec);
    match bare(expr) {
        Expr::Path(expr) if expr.qself.is_none() => return Some(expr.path.clone()),
        _ => {}
    }
    let message = match literal(expr) {
        Some(literal) => wrong_kind(spec, &literal),
        None => format!("`{}` takes a path: write `{}`", spec.name, spec.usage()),
    };
    report.error(expr, message);
    None
}

/// Whether every entry of a list that is spelled out can be one.
fn check_list(spec: &Spec, list: &ExprArray, report: &mut Report) -> bool {
    if list.elems.is_empty() {
        report.error(list, format!("`{}` is empty: write `{}`", spec.name, spec.usage()));
        return false;
    }
    let mut passed = true;
    for expr in &list.elems {
        let literal = literal(expr);
        let checked = literal.map_or(Ok(()), |literal| check_literal(spec, &literal, expr).map(drop));
        if let Err(message) = checked {
            report.error(expr, message);
            passed = false;
        }
    }
    passed
}

fn check_literal(spec: &Spec, literal: &Literal<'_>, expr: &Expr) -> Result<Value, String> {
    match (spec.takes, literal.lit) {
        (Takes::Count(min, max), Lit::Int(number)) => {
            check_count(spec, number, literal.negative, min, max)?;
        }
        (Takes::Signed(min, max), Lit::Int(number)) => {
            check_signed(spec, number, literal.negative, min, max)?;
        }
        _ if literal.negative => return Err(wrong_kind(spec, literal)),
        (Takes::Account, Lit::Int(_)) => {}
        (Takes::Account, Lit::Str(name)) if !name.value().is_empty() => {}
        (Takes::Account, Lit::Str(_)) => {
            return Err(format!("`{}` is empty: write `{}`", spec.name, spec.usage()));
        }
        (Takes::Title, Lit::Str(title)) if title.value().contains(char::is_control) => {
            return Err(format!("`{}` cannot have control characters: write `{}`", spec.name, spec.usage()));
        }
        (Takes::Title, Lit::Str(_)) => {}
        (Takes::Cpus, Lit::Str(cpus)) => check_cpus(spec, &cpus.value())?,
        (Takes::Addr, Lit::Str(addr)) => {
            address::parse(&addr.value())?;
        }
        (Takes::TcpAddr, Lit::Str(addr)) => {
            address::parse_tcp(&addr.value())?;
        }
        (Takes::Name(names), Lit::Str(name)) => return check_name(spec, &name.value(), names),
        (Takes::Duration(least), Lit::Str(text)) => {
            return check_duration(spec, &text.value(), least).map(Value::Duration);
        }
        (Takes::Protocols, Lit::Str(name)) if !(1..=255).contains(&name.value().len()) => {
            return Err("the name of a protocol has 1 to 255 bytes".to_owned());
        }
        (Takes::Protocols, Lit::Str(_)) => {}
        (Takes::Size, Lit::Str(text)) => return check_size(spec, &text.value()),
        (Takes::Size, Lit::Int(bytes)) => return check_size(spec, bytes.base10_digits()),
        // 660 as a decimal number is a mode that nobody means.
        (Takes::Mode, Lit::Int(mode)) if !mode.to_string().starts_with("0o") => {
            return Err(format!("`{0}` is in octal: write `{0} = 0o{mode}`", spec.name));
        }
        (Takes::Mode, Lit::Int(mode)) => check_mode(spec, &mode.to_string())?,
        (Takes::Mode, Lit::Str(mode)) => check_mode(spec, &mode.value())?,
        (Takes::Owner, Lit::Str(owner)) if owner.value().is_empty() => {
            return Err(format!("`{}` is empty: write `{}`", spec.name, spec.usage()));
        }
        (Takes::Owner, Lit::Str(_)) => {}
        (Takes::File, Lit::Str(name)) if name.value().is_empty() => {
            return Err(format!("`{}` is empty: write `{}`", spec.name, spec.usage()));
        }
        // Whoever has the certificate in a string may leave it there; a file's name is a mistake.
        (Takes::Pem, Lit::Str(text)) if text.value().contains("-----BEGIN") => {}
        (Takes::File, Lit::Str(_)) | (Takes::Pem, Lit::ByteStr(_)) | (Takes::Switch, Lit::Bool(_)) => {}
        _ => return Err(wrong_kind(spec, literal)),
    }
    Ok(Value::Expr(expr.clone()))
}

fn check_name(spec: &Spec, written: &str, names: &'static Names) -> Result<Value, String> {
    let Names { type_name, variants } = names;
    if let Some((_, variant)) = variants.iter().find(|(name, _)| *name == written) {
        return Ok(Value::Variant { of: type_name, variant });
    }
    let known = variants.iter().map(|(name, _)| (*name, (*name).to_owned()));
    let option = spec.name;
    Err(match closest(&written.to_lowercase(), known) {
        Some(name) => format!("unknown value `{written}` of `{option}`: did you mean \"{name}\"?"),
        None => {
            let names: Vec<String> = variants.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            format!("unknown value `{written}` of `{option}`: it is one of {}", names.join(", "))
        }
    })
}

fn check_count(spec: &Spec, number: &LitInt, negative: bool, min: u64, max: u64) -> Result<(), String> {
    let fits = number.base10_parse::<u64>().is_ok_and(|number| (min..=max).contains(&number));
    // A negative zero is zero, and the compiler has its own opinion about it.
    if fits && (!negative || number.base10_digits() == "0") {
        return Ok(());
    }
    let sign = if negative { "-" } else { "" };
    let digits = number.base10_digits();
    Err(format!("`{}` must be from {min} to {max}, not {sign}{digits}", spec.name))
}

fn check_signed(spec: &Spec, number: &LitInt, negative: bool, min: i64, max: i64) -> Result<(), String> {
    let sign = if negative { "-" } else { "" };
    let digits = number.base10_digits();
    match format!("{sign}{digits}").parse::<i64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(()),
        _ => Err(format!("`{}` must be from {min} to {max}, not {sign}{digits}", spec.name)),
    }
}

/// Only the form: which CPUs there are is known when the program starts.
fn check_cpus(spec: &Spec, text: &str) -> Result<(), String> {
    let is_range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
            (Ok(first), Ok(last)) => first <= last,
            _ => false,
        }
    };
    if text == "auto" || text.split(',').all(is_range) {
        return Ok(());
    }
    Err(format!("`{text}` is no list of CPUs: write `{}`, or such as \"0-3,8\"", spec.usage()))
}

fn check_duration(spec: &Spec, text: &str, least: Duration) -> Result<Duration, String> {
    let name = spec.name;
    if text.is_empty() {
        return Err(format!("`{name}` is empty: write `{}`", spec.usage()));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("`{name} = \"{text}\"` lacks its unit: write \"{text}s\" for seconds"));
    }
    let duration = humantime::parse_duration(text).map_err(|_| {
        format!("`{text}` is not a duration: write `{}`; units are ms, s, m, h, days", spec.usage())
    })?;
    if duration < least {
        let least = humantime::format_duration(least);
        return Err(format!("`{name}` must be at least {least}, not {text}"));
    }
    if duration > DAY * LONGEST_DAYS {
        return Err(format!("`{name}` must be at most {LONGEST_DAYS} days, not {text}"));
    }
    Ok(duration)
}

fn check_size(spec: &Spec, text: &str) -> Result<Value, String> {
    match parse_size::parse_size(text) {
        Ok(0) => Err(format!("`{}` must be more than zero", spec.name)),
        Ok(bytes) => Ok(Value::Size(bytes)),
        Err(_) => Err(format!("`{text}` is not a size: write `{}`, or a number of bytes", spec.usage())),
    }
}

fn check_mode(spec: &Spec, text: &str) -> Result<(), String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= MODE_MAX => Ok(()),
        Ok(_) => Err(format!("`{}` must be from 0o000 to 0o777, not {text}", spec.name)),
        Err(_) => Err(format!("`{text}` is no file mode in octal: write `{}`", spec.usage())),
    }
}

fn wrong_kind(spec: &Spec, literal: &Literal<'_>) -> String {
    let expected = match spec.takes {
        Takes::Addr => "an address in quotes, or several in brackets",
        Takes::TcpAddr => "an address in quotes",
        Takes::Mode => "a file mode in octal",
        Takes::Owner => "the name of a user in quotes",
        Takes::Name(_) => "a name in quotes",
        Takes::Switch => "nothing, or a bool",
        Takes::Count(..) | Takes::Signed(..) => "a whole number",
        Takes::Account => "a name in quotes, or a number",
        Takes::Title => "text in quotes",
        Takes::Cpus => "CPUs in quotes",
        Takes::Files => "a list of paths",
        Takes::Duration(_) => "a duration in quotes",
        Takes::Size => "a size in quotes, or a number of bytes",
        Takes::File => "the name of a file in quotes",
        Takes::Pem => "the material itself as bytes",
        Takes::Protocols => "an array of names",
        Takes::Function => "a function or a closure",
        Takes::Logger => "a value that implements `log::Log`",
        Takes::CratePath => "a path",
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
    let name = spec.name;
    format!("`{name}` takes {expected}, not {found}: write `{}`", correction(spec, literal))
}

/// What the user should have written: with the value at hand, if it makes sense.
fn correction(spec: &Spec, literal: &Literal<'_>) -> String {
    let name = spec.name;
    match (spec.takes, literal.lit) {
        (Takes::Duration(_), Lit::Int(number)) if !literal.negative => {
            let unit = if number.suffix().is_empty() { "s" } else { number.suffix() };
            let text = format!("{}{unit}", number.base10_digits());
            if humantime::parse_duration(&text).is_ok() {
                return format!("{name} = \"{text}\"");
            }
        }
        (Takes::Addr | Takes::TcpAddr, Lit::Int(port)) if port.base10_parse::<u16>().is_ok() => {
            return format!("{name} = \":{}\"", port.base10_digits());
        }
        (Takes::Count(min, max), Lit::Str(text)) => {
            let text = text.value();
            if text.parse::<u64>().is_ok_and(|number| (min..=max).contains(&number)) {
                return format!("{name} = {text}");
            }
        }
        (Takes::Signed(min, max), Lit::Str(text)) => {
            let text = text.value();
            if text.parse::<i64>().is_ok_and(|number| (min..=max).contains(&number)) {
                return format!("{name} = {text}");
            }
        }
        (Takes::Cpus, Lit::Int(cpu)) => return format!("{name} = \"{}\"", cpu.base10_digits()),
        (Takes::Files, Lit::Str(path)) => return format!("{name} = [{}]", path.token()),
        (Takes::Protocols, Lit::Str(text)) => return format!("{name} = [{}]", text.token()),
        (Takes::Pem, Lit::Str(text)) => return format!("{name} = include_bytes!({})", text.token()),
        (Takes::CratePath, Lit::Str(text)) if syn::parse_str::<Path>(&text.value()).is_ok() => {
            return format!("{name} = {}", text.value());
        }
        _ => {}
    }
    spec.usage()
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

/// The expression without parentheses, and without the unseen ones that macros put around it.
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
