//! Secrets from files and commands, and files that posthouse writes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, ensure};
use posthouse_tests::secrets;
use posthouse_tests::site::{Site, shell};
use toml::Value;

use crate::schema::json;

tests! {
    Shared reads_a_password_from_files_and_commands_or_names_the_next_step,
    Single installs_functions_that_clickhouse_can_read_whatever_the_umask_is,
    Single refuses_a_link_instead_of_the_folder_of_a_release,
}

/// The password of the user `operator`.
const PASSWORD: &str = "correct horse";
const WRONG: &str = "battery staple";

fn mode(path: &Path) -> anyhow::Result<u32> {
    Ok(fs::symlink_metadata(path).with_context(|| path.display().to_string())?.permissions().mode() & 0o7777)
}

fn reads_a_password_from_files_and_commands_or_names_the_next_step(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, content: &str| -> anyhow::Result<String> {
        let path = folder.path().join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(path.display().to_string())
    };
    secrets::register(PASSWORD);
    secrets::register(WRONG);
    let right = write("right", &format!("{PASSWORD}\n"))?;
    let wrong = write("wrong", WRONG)?;
    let (empty, lines) = (write("empty", "")?, write("lines", &format!("{PASSWORD}\n{WRONG}\n"))?);
    let open = write("open", PASSWORD)?;
    fs::set_permissions(&open, Permissions::from_mode(0o644))?;
    let command = |words: &[&str]| Value::Array(words.iter().map(|word| (*word).into()).collect());
    let missing = folder.path().join("none").display().to_string();
    // GIVEN each source WHEN the schema is compared THEN the node answers, or the error names the
    // source and the next step
    for (key, value, code, said) in [
        ("password_file", Value::from(right.as_str()), 3, ""),
        ("password_file", open.as_str().into(), 3, "every user of this machine may read"),
        ("password_file", wrong.as_str().into(), 1, "clickhouse.password_file"),
        ("password_file", empty.into(), 2, "is empty: a secret is one line"),
        ("password_file", lines.into(), 2, "has 2 lines: a secret is one line"),
        ("password_file", missing.into(), 2, "or set POSTHOUSE_CLICKHOUSE_PASSWORD"),
        ("password_command", command(&["cat", &right]), 3, ""),
        ("password_command", command(&["cat", &wrong]), 1, "clickhouse.password_file"),
        ("password_command", command(&["sh", "-c", "cat \"$0\"; exit 4", &right]), 2, "exit status: 4"),
        ("password_command", command(&["sleep", "600"]), 2, "did not end within 10 s"),
        ("password_command", command(&["/nowhere/token", PASSWORD]), 2, "can't run /nowhere/token"),
        ("password_command", format!("token {PASSWORD}").into(), 2, "give a list of the program"),
    ] {
        site.config_mut().remove("clickhouse");
        site.set("clickhouse", "user", "operator").set("clickhouse", key, value.clone());
        for arguments in [&["schema", "plan"][..], &["-vv", "schema", "plan", "--json"]] {
            let outcome = site.posthouse(arguments)?;
            ensure!(outcome.code == code && outcome.stderr.contains(said), "{key} = {value}: {outcome}");
            // The harness searches all outputs for both passwords.
        }
    }
    // The config itself had one of them in two cases.
    site.config_mut().remove("clickhouse");
    site.write_config()?;
    Ok(())
}

fn installs_functions_that_clickhouse_can_read_whatever_the_umask_is(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    for umask in ["077", "000"] {
        // GIVEN nodes without functions, and a umask that closes or opens all files
        site.must(&["udf", "uninstall"])?;
        // WHEN functions are installed THEN the server's user can run them, and no other write them
        let installed = shell(site, &format!("umask {umask}; posthouse udf install --json"))?;
        ensure!(installed.code == 0, "{installed}");
        let installed = json(&installed)?;
        for (node, done) in site.stack.nodes().iter().zip(installed.as_array().context("a list")?) {
            let release = node.user_scripts().join(done["release"].as_str().context("a release")?);
            ensure!(mode(&release)? == 0o755, "{:o}", mode(&release)?);
            ensure!(mode(&release.join("posthouse-udf"))? == 0o755, "the program");
            ensure!(mode(&node.functions_xml())? == 0o644, "{:o}", mode(&node.functions_xml())?);
        }
        site.must(&["udf", "check"])?;
    }
    Ok(())
}

fn refuses_a_link_instead_of_the_folder_of_a_release(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a link where the release goes, to a folder of another user
    let installed = json(&site.must(&["udf", "install", "--json"])?)?;
    let release = installed[0]["release"].as_str().context("a release")?;
    site.must(&["udf", "uninstall"])?;
    let private = tempfile::tempdir()?;
    fs::set_permissions(private.path(), Permissions::from_mode(0o700))?;
    let link = site.stack.nodes()[0].user_scripts().join(release);
    symlink(private.path(), &link)?;
    // WHEN functions are installed THEN the link is named, and its target is unchanged
    let refused = site.posthouse(&["udf", "install"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("is a symbolic link"), "{refused}");
    ensure!(mode(private.path())? == 0o700, "the target has another mode");
    ensure!(fs::read_dir(private.path())?.count() == 0, "the target has files");
    fs::remove_file(&link)?;
    // and without it the install works
    site.must(&["udf", "install"])?;
    Ok(())
}
