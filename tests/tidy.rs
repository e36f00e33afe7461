//! What no compiler checks about the source tree: the direction of imports, the size of files and functions,
//! words that mean unfinished work, and what may lie at the top of the repository.
//!
//! The checks read text, not syntax. Each is a function from a text to complaints, tested at the bottom on
//! texts that break it. A complaint says where, what, and what to do about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file may have this many lines before its tests: what one reader holds in mind.
const FILE_LINES: usize = 600;
/// A function may have this many lines, signature and closing brace included: two screens.
const FUNCTION_LINES: usize = 70;

/// The files and functions of the simulator that are longer than that, with how long each may be. The list only gets
/// shorter: what is split leaves it.
const LONG: &[(&str, usize)] = &[
    ("tests/support/sim/checks.rs", 895),
    ("tests/support/sim/checks.rs::leaving", 113),
    ("tests/support/sim/moves.rs", 641),
    ("tests/support/sim/moves.rs::cut_over", 74),
    ("tests/support/sim/program/reads.rs::read_transaction", 74),
    ("tests/support/sim/run.rs::agree", 90),
    ("tests/support/sim/world/mod.rs::new", 115),
];

/// The modules of `src/` from top to bottom. A module imports modules of later rows only; modules of its own
/// row only where the row says so. `lib.rs` states the same order for readers.
const LAYERS: &[(&[&str], Row)] = &[
    (&["session"], Row::Apart),
    (&["migrate"], Row::Apart),
    (&["route", "track", "auth"], Row::Apart),
    (&["cancel", "access"], Row::Apart),
    (&["startup"], Row::Apart),
    (&["stats"], Row::Apart),
    (&["ledger", "wire"], Row::Apart),
    (&["secret"], Row::Apart),
    (&["limits", "error"], Row::Together),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    /// Its modules do not import each other.
    Apart,
    /// Its modules may import each other.
    Together,
}

/// What the top of the repository may hold besides names that begin with a dot.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.toml.orig", // in a package made by `cargo package`
    "Cargo.lock",
    "src",
    "tests",
    "fuzz",
    "benches",
    "examples",
    "README.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "clippy.toml",
    "rustfmt.toml",
];

/// Words that mean unfinished work, in two halves so that this file does not hold them.
const BANNED: &[(&str, &str)] = &[
    ("to", "do!"),
    ("unimple", "mented!"),
    ("#[ig", "nore"),
    ("FIX", "ME"),
    ("XX", "X"),
    ("db", "g!"),
];

#[test]
fn imports_point_down() {
    let root = root();
    report(sources(&["src"]).iter().flat_map(|file| {
        let (name, text) = read(&root, file);
        let inside = file.strip_prefix(root.join("src")).unwrap();
        imports(&name, &module_path(inside), &text)
    }));
}

#[test]
fn files_are_short() {
    let root = root();
    report(sources(&["src"]).iter().flat_map(|file| {
        let (name, text) = read(&root, file);
        file_length(&name, &text)
    }));
}

#[test]
fn functions_are_short() {
    let root = root();
    report(sources(&["src", "examples"]).iter().flat_map(|file| {
        let (name, text) = read(&root, file);
        function_lengths(&name, &text)
    }));
}

#[test]
fn the_simulator_gets_no_longer() {
    let root = root();
    let mut found = Vec::new();
    for file in sources(&["tests/support/sim"]) {
        let (name, text) = read(&root, &file);
        found.extend(lengths(&name, &text));
    }
    report(ratchet(&found, LONG));
}

#[test]
fn nothing_is_left_unfinished() {
    let root = root();
    let trees = ["src", "tests", "examples", "benches", "fuzz"];
    report(sources(&trees).iter().flat_map(|file| {
        let (name, text) = read(&root, file);
        banned_words(&name, &text)
    }));
}

#[test]
fn the_top_level_holds_the_known_entries() {
    report(top_level(&top_entries(&root())));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn report(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Every Rust file below these directories of the repository, in a fixed order.
fn sources(directories: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = directories.iter().map(|name| root().join(name)).collect();
    while let Some(directory) = open.pop() {
        // A package may come without some of them.
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no Rust file in {directories:?}");
    found.sort();
    found
}

/// The name for complaints, from the top of the repository, and the text.
fn read(root: &Path, file: &Path) -> (String, String) {
    let name = file.strip_prefix(root).unwrap().display().to_string();
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{name}: {error}"));
    (name, text)
}

/// The names at the top: those under version control, or all but the build directory if that is not known.
fn top_entries(root: &Path) -> Vec<String> {
    let listed = Command::new("git")
        .arg("ls-files")
        .current_dir(root)
        .output()
        .map(|output| String::from_utf8(output.stdout).unwrap())
        .unwrap_or_default();
    let mut names: Vec<String> = listed
        .lines()
        .map(|path| path.split('/').next().unwrap().trim_matches('"').to_owned())
        .collect();
    if names.is_empty() {
        names = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "target")
            .collect();
    }
    names.sort();
    names.dedup();
    names
}

fn top_level(names: &[String]) -> Vec<String> {
    names
        .iter()
        .filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()))
        .map(|name| {
            format!(
                "{name}: not an entry of the top level. Put it into the directory it belongs to, or argue for it \
                 by adding it to TOP in tests/tidy.rs."
            )
        })
        .collect()
}

fn banned_words(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (head, tail) in BANNED {
            let word = format!("{head}{tail}");
            if has_word(line, &word) {
                complaints.push(format!(
                    "{name}:{}: `{word}`. Finish it, or take it out and write down what is missing where users \
                     look for it.",
                    number + 1
                ));
            }
        }
    }
    complaints
}

/// Whether `word` stands in `line` and is not part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let named = |c: char| c == '_' || c.is_alphanumeric();
        let joined = |end: Option<char>, next: Option<char>| {
            end.is_some_and(named) && next.is_some_and(named)
        };
        !joined(word.chars().next(), before) && !joined(word.chars().next_back(), after)
    })
}

fn file_length(name: &str, text: &str) -> Vec<String> {
    if is_tests(name) {
        return Vec::new();
    }
    let (code, tests) = split_tests(text);
    let mut complaints = Vec::new();
    let lines = code.lines().count();
    if lines > FILE_LINES {
        complaints.push(too_long(name, lines, FILE_LINES));
    }
    let mut after = tests.lines().skip_while(|line| *line != "}").skip(1);
    if after.any(|line| !line.trim().is_empty()) {
        complaints.push(format!(
            "{name}: code after the tests. Move the tests to the end of the file."
        ));
    }
    complaints
}

fn too_long(name: &str, lines: usize, most: usize) -> String {
    format!(
        "{name}: {lines} lines before its tests, {most} are allowed. Give one of its types a file of its own."
    )
}

/// How long something is, and how long it may be by itself.
struct Length {
    /// A file, or `file::function`.
    name: String,
    lines: usize,
    limit: usize,
    complaint: fn(&str, usize, usize) -> String,
}

/// Those of a file and of its functions; of functions of one name that of the longest.
fn lengths(name: &str, text: &str) -> Vec<Length> {
    let mut found = vec![Length {
        name: name.to_owned(),
        lines: split_tests(text).0.lines().count(),
        limit: FILE_LINES,
        complaint: too_long,
    }];
    for (_, function, lines) in functions(text) {
        let name = format!("{name}::{function}");
        match found.iter_mut().find(|known| known.name == name) {
            Some(known) => known.lines = known.lines.max(lines),
            None => found.push(Length {
                name,
                lines,
                limit: FUNCTION_LINES,
                complaint: too_long_a_function,
            }),
        }
    }
    found
}

/// What is longer than it may be, by itself or by the list, and what is listed without need.
fn ratchet(found: &[Length], listed: &[(&str, usize)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Length {
        name,
        lines,
        limit,
        complaint,
    } in found
    {
        let entry = listed.iter().find(|(known, _)| known == name);
        let most = entry.map_or(*limit, |(_, most)| *most);
        if *lines > most {
            complaints.push(complaint(name, *lines, most));
        }
    }
    for (name, _) in listed {
        let known = found.iter().find(|known| known.name == *name);
        if known.is_none_or(|known| known.lines <= known.limit) {
            complaints.push(format!(
                "{name}: it is not, or no longer, too long. Take it out of LONG in tests/tidy.rs."
            ));
        }
    }
    complaints
}

/// A file of `src/` that holds the tests of the module above it.
fn is_tests(name: &str) -> bool {
    Path::new(name)
        .file_name()
        .is_some_and(|file| file == "tests.rs")
}

/// The text up to the tests at its end, and the tests: a module behind `#[cfg(test)]`, both at the margin.
fn split_tests(text: &str) -> (&str, &str) {
    let mut offset = 0;
    let mut marked = None;
    for line in text.split_inclusive('\n') {
        match marked {
            Some(start) if line.starts_with("mod ") => return text.split_at(start),
            Some(_) if !line.starts_with("#[") => marked = None,
            Some(_) | None => {}
        }
        if line.trim_end() == "#[cfg(test)]" && line.starts_with('#') {
            marked = Some(offset);
        }
        offset += line.len();
    }
    (text, "")
}

fn function_lengths(name: &str, text: &str) -> Vec<String> {
    let all = functions(text).into_iter();
    all.filter(|(_, _, lines)| *lines > FUNCTION_LINES)
        .map(|(line, function, lines)| {
            let place = format!("{name}:{line}: `{function}`");
            too_long_a_function(&place, lines, FUNCTION_LINES)
        })
        .collect()
}

fn too_long_a_function(name: &str, lines: usize, most: usize) -> String {
    format!(
        "{name} has {lines} lines, {most} are allowed. Name one of its steps and move it into a function."
    )
}

/// The functions of a text that have a body: where each begins, its name, and how many lines it has.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let tokens = tokens(&code_only(text));
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [token, function] = pair else { continue };
        // `fn(` is a type.
        if token.text != "fn" || function.text == "(" {
            continue;
        }
        if let Some(end) = body_end(&tokens[at..]) {
            found.push((token.line, function.text.clone(), end - token.line + 1));
        }
    }
    found
}

/// The line on which the body of the function that begins here closes; `None` if it has no body.
fn body_end(tokens: &[Token]) -> Option<usize> {
    let (mut nested, mut braces) = (0, 0);
    for token in tokens {
        match token.text.as_str() {
            "(" | "[" => nested += 1,
            ")" | "]" => nested -= 1,
            ";" if nested == 0 && braces == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                if braces == 0 && nested == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

/// The modules that a file of `src/` stands for, outermost first: none for `lib.rs`.
fn module_path(inside: &Path) -> Vec<String> {
    let mut path: Vec<String> = inside
        .with_extension("")
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if path
        .last()
        .is_some_and(|last| last == "mod" || last == "lib")
    {
        path.pop();
    }
    path
}

fn imports(name: &str, module: &[String], text: &str) -> Vec<String> {
    let Some(own) = module.first() else {
        return Vec::new();
    };
    if is_tests(name) {
        return Vec::new();
    }
    let Some(row) = row_of(own) else {
        return vec![format!(
            "{name}: module `{own}` has no layer. Add it to LAYERS in tests/tidy.rs and to the tree in lib.rs."
        )];
    };
    let code = code_only(split_tests(text).0);
    let mut complaints = Vec::new();
    for (line, other) in mentions(&tokens(&code), module.len()) {
        if other == *own {
            continue;
        }
        match row_of(&other) {
            None => complaints.push(format!(
                "{name}:{line}: `crate::{other}` is not a module of LAYERS in tests/tidy.rs. Name what you use by \
                 the module that defines it."
            )),
            Some(to) if to > row || (to == row && LAYERS[row].1 == Row::Together) => {}
            Some(_) => complaints.push(format!(
                "{name}:{line}: `{own}` imports `{other}`, which is not below it (see LAYERS in tests/tidy.rs). Take \
                 what you need as an argument, or move it down to where both can see it."
            )),
        }
    }
    complaints
}

fn row_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(row, _)| row.contains(&module))
}

/// Top-level modules named by paths from the root, with their lines: `crate::x`, `crate::{x, y::z}`, and as many
/// `super::` as lead out of a module `depth` levels deep.
fn mentions(tokens: &[Token], depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    for at in 0..tokens.len() {
        let mut next = at;
        if is(at, "crate") && is(at + 1, "::") {
            next = at + 2;
        } else if is(at, "super") && !(at > 1 && is(at - 1, "::") && is(at - 2, "super")) {
            while is(next, "super") && is(next + 1, "::") {
                next += 2;
            }
            if (next - at) / 2 < depth {
                continue;
            }
        }
        if next > at {
            found.extend(heads(&tokens[next..]));
        }
    }
    found
}

/// The first names of what follows a path: the name itself, or those of a group.
fn heads(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut braces = 0;
    let mut fresh = true;
    for token in tokens {
        match token.text.as_str() {
            "{" => braces += 1,
            "}" => braces -= 1,
            "," if braces == 1 => fresh = true,
            "self" | "super" => fresh = false,
            name if fresh => {
                found.push((token.line, name.to_owned()));
                fresh = false;
            }
            _ => {}
        }
        if braces == 0 {
            break;
        }
    }
    found
}

struct Token {
    line: usize,
    text: String,
}

/// Names, numbers, `::` and single marks of a text without comments and literals.
fn tokens(code: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let named = |c: char| c == '_' || c.is_alphanumeric();
            let size = if named(first) {
                rest.find(|c| !named(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() {
                found.push(Token {
                    line: number + 1,
                    text: rest[..size].to_owned(),
                });
            }
            rest = &rest[size..];
        }
    }
    found
}

/// The text with comments and literals taken out, line for line.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skip_length(rest, code.chars().next_back());
        let size = if skipped > 0 {
            skipped
        } else {
            first.len_utf8()
        };
        let (head, tail) = rest.split_at(size);
        if skipped > 0 {
            // The space keeps what stood on both sides apart.
            code.push(' ');
            code.extend(head.chars().filter(|c| *c == '\n'));
        } else {
            code.push_str(head);
        }
        rest = tail;
    }
    code
}

/// The length of the comment or literal that `rest` begins with; 0 if it begins with neither.
fn skip_length(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if let Some(inner) = rest.strip_prefix('"') {
        return 1 + quoted(inner, '"');
    }
    let named = before.is_some_and(|c| c == '_' || c.is_alphanumeric());
    if rest.starts_with('r') && (!named || before == Some('b') || before == Some('c')) {
        return raw_string(rest);
    }
    if let Some(inner) = rest.strip_prefix('\'') {
        let mut chars = inner.chars();
        // Anything else behind a quote is a lifetime.
        return match (chars.next(), chars.next()) {
            (Some('\\'), _) => 1 + quoted(inner, '\''),
            (Some(only), Some('\'')) => 2 + only.len_utf8(),
            _ => 0,
        };
    }
    0
}

/// Bytes up to and including the closing quote.
fn quoted(inner: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    inner.len()
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let step = match rest.get(at..at + 2) {
            Some("/*") => {
                depth += 1;
                2
            }
            Some("*/") => {
                depth -= 1;
                2
            }
            Some(_) | None => 1,
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Length of `r"…"` or `r#"…"#` with any number of marks; 0 for a name that begins with `r`.
fn raw_string(rest: &str) -> usize {
    let marks = rest[1..].chars().take_while(|c| *c == '#').count();
    let Some(inner) = rest[1 + marks..].strip_prefix('"') else {
        return 0;
    };
    let close = format!("\"{}", "#".repeat(marks));
    let head = 2 + marks;
    inner
        .find(&close)
        .map_or(rest.len(), |at| head + at + close.len())
}

mod checks {
    use super::*;

    fn importing(file: &str, text: &str) -> Vec<String> {
        imports(file, &module_path(Path::new(file)), text)
    }

    #[test]
    fn an_import_from_above_is_found_however_it_is_written() {
        for text in [
            "use crate::session::Session;",
            "use crate::{limits, session::Session};",
            "use crate::{\n    limits::{self, MAX},\n    session,\n};",
            "use super::session::Session;",
            "fn f() -> crate::session::Session { g() }",
            "use super::{limits, session};",
            "pub(crate) use crate :: session :: Session;",
            "fn f() { /* } \" */ let c = '\"'; crate::session::g(); }",
            "fn f<'a>(x: &'a str) { crate::session::g(r#\"\"\"#) }",
        ] {
            let complaints = importing("wire/mod.rs", text);
            assert_eq!(complaints.len(), 1, "{text}: {complaints:?}");
            assert!(
                complaints[0].contains("`wire` imports `session`"),
                "{complaints:?}"
            );
        }
        let deep = "use super::super::session::Session;";
        assert_eq!(importing("wire/backend.rs", deep).len(), 1);
        assert_eq!(
            importing("wire/a/b.rs", "use super::super::super::session;").len(),
            1
        );
    }

    #[test]
    fn the_line_of_an_import_is_told() {
        let text = "//! Page.\n\nuse crate::{\n    limits,\n    route::Intent,\n};\n";
        let complaints = importing("auth/mod.rs", text);
        assert!(complaints[0].starts_with("auth/mod.rs:5: `auth` imports `route`"));
    }

    #[test]
    fn neighbours_of_a_row_are_apart_unless_the_row_says_so() {
        for (file, other) in [
            ("route/mod.rs", "track"),
            ("track/mod.rs", "auth"),
            ("auth/scram.rs", "route"),
            ("ledger/mod.rs", "wire"),
            ("wire/mod.rs", "ledger"),
            ("limits.rs", "stats"),
            ("secret.rs", "stats"),
            ("migrate/mod.rs", "session"),
        ] {
            let text = format!("use crate::{other};");
            assert_eq!(importing(file, &text).len(), 1, "{file}: {text}");
        }
        for (file, other) in [
            ("limits.rs", "error"),
            ("error.rs", "limits"),
            ("stats/mod.rs", "wire"),
            ("session/mod.rs", "migrate"),
            ("startup/mod.rs", "wire"),
            ("wire/mod.rs", "limits"),
        ] {
            let text = format!("use crate::{other};");
            assert_eq!(
                importing(file, &text),
                Vec::<String>::new(),
                "{file}: {text}"
            );
        }
    }

    #[test]
    fn what_is_not_an_import_is_left_alone() {
        for text in [
            "//! See [`crate::session`].",
            "/// [`Session`](crate::session::Session)\npub struct X;",
            "/* crate::session /* nested */ crate::route */",
            "const A: &str = \"crate::session\"; const B: &str = r##\"crate::session\"#\"##;",
            "use super::session;", // wire::session
            "use crate::wire::Header; use self::session::X; pub(crate) fn f() {}",
            "#[cfg(test)]\nmod tests {\n    use crate::session::Session;\n}\n",
            "#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests {\n    use crate::session::Session;\n}\n",
        ] {
            assert_eq!(
                importing("wire/backend.rs", text),
                Vec::<String>::new(),
                "{text}"
            );
        }
        assert!(importing("wire/tests.rs", "use crate::session;").is_empty());
        assert!(importing("lib.rs", "pub use crate::session::Session;").is_empty());
        // Only a module at the margin is the tests; a function for tests is not the end of the code.
        let text = "#[cfg(test)]\nfn f() {}\nuse crate::session;\n";
        assert_eq!(importing("wire/backend.rs", text).len(), 1);
    }

    #[test]
    fn a_module_or_a_name_without_a_layer_is_told() {
        assert!(importing("pool/mod.rs", "")[0].contains("`pool` has no layer"));
        let complaints = importing("wire/mod.rs", "use crate::Session;\nuse crate::*;");
        assert!(complaints[0].contains("`crate::Session` is not a module"));
        assert!(complaints[1].contains("`crate::*` is not a module"));
    }

    #[test]
    fn a_file_is_measured_up_to_its_tests() {
        let tests = format!(
            "#[cfg(test)]\nmod tests {{\n{}}}\n",
            "    // x\n".repeat(900)
        );
        let text = |lines: usize| "// x\n".repeat(lines) + &tests;
        assert_eq!(file_length("src/x.rs", &text(600)), Vec::<String>::new());
        assert!(file_length("src/x.rs", &text(601))[0].starts_with("src/x.rs: 601 lines"));
        assert!(file_length("src/x/tests.rs", &"// x\n".repeat(900)).is_empty());
    }

    #[test]
    fn tests_come_last() {
        let text = "#[cfg(test)]\nmod tests {\n}\n\nfn hidden() {}\n";
        assert!(file_length("src/x.rs", text)[0].contains("code after the tests"));
    }

    #[test]
    fn a_function_is_measured_from_its_name_to_its_closing_brace() {
        let function = |lines: usize| {
            format!(
                "    fn long<'a>(x: [u8; 4], f: fn(u8) -> u8) -> &'a str\n    where\n        A: B,\n    {{\n{}    }}\n",
                "        let s = \"}\"; // }\n".repeat(lines - 5)
            )
        };
        let within = |body: String| format!("trait T {{\n    fn none(&self);\n{body}}}\n");
        assert_eq!(
            function_lengths("src/x.rs", &within(function(70))),
            Vec::<String>::new()
        );
        let complaints = function_lengths("src/x.rs", &within(function(71)));
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("src/x.rs:3: `long` has 71 lines"));
    }

    #[test]
    fn what_is_listed_as_long_may_get_shorter_only() {
        let text = format!("fn long() {{\n{}}}\n", "    f();\n".repeat(78));
        let found = lengths("sim/x.rs", &text);
        let told = |listed: &[(&str, usize)]| ratchet(&found, listed);
        assert_eq!(told(&[("sim/x.rs::long", 80)]), Vec::<String>::new());
        assert_eq!(told(&[("sim/x.rs::long", 90)]), Vec::<String>::new());
        let most = "sim/x.rs::long has 80 lines, 79 are allowed";
        assert!(told(&[("sim/x.rs::long", 79)])[0].starts_with(most));
        let limit = "sim/x.rs::long has 80 lines, 70 are allowed";
        assert!(told(&[])[0].starts_with(limit));
        for listed in ["sim/x.rs", "sim/x.rs::short", "sim/y.rs"] {
            let needless = told(&[("sim/x.rs::long", 80), (listed, 900)]);
            assert!(needless[0].starts_with(&format!("{listed}: it is not")));
        }
        let file = lengths("sim/x.rs", &"// x\n".repeat(601));
        let complaints = ratchet(&file, &[]);
        assert!(complaints[0].starts_with("sim/x.rs: 601 lines"));
        assert_eq!(ratchet(&file, &[("sim/x.rs", 601)]), Vec::<String>::new());
    }

    #[test]
    fn each_banned_word_is_found_and_its_longer_relatives_are_not() {
        for (head, tail) in BANNED {
            let text = format!("fine\n    {head}{tail} (later)\n");
            let complaints = banned_words("src/x.rs", &text);
            assert_eq!(complaints.len(), 1, "{text}");
            assert!(complaints[0].starts_with("src/x.rs:2: "));
        }
        let fine = format!("{0}{1}X and my_{2}{3}", "XX", "X", "db", "g!()");
        assert_eq!(banned_words("src/x.rs", &fine), Vec::<String>::new());
    }

    #[test]
    fn a_stray_entry_at_the_top_is_found() {
        let names = ["Cargo.toml", ".github", "src", "notes.txt"].map(str::to_owned);
        let complaints = top_level(&names);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("notes.txt: "));
    }
}
