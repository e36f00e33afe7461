//! `--config`: the flags of the command line, read from a TOML file.
//!
//! ```toml
//! listen = "127.0.0.1:6432"
//! writer = "db1:5432"
//! reader = ["db2:5432", "db3:5432"]
//! users-file = "users.txt"
//! log-routes = true
//! ```

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::cli::{Flag, Origin, Setting, Takes, UsageError};

/// Reads the text of the file at `path`. No error repeats a value: it may be a secret.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<Setting>, UsageError> {
    let at = |offset: usize| Origin::File {
        path: path.to_owned(),
        line: line_of(text, offset),
    };
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        UsageError::new(at(offset), "", error.message())
    })?;
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let name = key.get_ref();
        let origin = at(key.span().start);
        let wrong = |message: String| Err(UsageError::new(origin.clone(), name, message));
        let Some(flag) = Flag::find(name).filter(|flag| !["config", "help"].contains(&flag.name))
        else {
            return wrong("no such setting".to_owned());
        };
        match values(flag.takes, value.get_ref()) {
            Ok(values) => settings.extend(values.into_iter().map(|value| Setting {
                flag,
                value,
                origin: origin.clone(),
            })),
            Err(expected) => return wrong(format!("expected {expected}")),
        }
    }
    // A table is sorted by its keys; errors that come later should come in the order of the file.
    settings.sort_by_key(|setting| match &setting.origin {
        Origin::CommandLine => 0,
        Origin::File { line, .. } => *line,
    });
    Ok(settings)
}

/// The values of one key, or what should have been there.
fn values(takes: Takes, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    match takes {
        Takes::Nothing => match value.as_bool() {
            Some(true) => Ok(vec!["true".to_owned()]),
            Some(false) => Ok(Vec::new()),
            None => Err("true or false"),
        },
        Takes::One(_) => match value.as_str() {
            Some(text) => Ok(vec![text.to_owned()]),
            None => Err("a string"),
        },
        Takes::Many(_) => match (value.as_str(), value.as_array()) {
            (Some(text), _) => Ok(vec![text.to_owned()]),
            (None, Some(items)) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or("a list of strings"),
            (None, None) => Err("a string or a list of strings"),
        },
    }
}

/// The line of a byte, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Vec<String>, String> {
        match parse(Path::new("proxy.toml"), text) {
            Ok(settings) => Ok(settings
                .into_iter()
                .map(|setting| format!("{}={}", setting.flag.name, setting.value))
                .collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_names_of_the_command_line() {
        let text = "# a comment\nwriter = \"a:1\"\nreader = ['b:2', \"c:3\"]\nuser = \"x:y\"\nlog-routes = true\n";
        let expected = [
            "writer=a:1",
            "reader=b:2",
            "reader=c:3",
            "user=x:y",
            "log-routes=true",
        ];
        assert_eq!(run(text).unwrap(), expected);
        assert!(run("log-routes = false").unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_file_the_line_and_the_key_and_hold_no_value() {
        for (text, message) in [
            (
                "listen = \"a:1\"\nwritter = \"hunter2\"",
                "proxy.toml:2: writter: no such setting",
            ),
            ("config = \"x\"", "proxy.toml:1: config: no such setting"),
            (
                "user = { a = \"hunter2\" }",
                "proxy.toml:1: user: expected a string or a list of strings",
            ),
            (
                "[user]\na = \"hunter2\"",
                "proxy.toml:1: user: expected a string or a list of strings",
            ),
            (
                "user = [\"a:b\", 5]",
                "proxy.toml:1: user: expected a list of strings",
            ),
            (
                "\n\nlog-routes = \"on\"",
                "proxy.toml:3: log-routes: expected true or false",
            ),
            ("split = true", "proxy.toml:1: split: expected a string"),
        ] {
            assert_eq!(run(text), Err(message.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_syntax_error_names_the_line_and_repeats_nothing() {
        for text in [
            "split = \"on\"\nuser = hunter2",
            "split = \"on\"\nuser = \"x:hunter2",
            "split = \"on\"\nuser = \"hunter2\" \"hunter2\"",
            "split = \"on\"\nhunter2",
        ] {
            let error = run(text).unwrap_err();
            assert!(error.starts_with("proxy.toml:2: "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
