"""Opens sessions, with the driver that the argument names, as the lines of standard input say: `keyword=value` in
libpq's names. Prints a line for each: where a read and a write ran (`t` is a standby), or why there is no session."""

import asyncio
import ssl
import sys

READ = "select pg_is_in_recovery()"
WRITE = "insert into matrix_t values ('x') returning pg_is_in_recovery()"


def with_psycopg(line):
    import psycopg
    with psycopg.connect(line, autocommit=True) as conn:
        return [conn.execute(sql).fetchone()[0] for sql in (READ, WRITE)]


def with_asyncpg(line):
    return asyncio.run(asyncpg_session(dict(word.split("=", 1) for word in line.split())))


async def asyncpg_session(given):
    import asyncpg
    context = False
    if given["sslmode"] != "disable":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if "sslcert" in given:
            context.load_cert_chain(given["sslcert"], given["sslkey"])
    conn = await asyncpg.connect(
        host=given["host"], port=int(given["port"]), user=given["user"], password=given["password"],
        database=given["dbname"], ssl=context, direct_tls=given.get("sslnegotiation") == "direct", timeout=30)
    try:
        return [await conn.fetchval(sql) for sql in (READ, WRITE)]
    finally:
        await conn.close()


def main():
    opened = {"psycopg": with_psycopg, "asyncpg": with_asyncpg}[sys.argv[1]]
    for line in sys.stdin:
        try:
            outcome = " ".join("t" if standby else "f" for standby in opened(line.strip()))
        except Exception as error:  # whatever it is, it is what the driver tells its user
            state = getattr(error, "sqlstate", None) or ""
            outcome = f"{state} {type(error).__name__}: " + " ".join(str(error).split())
        print(outcome, flush=True)


main()
