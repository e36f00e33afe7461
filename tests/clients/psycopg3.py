"""psycopg 3 at work. Prints what it sees, for comparison with another run; takes a connection string."""

import asyncio
import logging
import sys
import threading
import time

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row


def show(what, value):
    print(f"{what}: {value!r}")


def refused(what, action):
    try:
        action()
    except psycopg.Error as error:
        show(what, (error.sqlstate, str(error).splitlines()[0]))
    else:
        show(what, "no error")


def queries(conn):
    show("types", conn.execute(
        "select %s::int, %s::text, %s::numeric, %s::date, %s::jsonb, %s::bytea, null",
        (1, "two", "3.30", "2024-07-01", '{"a": [1]}', b"\x00\xff"),
    ).fetchone())
    show("binary", conn.execute("select %s::int8, %b::bytea", (1 << 40, b"\x01"), binary=True).fetchone())
    show("many rows", sum(row[0] for row in conn.execute("select * from generate_series(1, 10000)")))
    with conn.cursor(row_factory=dict_row) as cur:
        show("dict", cur.execute("select 1 as a, 'x' as b").fetchall())
    for n in range(8):  # past the threshold from which statements are prepared
        conn.execute("insert into psycopg_t values (%s, %s)", (n, f"row {n}"))
        show("prepared", conn.execute("select count(*) from psycopg_t where a <= %s", (n,)).fetchone())
    with conn.cursor() as cur:
        cur.executemany("insert into psycopg_t values (%s, %s) returning a", [(n, None) for n in range(10, 13)],
                        returning=True)
        results = []
        while True:
            results.append(cur.fetchone())
            if not cur.nextset():
                break
        show("executemany", results)
    show("several results", [cur.fetchall() for cur in conn.execute("select 1; select 2").results()])


def failures(conn):
    refused("syntax", lambda: conn.execute("selec 1"))
    refused("division", lambda: conn.execute("select 1 / %s", (0,)))
    refused("unique", lambda: conn.execute("insert into psycopg_t values (0, null)"))
    refused("missing", lambda: conn.execute("select * from psycopg_missing"))
    notices = []
    conn.add_notice_handler(lambda diag: notices.append((diag.severity, diag.message_primary)))
    conn.execute("do $$ begin raise warning 'careful'; end $$")
    show("notices", notices)


def transactions(conn):
    try:
        with conn.transaction():
            conn.execute("insert into psycopg_t values (100, null)")
            show("inside", conn.execute("select count(*) from psycopg_t where a = 100").fetchone())
            with conn.transaction(force_rollback=True):
                conn.execute("insert into psycopg_t values (101, null)")
            show("savepoint", conn.execute("select count(*) from psycopg_t where a >= 100").fetchone())
            raise errors.DivisionByZero("on purpose")
    except errors.DivisionByZero:
        pass
    show("rolled back", conn.execute("select count(*) from psycopg_t where a >= 100").fetchone())
    conn.autocommit = False
    conn.execute("select 1")
    show("status", conn.info.transaction_status.name)
    conn.rollback()
    conn.read_only = True
    refused("read only", lambda: conn.execute("delete from psycopg_t"))
    conn.rollback()
    conn.read_only = None
    conn.autocommit = True
    with conn.transaction(), conn.cursor("named") as cur:
        cur.itersize = 3
        cur.execute("select a from psycopg_t order by a")
        show("server-side cursor", [row[0] for row in cur])


def pipelines(conn):
    with conn.pipeline() as pipeline:
        cursors = [conn.execute("select %s::int", (n,)) for n in range(5)]
        conn.execute("insert into psycopg_t values (200, null)")
        cursors.append(conn.execute("select count(*) from psycopg_t where a = 200"))
        pipeline.sync()
        show("pipeline", [cur.fetchone() for cur in cursors])
        cursors = [conn.execute("select 1"), conn.execute("update psycopg_t set b = 'p' where a = 200")]
        pipeline.sync()
        show("pipeline", (cursors[0].fetchone(), cursors[1].rowcount))
    def fails():
        with conn.pipeline():
            conn.execute("insert into psycopg_t values (201, null)")
            conn.execute("select 1/0")
            conn.execute("insert into psycopg_t values (202, null)")
    refused("pipeline error", fails)
    show("pipeline rolled back", conn.execute("select count(*) from psycopg_t where a > 200").fetchone())


def copies(conn):
    with conn.cursor() as cur:
        with cur.copy("copy psycopg_c from stdin") as copy:
            for n in range(20000):
                copy.write_row((n, "x" * (n % 50)))
        show("copy in", conn.execute("select count(*), sum(length(b)) from psycopg_c").fetchone())
        with cur.copy("copy (select * from psycopg_c order by a) to stdout (format binary)") as copy:
            copy.set_types(["int4", "text"])
            rows = list(copy.rows())
        show("copy out", (len(rows), rows[0], rows[-1]))
    def fails():
        with conn.cursor() as cur, cur.copy("copy psycopg_c from stdin") as copy:
            copy.write(b"no number\tx\n")
    refused("copy error", fails)
    def raises():
        with conn.cursor() as cur, cur.copy("copy psycopg_c from stdin") as copy:
            copy.write(b"1\tx\n")
            raise errors.DataError("changed my mind")
    refused("copy given up", raises)


def session(conn):
    show("process id", conn.execute("select pg_backend_pid()").fetchone()[0] == conn.info.backend_pid)
    conn.execute("set timezone = 'Asia/Tokyo'")
    show("timezone", (conn.info.timezone, conn.execute("select '2024-07-01 00:00Z'::timestamptz").fetchone()))
    conn.execute("create temp table psycopg_temp as select 1 a")
    show("temporary", conn.execute("select * from psycopg_temp").fetchall())
    conn.execute("listen psycopg_l")
    conn.execute("notify psycopg_l, 'hello'")
    show("notification", [n.payload for n in conn.notifies(timeout=10, stop_after=1)])
    conn.execute("discard all")
    show("discarded", conn.execute("select count(*) from pg_listening_channels()").fetchone())


def cancels(dsn, conn):
    # The first is a read, the second writes: each may run elsewhere.
    for statement in ("select count(*) from generate_series(1, 100000000000)",
                      "create table psycopg_x as select pg_sleep(600)::text"):
        done = threading.Event()
        def keep_cancelling():
            while not done.wait(0.2):
                conn.cancel_safe()
        thread = threading.Thread(target=keep_cancelling)
        thread.start()
        refused("cancel", lambda: conn.execute(statement))
        done.set()
        thread.join()
        time.sleep(0.1)
        show("after cancel", conn.execute("select 1").fetchone())


async def concurrently(dsn):
    async def one(n):
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
            await conn.execute("insert into psycopg_a values (%s)", (n,))
            cur = await conn.execute("select count(*) from psycopg_a where a = %s", (n,))
            return (await cur.fetchone())[0]
    show("concurrently", sum(await asyncio.gather(*(one(n) for n in range(20)))))


def main():
    # It warns about what it finds on closing a failed pipeline, depending on what has come by then.
    logging.disable(logging.CRITICAL)
    dsn = sys.argv[1]
    with psycopg.connect(dsn, autocommit=True) as conn:
        for table, columns in (("t", "a int primary key, b text"), ("c", "a int, b text"), ("a", "a int")):
            name = sql.Identifier(f"psycopg_{table}")
            conn.execute(sql.SQL("create table {} ({})").format(name, sql.SQL(columns)))
        for part in (queries, failures, transactions, pipelines, copies, session):
            part(conn)
        cancels(dsn, conn)
    asyncio.run(concurrently(dsn))


main()
