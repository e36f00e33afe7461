-- psql at work. What it prints is compared with another run.
\set ON_ERROR_STOP off
\pset pager off
\timing off
create table psql_t (a int primary key, b text);
create table psql_c (a int, b text);
create sequence psql_s;

-- Reads, writes and their errors.
insert into psql_t select n, 'row ' || n from generate_series(1, 10) n;
select * from psql_t order by a;
select count(*) from psql_t \gset read_
\echo :read_count
select 1/0;
selec;
insert into psql_t values (1, 'again');
select * from psql_missing;
\errverbose
select 1 \; select 2 \; insert into psql_t values (11) returning a;

-- Transactions.
begin;
update psql_t set b = 'changed' where a = 1;
select b from psql_t where a = 1;
savepoint s;
select no_such_column;
select 1;
rollback to s;
select b from psql_t where a = 1;
rollback;
select b from psql_t where a = 1;

-- The extended protocol.
select a, b, a::numeric(10, 2), now() from psql_t \gdesc
select nothing \gdesc
insert into psql_t values (12) returning a \gdesc
select b from psql_t where a = $1 \bind 3 \g
select 'select ' || n || ' as made' from generate_series(1, 3) n \gexec
\set FETCH_COUNT 3
select a from psql_t order by a;
\unset FETCH_COUNT

-- What psql asks of the catalogue.
\d psql_t
\dt psql_*
\ds psql_s
\du u_*
\df upper
\sf generate_series(int, int)

-- The same again and again, until the division by zero.
select setval('psql_s', 1);
select 10 / (4 - nextval('psql_s')) as watched
\watch 0.05
select 1 as after_watch;

-- COPY, small.
copy psql_c from stdin;
1	one
2	two
\.
copy psql_c from stdin;
no number	x
\.
copy psql_c to stdout;
\copy (select * from psql_c order by a) to stdout csv header
select count(*) from psql_c;

-- The session.
set timezone = 'Asia/Tokyo';
select '2024-07-01 00:00Z'::timestamptz;
reset timezone;
prepare p(int) as select b from psql_t where a = $1;
execute p(2);
deallocate p;
create temp table psql_temp as select 1 as a;
select * from psql_temp;
listen psql_l;
notify psql_l, 'hello';
do $$ begin raise notice 'noted'; end $$;
\encoding
\c
select 'a new session' as after_connect;
select * from psql_temp;
