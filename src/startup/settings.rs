//! What a startup packet asks settings to be: by name, or in its `options`, which are a server's command line.

use super::StartupParams;

/// Every value that the packet gives a setting, those of `options` first, as the server takes them.
///
/// Of the command line only this is known: a word that ends in the name, `=` and a value sets it, whatever switches
/// stand before the name (`-c name=value`, `--name=value`, `-ecname=value`).
pub(crate) fn asked(startup: &StartupParams, name: &[u8]) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    for word in words(startup.get(b"options").unwrap_or_default()) {
        let mut halves = word.splitn(2, |byte| *byte == b'=');
        let (Some(switches), Some(value)) = (halves.next(), halves.next()) else {
            continue;
        };
        if ends_with(switches, name) {
            values.push(value.to_vec());
        }
    }
    let named = startup
        .iter()
        .filter(|(known, _)| known.eq_ignore_ascii_case(name));
    values.extend(named.map(|(_, value)| value.to_vec()));
    values
}

/// Whether a word ends with a setting's name, in which a command line may have dashes for underscores.
fn ends_with(word: &[u8], name: &[u8]) -> bool {
    let same = |(byte, wanted): (&u8, &u8)| {
        byte.eq_ignore_ascii_case(wanted) || (*byte == b'-' && *wanted == b'_')
    };
    word.len() >= name.len() && word.iter().rev().zip(name.iter().rev()).all(same)
}

/// The words of `options`: white space divides them, and a backslash makes the next byte part of one (`pg_split_opts`).
fn words(options: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    let mut bytes = options.iter().copied();
    while let Some(byte) = bytes.next() {
        let taken = match byte {
            b'\\' => bytes.next(),
            b' ' | b'\t'..=b'\r' => {
                words.push(Vec::new());
                None
            }
            _ => Some(byte),
        };
        if let (Some(byte), Some(word)) = (taken, words.last_mut()) {
            word.push(byte);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::startup::ProtocolVersion;

    fn of(pairs: &[(&str, &str)], name: &str) -> Vec<String> {
        let user = (&b"user"[..], &b"alice"[..]);
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let startup =
            StartupParams::build(ProtocolVersion::V3_0, std::iter::once(user).chain(pairs))
                .unwrap();
        asked(&startup, name.as_bytes())
            .iter()
            .map(|value| value.escape_ascii().to_string())
            .collect()
    }

    #[test]
    fn options_are_divided_as_the_server_divides_them() {
        for (options, found) in [
            ("", &[][..]),
            ("-c a_b=1", &["1"]),
            (" \t-ca_b=1  --A-B=2\n-c\u{b}a_b=x=y", &["1", "2", "x=y"]),
            ("-c a_b=1\\ 2\\\\3", &["1 2\\\\3"]),
            ("-c a\\_b=1\\", &["1"]),
            ("-c a_b -c a_bc=1 a_b", &[]),
        ] {
            assert_eq!(of(&[("options", options)], "a_b"), found, "{options}");
        }
    }

    #[test]
    fn a_name_of_its_own_comes_behind_the_options() {
        let pairs = [("A_b", "1"), ("options", "-c a_b=2"), ("a-b", "3")];
        assert_eq!(of(&pairs, "a_b"), ["2", "1"]);
    }
}
