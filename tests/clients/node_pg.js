// node-postgres at work. Prints what it sees, for comparison with another run; takes a connection URL.
'use strict';

const { Client, Pool } = require('pg');

const url = process.argv[2];

function show(what, value) {
  console.log(`${what}: ${JSON.stringify(value)}`);
}

async function refused(what, promise) {
  try {
    await promise;
    show(what, 'no error');
  } catch (error) {
    show(what, [error.code, error.message]);
  }
}

async function queries(client) {
  show('row', (await client.query('select $1::int as a, $2::text as b, null as c', [1, 'two'])).rows);
  show('array mode', (await client.query({ text: 'select 1, 2', rowMode: 'array' })).rows);
  show('rows', (await client.query('select * from generate_series(1, 10000)')).rowCount);
  show('several', (await client.query('select 1 as a; select 2 as b')).map((result) => result.rows));
  show('empty', (await client.query('')).command);
  for (let n = 0; n < 5; n += 1) {
    await client.query({ name: 'write', text: 'insert into node_t values ($1, $2)', values: [n, `row ${n}`] });
    const read = { name: 'read', text: 'select count(*) from node_t where a <= $1', values: [n] };
    show('named', (await client.query(read)).rows);
    await client.query('begin');
    show('named in a transaction', (await client.query(read)).rows);
    await client.query('commit');
  }
  show('binary', (await client.query({ text: 'select 258 as a', binary: true, values: [] })).rows);
}

// The library queues them; a write between the reads must be seen by the later ones.
async function queued(client) {
  const results = [];
  for (let n = 0; n < 10; n += 1) {
    results.push(client.query('select count(*)::int as a from node_q'));
    results.push(client.query('insert into node_q values ($1)', [n]));
  }
  const rows = (await Promise.all(results)).filter((result) => result.command === 'SELECT');
  show('queued', rows.map((result) => result.rows[0].a));
}

async function failures(client) {
  await refused('syntax', client.query('selec'));
  await refused('division', client.query('select 1 / $1::int', [0]));
  await refused('unique', client.query('insert into node_t values (1)'));
  await refused('missing', client.query('select * from node_missing'));
  const notice = new Promise((resolve) => { client.once('notice', (message) => resolve(message.message)); });
  await client.query("do $$ begin raise warning 'careful'; end $$");
  show('notice', await notice);
}

async function transactions(client) {
  await client.query('begin');
  await client.query('insert into node_t values (100)');
  show('inside', (await client.query('select count(*) from node_t where a = 100')).rows);
  await refused('fails', client.query('select 1/0'));
  await refused('failed', client.query('select 1'));
  await client.query('rollback');
  show('after', (await client.query('select count(*) from node_t where a = 100')).rows);
}

async function session(client) {
  show('process id', (await client.query('select pg_backend_pid() as pid')).rows[0].pid === client.processID);
  await client.query("set timezone = 'Asia/Tokyo'");
  show('time', (await client.query("select '2024-07-01 00:00Z'::timestamptz::text as t")).rows);
  const heard = new Promise((resolve) => { client.once('notification', (message) => resolve(message.payload)); });
  await client.query('listen node_l');
  await client.query("notify node_l, 'hello'");
  show('notification', await heard);
}

async function pools() {
  const pool = new Pool({ connectionString: url, max: 8 });
  const counts = await Promise.all(Array.from({ length: 100 }, async (_, n) => {
    await pool.query('insert into node_a values ($1)', [n]);
    return (await pool.query('select count(*)::int as a from node_a where a = $1', [n])).rows[0].a;
  }));
  show('pool', counts.reduce((sum, count) => sum + count, 0));
  await pool.end();
}

async function main() {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query('create table node_t (a int primary key, b text)');
  await client.query('create table node_q (a int); create table node_a (a int)');
  for (const part of [queries, queued, failures, transactions, session]) {
    await part(client);
  }
  await client.end();
  await pools();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
