//! Types of parameters on a server that is no physical copy: the same names under other OIDs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::BytesMut;

use super::super::reply::{AnswerFault, Heard, Look};
use super::array::{number, read_table};
use super::query::{self, ProbeFailed, RowReader};
use super::{Found, sql};
use crate::error::{Fault, Malformed, TooLong};
use crate::limits::PROBE_TYPES_MAX;
use crate::wire::tags::frontend;
use crate::wire::{Frontend, Header, ParamTypes, Parse, Printable, Values};

/// The least OID that is not the same in every cluster of a major version: below it they are written by hand
/// (`FirstGenbkiObjectId`).
const FIRST_ASSIGNED: u32 = 10_000;

/// A type's schema and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeName {
    /// The schema.
    pub schema: Box<[u8]>,
    /// The name in it.
    pub name: Box<[u8]>,
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", Printable(&self.schema), Printable(&self.name))
    }
}

impl fmt::Debug for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The types that a lookup has found, by OID.
pub type Types = BTreeMap<u32, TypeName>;

/// Prepared statements have parameters of more types than are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {PROBE_TYPES_MAX} types of parameters")]
pub struct TooManyTypes;

/// Whether two servers are one cluster and its physical copy, in which every OID is the same. Where the identity of
/// either is not known they are not.
#[must_use]
pub fn same_oids(source: &Found, target: &Found) -> bool {
    match (&source.identity, &target.identity) {
        (Some(one), Some(other)) => {
            one.system == other.system && source.database_oid == target.database_oid
        }
        (None | Some(_), _) => false,
    }
}

/// Whether two servers are known to be different clusters: neither has what is written on the other, and their log positions
/// have nothing to do with each other.
#[must_use]
pub fn are_strangers(source: &Found, target: &Found) -> bool {
    match (&source.identity, &target.identity) {
        (Some(one), Some(other)) => one.system != other.system,
        (None | Some(_), _) => false,
    }
}

/// Those of these OIDs that another cluster may know otherwise: what was not written into PostgreSQL by hand. 0 leaves a
/// type to the server.
///
/// # Errors
/// [`TooManyTypes`].
pub fn types_to_look_up(
    oids: impl IntoIterator<Item = u32>,
) -> Result<BTreeSet<u32>, TooManyTypes> {
    let mut own = BTreeSet::new();
    for oid in oids.into_iter().filter(|oid| *oid >= FIRST_ASSIGNED) {
        own.insert(oid);
        if own.len() > PROBE_TYPES_MAX {
            return Err(TooManyTypes);
        }
    }
    Ok(own)
}

/// The types that the client has declared in the body of a Parse message; 0 for those that it leaves to the server.
#[must_use]
pub fn declared(body: &[u8]) -> Vec<u32> {
    match Frontend::parse(frontend::PARSE, body) {
        Ok(Frontend::Parse(parse)) => parse.types.iter().collect(),
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// A query for types, and the reader of its answer; used as a [`Probe`](super::Probe).
#[derive(Debug)]
pub struct TypeLookup {
    text: &'static str,
    parameter: Vec<Box<[u8]>>,
    reader: RowReader<Types>,
}

impl TypeLookup {
    /// Asks the old server how these types are called.
    #[must_use]
    pub fn names(oids: &BTreeSet<u32>) -> TypeLookup {
        let digits = |oid: &u32| oid.to_string().into_bytes().into_boxed_slice();
        TypeLookup {
            text: sql::TYPE_NAMES,
            parameter: oids.iter().map(digits).collect(),
            reader: RowReader::new(),
        }
    }

    /// Asks the new server for the OIDs of the types that are called so.
    #[must_use]
    pub fn oids(types: &Types) -> TypeLookup {
        let pair = |name: &TypeName| [name.schema.clone(), name.name.clone()];
        TypeLookup {
            text: sql::TYPE_OIDS,
            parameter: types.values().flat_map(pair).collect(),
            reader: RowReader::new(),
        }
    }

    /// Appends the messages.
    ///
    /// # Errors
    /// None that can happen: OIDs and names of types fit a message.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        query::write(self.text, self.parameter.iter().map(|text| &**text), out)
    }

    /// A message with this header comes from the server.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn header(&mut self, header: Header) -> Result<Look, AnswerFault> {
        self.reader.header(header)
    }

    /// The body of a message that was asked for.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn body(
        &mut self,
        tag: u8,
        body: &[u8],
    ) -> Result<Heard<Result<Types, ProbeFailed>>, AnswerFault> {
        self.reader.body(tag, body, parse)
    }
}

fn parse(values: Values<'_>) -> Result<Types, Malformed> {
    let bad = || Malformed {
        message: "probe",
        field: "types",
        offset: 0,
        fault: Fault::BadValue,
    };
    let mut values = values.iter();
    let (Some(Some(value)), None) = (values.next(), values.next()) else {
        return Err(bad());
    };
    let mut types = Types::new();
    for row in read_table("types", value)? {
        let [Some(oid), Some(schema), Some(name)] = row else {
            return Err(bad());
        };
        let name = TypeName {
            schema: Box::from(schema),
            name: Box::from(name),
        };
        types.insert(number(oid).ok_or_else(bad)?, name);
    }
    Ok(types)
}

/// What to do about types that have other OIDs on the new server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherOids {
    /// The session stays: its client may keep OIDs that it was told, and send values that hold some (arrays and rows in
    /// binary format do).
    #[default]
    Refuse,
    /// Statements are prepared with the new ones. For clients that send text, or look types up by name each time.
    Remap,
}

/// A type that keeps a session from moving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeTrouble {
    /// The old server has no such type any more.
    Gone {
        /// Its OID.
        oid: u32,
    },
    /// The new server has no type of this name.
    Missing(TypeName),
    /// The new server has it under another OID, and that is not allowed.
    OtherOid(TypeName),
}

impl fmt::Display for TypeTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypeTrouble::Gone { oid } => {
                write!(f, "the type with OID {oid} does not exist any more")
            }
            TypeTrouble::Missing(name) => write!(f, "the new server has no type {name}"),
            TypeTrouble::OtherOid(name) => {
                write!(f, "the new server has the type {name} under another OID")
            }
        }
    }
}

/// The OIDs of types on the new server by those on the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeMap(BTreeMap<u32, u32>);

impl TypeMap {
    /// Every OID means the same on both.
    #[must_use]
    pub fn identity() -> TypeMap {
        TypeMap::default()
    }

    /// The map for these OIDs, from what both servers say of the types.
    ///
    /// # Errors
    /// Every type that keeps the session from moving.
    pub fn between(
        oids: &BTreeSet<u32>,
        source: &Types,
        target: &Types,
        policy: OtherOids,
    ) -> Result<TypeMap, Vec<TypeTrouble>> {
        let there: BTreeMap<&TypeName, u32> =
            target.iter().map(|(oid, name)| (name, *oid)).collect();
        let mut map = BTreeMap::new();
        let mut trouble = Vec::new();
        for oid in oids {
            let Some(name) = source.get(oid) else {
                trouble.push(TypeTrouble::Gone { oid: *oid });
                continue;
            };
            match (there.get(name), policy) {
                (None, _) => trouble.push(TypeTrouble::Missing(name.clone())),
                (Some(new), _) if new == oid => {}
                (Some(_), OtherOids::Refuse) => trouble.push(TypeTrouble::OtherOid(name.clone())),
                (Some(new), OtherOids::Remap) => {
                    map.insert(*oid, *new);
                }
            }
        }
        if trouble.is_empty() {
            Ok(TypeMap(map))
        } else {
            Err(trouble)
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.0.is_empty()
    }

    /// The OID on the new server.
    #[must_use]
    pub fn get(&self, oid: u32) -> u32 {
        self.0.get(&oid).copied().unwrap_or(oid)
    }

    /// The body of a Parse message with the OIDs of the new server, of the same length; `None` if they are the ones that it has.
    #[must_use]
    pub fn rewritten(&self, body: &[u8]) -> Option<Box<[u8]>> {
        let oids = declared(body);
        if oids.iter().all(|oid| self.get(*oid) == *oid) {
            return None;
        }
        let len = oids.len().checked_mul(4)?;
        let (head, _) = body.split_at_checked(body.len().checked_sub(len)?)?;
        let mut anew = head.to_vec();
        for oid in oids {
            anew.extend_from_slice(&self.get(oid).to_be_bytes());
        }
        Some(anew.into())
    }

    /// Appends a Parse message with the OIDs of the new server.
    ///
    /// # Errors
    /// None that can happen: it is as long as the one that came.
    pub fn write_parse(&self, parse: Parse<'_>, out: &mut BytesMut) -> Result<(), TooLong> {
        let types: Vec<u32> = parse.types.iter().map(|oid| self.get(oid)).collect();
        let types = ParamTypes::new(&types);
        Frontend::Parse(Parse { types, ..parse }).encode(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(list: &[(u32, &str)]) -> Types {
        list.iter()
            .map(|(oid, name)| {
                let name = TypeName {
                    schema: Box::from(&b"app"[..]),
                    name: Box::from(name.as_bytes()),
                };
                (*oid, name)
            })
            .collect()
    }

    #[test]
    fn only_assigned_oids_are_looked_up() {
        let own = types_to_look_up([0, 25, 9_999, 10_000, 16_400, 16_400, u32::MAX]).unwrap();
        assert_eq!(
            own.into_iter().collect::<Vec<_>>(),
            [10_000, 16_400, u32::MAX]
        );
    }

    #[test]
    fn a_type_is_the_same_under_its_name() {
        let source = types(&[(16_400, "mood"), (16_402, "colour"), (16_404, "old")]);
        let target = types(&[(16_400, "colour"), (17_000, "mood"), (18_000, "other")]);
        let oids = types_to_look_up([16_400, 16_402]).unwrap();
        let map = TypeMap::between(&oids, &source, &target, OtherOids::Remap).unwrap();
        assert_eq!(
            (map.get(16_400), map.get(16_402), map.get(23)),
            (17_000, 16_400, 23)
        );
        let trouble = TypeMap::between(&oids, &source, &target, OtherOids::Refuse).unwrap_err();
        let shown: Vec<String> = trouble.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "the new server has the type app.mood under another OID",
                "the new server has the type app.colour under another OID",
            ]
        );
        let oids = types_to_look_up([16_404, 20_000]).unwrap();
        for policy in [OtherOids::Refuse, OtherOids::Remap] {
            let trouble = TypeMap::between(&oids, &source, &target, policy).unwrap_err();
            let shown: Vec<String> = trouble.iter().map(ToString::to_string).collect();
            assert_eq!(
                shown,
                [
                    "the new server has no type app.old",
                    "the type with OID 20000 does not exist any more"
                ]
            );
        }
    }

    #[test]
    fn equal_oids_need_no_map() {
        let both = types(&[(16_400, "mood")]);
        let oids = types_to_look_up([16_400]).unwrap();
        let map = TypeMap::between(&oids, &both, &both, OtherOids::Refuse).unwrap();
        assert!(map.is_identity());
    }

    #[test]
    fn a_parse_gets_the_new_oids_and_nothing_else_changes() {
        let source = types(&[(16_400, "mood")]);
        let target = types(&[(17_000, "mood")]);
        let oids = types_to_look_up([16_400]).unwrap();
        let map = TypeMap::between(&oids, &source, &target, OtherOids::Remap).unwrap();
        let parse = Parse {
            name: b"s",
            text: b"select $1",
            types: ParamTypes::new(&[16_400, 0, 23]),
        };
        let mut out = BytesMut::new();
        map.write_parse(parse, &mut out).unwrap();
        let expected = b"P\0\0\0\x1es\0select $1\0\0\x03\0\0\x42\x68\0\0\0\0\0\0\0\x17";
        assert_eq!(
            out.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }
}
