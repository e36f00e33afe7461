//! Scripts of messages and the traces they leave, for a PostgreSQL and the model of it.
//!
//! `tests/data/model.txt` has one script per paragraph: a line `== name | where | key=value…`, then lines `> words`
//! of what a client sends, each with the answer `< words`. A word is a message: `Q(select 1)`, `B(portal,statement,value)`,
//! `D(1,a)`. `<18` and `<s` are answers of version 18 and of the standby where these differ. `where` is `primary`,
//! `standby` or `both`; keys are parameters of the startup packet, `user` among them.
#![allow(dead_code, reason = "each test file uses a part of it")]

/// A line that is sent, and its answers.
pub(crate) struct Step {
    pub(crate) send: String,
    /// By what stands behind the `<`.
    answers: Vec<(String, String)>,
}

/// Where an answer may be found: `s` is the standby, a number the version. The first that is there holds.
fn keys(place: &str, version: u32) -> &'static [&'static str] {
    match (place, version) {
        ("standby", 18..) => &["s18", "18", "s", ""],
        ("standby", _) => &["s", ""],
        (_, 18..) => &["18", ""],
        _ => &[""],
    }
}

impl Step {
    pub(crate) fn new(send: &str) -> Step {
        Step {
            send: send.to_owned(),
            answers: Vec::new(),
        }
    }

    pub(crate) fn answer(&self, place: &str, version: u32) -> Option<&str> {
        keys(place, version).iter().find_map(|wanted| {
            let found = self.answers.iter().find(|(key, _)| key == wanted);
            found.map(|(_, answer)| answer.as_str())
        })
    }

    /// Writes an answer down, unless that is what would be found anyway.
    pub(crate) fn record(&mut self, place: &str, version: u32, answer: &str) {
        if self.answer(place, version) != Some(answer) {
            let key = keys(place, version)[0].to_owned();
            self.answers.push((key, answer.to_owned()));
        }
    }

    pub(crate) fn forget(&mut self) {
        self.answers.clear();
    }

    /// Its lines in the file.
    pub(crate) fn lines(&self) -> String {
        let mut out = format!("> {}\n", self.send);
        for (key, answer) in &self.answers {
            let line = format!("<{key} {answer}");
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

pub(crate) struct Script {
    /// As in the file.
    pub(crate) head: String,
    pub(crate) name: String,
    pub(crate) places: Vec<&'static str>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) steps: Vec<Step>,
}

/// All scripts of a file.
pub(crate) fn scripts(text: &str) -> Vec<Script> {
    let mut out: Vec<Script> = Vec::new();
    for line in text.lines() {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        if mark == "==" {
            out.push(script(rest));
        } else if mark == ">" {
            let script = out.last_mut().expect("a script");
            script.steps.push(Step::new(rest));
        } else if let Some(key) = mark.strip_prefix('<') {
            let step = last(&mut out);
            step.answers.push((key.to_owned(), rest.to_owned()));
        }
    }
    out
}

fn last(scripts: &mut [Script]) -> &mut Step {
    let script = scripts.last_mut().expect("a script");
    script.steps.last_mut().expect("an answer to something")
}

fn script(head: &str) -> Script {
    let mut parts = head.split(" | ");
    let name = parts.next().unwrap_or_default().to_owned();
    let places = match parts.next() {
        Some("primary") => vec!["primary"],
        Some("standby") => vec!["standby"],
        Some("both") => vec!["primary", "standby"],
        other => panic!("{name}: no place is called {other:?}"),
    };
    let mut parameters: Vec<(String, String)> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    if !parameters.iter().any(|(key, _)| key == "user") {
        parameters.insert(0, ("user".to_owned(), "u_trust".to_owned()));
    }
    Script {
        head: head.to_owned(),
        name,
        places,
        parameters,
        steps: Vec::new(),
    }
}

fn sized(tag: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = tag.into_iter().collect();
    out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

pub(crate) fn startup(version: u32, parameters: &[(String, String)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        string(&mut body, name);
        string(&mut body, value);
    }
    body.push(0);
    sized(None, &body)
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// The words of a line with their arguments.
fn words(line: &str) -> Vec<(&str, &str)> {
    let mut out = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let end = rest.find(['(', ' ']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        if !behind.starts_with('(') {
            out.push((word, ""));
            rest = behind.trim_start();
            continue;
        }
        let mut depth = 0;
        let close = behind.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth == 0
        });
        let close = close.unwrap_or_else(|| panic!("parentheses: {line}")).0;
        out.push((word, &behind[1..close]));
        rest = behind[close + 1..].trim_start();
    }
    out
}

/// How many messages a line of the server is.
pub(crate) fn count(line: &str) -> usize {
    words(line).len()
}

/// What is said before somebody outside locks `t`, and what waits for it then.
pub(crate) const LOCKED_OUT: &[[&str; 2]] = &[
    ["", "Q(select * from t order by id)"],
    ["", "Q(insert into t values (4, 'd'))"],
    ["", "Q(select 1; update t set v = 'x'; select 2)"],
    ["", "Q(update t set nothing = 1)"],
    ["", "Q(select nothing from t)"],
    ["", "Q(select f_read(1))"],
    ["", "Q(select 1; select f_write(9))"],
    ["", "Q(call p_write(9))"],
    ["", "Q(do $$ begin perform f_write(1); end $$)"],
    [
        "",
        "Q(with w as (delete from t returning id) select count(*) from w)",
    ],
    ["", "Q(insert into u select * from t)"],
    ["", "Q(explain select * from t)"],
    ["", "Q(prepare p as select * from t)"],
    ["Q(prepare p as select id from t)", "Q(execute p)"],
    ["", "Q(create temp table x as select id from t)"],
    [
        "",
        "Q(begin; declare c cursor for select id from t; fetch all c; commit)",
    ],
    ["", "Q(copy t to stdout)"],
    ["", "Q(copy (select id from t order by id) to stdout)"],
    ["", "Q(truncate t)"],
    ["", "Q(begin; lock table t in access share mode; commit)"],
    ["Q(begin; savepoint a)", "Q(delete from t)"],
    ["", "P(,select v from t where id = 1) DS() B(,) E() S"],
    ["", "P(a,select nothing from t) H S"],
    ["P(a,select v from t where id = $1) S", "B(,a,2) E() S"],
    ["P(a,update t set v = 'y' returning id) S", "DS(a) S"],
    ["P(a,select v from t where id = 1) S", "DS(a) H S"],
    ["", "P(,select f_read(2)) B(,) DP() H E() S"],
    [
        "",
        "P(,select 1 from u where f_read(id) = 2) DS() B(,) H E() S",
    ],
    ["", "P(,select f_write(id) from u) B(,) H E() S"],
    ["", "P(,call p_write(9)) DS() B(,) DP() H E() S"],
    [
        "P(a,explain select v from t where id = 1) S",
        "DS(a) B(,a) H E() S",
    ],
    ["P(a,truncate t) S", "B(,a) E() S Q(select 1)"],
    ["", "P(,select 1) B(,) E() P(,delete from t) B(,) E() S"],
];

/// The same of what does not wait for `t`.
pub(crate) const NOT_LOCKED_OUT: &[[&str; 2]] = &[
    [
        "",
        "Q(select * from u order by id) Q(delete from u) Q(copy u to stdout) Q(select nextval('s'))",
    ],
    [
        "Q(prepare p as select * from u order by id)",
        "Q(execute p)",
    ],
    [
        "Q(create temp table t (id int))",
        "Q(insert into t values (1)) Q(select * from t) Q(drop table t)",
    ],
    [
        "",
        "Q(with t as (delete from u where id = 1 returning id) select * from t)",
    ],
    ["", "P(a,copy t to stdout) DS(a) S P(,) B(,) E() CP() H S"],
    ["P(d,delete from t) S", "DS(d) S"],
    [
        "P(f,select f_read(1)) S",
        "DS(f) S P(,call p_write(1)) DS() B(,) DP() S",
    ],
    [
        "Q(begin)",
        "Q(select 1/0) Q(select * from t) P(,select v from t) S Q(rollback)",
    ],
    [
        "P(d,select * from t) S P(e,truncate t) S Q(begin; select 1/0)",
        "B(,d) S B(,e) S DS(d) S Q(rollback)",
    ],
    [
        "Q(begin read only)",
        "Q(truncate t) Q(rollback) Q(lock table t)",
    ],
    [
        "",
        "Q(select 'f_write(1)') Q(do $$ begin perform 1; end $$) Q(create table t (id int))",
    ],
    [
        "Q(begin; declare c cursor for select generate_series(1,3))",
        "Q(fetch all c; commit)",
    ],
];

/// Whoever answers.
pub(crate) trait Side {
    fn send(&mut self, bytes: &[u8]);
    /// What it says; with so many words it is probably all.
    fn hear(&mut self, words: usize) -> String;
}

/// Sends a script line by line, of whose answers so many words are expected; the answers, the login's first, the last
/// what Terminate brings.
pub(crate) fn play(
    side: &mut dyn Side,
    script: &Script,
    database: &str,
    expected: &[String],
) -> Vec<String> {
    let mut out = begin(side, script, database, expected);
    side.send(&encode("X"));
    out.push(side.hear(1));
    out
}

/// The same, and the session stays.
pub(crate) fn begin(
    side: &mut dyn Side,
    script: &Script,
    database: &str,
    expected: &[String],
) -> Vec<String> {
    let mut parameters = script.parameters.clone();
    if !parameters.iter().any(|(key, _)| key == "database") {
        parameters.push(("database".to_owned(), database.to_owned()));
    }
    side.send(&startup(0x0003_0000, &parameters));
    let words = |at: usize| expected.get(at).map_or(1, |line| count(line));
    let mut out = vec![side.hear(words(0))];
    for step in &script.steps {
        side.send(&encode(&step.send));
        out.push(side.hear(words(out.len())));
    }
    out
}

/// Takes whole frames into the trace.
pub(crate) fn frames(gathered: &mut Vec<u8>, trace: &mut Trace) {
    let mut at = 0;
    while let Some(header) = gathered.get(at..at + 5) {
        let length = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        let Some(body) = gathered.get(at + 5..at + 1 + length) else {
            break;
        };
        trace.add(header[0], body);
        at += 1 + length;
    }
    gathered.drain(..at);
}

/// What a line of the client is on the wire.
pub(crate) fn encode(line: &str) -> Vec<u8> {
    words(line)
        .into_iter()
        .flat_map(|(word, arguments)| message(word, arguments))
        .collect()
}

/// `\n`, `\t`, `\0`, `\xFF` and `\\` as the bytes they mean.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'0') => out.push(0),
            Some(b'x') => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
            }
            Some(other) => out.push(other),
            None => out.push(b'\\'),
        }
    }
    out
}

fn shorts(out: &mut Vec<u8>, list: &str) {
    let numbers: Vec<i16> = list
        .split('+')
        .filter(|number| !number.is_empty())
        .map(|number| number.parse().unwrap())
        .collect();
    out.extend(i16::try_from(numbers.len()).unwrap().to_be_bytes());
    for number in numbers {
        out.extend(number.to_be_bytes());
    }
}

/// Bind. `formats` and `results` are numbers with `+` between.
fn bind(portal: &str, statement: &str, formats: &str, values: &[&str], results: &str) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, portal);
    string(&mut body, statement);
    shorts(&mut body, formats);
    body.extend(i16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        if *value == "~" {
            body.extend((-1_i32).to_be_bytes());
            continue;
        }
        let value = unescape(value);
        body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value);
    }
    shorts(&mut body, results);
    body
}

/// The body of a Parse, its types with `+` between.
fn parse(name: &str, text: &str, types: &str) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, name);
    string(&mut body, text);
    let types: Vec<u32> = types
        .split('+')
        .filter(|oid| !oid.is_empty())
        .map(|oid| oid.parse().unwrap())
        .collect();
    body.extend(i16::try_from(types.len()).unwrap().to_be_bytes());
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    body
}

/// The body of a FunctionCall with values and a result as text.
fn call(function: &str, values: &[&str]) -> Vec<u8> {
    let mut body = function.parse::<u32>().unwrap().to_be_bytes().to_vec();
    shorts(&mut body, "");
    body.extend(i16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value.as_bytes());
    }
    body.extend(0_i16.to_be_bytes());
    body
}

/// The body of an Execute; without a limit it returns all rows.
fn execute(portal: &str, limit: &str) -> Vec<u8> {
    let mut body = text(portal);
    let limit: i32 = match limit {
        "" => 0,
        limit => limit.parse().unwrap(),
    };
    body.extend(limit.to_be_bytes());
    body
}

/// A body that is one string.
fn text(text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, text);
    body
}

fn message(word: &str, arguments: &str) -> Vec<u8> {
    let (first, second) = arguments.split_once(',').unwrap_or((arguments, ""));
    let list: Vec<&str> = arguments.split(',').collect();
    let rest = |from: usize| list.get(from..).unwrap_or(&[]);
    let letter = word.as_bytes()[0];
    let (tag, body) = match word {
        "Q" | "f" => (letter, text(arguments)),
        "P" => (b'P', parse(first, second, "")),
        // With types: PT(name,23+25,text).
        "PT" => {
            let (types, text) = second.split_once(',').expect("types and a text");
            (b'P', parse(first, text, types))
        }
        "B" => {
            let statement = list.get(1).unwrap_or(&"");
            (b'B', bind(first, statement, "", rest(2), ""))
        }
        // With formats: BF(portal,statement,formats,results,value).
        "BF" => (b'B', bind(list[0], list[1], list[2], rest(4), list[3])),
        "E" => (b'E', execute(first, second)),
        "DS" | "DP" | "CS" | "CP" => {
            let kind = word.as_bytes()[1];
            (letter, [vec![kind], text(arguments)].concat())
        }
        "F" => (b'F', call(first, rest(1))),
        "d" => (b'd', unescape(arguments)),
        // Any tag and body: raw(Q,bytes).
        "raw" => (first.as_bytes()[0], unescape(second)),
        // Bytes without any frame.
        "bytes" => return unescape(arguments),
        "S" | "H" | "X" | "c" => (letter, Vec::new()),
        other => panic!("{other:?} is no message of a client"),
    };
    sized(Some(tag), &body)
}

/// Words of what a server sent, without what differs between equal sessions.
#[derive(Default)]
pub(crate) struct Trace {
    /// Columns of the rows that come whose values say nothing.
    blank: Vec<bool>,
    pub(crate) words: Vec<String>,
}

/// Columns whose values are of the moment, or of the planner.
const BLANK: [&str; 5] = [
    "now",
    "pg_backend_pid",
    "pg_current_wal_insert_lsn",
    "pg_last_wal_replay_lsn",
    "QUERY PLAN",
];

impl Trace {
    /// The words since the last call, as a line.
    pub(crate) fn line(&mut self) -> String {
        // In which order settings are told depends on the version and means nothing.
        let is_setting = |word: &String| word.starts_with("S(");
        for group in self
            .words
            .chunk_by_mut(|a, b| is_setting(a) && is_setting(b))
        {
            group.sort();
        }
        std::mem::take(&mut self.words).join(" ")
    }

    pub(crate) fn add(&mut self, tag: u8, body: &[u8]) {
        let word = self.word(tag, body);
        // How many lines a plan has is the planner's affair.
        if word == "D(*)" && self.words.last() == Some(&word) {
            return;
        }
        self.words.push(word);
    }

    fn word(&mut self, tag: u8, body: &[u8]) -> String {
        let mut fields = Body(body);
        let shown = match tag {
            b'T' => self.columns(&mut fields),
            b'D' => {
                let columns = fields.i16();
                let mut values = Vec::new();
                for at in 0..columns {
                    let length = fields.i32();
                    let value = usize::try_from(length).map(|length| fields.bytes(length));
                    values.push(match value {
                        Ok(_) if self.blank.get(at as usize) == Some(&true) => "*".to_owned(),
                        Ok(value) => shorten(value),
                        Err(_) => "~".to_owned(),
                    });
                }
                values.join(",")
            }
            b'E' | b'N' => {
                let field = |code: u8| {
                    body.split(|&b| b == 0)
                        .find(|field| field.first() == Some(&code))
                        .map(|field| field[1..].escape_ascii().to_string())
                };
                format!(
                    "{} {}",
                    field(b'V').unwrap_or_default(),
                    field(b'C').unwrap_or_default()
                )
            }
            b'S' => {
                let (name, value) = (fields.text(), fields.text());
                match name.as_str() {
                    "server_version" => format!("{name}=*"),
                    _ => format!("{name}={value}"),
                }
            }
            b'A' => {
                fields.i32();
                let (channel, payload) = (fields.text(), fields.text());
                format!("{channel},{payload}")
            }
            b't' => {
                let count = fields.i16();
                let oids: Vec<String> = (0..count).map(|_| fields.i32().to_string()).collect();
                oids.join(",")
            }
            b'G' | b'H' => {
                let format = fields.bytes(1)[0];
                format!("{format},{}", fields.i16())
            }
            b'R' => fields.i32().to_string(),
            b'K' => format!("{}", body.len() - 4),
            b'C' => fields.text(),
            b'v' => {
                let (version, count) = (fields.i32(), fields.i32());
                format!("{}.{},{count}", version >> 16, version & 0xFFFF)
            }
            _ => shorten(body),
        };
        let tag = char::from(tag);
        if shown.is_empty() && !matches!(tag, 'D' | 'T' | 'C') {
            tag.to_string()
        } else {
            format!("{tag}({shown})")
        }
    }

    fn columns(&mut self, fields: &mut Body<'_>) -> String {
        let count = fields.i16();
        let mut out = Vec::new();
        self.blank.clear();
        for _ in 0..count {
            let name = fields.text();
            fields.bytes(6);
            let (oid, size) = (fields.i32(), fields.i16());
            fields.bytes(4);
            let format = if fields.i16() == 0 { "" } else { ":binary" };
            self.blank.push(BLANK.contains(&name.as_str()));
            out.push(format!("{name}:{oid}:{size}{format}"));
        }
        out.join(",")
    }
}

/// A long value as its length, the bytes that would break the notation escaped.
fn shorten(value: &[u8]) -> String {
    const SHOWN: usize = 60;
    if value.len() > SHOWN {
        return format!("#{}", value.len());
    }
    let text = value.escape_ascii().to_string();
    text.replace('(', "\\x28").replace(')', "\\x29")
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(count);
        self.0 = tail;
        head
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.bytes(2).try_into().unwrap())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.bytes(4).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|&b| b == 0).unwrap();
        let text = String::from_utf8(self.bytes(end).to_vec()).unwrap();
        self.bytes(1);
        text
    }
}
