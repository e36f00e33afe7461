"""asyncpg at work. Prints what it sees, for comparison with another run; takes a connection URL."""

import asyncio
import io
import sys

import asyncpg


def show(what, value):
    print(f"{what}: {value!r}")


async def refused(what, action):
    try:
        await action
    except (asyncpg.PostgresError, asyncio.TimeoutError) as error:
        show(what, (getattr(error, "sqlstate", None), str(error)))
    else:
        show(what, "no error")


async def queries(conn):
    show("row", tuple(await conn.fetchrow("select $1::int, $2::text, $3::numeric, null", 1, "two", 3)))
    show("rows", len(await conn.fetch("select * from generate_series(1, 10000)")))
    show("arrays", await conn.fetchval("select $1::int[] || 4", [1, 2, 3]))
    show("simple", await conn.execute("select 1; select 2"))
    statement = await conn.prepare("select count(*) from asyncpg_t where a < $1")
    show("parameters", [type_.name for type_ in statement.get_parameters()])
    for n in range(5):
        show("insert", await conn.execute("insert into asyncpg_t values ($1, $2)", n, f"row {n}"))
        show("prepared", await statement.fetchval(n + 1))
        async with conn.transaction():
            show("prepared in a transaction", await statement.fetchval(n + 1))
    await conn.executemany("insert into asyncpg_t values ($1, $2)", [(n, None) for n in range(10, 500)])
    show("executemany", await conn.fetchval("select count(*) from asyncpg_t"))


async def failures(conn):
    await refused("syntax", conn.fetch("selec"))
    await refused("division", conn.fetch("select 1 / $1::int", 0))
    await refused("unique", conn.execute("insert into asyncpg_t values (1)"))
    await refused("missing", conn.fetch("select * from asyncpg_missing"))
    await refused("batch", conn.executemany("insert into asyncpg_t values ($1)", [(1000,), (1,), (1001,)]))
    show("batch rolled back", await conn.fetchval("select count(*) from asyncpg_t where a >= 1000"))


async def transactions(conn):
    async def fails():
        async with conn.transaction():
            await conn.execute("insert into asyncpg_t values (2000)")
            show("inside", await conn.fetchval("select count(*) from asyncpg_t where a = 2000"))
            await conn.execute("select 1/0")
    await refused("rolled back", fails())
    show("after", await conn.fetchval("select count(*) from asyncpg_t where a = 2000"))
    async with conn.transaction(isolation="serializable", readonly=True):
        show("serializable", await conn.fetchval("select count(*) from asyncpg_t"))
    async with conn.transaction():
        cursor = conn.cursor("select a from asyncpg_t order by a", prefetch=50)
        show("cursor", sum([row["a"] async for row in cursor]))


async def copies(conn):
    records = [(n, "y" * (n % 20)) for n in range(20000)]
    show("copy in", await conn.copy_records_to_table("asyncpg_c", records=records))
    out = io.BytesIO()
    show("copy out", await conn.copy_from_query("select * from asyncpg_c order by a", output=out))
    show("copied", len(out.getvalue()))
    await refused("copy error", conn.copy_to_table("asyncpg_c", source=io.BytesIO(b"no number\tx\n")))


async def session(conn):
    show("process id", await conn.fetchval("select pg_backend_pid()") == conn.get_server_pid())
    await conn.execute("set timezone = 'Asia/Tokyo'")
    show("timezone", await conn.fetchval("show timezone"))
    show("time", await conn.fetchval("select '2024-07-01 00:00Z'::timestamptz::text"))
    heard = asyncio.get_running_loop().create_future()
    await conn.add_listener("asyncpg_l", lambda _c, _pid, _channel, payload: heard.set_result(payload))
    await conn.execute("notify asyncpg_l, 'hello'")
    show("notification", await asyncio.wait_for(heard, 10))
    await conn.reset()
    show("reset", await conn.fetchval("select '2024-07-01 00:00Z'::timestamptz = '2024-07-01 00:00Z'"))


async def cancels(conn):
    # A timeout is a CancelRequest.
    for statement in ("select count(*) from generate_series(1, 100000000000)",
                      "create table asyncpg_x as select pg_sleep(600)::text"):
        await refused("timeout", conn.execute(statement, timeout=0.3))
        show("after timeout", await conn.fetchval("select 1"))


async def pools(url):
    async with asyncpg.create_pool(url, min_size=4, max_size=8) as pool:
        async def one(n):
            await pool.execute("insert into asyncpg_a values ($1)", n)
            return await pool.fetchval("select count(*) from asyncpg_a where a = $1", n)
        show("pool", sum(await asyncio.gather(*(one(n) for n in range(100)))))


async def main():
    url = sys.argv[1]
    conn = await asyncpg.connect(url)
    await conn.execute("create table asyncpg_t (a int primary key, b text)")
    await conn.execute("create table asyncpg_c (a int, b text); create table asyncpg_a (a int)")
    for part in (queries, failures, transactions, copies, session, cancels):
        await part(conn)
    await conn.close()
    await pools(url)


asyncio.run(main())
