with recursive
  -- Names that every session may mean: not those of the system, nor of a session's temporary objects.
  own as (
    select oid, nspname from pg_namespace
     where nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and nspname !~ '^pg_(toast_)?temp_'
  ),
  -- Expressions that run when a relation is read: what a view selects, what row-level policies ask.
  trees (relation, tree) as (
    select ev_class, ev_action::text from pg_rewrite join pg_class c on c.oid = ev_class
     where ev_type = '1' and relkind = 'v'
    union all
    select polrelid, polqual::text from pg_policy where polcmd in ('*', 'r')
  ),
  runs (relation, function) as (
    select distinct relation, found[1]::oid
      from trees, regexp_matches(tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') found
  ),
  -- What else is read with a relation.
  parts (relation, part) as (
    select distinct relation, found[1]::oid from trees, regexp_matches(tree, ':relid (\d+)', 'g') found
    union
    select inhparent, inhrelid from pg_inherits
  ),
  reach (relation, part) as (
    select oid, oid from pg_class where relkind in ('r', 'v', 'p', 'f', 'S', 'm')
    union
    select reach.relation, parts.part from reach join parts on parts.relation = reach.part
  ),
  -- Checks of domains, and the types that contain such a domain.
  checks (type, function) as (
    select contypid, found[1]::oid
      from pg_constraint, regexp_matches(conbin::text, ':(?:funcid|opfuncid) (\d+)', 'g') found
     where contypid <> 0
    union
    select oid, io from pg_type, unnest(array[typinput::oid, typoutput::oid]) io where io >= 16384
  ),
  members (type, member) as (
    select oid, typbasetype from pg_type where typtype = 'd'
    union select oid, typelem from pg_type where typelem <> 0
    union select rngtypid, rngsubtype from pg_range
    union select reltype, atttypid from pg_attribute join pg_class c on c.oid = attrelid
           where reltype <> 0 and attnum > 0 and atttypid >= 16384
  ),
  holds (type, function) as (
    select type, function from checks
    union
    select members.type, holds.function from holds join members on members.member = holds.type
  ),
  functions as (
    select p.oid, n.nspname, p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  )
select case when bool_or(provolatile = 'v') then 'volatile' else 'stable' end, nspname::text, proname::text, '', ''
  from pg_proc join own on own.oid = pronamespace group by nspname, proname
union
-- `type(x)` is a cast where no function has that name.
select 'stable', n.nspname, typname, '', ''
  from pg_type t join pg_namespace n on n.oid = t.typnamespace
 where typtype in ('b', 'd', 'e', 'm', 'r') and typelem = 0
   and (n.nspname = 'pg_catalog' or n.oid in (select oid from own))
   and not exists (select from pg_proc where pronamespace in (select oid from own) and proname = typname)
union
select 'operator', n.nspname, o.oprname, f.nspname, f.proname
  from pg_operator o join pg_namespace n on n.oid = o.oprnamespace join functions f on f.oid = o.oprcode
 where o.oid >= 16384
union
select 'name', own.nspname, c.relname, f.nspname, f.proname
  from reach join pg_class c on c.oid = reach.relation join own on own.oid = c.relnamespace
  join runs on runs.relation = reach.part join functions f on f.oid = runs.function
union
-- A standby has no content of what is unlogged, another idea of where a sequence is, and other files.
select 'name', own.nspname, c.relname, '', ''
  from reach join pg_class c on c.oid = reach.relation join own on own.oid = c.relnamespace
  join pg_class part on part.oid = reach.part
 where part.relkind in ('S', 'f') or part.relpersistence = 'u'
union
select 'name', own.nspname, t.typname, f.nspname, f.proname
  from holds join pg_type t on t.oid = holds.type join own on own.oid = t.typnamespace
  join functions f on f.oid = holds.function
union
-- A cast runs where it is written, with either type's name.
select 'name', own.nspname, t.typname, f.nspname, f.proname
  from pg_cast join pg_type t on t.oid in (castsource, casttarget) join own on own.oid = t.typnamespace
  join functions f on f.oid = castfunc
union
-- `row.f` calls `f(row)`.
select 'attribute', own.nspname, p.proname, own.nspname, p.proname
  from pg_proc p join own on own.oid = p.pronamespace
  join pg_type t on t.oid = p.proargtypes[0]
 where p.pronargs - p.pronargdefaults <= 1 and p.pronargs >= 1 and p.provolatile = 'v'
   and (t.typtype in ('c', 'd') or t.typname in ('record', 'anyelement', 'anynonarray', 'anycompatible',
        'anycompatiblenonarray'))
