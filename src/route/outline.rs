//! The first words of a text without its literals, for people who read logs.

use super::encoding::LexState;
use super::lex::{Kind, Lexer, Token};
use super::scan::undecodable;
use crate::limits::OUTLINE_MAX;
use crate::wire::Printable;

/// The first words of a text, every literal and number as `?`, comments and repeated white space left out.
///
/// Names are shown: they are the schema's, not the data's. What the lexer cannot read, or not for certain, ends the outline. The result is
/// free of control characters.
///
/// ```
/// use pgturnout::route::{LexState, outline};
///
/// let lex = LexState::defaults();
/// let text = b"select  name from users /* who */ where id = 42 and token = 'hunter2'";
/// assert_eq!(outline(text, &lex), "select name from users where id = ? and token = ?");
/// ```
#[must_use]
pub fn outline(sql: &[u8], lex: &LexState) -> String {
    let mut shown = String::new();
    let mut lexer = Lexer::new(sql, lex);
    let readable = undecodable(sql, lex).map_or(sql.len(), |(_, at)| at);
    let mut before = Token::NONE;
    loop {
        let token = lexer.next();
        if matches!(token.kind, Kind::End | Kind::Doubt(_)) || token.end > readable {
            break;
        }
        if !shown.is_empty() && token.start > before.end {
            shown.push(' ');
        }
        match token.kind {
            Kind::Literal(_) | Kind::Number => shown.push('?'),
            Kind::Word(_)
            | Kind::Quoted
            | Kind::EscapedName
            | Kind::Param
            | Kind::Open
            | Kind::Close
            | Kind::Comma
            | Kind::Semicolon
            | Kind::Dot
            | Kind::Cast
            | Kind::Op(_)
            | Kind::End
            | Kind::Doubt(_) => shown.push_str(&Printable(lexer.text(&token)).to_string()),
        }
        if shown.len() >= OUTLINE_MAX {
            shown.push('…');
            break;
        }
        before = token;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::super::encoding::Encoding;
    use super::*;

    /// Law L11: where a text cannot be lexed for certain, what looks like a name may be the inside of a literal.
    #[test]
    fn an_outline_ends_where_the_text_cannot_be_read() {
        for (encoding, text, shown) in [
            (
                Encoding::Unsafe,
                &b"select E'\x83\\', 'my secret';"[..],
                "select",
            ),
            (Encoding::Unknown, b"select 1, '\xe9', secret", "select ?,"),
            (Encoding::Utf8, b"select 1 -- \xff'\n , secret", "select ?"),
            (Encoding::Safe, b"select \0 secret", "select"),
            (Encoding::Safe, b"select '\xe9', name", "select ?, name"),
        ] {
            let lex = LexState {
                encoding,
                ..LexState::defaults()
            };
            assert_eq!(outline(text, &lex), shown, "{encoding:?}");
        }
    }
}
