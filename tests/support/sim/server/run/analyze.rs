//! What a statement means here and now: tables, columns, functions, types.

use std::sync::Arc;

use super::super::cluster::{Cluster, SEQUENCES, Tables, bare};
use super::super::fault::Fault;
use super::super::portal::{Column, Plan};
use super::super::session::Session;
use super::super::sql::{
    Binary, Change, ChangeKind, ColumnType, Expr, From, Select, Statement, Target, Utility, oid,
};
use super::eval::input;
use super::functions::{Kind, signature};
use super::path::label;

type Columns = Arc<[ColumnType]>;

struct Analyzer<'a> {
    temporary: Tables,
    tables: Tables,
    /// The result of `with name as (…)`.
    with: Option<(Arc<str>, Columns)>,
    types: &'a mut Vec<u32>,
    /// Whether parameters may come whose types are not known.
    open: bool,
}

pub(super) fn missing_table(name: &str) -> Fault {
    Fault::new("42P01", format!("relation \"{name}\" does not exist"))
}

/// Whether to look at it takes a snapshot.
fn takes_snapshot(statement: &Statement) -> bool {
    match statement {
        Statement::Select(_) | Statement::Change(_) => true,
        Statement::Utility(utility) => matches!(
            utility,
            Utility::Explain { .. } | Utility::Declare { .. } | Utility::CreateAs { .. }
        ),
    }
}

impl Session {
    pub(crate) fn analyze(
        &mut self,
        mut statement: Statement,
        text: &Arc<str>,
        types: &mut Vec<u32>,
        open: bool,
        cluster: &Cluster,
    ) -> Result<Plan, Fault> {
        if takes_snapshot(&statement) {
            self.take_snapshot()?;
        }
        self.resolve(&mut statement);
        let mut analyzer = Analyzer {
            temporary: self.temporary.clone(),
            tables: self.view(cluster),
            with: None,
            types,
            open,
        };
        let columns = match &statement {
            Statement::Select(select) => Some(analyzer.select(select, &[])?),
            Statement::Change(change) => analyzer.change(change)?,
            Statement::Utility(Utility::Explain { statement, .. }) => {
                match &**statement {
                    Statement::Select(select) => drop(analyzer.select(select, &[])?),
                    Statement::Change(change) => drop(analyzer.change(change)?),
                    Statement::Utility(_) => {}
                }
                Some(vec![column("QUERY PLAN", oid::TEXT)])
            }
            Statement::Utility(
                Utility::Declare { select, .. } | Utility::CreateAs { select, .. },
            ) => {
                analyzer.select(select, &[])?;
                None
            }
            Statement::Utility(utility) => self.utility_columns(utility)?,
        };
        for (at, oid) in types.iter_mut().enumerate() {
            if *oid == 0 || *oid == oid::UNKNOWN {
                return Err(Fault::new(
                    "42P18",
                    format!("could not determine data type of parameter ${}", at + 1),
                ));
            }
        }
        Ok(Plan {
            statement,
            text: Arc::clone(text),
            parameters: types.clone(),
            columns: columns.map(Arc::from),
        })
    }

    fn utility_columns(&self, utility: &Utility) -> Result<Option<Vec<Column>>, Fault> {
        Ok(match utility {
            Utility::Show(name) => {
                if self.settings.get(name).is_none() {
                    return Err(super::super::settings::unknown(name));
                }
                Some(vec![column(self.settings.spelling(name), oid::TEXT)])
            }
            Utility::Fetch { name, moves, .. } if !moves => self
                .find_portal(name)
                .and_then(|at| self.portals[at].columns())
                .map(|columns| columns.to_vec()),
            Utility::Survey { .. } => Some(super::survey::columns()),
            Utility::Execute { name, .. } => {
                let plan = self.prepared_plan(name).ok().flatten();
                plan.and_then(|plan| plan.columns.as_ref().map(|columns| columns.to_vec()))
            }
            _ => None,
        })
    }

    /// The plan as of now: what it names may have changed.
    pub(crate) fn revalidate(
        &mut self,
        plan: &Arc<Plan>,
        cluster: &Cluster,
    ) -> Result<Arc<Plan>, Fault> {
        let mut types = plan.parameters.clone();
        let statement = plan.statement.clone();
        let fresh = self.analyze(statement, &plan.text, &mut types, false, cluster)?;
        if fresh.columns == plan.columns && fresh.statement == plan.statement {
            return Ok(Arc::clone(plan));
        }
        if fresh.columns == plan.columns || matches!(fresh.statement, Statement::Utility(_)) {
            return Ok(Arc::new(fresh));
        }
        Err(Fault::new(
            "0A000",
            "cached plan must not change result type",
        ))
    }
}

fn column(name: &str, oid: u32) -> Column {
    Column {
        name: name.into(),
        oid,
    }
}

/// What a column is called that has no alias.
fn target_name(expr: &Expr) -> Option<Arc<str>> {
    match expr {
        Expr::Column(name) => Some(Arc::clone(name)),
        Expr::Call(name, _) => Some(label(name).into()),
        Expr::Cast(inner, oid) => target_name(inner).or_else(|| {
            Some(
                match *oid {
                    oid::INT4 => "int4",
                    oid::INT8 => "int8",
                    oid::BOOL => "bool",
                    oid::NUMERIC => "numeric",
                    oid::FLOAT8 => "float8",
                    oid::NAME => "name",
                    oid::REGCLASS => "regclass",
                    _ => "text",
                }
                .into(),
            )
        }),
        _ => None,
    }
}

fn type_name(oid: u32) -> &'static str {
    match oid {
        oid::INT4 => "integer",
        oid::INT8 => "bigint",
        oid::BOOL => "boolean",
        oid::UNKNOWN => "unknown",
        _ => "text",
    }
}

fn is_integer(oid: u32) -> bool {
    matches!(oid, oid::INT4 | oid::INT8)
}

/// Whether a value is taken for another without being told to.
fn fits(oid: u32, wanted: u32, assigned: bool) -> bool {
    oid == wanted
        || oid == oid::UNKNOWN
        || wanted == oid::UNKNOWN
        || (is_integer(oid) && matches!(wanted, oid::INT8 | oid::FLOAT8 | oid::NUMERIC))
        || (oid == oid::NUMERIC && wanted == oid::FLOAT8)
        || (oid == oid::NAME && wanted == oid::TEXT)
        || (assigned && wanted == oid::TEXT)
        || (assigned && is_integer(wanted) && (is_integer(oid) || oid == oid::NUMERIC))
}

impl Analyzer<'_> {
    fn table(&self, name: &str) -> Result<Columns, Fault> {
        if let Some((with, columns)) = &self.with {
            if **with == *name {
                return Ok(Arc::clone(columns));
            }
        }
        self.temporary
            .get(bare(name))
            .or_else(|| self.tables.get(name))
            .map(|table| Arc::clone(&table.columns))
            .ok_or_else(|| missing_table(name))
    }

    /// Columns of a SELECT, whose results are wanted as some types.
    fn select(&mut self, select: &Select, wanted: &[u32]) -> Result<Vec<Column>, Fault> {
        if let Some((name, change)) = &select.with {
            let columns = self.change(change)?.ok_or_else(|| {
                let text = format!("WITH query \"{name}\" does not have a RETURNING clause");
                Fault::new("0A000", text)
            });
            let reads = matches!(&select.from, Some(From::Table(table)) if table == name);
            if reads {
                let columns = columns?.into_iter().map(|column| ColumnType {
                    name: column.name,
                    oid: column.oid,
                });
                self.with = Some((Arc::clone(name), columns.collect()));
            }
        }
        let scope = match &select.from {
            None => [].into(),
            Some(From::Table(name)) => self.table(name)?,
            Some(From::Series(first, last, name)) => {
                for expr in [first, last] {
                    self.argument(expr, &[], oid::INT4, "generate_series")?;
                }
                let name = Arc::clone(name);
                [ColumnType {
                    name,
                    oid: oid::INT4,
                }]
                .into()
            }
            Some(From::Rows(rows)) => self.rows(rows, wanted)?,
        };
        if select.from.is_none() && select.targets.contains(&Target::All) {
            return Err(Fault::new(
                "42601",
                "SELECT * with no tables specified is not valid",
            ));
        }
        let columns = self.targets(&select.targets, &scope, wanted)?;
        if let Some(filter) = &select.filter {
            self.condition(filter, &scope)?;
        }
        if let Some((name, _)) = &select.order {
            let known = &**name == "1"
                || scope.iter().any(|column| column.name == *name)
                || columns.iter().any(|column| column.name == *name);
            if !known {
                return Err(missing_column(name));
            }
        }
        if let Some(limit) = &select.limit {
            self.infer(limit, &[], oid::INT8)?;
        }
        Ok(columns)
    }

    fn rows(&mut self, rows: &[Vec<Expr>], wanted: &[u32]) -> Result<Columns, Fault> {
        let width = rows[0].len();
        if rows.iter().any(|row| row.len() != width) {
            return Err(Fault::new(
                "42601",
                "VALUES lists must all be the same length",
            ));
        }
        let mut out = Vec::new();
        for at in 0..width {
            let want = wanted.get(at).copied().unwrap_or(oid::UNKNOWN);
            let mut found = oid::UNKNOWN;
            for row in rows {
                let oid = self.infer(&row[at], &[], want)?;
                if found == oid::UNKNOWN {
                    found = oid;
                }
            }
            if found == oid::UNKNOWN {
                found = oid::TEXT;
                for row in rows {
                    self.infer(&row[at], &[], found)?;
                }
            }
            out.push(ColumnType {
                name: format!("column{}", at + 1).into(),
                oid: found,
            });
        }
        Ok(out.into())
    }

    fn targets(
        &mut self,
        targets: &[Target],
        scope: &[ColumnType],
        wanted: &[u32],
    ) -> Result<Vec<Column>, Fault> {
        let mut out = Vec::new();
        for target in targets {
            match target {
                Target::All => out.extend(scope.iter().map(|c| column(&c.name, c.oid))),
                Target::Expr(expr, alias) => {
                    let want = wanted.get(out.len()).copied().unwrap_or(oid::UNKNOWN);
                    let mut oid = self.infer(expr, scope, want)?;
                    if oid == oid::UNKNOWN {
                        oid = self.infer(expr, scope, oid::TEXT)?;
                    }
                    let name = alias.clone().or_else(|| target_name(expr));
                    out.push(column(name.as_deref().unwrap_or("?column?"), oid));
                }
            }
        }
        Ok(out)
    }

    fn condition(&mut self, expr: &Expr, scope: &[ColumnType]) -> Result<(), Fault> {
        match self.infer(expr, scope, oid::BOOL)? {
            oid::BOOL => Ok(()),
            other => Err(Fault::new(
                "42804",
                format!(
                    "argument of WHERE must be type boolean, not type {}",
                    type_name(other)
                ),
            )),
        }
    }

    fn change(&mut self, change: &Change) -> Result<Option<Vec<Column>>, Fault> {
        let table = self.table(&change.table)?;
        let find = |name: &Arc<str>| {
            let text = format!(
                "column \"{name}\" of relation \"{}\" does not exist",
                change.table
            );
            let found = table.iter().find(|column| column.name == *name);
            found
                .map(|column| column.oid)
                .ok_or_else(|| Fault::new("42703", text))
        };
        match &change.kind {
            ChangeKind::Insert { columns, source } => {
                let wanted: Vec<u32> = if columns.is_empty() {
                    table.iter().map(|column| column.oid).collect()
                } else {
                    columns.iter().map(find).collect::<Result<_, _>>()?
                };
                let given = self.select(source, &wanted)?;
                if given.len() > wanted.len() {
                    return Err(Fault::new(
                        "42601",
                        "INSERT has more expressions than target columns",
                    ));
                }
                if given.len() < wanted.len() && !columns.is_empty() {
                    return Err(Fault::new(
                        "42601",
                        "INSERT has more target columns than expressions",
                    ));
                }
                for (given, wanted) in given.iter().zip(&wanted) {
                    assignable(given.oid, *wanted)?;
                }
            }
            ChangeKind::Update { sets, filter } => {
                for (name, expr) in sets {
                    let wanted = find(name)?;
                    let given = self.infer(expr, &table, wanted)?;
                    assignable(given, wanted)?;
                }
                if let Some(filter) = filter {
                    self.condition(filter, &table)?;
                }
            }
            ChangeKind::Delete { filter } => {
                if let Some(filter) = filter {
                    self.condition(filter, &table)?;
                }
            }
        }
        if change.returning.is_empty() {
            return Ok(None);
        }
        self.targets(&change.returning, &table, &[]).map(Some)
    }

    fn parameter(&mut self, number: usize, wanted: u32) -> Result<u32, Fault> {
        if number > self.types.len() {
            if !self.open {
                return Err(Fault::new(
                    "42P02",
                    format!("there is no parameter ${number}"),
                ));
            }
            self.types.resize(number, 0);
        }
        let known = &mut self.types[number - 1];
        if matches!(*known, 0 | oid::UNKNOWN) {
            *known = wanted;
        }
        Ok(*known)
    }

    fn argument(
        &mut self,
        expr: &Expr,
        scope: &[ColumnType],
        wanted: u32,
        function: &str,
    ) -> Result<(), Fault> {
        let given = self.infer(expr, scope, wanted)?;
        if fits(given, wanted, false) {
            return Ok(());
        }
        Err(Fault::new(
            "42883",
            format!("function {function}({}) does not exist", type_name(given)),
        ))
    }

    /// The type of an expression. What has none yet, parameters and literals, gets the wanted one.
    fn infer(&mut self, expr: &Expr, scope: &[ColumnType], wanted: u32) -> Result<u32, Fault> {
        Ok(match expr {
            Expr::Null => wanted,
            Expr::Bool(_) => oid::BOOL,
            Expr::Int(number) if i32::try_from(*number).is_ok() => oid::INT4,
            Expr::Int(_) => oid::INT8,
            Expr::Number(_) => oid::NUMERIC,
            Expr::Str(text) => {
                if wanted == oid::REGCLASS && !SEQUENCES.contains(&&**text) {
                    self.table(text)?;
                }
                input(text, wanted)?;
                wanted
            }
            Expr::Param(number) => self.parameter(*number, wanted)?,
            Expr::Column(name) => scope
                .iter()
                .find(|column| column.name == *name)
                .map(|column| column.oid)
                .ok_or_else(|| missing_column(name))?,
            Expr::Call(name, arguments) => {
                let Some((types, result, _)) = signature(name, arguments.len()) else {
                    for argument in arguments {
                        self.infer(argument, scope, oid::UNKNOWN)?;
                    }
                    let procedure = &**name == "p_write" && arguments.len() == 1;
                    let code = if procedure { "42809" } else { "42883" };
                    return Err(Fault::new(code, format!("{name} is no function")));
                };
                for (argument, wanted) in arguments.iter().zip(types) {
                    self.argument(argument, scope, *wanted, name)?;
                }
                result
            }
            Expr::Cast(inner, oid) => {
                self.infer(inner, scope, *oid)?;
                *oid
            }
            Expr::Binary(operator, left, right) => self.binary(*operator, left, right, scope)?,
            Expr::Not(inner) => {
                self.infer(inner, scope, oid::BOOL)?;
                oid::BOOL
            }
        })
    }

    fn binary(
        &mut self,
        operator: Binary,
        left: &Expr,
        right: &Expr,
        scope: &[ColumnType],
    ) -> Result<u32, Fault> {
        let hint = match operator {
            Binary::Or | Binary::And => oid::BOOL,
            Binary::Concat => oid::TEXT,
            _ => oid::UNKNOWN,
        };
        let mut first = self.infer(left, scope, hint)?;
        let wanted = if hint == oid::UNKNOWN { first } else { hint };
        let mut second = self.infer(right, scope, wanted)?;
        if first == oid::UNKNOWN && second == oid::UNKNOWN {
            let compares = operate_compares(operator);
            if !compares {
                return Err(Fault::new("42725", "operator is not unique: unknown"));
            }
            second = self.infer(right, scope, oid::TEXT)?;
        }
        if first == oid::UNKNOWN {
            first = self.infer(left, scope, second)?;
        }
        let same = first == second || (is_integer(first) && is_integer(second));
        let numeric = |oid| is_integer(oid) || oid == oid::NUMERIC;
        match operator {
            Binary::Concat => return Ok(oid::TEXT),
            Binary::Or | Binary::And => return Ok(oid::BOOL),
            Binary::Equal
            | Binary::Unequal
            | Binary::Less
            | Binary::Greater
            | Binary::LessEqual
            | Binary::GreaterEqual
                if same =>
            {
                return Ok(oid::BOOL);
            }
            Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide
                if numeric(first) && numeric(second) =>
            {
                return Ok(match (first, second) {
                    (oid::INT4, oid::INT4) => oid::INT4,
                    (oid::NUMERIC, _) | (_, oid::NUMERIC) => oid::NUMERIC,
                    _ => oid::INT8,
                });
            }
            _ => {}
        }
        Err(Fault::new(
            "42883",
            format!(
                "operator does not exist: {} {}",
                type_name(first),
                type_name(second)
            ),
        ))
    }
}

fn assignable(given: u32, wanted: u32) -> Result<(), Fault> {
    if fits(given, wanted, true) {
        return Ok(());
    }
    Err(Fault::new(
        "42804",
        format!(
            "column is of type {} but expression is of type {}",
            type_name(wanted),
            type_name(given)
        ),
    ))
}

fn operate_compares(operator: Binary) -> bool {
    !matches!(
        operator,
        Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide
    )
}

fn missing_column(name: &str) -> Fault {
    Fault::new("42703", format!("column \"{name}\" does not exist"))
}

/// Whether a target counts or sums over all rows.
pub(super) fn is_aggregate(expr: &Expr) -> bool {
    match expr {
        Expr::Call(name, arguments) => {
            let kind = signature(name, arguments.len()).map(|(.., kind)| kind);
            kind == Some(Kind::Aggregate) || arguments.iter().any(is_aggregate)
        }
        Expr::Cast(inner, _) | Expr::Not(inner) => is_aggregate(inner),
        Expr::Binary(_, left, right) => is_aggregate(left) || is_aggregate(right),
        Expr::Null
        | Expr::Bool(_)
        | Expr::Int(_)
        | Expr::Number(_)
        | Expr::Str(_)
        | Expr::Param(_)
        | Expr::Column(_) => false,
    }
}
