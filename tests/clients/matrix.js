// Opens sessions with node-postgres as the lines of standard input say: `keyword=value` in libpq's names. Prints a line
// for each: where a read and a write ran (`t` is a standby), or why there is no session.
'use strict';

const fs = require('fs');
const { Client } = require('pg');

const READ = 'select pg_is_in_recovery() as standby';
const WRITE = "insert into matrix_t values ('x') returning pg_is_in_recovery() as standby";

async function session(given) {
  const ssl = given.sslmode !== 'disable' && {
    rejectUnauthorized: false,
    ...(given.sslcert && { cert: fs.readFileSync(given.sslcert), key: fs.readFileSync(given.sslkey) }),
  };
  const client = new Client({
    host: given.host,
    port: Number(given.port),
    user: given.user,
    password: given.password,
    database: given.dbname,
    ssl,
    enableChannelBinding: given.channel_binding === 'require',
    connectionTimeoutMillis: 30000,
  });
  client.on('error', () => {});
  await client.connect();
  const places = [];
  for (const sql of [READ, WRITE]) {
    places.push((await client.query(sql)).rows[0].standby ? 't' : 'f');
  }
  await client.end();
  return places.join(' ');
}

async function main() {
  const lines = fs.readFileSync(0, 'utf8').split('\n').filter(Boolean);
  for (const line of lines) {
    const given = Object.fromEntries(line.split(' ').map((word) => word.split(/=(.*)/s).slice(0, 2)));
    try {
      console.log(await session(given));
    } catch (error) {
      console.log(`${error.code || ''} ${error.name}: ${error.message.replace(/\s+/g, ' ')}`);
    }
  }
}

main();
