//! Which of several clusters a client wants, and what is left of its StartupMessage.

use pgturnout::startup::{ClusterIdent, NoCluster, ProtocolVersion, StartupParams};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn startup(pairs: Pairs<'_>) -> StartupParams {
    let user = (&b"user"[..], &b"alice"[..]);
    let pairs = pairs
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    StartupParams::build(ProtocolVersion::V3_2, std::iter::once(user).chain(pairs)).unwrap()
}

fn of(pairs: Pairs<'_>, server_name: Option<&str>) -> Result<(String, StartupParams), NoCluster> {
    let name = server_name.map(str::as_bytes);
    let (ident, left) = ClusterIdent::of(&startup(pairs), name)?;
    Ok((ident.to_string(), left))
}

#[test]
fn what_names_it() {
    for (database, options, host, left) in [
        ("happy-koala-7.app", "", None, ("app", "")),
        (
            "happy-koala-7.app",
            "",
            Some("other-koala-8.example.com"),
            ("app", ""),
        ),
        ("app", "--cluster=happy-koala-7", None, ("app", "")),
        ("app", "-c cluster=happy-koala-7", None, ("app", "")),
        ("app", " -c\t cluster=happy-koala-7 ", None, ("app", "")),
        (
            "app",
            "-ccluster=happy-koala-7 -c a=b",
            None,
            ("app", "-c a=b"),
        ),
        (
            "app",
            "-c a=b\\ c  --cluster=happy-koala-7 -d 3",
            None,
            ("app", "-c a=b\\ c -d 3"),
        ),
        (
            "happy-koala-7.app",
            "-c a=b --cluster=happy-koala-7",
            None,
            ("app", "-c a=b"),
        ),
        (
            "app",
            "-c a=b",
            Some("happy-koala-7.example.com"),
            ("app", "-c a=b"),
        ),
        ("app", "-c a=b", Some("happy-koala-7"), ("app", "-c a=b")),
    ] {
        let asked: Pairs<'_> = &[("database", database), ("options", options)];
        let (ident, rest) = of(asked, host).unwrap();
        assert_eq!(ident, "happy-koala-7", "{asked:?}");
        let (database, options) = left;
        assert_eq!(
            rest,
            startup(&[("database", database), ("options", options)])
        );
    }
}

/// Order, other names, names that come twice, and the version.
#[test]
fn what_is_not_stripped_stays() {
    let asked: Pairs<'_> = &[
        ("_pq_.x", ""),
        ("options", "--cluster=nobody-reads-9"),
        ("database", "a.b.c"),
        ("search_path", "x.y"),
        ("database", "happy-koala-7.app"),
        ("Options", "--cluster=x"),
        ("options", "-c geqo=off"),
    ];
    let (ident, left) = of(asked, None).unwrap();
    assert_eq!(ident, "happy-koala-7");
    let mut expected = asked.to_vec();
    expected[4].1 = "app";
    assert_eq!(left, startup(&expected));
    let untouched: Pairs<'_> = &[("options", "  -c a=b "), ("database", "")];
    let (_, left) = of(untouched, Some("happy-koala-7.x")).unwrap();
    assert_eq!(left.raw(), startup(untouched).raw());
}

#[test]
fn what_names_none() {
    let cluster = |database: &str, options: &str| {
        of(&[("database", database), ("options", options)], None).unwrap_err()
    };
    assert_eq!(of(&[], None).unwrap_err(), NoCluster::Missing);
    assert_eq!(of(&[], Some("")).unwrap_err(), NoCluster::Missing);
    assert_eq!(of(&[], Some("example.com")).unwrap_err(), NoCluster::Ident);
    for (database, options, error) in [
        ("app", "-c a=b", NoCluster::Missing),
        (
            "app",
            "-c mycluster=happy-koala-7 --clusters=x cluster=happy-koala-7",
            NoCluster::Missing,
        ),
        (
            "happy-koala-7.app",
            "--cluster=happy-koala-8",
            NoCluster::Different,
        ),
        (
            "app",
            "--cluster=happy-koala-7 --cluster=happy-koala-7",
            NoCluster::Options,
        ),
        (
            "app",
            "-c --cluster=happy-koala-7 cluster=happy-koala-8",
            NoCluster::Options,
        ),
        ("happy-koala-7.", "", NoCluster::Database),
        (".app", "", NoCluster::Database),
        ("happy-koala-7.app.x", "", NoCluster::Database),
        ("happy-koala-1.app", "", NoCluster::Ident),
        ("happy-koala-07.app", "", NoCluster::Ident),
        ("happy-koala-+7.app", "", NoCluster::Ident),
        ("happykoala.app", "", NoCluster::Ident),
        ("Happy-koala-7.app", "", NoCluster::Ident),
        ("happy-koala-99999999999999999999.app", "", NoCluster::Ident),
        ("app", "--cluster=", NoCluster::Ident),
    ] {
        assert_eq!(cluster(database, options), error, "{database} {options}");
        let text = format!("{error} {}", error.hint().unwrap());
        assert!(!text.contains("koala"), "{text}");
    }
    for (length, fits) in [(5, false), (6, true), (100, true), (101, false)] {
        let ident = format!("{}-2", "a".repeat(length));
        assert_eq!(
            ClusterIdent::parse(ident.as_bytes()).is_ok(),
            fits,
            "{length}"
        );
    }
}
