//! What a client sets in `options`.

use super::fault::Fault;

/// `-c name=value` and `--name=value` of `options`.
pub(super) fn switches(options: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            ' ' | '\t' | '\n' if word.is_empty() => {}
            ' ' | '\t' | '\n' => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    let bad = || Fault::new("42601", "invalid command-line argument for server process");
    let mut out = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let pair = if word == "-c" {
            words.next().ok_or_else(bad)?
        } else if let Some(pair) = word.strip_prefix("-c").or(word.strip_prefix("--")) {
            pair.to_owned()
        } else {
            return Err(bad());
        };
        let (name, value) = pair.split_once('=').ok_or_else(bad)?;
        out.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(out)
}
