//! Which texts a parser may see.

use crate::limits;
use crate::route::encoding::{Encoding, Known, LexState};
use crate::route::intent::{Class, Intent};
use crate::route::lex::{Kind, Lexer, Quote, Token};
use crate::route::tables::Unparsed;
use crate::route::words::Word;

/// Admits a text, or says why not.
pub(super) fn admit<'a>(
    sql: &'a [u8],
    lex: &LexState,
    intent: &Intent,
) -> Result<&'a str, Unparsed> {
    if intent.class == Class::Unreadable {
        return Err(Unparsed::Unreadable);
    }
    if intent.statements == 0 {
        return Err(Unparsed::Empty);
    }
    if sql.len() > limits::INSPECT_TEXT_MAX {
        return Err(Unparsed::TooLong);
    }
    let settled =
        lex.standard_conforming_strings == Known::Is(true) && lex.encoding == Encoding::Utf8;
    let text = std::str::from_utf8(sql).map_err(|_| Unparsed::Ambiguous)?;
    if !settled || sql.contains(&b'\\') {
        return Err(Unparsed::Ambiguous);
    }
    measure(Lexer::new(sql, lex))?;
    Ok(text)
}

/// Counts tokens, nesting and operators.
fn measure(mut lexer: Lexer<'_>) -> Result<(), Unparsed> {
    let (mut tokens, mut depth, mut operators) = (0_usize, 0_usize, 0_usize);
    let mut last = lexer.next();
    let mut token = last;
    while token.kind != Kind::End {
        // A NOT of a NOT is a level that nothing closes, and one of the costliest.
        let repeated = token.word() == Some(Word::Not) && last.word() == Some(Word::Not);
        let opens = repeated
            || matches!(token.kind, Kind::Open | Kind::Op(b'['))
            || token.word() == Some(Word::Case);
        let closes =
            matches!(token.kind, Kind::Close | Kind::Op(b']')) || token.word() == Some(Word::End);
        tokens = tokens.saturating_add(1);
        depth = if opens {
            depth.saturating_add(1)
        } else {
            depth.saturating_sub(usize::from(closes))
        };
        operators = operators.saturating_add(usize::from(is_operator(&lexer, &token, &last)));
        let side_by_side = tokens > 1 && is_literal(&token) && is_literal(&last);
        if side_by_side || is_ambiguous(&lexer, &token) {
            return Err(Unparsed::Ambiguous);
        } else if tokens > limits::INSPECT_TOKENS_MAX {
            return Err(Unparsed::TooManyTokens);
        } else if depth > limits::INSPECT_DEPTH_MAX {
            return Err(Unparsed::TooDeep);
        } else if operators > limits::INSPECT_OPERATORS_MAX {
            return Err(Unparsed::TooManyOperators);
        }
        last = token;
        token = lexer.next();
    }
    Ok(())
}

fn is_literal(token: &Token) -> bool {
    matches!(token.kind, Kind::Literal(_))
}

fn is_ambiguous(lexer: &Lexer<'_>, token: &Token) -> bool {
    let escaped = matches!(lexer.text(token), [b'u' | b'U', b'&', ..]);
    escaped
        || matches!(
            token.kind,
            Kind::Literal(Quote::Continued) | Kind::EscapedName | Kind::Doubt(_)
        )
}

/// Whether a token starts an operator: symbols run together, keywords stand alone.
fn is_operator(lexer: &Lexer<'_>, token: &Token, last: &Token) -> bool {
    match token.kind {
        Kind::Cast => true,
        Kind::Op(byte) => {
            let goes_on = matches!(last.kind, Kind::Op(_))
                && last.end == token.start
                && last.start != token.start;
            !goes_on && !matches!(byte, b'[' | b']')
        }
        Kind::Word(keyword) => {
            let chains = [
                b"union".as_slice(),
                b"except",
                b"intersect",
                b"collate",
                b"at",
                b"join",
            ];
            matches!(
                keyword.word,
                Word::And | Word::Or | Word::Not | Word::Is | Word::NamedOp
            ) || chains
                .iter()
                .any(|chain| chain.eq_ignore_ascii_case(lexer.text(token)))
        }
        Kind::Quoted
        | Kind::EscapedName
        | Kind::Literal(_)
        | Kind::Number
        | Kind::Param
        | Kind::Open
        | Kind::Close
        | Kind::Comma
        | Kind::Semicolon
        | Kind::Dot
        | Kind::End
        | Kind::Doubt(_) => false,
    }
}
