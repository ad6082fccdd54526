//! A template engine for templates that nobody has looked at: whatever one says, it ends, and takes little memory.
//!
//! Fuel bounds the steps. It does not bound what a value holds: a list that holds itself twice, forty times over, is
//! cheap to build, and whoever prints, compares or drops it needs more memory or stack than there is. So each value
//! that a template makes is measured before it is used, and refused where it nests too deep or would be too long
//! written out. Calls that do so are put between the instructions of the compiled template, behind each one that makes
//! a value.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::machinery::{
    Instruction, Instructions, Token, eval, get_compiled_template, make_string_output, tokenize,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{DynObject, Enumerator, Kwargs, Object, ObjectRepr, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, filters, functions};
use minijinja_contrib::pycompat;

/// Steps that a template may take, so that a hostile one ends. Qwen 3's takes 120,000 for 2,051 messages, checks apart.
const FUEL: u64 = 1_500_000;
/// How long a template may be, in bytes; Qwen 3's has 4,116.
const LONGEST_SOURCE: usize = 128 << 10;
/// How long a tag may be, in words and signs, and how many `elif`s there may be.
const LONGEST_TAG: usize = 1_000;
const MOST_BRANCHES: usize = 500;
/// How far from 0 a range may start and end.
const FARTHEST: i64 = 1 << 40;
/// How deep a value may nest; the deepest of a request, the arguments of a tool's call, has six levels.
const DEEPEST: usize = 32;
/// How large a value may be: `ITEM_SIZE` for each item at each place where it stands, and the bytes of its texts. What
/// 10,000 messages take.
const LARGEST: u64 = 2 << 20;
const ITEM_SIZE: u64 = 16;
/// Fuel that measuring takes is the size by this.
const SIZE_PER_FUEL: u64 = 1_024;
/// How far `tojson` may indent a level.
const WIDEST_INDENT: usize = 8;
/// How wide Python's `format` may make a field.
const WIDEST_FIELD: usize = 1_000;

// Names that no template can spell.
const MEASURED: &str = "\0measured";
const CHARGED: &str = "\0charged";
const ASSIGN: &str = "\0assign";

/// A compiled template.
#[derive(Debug)]
pub(super) struct Bounded {
    environment: Environment<'static>,
}

impl Bounded {
    /// Compiles a template's source as `transformers` does.
    pub(super) fn new(source: &str) -> Result<Self, Error> {
        if source.len() > LONGEST_SOURCE {
            return Err(refused(format!("it has {} bytes; the most is {LONGEST_SOURCE}", source.len())));
        }
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
        refuse_by_tokens(source, syntax.clone())?;
        let mut environment = Environment::new();
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(method);
        environment.add_filter("tojson", to_json);
        environment.add_function("namespace", namespace);
        environment.add_function("range", range);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        // Jinja has no such filters and functions, or no chat template uses them; what they make cannot be measured.
        for filter in ["chain", "groupby", "pprint", "zip"] {
            environment.remove_filter(filter);
        }
        environment.remove_global("debug");
        environment.add_function(MEASURED, measured);
        environment.add_function(CHARGED, charged);
        environment.add_function(ASSIGN, assign);
        caught(|| environment.add_template_owned("chat", source.to_owned()))?;
        Ok(Self { environment })
    }

    /// What the template writes.
    pub(super) fn render(&self, context: Value) -> Result<String, Error> {
        let template = self.environment.get_template("chat")?;
        let instructions = with_checks(&get_compiled_template(&template).instructions);
        let mut text = String::new();
        let blocks = BTreeMap::new();
        caught(|| {
            let mut output = make_string_output(&mut text);
            eval(&self.environment, &instructions, context, &blocks, &mut output, AutoEscape::None).map(drop)
        })?;
        Ok(text)
    }
}

/// What the engine does, its panics as errors: `loop.cycle()` without a value is one.
fn caught<T>(engine: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // What it worked on is thrown away by the caller, or only read.
    catch_unwind(AssertUnwindSafe(engine))
        .unwrap_or_else(|_| Err(refused("it makes the template engine fail")))
}

fn refused(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}

/// Refuses what is dangerous to compile: expressions and `elif`s in a row, which are compiled one within the other, and
/// lists that are multiplied, which is carried out without any limit where both sides are constant.
fn refuse_by_tokens(source: &str, syntax: SyntaxConfig) -> Result<(), Error> {
    let tokens: Vec<Token<'_>> = tokenize(source, false, syntax)
        .map(|token| token.map(|(token, _)| token))
        .collect::<Result<_, _>>()?;
    let mut tag = 0;
    let mut branches = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::VariableStart | Token::BlockStart => tag = 0,
            Token::Ident("elif") => branches += 1,
            Token::Mul => {
                let (before, after) = tokens.split_at(at);
                if is_list(before.iter().rev()) || is_list(after.iter().skip(1)) {
                    return Err(refused("it multiplies a list, which is not supported"));
                }
            }
            _ => {}
        }
        tag += 1;
        if tag > LONGEST_TAG {
            return Err(refused(format!("it has a tag of more than {LONGEST_TAG} words and signs")));
        }
        if branches > MOST_BRANCHES {
            return Err(refused(format!("it has more than {MOST_BRANCHES} `elif`s")));
        }
    }
    Ok(())
}

/// Whether what starts, or from behind ends, here may be a list or a tuple.
fn is_list<'a>(tokens: impl Iterator<Item = &'a Token<'a>>) -> bool {
    let mut open = 0_i32;
    for token in tokens {
        match token {
            Token::BracketOpen | Token::BracketClose | Token::Comma => return true,
            Token::ParenOpen => open += 1,
            Token::ParenClose => open -= 1,
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    false
}

/// A template's instructions with the checks in between.
fn with_checks<'source>(plain: &Instructions<'source>) -> Instructions<'source> {
    let all = || (0_u32..).map_while(|at| plain.get(at));
    // Where each instruction, and the end, comes to be: what jumps have to know.
    let mut places = vec![0];
    let mut end = 0;
    for instruction in all() {
        end += checked(instruction, &|at| at).iter().map(|_| 1).sum::<u32>();
        places.push(end);
    }
    let place = |at: u32| places.get(at as usize).copied().unwrap_or(end);
    let mut instructions = Instructions::new(plain.name(), plain.source());
    for instruction in all().flat_map(|instruction| checked(instruction, &place)) {
        instructions.add(instruction);
    }
    instructions
}

/// What stands for an instruction.
fn checked<'source>(plain: &Instruction<'source>, place: &dyn Fn(u32) -> u32) -> Vec<Instruction<'source>> {
    use Instruction as I;
    let measured = I::CallFunction(MEASURED, Some(1));
    match plain {
        I::BuildMap(_)
        | I::BuildList(_)
        | I::BuildTuple(_)
        | I::Add
        | I::Mul
        | I::Slice
        | I::StringConcat
        | I::EndCapture
        | I::ApplyFilter(..)
        | I::CallFunction(..)
        | I::CallMethod(..)
        | I::CallObject(_) => vec![plain.clone(), measured],
        I::Eq
        | I::Ne
        | I::Lt
        | I::Lte
        | I::Gt
        | I::Gte
        | I::In
        | I::CompareAndPreserve(_)
        | I::PerformTest(..) => {
            vec![I::CallFunction(CHARGED, Some(1)), plain.clone()]
        }
        I::SetAttr(name) => {
            vec![I::LoadConst(Value::from(*name)), I::CallFunction(ASSIGN, Some(3)), I::DiscardTop]
        }
        I::Iterate(to) => vec![I::Iterate(place(*to))],
        I::Jump(to) => vec![I::Jump(place(*to))],
        I::JumpIfFalse(to) => vec![I::JumpIfFalse(place(*to))],
        I::JumpIfFalseOrPop(to) => vec![I::JumpIfFalseOrPop(place(*to))],
        I::JumpIfTrueOrPop(to) => vec![I::JumpIfTrueOrPop(place(*to))],
        I::BuildMacro(name, to, flags) => vec![I::BuildMacro(name, place(*to), *flags)],
        _ => vec![plain.clone()],
    }
}

/// A value that was just made, if it is not too large. Iterators become lists: what they hold cannot be seen.
fn measured(state: &State, value: &Value) -> Result<Value, Error> {
    let kind = value.as_object().map(DynObject::repr);
    let stands_alone =
        value.downcast_object_ref::<Namespace>().is_some() || matches!(kind, Some(ObjectRepr::Plain));
    if stands_alone {
        return Ok(value.clone());
    }
    state.consume_fuel(size(value)? / SIZE_PER_FUEL)?;
    match kind {
        Some(ObjectRepr::Iterable) => Ok(Value::from(value.try_iter()?.collect::<Vec<_>>())),
        _ => Ok(value.clone()),
    }
}

/// A value that something is about to be compared with, which takes as long as it is large.
fn charged(state: &State, value: &Value) -> Result<Value, Error> {
    // What has no size, such as a loop, counts as large: no template compares it.
    state.consume_fuel(size(value).unwrap_or(LARGEST) / SIZE_PER_FUEL)?;
    Ok(value.clone())
}

/// How large a value is.
fn size(value: &Value) -> Result<u64, Error> {
    let mut left = LARGEST;
    take_size(value, 0, &mut left)?;
    Ok(LARGEST - left)
}

fn take_size(value: &Value, depth: usize, left: &mut u64) -> Result<(), Error> {
    let text = value.as_str().map(str::len).or_else(|| value.as_bytes().map(<[u8]>::len)).unwrap_or(0);
    let own = (text as u64).saturating_add(ITEM_SIZE);
    *left = left
        .checked_sub(own)
        .ok_or_else(|| refused(format!("it makes a value of more than {LARGEST} bytes")))?;
    let Some(object) = value.as_object() else {
        return if value.kind() == ValueKind::Invalid {
            Err(refused("it makes a value that is none"))
        } else {
            Ok(())
        };
    };
    if depth == DEEPEST {
        return Err(refused(format!("it makes a value that nests deeper than {DEEPEST} levels")));
    }
    match object.repr() {
        ObjectRepr::Seq | ObjectRepr::Iterable => {
            for item in object.try_iter().into_iter().flatten() {
                take_size(&item, depth + 1, left)?;
            }
        }
        ObjectRepr::Map if is_dictionary(object) => {
            for (key, item) in object.try_iter_pairs().into_iter().flatten() {
                if key.as_object().is_some() {
                    return Err(refused("it has a list or a dictionary as a key"));
                }
                take_size(&key, depth + 1, left)?;
                take_size(&item, depth + 1, left)?;
            }
        }
        _ => return Err(refused("it puts a namespace, a loop, a macro or a function into a value")),
    }
    Ok(())
}

/// Whether a map is a dictionary that never changes, so that it cannot come to hold itself.
fn is_dictionary(object: &DynObject) -> bool {
    object.downcast_ref::<BTreeMap<Value, Value>>().is_some()
        || object.type_name().ends_with("::StaticKeyMap")
}

/// What loops write to. The engine's own would take any value.
#[derive(Debug, Default)]
struct Namespace {
    /// Values and their sizes.
    entries: Mutex<BTreeMap<String, (Value, u64)>>,
}

impl Namespace {
    fn assign(&self, name: &str, value: Value) -> Result<(), Error> {
        let size = size(&value)?;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let others: u64 =
            entries.iter().filter(|(other, _)| *other != name).map(|(_, (_, size))| size + ITEM_SIZE).sum();
        if others + size > LARGEST {
            return Err(refused(format!("it has a namespace of more than {LARGEST} bytes")));
        }
        entries.insert(name.to_owned(), (value, size));
        Ok(())
    }
}

impl Object for Namespace {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key.as_str()?).map(|(value, _)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Enumerator::Values(entries.keys().map(Value::from).collect())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the engine calls functions so")]
fn namespace(defaults: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let made = Namespace::default();
    if let Some(defaults) = defaults {
        let object = defaults.as_object().filter(|object| object.repr() == ObjectRepr::Map);
        let pairs = object.and_then(DynObject::try_iter_pairs);
        for (key, value) in pairs.ok_or_else(|| refused("it makes a namespace of what is no dictionary"))? {
            made.assign(key.as_str().unwrap_or_default(), value)?;
        }
    }
    for name in named.args() {
        made.assign(name, named.peek(name)?)?;
    }
    Ok(Value::from_object(made))
}

/// `{% set namespace.name = value %}`
fn assign(value: Value, target: &Value, name: &str) -> Result<(), Error> {
    match target.downcast_object_ref::<Namespace>() {
        Some(namespace) => namespace.assign(name, value),
        None => {
            Err(refused(format!("it assigns to an attribute of a {}, which is no namespace", target.kind())))
        }
    }
}

/// The function `range`, with numbers that can be reckoned with.
fn range(lower: i64, upper: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let size = |number: i64| {
        let near = (-FARTHEST..=FARTHEST).contains(&number).then(|| isize::try_from(number).ok());
        near.flatten().ok_or_else(|| refused(format!("it makes a range to {number}")))
    };
    functions::range(size(lower)?, upper.map(size).transpose()?, step.map(size).transpose()?)
}

/// The filter `tojson`, with an indentation that cannot make much of little.
fn to_json(state: &State, value: &Value, indent: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => named.get("indent")?,
    };
    if indent.as_ref().and_then(Value::as_usize).is_some_and(|indent| indent > WIDEST_INDENT) {
        return Err(refused(format!("it indents JSON by more than {WIDEST_INDENT}")));
    }
    let json = filters::tojson(value, indent, named)?;
    state.consume_fuel(json.as_str().map_or(0, str::len) as u64 / 4)?;
    Ok(json)
}

/// Methods of Python's values.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    if name == "format"
        && let Some(format) = value.as_str()
    {
        let numbers = format.split(|other: char| !other.is_ascii_digit()).filter(|digits| !digits.is_empty());
        let widths = numbers.map(|digits| digits.parse::<usize>().unwrap_or(usize::MAX));
        if widths.max().is_some_and(|widest| widest > WIDEST_FIELD) {
            return Err(refused(format!("it formats a field wider than {WIDEST_FIELD}")));
        }
    }
    pycompat::unknown_method_callback(state, value, name, arguments)
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    fn render_of(source: &str, messages: usize) -> Result<String, Error> {
        let message =
            |index: usize| context! { role => "user", content => format!("\u{f8f0}{index}\u{f8f1}") };
        let messages: Vec<Value> = (0..messages).map(message).collect();
        Bounded::new(source)?.render(context! { messages => messages, add_generation_prompt => true })
    }

    /// `{% set ns.x = STEP %}` so many times over, and what is done with it.
    fn grown(start: &str, times: usize, step: &str, then: &str) -> String {
        format!(
            "{{% set ns = namespace(x={start}, y={start}) %}}{{% for i in range({times}) %}}{{% set ns.x = {step} %}}\
             {{% set ns.y = {step} %}}{{% endfor %}}{then}"
        )
    }

    /// Each of these took the whole program with it, or all memory, or did not end.
    #[test]
    fn a_template_cannot_make_what_cannot_be_used() {
        let deep = |then: &str| grown("[1]", 90_000, "[ns.x]", then);
        let wide = |then: &str| grown("[1]", 60, "[ns.x, ns.x]", then);
        let cases = [
            deep("a"),
            deep("{{ ns.x }}"),
            deep("{{ ns.x|tojson }}"),
            deep("{{ ns.x == ns.y }}"),
            wide("{{ ns.x|tojson }}"),
            wide("{{ '' ~ ns.x }}"),
            wide("{{ ns.x == ns.y }}"),
            wide("{{ ns.x|join }}"),
            grown("[1]", 90_000, "{'a': ns.x}", "a"),
            grown("[1]", 90_000, "(ns.x, 1)", "a"),
            grown("[1]", 90_000, "dict(a=ns.x)", "a"),
            grown("[1]", 90_000, "ns.x|batch(1)", "a"),
            grown("[1]", 90_000, "[ns.x]|map('list')", "a"),
            grown("{'a': 1}", 90_000, "{'a': ns.x.items()}", "a"),
            grown("[1]", 60, "ns.x + ns.x", "{{ ns.x|tojson }}"),
            grown("[1]", 60, "ns.x|sum(start=ns.x|list)", "{{ ns.x }}"),
            grown("'a'", 60, "ns.x ~ ns.x", "{{ ns.x }}"),
            grown("'a'", 60, "ns.x|replace('a', 'aa')", "{{ ns.x }}"),
            grown("1", 3, "ns", "{{ ns }}"),
            grown("1", 3, "[ns]", "{{ ns }}"),
            grown("1", 3, "namespace(a=ns)", "{{ ns }}"),
            grown("1", 3, "range", "a"),
            "{% set ns = namespace() %}{% for i in range(90000) %}{% set before = ns.m %}{% macro m() %}\
             {{ before }}{% endmacro %}{% set ns.m = m %}{% endfor %}"
                .to_owned(),
            "{% set ns = namespace() %}{% for i in range(9) %}{% set ns.l = loop %}{% endfor %}".to_owned(),
            "{% macro m(x) %}{{ m([x, x]) }}{% endmacro %}{{ m(1) }}".to_owned(),
            "{% macro m(x) %}{{ m(x + x) }}{% endmacro %}{{ m([1]) }}".to_owned(),
            "{% for x in [[1]] recursive %}{{ loop([[x, x]]) }}{% endfor %}".to_owned(),
            format!("{}{{{{ x }}}}", "{% set x = [x, x] %}".repeat(60)),
            format!("{}{{{{ x|tojson }}}}", "{% set x = {'a': x, 'b': x} %}".repeat(60)),
            "{{ messages|tojson(indent=1000000000) }}".to_owned(),
            "{{ messages|tojson(1000000000) }}".to_owned(),
            "{{ 'x'|indent(width=1000000000) }}".to_owned(),
            "{{ 'x' * 1000000000 }}".to_owned(),
            "{{ '{:>1000000000}'.format('x') }}".to_owned(),
            "{{ '{:.1000000000f}'.format(1.5) }}".to_owned(),
            "{{ '%1000000000d' % 1 }}".to_owned(),
            "{{ '%1000000000d'|format(1) }}".to_owned(),
            "{{ [1]|batch(1000000000, 'x') }}".to_owned(),
            "{{ [1]|slice(1000000000) }}".to_owned(),
            "{{ range(1000000000)|list }}".to_owned(),
            "{{ '' ~ [[[1] * 10000] * 10000] * 10000 }}".to_owned(),
            "{{ '' ~ 10000 * ([10000 * ([1])]) }}".to_owned(),
            "{{ '' ~ ((((1,) * 30,) * 30,) * 30,) * 30 }}".to_owned(),
            "{% set n = 10000 %}{{ ([[1]|list * n]|list * n)|tojson }}".to_owned(),
            "{{ messages|pprint }}".to_owned(),
            "{{ debug() }}".to_owned(),
            "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}".to_owned(),
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
            " ".repeat(LONGEST_SOURCE + 1),
            format!("{{{{ 1{} }}}}", "+1".repeat(60_000)),
            format!("{{{{ x{} }}}}", ".a".repeat(60_000)),
            format!("{{{{ x{} }}}}", "|e".repeat(60_000)),
            format!("{{{{ x{} }}}}", "[0]".repeat(40_000)),
            format!("{{{{ {} x }}}}", "not ".repeat(30_000)),
            format!("{{{{ {} 1 }}}}", "-".repeat(100_000)),
            format!("{{{{ 1{} }}}}", " if x else 1".repeat(10_000)),
            format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(10_000)),
            format!("{{{{ {}x{} }}}}", "(".repeat(40_000), ")".repeat(40_000)),
            format!("{}x{}", "{% if x %}".repeat(5_000), "{% endif %}".repeat(5_000)),
            "{{ range(9223372036854775807, -9223372036854775807, -1)|list }}".to_owned(),
            "{% for x in [1] %}{{ loop.cycle() }}{% endfor %}".to_owned(),
            "{{ {[1]: 2} }}{% set x = [1] %}{{ {x: 2} }}".to_owned(),
            "{% set x = range(90000)|list %}{% set y = range(90000)|list %}{% for i in range(90000) %}\
             {% for j in range(90000) %}{% if [x] == [y] %}{% endif %}{% endfor %}{% endfor %}"
                .to_owned(),
            "{{ [1]|batch(0) }}".to_owned(),
        ];
        for source in cases {
            let shown: String = source.chars().take(200).collect();
            assert!(render_of(&source, 3).is_err(), "{shown}");
        }
    }

    /// What templates do, as Jinja does it.
    #[test]
    fn a_template_does_all_that_it_did() {
        let cases = [
            ("{% for m in messages %}{{ m.role }}{{ loop.index0 }}{% endfor %}", "user0user1user2"),
            ("{% for m in messages[1:] %}{{ loop.index }}{% else %}x{% endfor %}", "12"),
            ("{% for m in messages[::-1] if m.role == 'x' %}{{ m }}{% else %}none{% endfor %}", "none"),
            (
                "{% set ns = namespace(n=0, f=false) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}{{ ns.f }}{{ ns.g is defined }}",
                "3FalseFalse",
            ),
            ("{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns['b'] }}", "12"),
            (
                "{% set ns = namespace(all=[]) %}{% for m in messages %}{% set ns.all = ns.all + [m] %}{% endfor %}{{ ns.all|length }}",
                "3",
            ),
            ("{% macro m(a, b='y') %}<{{ a }}{{ b }}>{% endmacro %}{{ m('x') }}{{ m(1, b=2) }}", "<xy><12>"),
            (
                "{% macro deep(x) %}{% if x %}{{ x }}{{ deep(x - 1) }}{% endif %}{% endmacro %}{{ deep(3) }}",
                "321",
            ),
            ("{% set x %}a{{ 1 }}{% endset %}{{ x }}", "a1"),
            ("{{ 'a' if messages else 'b' }}{{ [1] if not messages else [2] }}{{ (1, 2) }}", "a[2](1, 2)"),
            (
                "{{ messages and 'x' }}{{ none or 'y' }}{{ 1 < 2 < 3 }}{{ 1 in [1] }}{{ 1 not in [1] }}",
                "xyTrueTrueFalse",
            ),
            ("{{ {'a': [1, 2], 'b': {'c': 'd'}}|tojson }}", "{\"a\": [1, 2], \"b\": {\"c\": \"d\"}}"),
            ("{{ {'a': [1]}|tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ]\n}"),
            (
                "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}{% for k, v in {'c': 3}|items %}{{ k }}{{ v }}{% endfor %}",
                "a1b2c3",
            ),
            (
                "{{ messages|map(attribute='role')|join(',') }}{{ 'a|b'.split('|')[-1] }}{{ ' x '.strip() }}",
                "user,user,userbx",
            ),
            ("{{ messages|selectattr('role', 'equalto', 'user')|list|length }}", "3"),
            (
                "{{ '-' * 3 }}{{ (1 + 2) * 3 }}{{ '{:>3}'.format('x') }}{{ range(3)|list }}",
                "---9  x[0, 1, 2]",
            ),
            (
                "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ loop.index0 }}{% endfor %}",
                "0",
            ),
            (
                "{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}",
                "1(2(3))",
            ),
            (
                "{{ dict(a=1)|tojson }}{{ dict({'b': [2]}, c=3).b }}{{ range(1, 7, 2)|list }}",
                "{\"a\": 1}[2][1, 3, 5]",
            ),
            ("{% set a, b = 1, 2 %}{{ a }}{{ b }}{% with c = [a] %}{{ c }}{% endwith %}", "12[1]"),
            ("{% macro m(x) %}<{{ caller(x) }}>{% endmacro %}{% call(x) m(1) %}{{ x }}{% endcall %}", "<1>"),
        ];
        for (source, expected) in cases {
            let written = render_of(source, 3);
            assert_eq!(written.as_deref().ok(), Some(expected), "{source}: {written:?}");
        }
    }

    #[test]
    fn a_thousand_turns_are_written_in_the_dearest_of_ways() {
        let source = "{% set ns = namespace(all=[], last=0) %}{% for m in messages[::-1] %}{% set ns.last = loop.index0 %}\
                      {% endfor %}{% for m in messages %}{% set ns.all = ns.all + [m] %}{{ m.role + m.content|trim }}\
                      {% if loop.index0 > ns.last and m.content is string and '</think>' in m.content %}x{% endif %}\
                      {{ m|tojson }}{% endfor %}{{ ns.all|length }}";
        let written = render_of(source, 1_000).map_err(|error| error.to_string()).unwrap();
        assert!(written.ends_with("1000"));
    }

    /// What the engine itself has to bear.
    #[test]
    fn nothing_is_too_long_or_too_far() {
        for source in [
            format!("{{{{ 1{} }}}}", "+1".repeat(490)),
            format!("{{{{ x{} }}}}", ".a".repeat(490)),
            format!("{{{{ x{} }}}}", "|e".repeat(490)),
            format!("{{{{ {} x }}}}", "not ".repeat(990)),
            format!("{{{{ {} 1 }}}}", "- ".repeat(990)),
            format!("{{{{ 1{} }}}}", " if x else 1".repeat(240)),
            format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(490)),
            format!("{}x{}", "{% if not x %}".repeat(140), "{% endif %}".repeat(140)),
            "{{ 1.5|round(2000000000) }}{{ 1.5|round(-2000000000) }}".to_owned(),
            "{{ 'abc'[::-9223372036854775807] }}{{ [1][9223372036854775807:] }}".to_owned(),
            "{{ 'a b'.split(' ', 9223372036854775807) }}{{ 'aa'.replace('a', 'b', -5) }}".to_owned(),
            "{{ 2 ** 200 }}{{ 9223372036854775807 + 9223372036854775807 }}{{ 1 // 0 }}".to_owned(),
            "{{ [1]|slice(0) }}{{ [1]|batch(-1) }}{{ 'x'|indent(-1) }}".to_owned(),
        ] {
            // An error is as good as a text, as long as it is one of them.
            drop(render_of(&source, 1));
        }
    }

    #[test]
    fn an_error_says_what_the_template_does() {
        let cases = [
            (grown("[1]", 90, "[ns.x]", ""), "nests deeper than 32 levels"),
            ("{% set x = 'a' * 3000000 %}".to_owned(), "a value of more than 2097152 bytes"),
            (grown("[1]", 90, "ns.x + ns.x", ""), "a namespace of more than 2097152 bytes"),
            ("{{ 1|tojson(indent=9) }}".to_owned(), "indents JSON by more than 8"),
            ("{{ [1] * 2 }}".to_owned(), "multiplies a list"),
            ("{% set x = 1 %}{% set x.y = 2 %}".to_owned(), "an attribute of a number"),
        ];
        for (source, expected) in cases {
            let error = render_of(&source, 1).unwrap_err();
            assert!(error.detail().is_some_and(|detail| detail.contains(expected)), "{source}: {error}");
        }
    }
}
