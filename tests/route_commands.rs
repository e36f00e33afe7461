//! Every command of PostgreSQL's manual, and what `scan` says of it: form and class (laws L5, and envoy row R2).

use std::collections::BTreeSet;

use pgturnout::route::{Class, Form, LexState, Rules, scan};

struct Row<'a> {
    command: &'a str,
    form: &'a str,
    class: &'a str,
    text: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let lines = include_str!("data/commands.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut fields = line.splitn(4, " | ");
            let mut field = || fields.next().unwrap_or_else(|| panic!("{line}"));
            Row {
                command: field(),
                form: field(),
                class: field(),
                text: field(),
            }
        })
        .collect()
}

#[test]
fn every_command_of_postgresql_18_has_the_form_and_class_of_the_table() {
    let rows = rows();
    let mut wrong = Vec::new();
    for row in &rows {
        for text in [row.text.to_owned(), row.text.to_uppercase()] {
            let intent = scan(text.as_bytes(), &LexState::defaults(), &Rules::default());
            let found = (intent.form.to_string(), intent.class.to_string());
            if found != (row.form.to_owned(), row.class.to_owned()) || intent.statements != 1 {
                wrong.push(format!("{}: {text}: {intent:?}", row.command));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    let commands: BTreeSet<_> = rows.iter().map(|row| row.command).collect();
    assert_eq!(commands.len(), COMMANDS, "commands of the table");
}

/// How many psql 18 lists.
const COMMANDS: usize = 185;

#[test]
fn the_form_is_that_of_the_first_statement_and_the_count_tells_of_more() {
    for (text, form, statements) in [
        ("", Form::Empty, 0),
        (" ; -- x", Form::Empty, 0),
        ("; select 1; delete from t", Form::Read, 2),
        ("begin; select 1 into t; commit", Form::Transaction, 3),
        ("select 1; select 2 into t", Form::Read, 2),
        ("copy t from stdin; copy t to stdout", Form::CopyIn, 2),
        ("copy t", Form::Unknown, 1),
        ("selec 1", Form::Unknown, 1),
        ("\"select\" 1", Form::Unknown, 1),
    ] {
        let intent = scan(text.as_bytes(), &LexState::defaults(), &Rules::default());
        assert_eq!(
            (intent.form, intent.statements),
            (form, statements),
            "{text}"
        );
    }
    let unreadable = scan(b"\0", &LexState::defaults(), &Rules::default());
    assert_eq!(
        (unreadable.form, unreadable.class),
        (Form::Unknown, Class::Unreadable)
    );
}
