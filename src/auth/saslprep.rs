//! SASLprep (RFC 4013) of a password, with the same result as PostgreSQL's.

use std::borrow::Cow;

use stringprep::tables;

use crate::secret::wipe;

/// A prepared password; overwritten on drop if preparing made a copy.
pub(crate) struct Prepared<'a>(Cow<'a, [u8]>);

impl Prepared<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(copy) = &mut self.0 {
            wipe(copy);
        }
    }
}

/// The bytes that PostgreSQL hashes for this password.
///
/// A password that is ASCII, that is not UTF-8 or that SASLprep prohibits is hashed as it is: PostgreSQL knows no
/// encoding of passwords and must not lock anybody out. It looks for prohibited and unassigned characters and at
/// the reading direction *before* it normalises, RFC 3454 after; a server's verifier is made by the former.
pub(crate) fn saslprep(password: &[u8]) -> Prepared<'_> {
    match prepare(password) {
        Some(text) => Prepared(Cow::Owned(text.into_bytes())),
        None => Prepared(Cow::Borrowed(password)),
    }
}

/// The normalised text, or `None` where the password is hashed as it is.
fn prepare(password: &[u8]) -> Option<String> {
    if password.is_ascii() {
        return None;
    }
    let text = std::str::from_utf8(password).ok()?;
    // Every character maps to one that is not longer, so this never reallocates and leaves a copy behind.
    let mut mapped = String::with_capacity(text.len());
    mapped.extend(text.chars().filter_map(map));
    let acceptable =
        !mapped.is_empty() && !mapped.chars().any(is_prohibited) && reads_one_way(&mapped);
    let normalised = if acceptable { nfkc(&mapped) } else { None };
    wipe(&mut mapped.into_bytes());
    normalised
}

/// RFC 4013 section 2.1. A character in both tables (U+200B) becomes a space, as in PostgreSQL.
fn map(c: char) -> Option<char> {
    if tables::non_ascii_space_character(c) {
        Some(' ')
    } else if tables::commonly_mapped_to_nothing(c) {
        None
    } else {
        Some(c)
    }
}

/// RFC 4013 sections 2.3 and 2.5.
fn is_prohibited(c: char) -> bool {
    tables::non_ascii_space_character(c)
        || tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::surrogate_code(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
        || tables::unassigned_code_point(c)
}

/// RFC 3454 section 6: text with a right-to-left character starts and ends with one and has no left-to-right one.
fn reads_one_way(text: &str) -> bool {
    let right_to_left = |c: Option<char>| c.is_some_and(tables::bidi_r_or_al);
    !text.contains(tables::bidi_r_or_al)
        || (!text.contains(tables::bidi_l)
            && right_to_left(text.chars().next())
            && right_to_left(text.chars().next_back()))
}

/// Normalisation form KC of a text that passed the checks above.
///
/// `stringprep` has no function for the form alone. The X.520 profile adds no rule that such a text could break but
/// one, it must not start with a combining mark; the SASLprep profile takes a text that does, because its reading
/// direction is then left to right.
fn nfkc(text: &str) -> Option<String> {
    stringprep::x520prep(text, false)
        .or_else(|_| stringprep::saslprep(text))
        .ok()
        .map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(text: &str) -> String {
        String::from_utf8(saslprep(text.as_bytes()).bytes().to_vec()).unwrap()
    }

    #[test]
    fn rfc_4013_examples() {
        assert_eq!(prepared("I\u{AD}X"), "IX");
        assert_eq!(prepared("user"), "user");
        assert_eq!(prepared("USER"), "USER");
        assert_eq!(prepared("\u{AA}"), "a");
        assert_eq!(prepared("\u{2168}"), "IX");
    }

    #[test]
    fn what_is_prohibited_is_hashed_as_it_is() {
        for raw in [
            "\u{7}",
            "\u{E9}\u{7}",
            "\u{627}\u{31}",
            "\u{AD}",
            "\u{E000}\u{2168}",
            "\u{221}\u{2168}",
        ] {
            assert_eq!(prepared(raw), raw);
        }
        assert_eq!(saslprep(b"\xff\xc3\xa9").bytes(), b"\xff\xc3\xa9");
    }

    #[test]
    fn checks_come_before_normalisation() {
        // An Arabic ligature: right-to-left itself, but its normal form starts with a space, which is not.
        assert_eq!(prepared("\u{FC5E}"), " \u{64C}\u{651}");
        // A combining mark in front, which the X.520 profile refuses.
        assert_eq!(prepared("\u{301}\u{2168}"), "\u{301}IX");
    }

    #[test]
    fn spaces_become_ascii_spaces() {
        assert_eq!(prepared("a\u{A0}b\u{3000}c\u{200B}d"), "a b c d");
    }
}
