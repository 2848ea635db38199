//! Refusals of `posthouse schema` before any write: another cluster, changed upgrades.

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use toml::{Table, Value};

use crate::schema::FINGERPRINT;

tests! {
    Shared a_cluster_that_differs_from_the_config_is_refused,
    Shared a_changed_upgrade_is_refused,
    Shared an_unknown_upgrade_is_refused,
}

/// Changes a config so that it no longer matches the nodes' cluster.
type Falsify = fn(&mut Table) -> anyhow::Result<()>;

fn first_replica(config: &mut Table) -> &mut Value {
    &mut config["shards"][0]["replicas"][0]
}

fn a_cluster_that_differs_from_the_config_is_refused(site: &mut Site<'_>) -> anyhow::Result<()> {
    let wrong: [(&str, Falsify); 5] = [
        ("shard 1 has weight 1 there and 2 in the config", |config| {
            config["shards"][0]["weight"] = 2.into();
            Ok(())
        }),
        ("shard 1 replica 1 is 127.0.0.1:", |config| {
            first_replica(config)["address"] = "127.0.0.1:9".into();
            Ok(())
        }),
        ("shard 2 replica 1 is 127.0.0.1:", |config| {
            config["shards"].as_array_mut().context("a list")?.truncate(1);
            Ok(())
        }),
        ("shard 3 replica 1 is ch3", |config| {
            let shards = config["shards"].as_array_mut().context("a list")?;
            let mut third = shards[0].clone();
            // localhost, so that neither address is a duplicate.
            let url =
                third["replicas"][0]["url"].as_str().context("a URL")?.replace("127.0.0.1", "localhost");
            third["replicas"][0]["url"] = url.into();
            third["replicas"][0]["name"] = "ch3".into();
            third["replicas"][0]["address"] = "127.0.0.1:9".into();
            shards.push(third);
            Ok(())
        }),
        ("remote_servers has no cluster elsewhere", |config| {
            config.insert("cluster".to_owned(), "elsewhere".into());
            Ok(())
        }),
    ];
    let right = site.config_mut().clone();
    for (said, falsify) in wrong {
        // GIVEN a config for another cluster than the nodes'
        *site.config_mut() = right.clone();
        falsify(site.config_mut())?;
        for verb in [["schema", "plan"], ["schema", "apply"]] {
            // WHEN the schema is compared or applied
            let outcome = site.posthouse(&verb)?;
            // THEN it is refused with the difference, and no database is created
            ensure!(outcome.code == 1 && outcome.stderr.contains(said), "no {said:?}: {outcome}");
            ensure!(outcome.stderr.contains("no change was made"), "{outcome}");
            for node in 0..site.stack.nodes().len() {
                let found =
                    site.query_on(node, "SELECT count() FROM system.databases WHERE name = '{db}'")?;
                ensure!(found == "0", "{said}: the database was made on node {node}");
            }
        }
    }
    Ok(())
}

/// WHEN another difference exists as well THEN apply is refused because of the upgrade, with the
/// reason, and changes no table.
fn refused(site: &Site<'_>, said: &[&str]) -> anyhow::Result<()> {
    site.query("DROP TABLE {db}.events SYNC")?;
    let before = [site.query_on(0, FINGERPRINT)?, site.query_on(1, FINGERPRINT)?];
    for verb in ["plan", "apply"] {
        let outcome = site.posthouse(&["schema", verb])?;
        ensure!(outcome.code == 1 && outcome.stdout.is_empty(), "{outcome}");
        for said in said {
            ensure!(outcome.stderr.contains(said), "no {said:?}: {outcome}");
        }
    }
    let after = [site.query_on(0, FINGERPRINT)?, site.query_on(1, FINGERPRINT)?];
    ensure!(before == after, "{before:#?} became {after:#?}");
    Ok(())
}

fn a_changed_upgrade_is_refused(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a node that has applied another file of the same name
    site.apply()?;
    site.query_on(
        1,
        "ALTER TABLE {db}.posthouse_upgrades UPDATE checksum = 'beef' WHERE 1 SETTINGS mutations_sync = 2",
    )?;
    refused(site, &["0001_database_comment", "ch2", "beef", "a released upgrade never changes"])
}

fn an_unknown_upgrade_is_refused(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a node that has applied an upgrade of a later posthouse
    site.apply()?;
    site.query_on(1, "INSERT INTO {db}.posthouse_upgrades VALUES ('9999_later', 'beef', now64(3))")?;
    refused(site, &["9999_later", "ch2", "newer"])
}
