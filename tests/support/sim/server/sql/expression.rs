//! Expressions.

use std::sync::Arc;

use super::super::fault::Fault;
use super::super::run::qualified;
use super::parse::{Parsed, Parser};
use super::token::Token;
use super::{Binary, Expr, oid};

/// Binary operators, those that bind least first.
const LEVELS: [&[(&str, Binary)]; 4] = [
    &[
        ("=", Binary::Equal),
        ("<>", Binary::Unequal),
        ("!=", Binary::Unequal),
        ("<=", Binary::LessEqual),
        (">=", Binary::GreaterEqual),
        ("<", Binary::Less),
        (">", Binary::Greater),
    ],
    &[("||", Binary::Concat)],
    &[("+", Binary::Add), ("-", Binary::Subtract)],
    &[("*", Binary::Multiply), ("/", Binary::Divide)],
];

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Parsed<Expr> {
        self.descend()?;
        let expr = self.disjunction();
        self.ascend();
        expr
    }

    fn disjunction(&mut self) -> Parsed<Expr> {
        let mut left = self.conjunction()?;
        while self.word("or") {
            let right = self.conjunction()?;
            left = Expr::Binary(Binary::Or, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Parsed<Expr> {
        let mut left = self.negation()?;
        while self.word("and") {
            let right = self.negation()?;
            left = Expr::Binary(Binary::And, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Parsed<Expr> {
        if self.word("not") {
            self.descend()?;
            let inner = self.negation();
            self.ascend();
            return Ok(Expr::Not(Box::new(inner?)));
        }
        self.binary(0)
    }

    fn binary(&mut self, level: usize) -> Parsed<Expr> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some((_, binary)) = operators.iter().find(|(op, _)| self.is_op(op)) {
            self.skip();
            let right = self.binary(level + 1)?;
            left = Expr::Binary(*binary, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        if self.op("-") {
            self.descend()?;
            let inner = self.unary();
            self.ascend();
            return Ok(match inner? {
                Expr::Int(number) => Expr::Int(-number),
                other => Expr::Binary(Binary::Subtract, Box::new(Expr::Int(0)), Box::new(other)),
            });
        }
        let mut expr = self.primary()?;
        while self.op("::") {
            let oid = self.type_name()?;
            expr = Expr::Cast(Box::new(expr), oid);
        }
        Ok(expr)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        if self.op("(") {
            let inner = self.expr()?;
            self.expect_op(")")?;
            return Ok(inner);
        }
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = Arc::clone(word);
                self.named(&word)
            }
            Some(Token::Quoted(_)) => self.column(),
            Some(Token::Op(_)) | None => Err(self.unexpected()),
            Some(_) => Ok(match self.next()? {
                Token::Str(text) => Expr::Str(text),
                Token::Int(number) => Expr::Int(number),
                Token::Number(number) => Expr::Number(number),
                Token::Param(0) => return Err(Fault::new("42P02", "there is no parameter $0")),
                Token::Param(number) if number <= 65_535 => Expr::Param(number),
                _ => return Err(Fault::new("42P02", "there is no such parameter")),
            }),
        }
    }

    fn named(&mut self, word: &Arc<str>) -> Parsed<Expr> {
        let simple = match &**word {
            "null" => Some(Expr::Null),
            "true" => Some(Expr::Bool(true)),
            "false" => Some(Expr::Bool(false)),
            "current_user" | "session_user" | "user" => {
                Some(Expr::Call(Arc::clone(word), Vec::new()))
            }
            _ => None,
        };
        if let Some(simple) = simple {
            self.skip();
            return Ok(simple);
        }
        if self.word("cast") {
            self.expect_op("(")?;
            let inner = self.expr()?;
            self.expect("as")?;
            let oid = self.type_name()?;
            self.expect_op(")")?;
            return Ok(Expr::Cast(Box::new(inner), oid));
        }
        self.column()
    }

    /// A column or a call; what qualifies its name says nothing here, mostly.
    fn column(&mut self) -> Parsed<Expr> {
        let mut name = self.name()?;
        if self.op(".") {
            let schema = name;
            name = qualified(&schema, self.name()?);
        }
        if !self.op("(") {
            return Ok(Expr::Column(name));
        }
        let mut arguments = Vec::new();
        if self.op("*") {
            self.expect_op(")")?;
            return Ok(Expr::Call(format!("{name}(*)").into(), arguments));
        }
        if !self.op(")") {
            arguments = self.expressions()?;
            self.expect_op(")")?;
        }
        Ok(Expr::Call(name, arguments))
    }

    pub(super) fn expressions(&mut self) -> Parsed<Vec<Expr>> {
        let mut out = vec![self.expr()?];
        while self.op(",") {
            out.push(self.expr()?);
        }
        Ok(out)
    }

    pub(super) fn type_name(&mut self) -> Parsed<u32> {
        let name = self.name()?;
        Ok(match &*name {
            "int" | "int4" | "integer" => oid::INT4,
            "bigint" | "int8" => oid::INT8,
            "text" => oid::TEXT,
            "bool" | "boolean" => oid::BOOL,
            "numeric" => oid::NUMERIC,
            "name" => oid::NAME,
            "regclass" => oid::REGCLASS,
            "float8" => oid::FLOAT8,
            _ => {
                return Err(Fault::new(
                    "42704",
                    format!("type \"{name}\" does not exist"),
                ));
            }
        })
    }
}
