//! Law L5, by example: every text of `tests/data/route.txt` and what `scan` makes of it.

use pgturnout::route::{
    Access, Arguments, Effect, Encoding, Intent, Isolation, Known, LexState, Rules, Scope,
    SettingChange, SettingKind, SettingValue, TransactionModes, scan,
};

/// One line of the table.
struct Row {
    number: usize,
    lex: LexState,
    rules: Rules,
    class: String,
    why: String,
    token: Option<Vec<u8>>,
    text: Vec<u8>,
    effects: String,
}

/// Undoes the escapes of the file.
fn unescape(field: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = field.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next().expect("an escape has a letter") {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'f' => 0x0c,
            b'v' => 0x0b,
            b'0' => 0,
            b'p' => b'|',
            b'\\' => b'\\',
            b'x' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => panic!("no escape: {}", char::from(other)),
        });
    }
    out
}

fn settings(line: &str) -> (LexState, Rules) {
    let (mut lex, mut rules) = (LexState::defaults(), Rules::default());
    for word in line.trim_matches(['[', ']']).split_whitespace() {
        let (name, value) = word.split_once('=').expect("name=value");
        match (name, value) {
            ("scs", "on") => lex.standard_conforming_strings = Known::Is(true),
            ("scs", "off") => lex.standard_conforming_strings = Known::Is(false),
            ("scs", "unknown") => lex.standard_conforming_strings = Known::Unknown,
            ("encoding", name) => lex.encoding = Encoding::from_name(name.as_bytes()),
            ("path", "first") => lex.catalog_first = Known::Is(true),
            ("path", "unknown") => lex.catalog_first = Known::Unknown,
            ("path", "last") => lex.catalog_first = Known::Is(false),
            ("rules", "default") => {}
            ("rules", "begin") => rules = Rules::default().with_begin_read_only(true),
            ("rules", "pg17") => rules = Rules::default().with_oldest_server(17),
            other => panic!("unknown setting {other:?}"),
        }
    }
    (lex, rules)
}

fn rows() -> Vec<Row> {
    let (mut lex, mut rules) = settings("[]");
    let mut rows = Vec::new();
    for (at, line) in include_str!("data/route.txt").lines().enumerate() {
        if line.starts_with('[') {
            (lex, rules) = settings(line);
        } else if !line.is_empty() && !line.starts_with('#') {
            let fields: Vec<&str> = line.split(" | ").collect();
            assert!(
                (3..=4).contains(&fields.len()),
                "line {}: {} fields",
                at + 1,
                fields.len()
            );
            let (why, token) = match fields[1].trim().split_once(' ') {
                Some((why, token)) => (why, Some(unescape(token))),
                None => (fields[1].trim(), None),
            };
            rows.push(Row {
                number: at + 1,
                lex,
                rules: rules.clone(),
                class: fields[0].trim().to_owned(),
                why: why.to_owned(),
                token,
                text: unescape(fields[2]),
                effects: fields.get(3).unwrap_or(&"").trim().to_owned(),
            });
        }
    }
    rows
}

fn modes(modes: TransactionModes) -> String {
    let access = match modes.access {
        Some(Access::ReadOnly) => "ro",
        Some(Access::ReadWrite) => "rw",
        None => "-",
    };
    let isolation = match modes.isolation {
        Some(Isolation::ReadUncommitted) => "ru",
        Some(Isolation::ReadCommitted) => "rc",
        Some(Isolation::RepeatableRead) => "rr",
        Some(Isolation::Serializable) => "ser",
        None => "-",
    };
    format!("({access},{isolation})")
}

fn setting(change: &SettingChange, text: &[u8]) -> String {
    let lossless = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace(' ', "_");
    let value = match &change.value {
        SettingValue::Default => "default".to_owned(),
        SettingValue::Opaque => "?".to_owned(),
        SettingValue::List(items) => items
            .iter()
            .map(|item| format!("<{}>", lossless(item)))
            .collect::<Vec<_>>()
            .join(","),
    };
    let kind = match change.kind {
        SettingKind::Set => "set",
        SettingKind::Reset => "reset",
        SettingKind::Call => "call",
    };
    let scope = match change.scope {
        Scope::Session => "",
        Scope::Local => ",local",
    };
    let portable = if change.portable { "" } else { ",stuck" };
    let whole = if change.statement == (0..text.len()) {
        ""
    } else {
        ",part"
    };
    format!(
        "{kind}({}={value}{scope}{portable}{whole})",
        lossless(&change.name)
    )
}

fn effects(intent: &Intent, text: &[u8]) -> String {
    let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let render = |effect: &Effect| match effect {
        Effect::Begin(m) => format!("begin{}", modes(*m)),
        Effect::Commit { chain } => format!("commit{}", if *chain { "+" } else { "" }),
        Effect::Rollback { chain } => format!("rollback{}", if *chain { "+" } else { "" }),
        Effect::Savepoint(n) => format!("savepoint({})", name(&n.0)),
        Effect::RollbackToSavepoint(n) => format!("rollback_to({})", name(&n.0)),
        Effect::Release(n) => format!("release({})", name(&n.0)),
        Effect::SetTransaction(m) => format!("transaction{}", modes(*m)),
        Effect::Setting(change) => setting(change, text),
        Effect::Deallocate(n) => format!("deallocate({})", name(&n.0)),
        Effect::Prepare(p) => {
            let stuck = if p.portable { "" } else { ",stuck" };
            let types: Vec<String> = p.types.iter().map(u32::to_string).collect();
            let statement = name(&text[p.statement.clone()]).replace(' ', "_");
            format!(
                "prepare({},[{}],<{statement}>{stuck})",
                name(&p.name.0),
                types.join(",")
            )
        }
        Effect::Execute {
            name: n,
            arguments: Arguments::Constant,
        } => format!("execute({})", name(&n.0)),
        Effect::Execute {
            name: n,
            arguments: Arguments::Any,
        } => format!("execute({},any)", name(&n.0)),
        Effect::Pin(kind) => format!("{kind:?}"),
        other => format!("{other:?}"),
    };
    let all = intent
        .effects
        .iter()
        .map(|e| format!("{}:{}", e.index, render(&e.effect)));
    all.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_text_has_the_class_reason_and_effects_of_the_table() {
    let rows = rows();
    let mut wrong = Vec::new();
    for row in &rows {
        let intent = scan(&row.text, &row.lex, &row.rules);
        let end = intent.reason.offset + intent.reason.token_len;
        let token = row
            .text
            .get(intent.reason.offset..end)
            .unwrap_or(b"out of range");
        let why = format!("{:?}", intent.reason.why).replace(' ', "");
        let same = format!("{:?}", intent.class) == row.class
            && why == row.why
            && row.token.as_ref().is_none_or(|expected| token == *expected)
            && effects(&intent, &row.text) == row.effects;
        if !same {
            let found = format!("{:?} | {why} {}", intent.class, token.escape_ascii());
            wrong.push(format!(
                "line {}: {found} | … | {}",
                row.number,
                effects(&intent, &row.text)
            ));
        }
    }
    assert!(rows.len() > 300, "{} rows", rows.len());
    assert!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}
