//! tokio-postgres at work: what it sees directly and through the proxy must be the same.

use std::fmt::{Debug, Write as _};
use std::pin::pin;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _, future};
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls};

use crate::support::lab::Lab;

/// What was seen, a line each.
#[derive(Default)]
struct Seen(String);

impl Seen {
    fn note(&mut self, what: &str, value: impl Debug) {
        writeln!(self.0, "{what}: {value:?}").unwrap();
    }

    /// An error by what a program can rely on.
    fn refused<T: Debug>(&mut self, what: &str, result: Result<T, Error>) {
        let error = result.unwrap_err();
        let code = error
            .as_db_error()
            .map(|error| (error.code().code(), error.message()));
        self.note(what, code);
    }
}

async fn queries(client: &Client, seen: &mut Seen) -> Result<(), Error> {
    let row = client
        .query_one("select $1::int + 1, $2::text || '!'", &[&1, &"x"])
        .await?;
    seen.note("row", (row.get::<_, i32>(0), row.get::<_, String>(1)));
    let read = client
        .prepare("select count(*) from driver_t where a <= $1")
        .await?;
    let write = client.prepare("insert into driver_t values ($1)").await?;
    for n in 0..5_i32 {
        seen.note("inserted", client.execute(&write, &[&n]).await?);
        let count: i64 = client.query_one(&read, &[&n]).await?.get(0);
        seen.note("count", count);
    }
    let several = client.simple_query("select 1; select 2").await?;
    seen.note("several results", several.len());
    seen.refused("syntax", client.query("selec", &[]).await);
    seen.refused("division", client.query("select 1 / $1::int", &[&0]).await);
    seen.refused("unique", client.execute(&write, &[&0]).await);
    Ok(())
}

/// Futures polled together are requests sent together.
async fn pipelines(client: &Client, seen: &mut Seen) -> Result<(), Error> {
    let read = client.prepare("select count(*) from driver_p").await?;
    let write = client.prepare("insert into driver_p values ($1)").await?;
    let values: Vec<i32> = (0..50).collect();
    let steps = values.iter().map(|n| async {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [n];
        let (written, count) = future::join(
            client.execute(&write, &parameters),
            client.query_one(&read, &[]),
        )
        .await;
        Ok::<_, Error>((written?, count?.get::<_, i64>(0)))
    });
    seen.note("pipelined", future::try_join_all(steps).await?);
    Ok(())
}

async fn transactions(client: &mut Client, seen: &mut Seen) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction
        .execute("insert into driver_t values (100)", &[])
        .await?;
    let portal = transaction
        .bind("select a from driver_t order by a", &[])
        .await?;
    seen.note(
        "first rows",
        transaction.query_portal(&portal, 4).await?.len(),
    );
    seen.note(
        "more rows",
        transaction.query_portal(&portal, 4).await?.len(),
    );
    transaction.rollback().await?;
    let mut transaction = client.transaction().await?;
    let savepoint = transaction.savepoint("s").await?;
    seen.refused("fails", savepoint.batch_execute("select 1/0").await);
    savepoint.rollback().await?;
    let count: i64 = transaction
        .query_one("select count(*) from driver_t", &[])
        .await?
        .get(0);
    seen.note("count", count);
    transaction.commit().await
}

async fn copies(client: &Client, seen: &mut Seen) -> Result<(), Error> {
    let mut sink = pin!(client.copy_in("copy driver_p from stdin").await?);
    for n in 1000..6000 {
        sink.send(bytes::Bytes::from(format!("{n}\n"))).await?;
    }
    seen.note("copied in", sink.finish().await?);
    let mut stream = pin!(client.copy_out("copy driver_p to stdout").await?);
    let mut size = 0;
    while let Some(chunk) = stream.next().await {
        size += chunk?.len();
    }
    seen.note("copied out", size);
    // Dropped before its end: the driver sends CopyFail.
    let mut sink = Box::pin(client.copy_in("copy driver_p from stdin").await?);
    sink.send(bytes::Bytes::from_static(b"1\n")).await?;
    drop(sink);
    let count: i64 = client
        .query_one("select count(*) from driver_p", &[])
        .await?
        .get(0);
    seen.note("copied nothing", count);
    Ok(())
}

async fn cancels(client: &Client, seen: &mut Seen) {
    for statement in [
        "select count(*) from generate_series(1, 100000000000)",
        "create table driver_c as select pg_sleep(600)::text",
    ] {
        let token = client.cancel_token();
        // Again and again: a request that comes before the statement runs is for nothing.
        let asking = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let _ = token.cancel_query(NoTls).await;
            }
        };
        let running = client.batch_execute(statement);
        match future::select(pin!(running), pin!(asking)).await {
            future::Either::Left((result, _)) => seen.refused("cancelled", result),
            future::Either::Right(((), _)) => unreachable!("it asks without end"),
        }
    }
}

async fn work(port: u16, application: &str) -> Result<String, Error> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port);
    config.user("u_trust").dbname("app");
    config.application_name(application);
    let (mut client, mut connection) = config.connect(NoTls).await?;
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let connection = tokio::spawn(async move {
        while let Some(message) = future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(message) = message? {
                told.send(message.payload().to_owned()).unwrap();
            }
        }
        Ok::<_, Error>(())
    });
    let mut seen = Seen::default();
    queries(&client, &mut seen).await?;
    pipelines(&client, &mut seen).await?;
    transactions(&mut client, &mut seen).await?;
    copies(&client, &mut seen).await?;
    cancels(&client, &mut seen).await;
    client
        .batch_execute("listen driver_l; notify driver_l, 'hello'")
        .await?;
    seen.note("heard", heard.recv().await);
    drop(client);
    connection.await.unwrap()?;
    Ok(seen.0)
}

#[test]
fn works_as_directly() {
    let Some(lab) = Lab::new("driver::works_as_directly") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let run = |port, application: &str| {
        lab.admin().run(
            "drop table if exists driver_t, driver_p; \
             create table driver_t (a int primary key); create table driver_p (a int)",
        );
        runtime.block_on(work(port, application)).unwrap()
    };
    let direct = run(lab.cluster.primary(), "direct");
    assert_eq!(run(lab.proxy.port, &lab.application), direct);
    let standby = lab.on_standby();
    assert!(standby.iter().any(|sql| sql.starts_with("select count(*)")));
    assert!(!standby.iter().any(|sql| sql.starts_with("insert")));
}
