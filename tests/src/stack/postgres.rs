//! PostgreSQL of a stack: data folder, logins, command.

use std::fs;
use std::ops::{ControlFlow, Deref};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use postgres::{Client, Config, NoTls};
use rustix::process::{Pid, Signal, kill_process};

use super::nobody::{self, NOBODY};
use super::ports::{self, Port};
use super::process;
use super::server::{Launch, OnEnd, Server, StopBy};
use super::wait::wait_until;
use crate::secrets;

/// The role of posthouse. It has REPLICATION, and further grants by the tests.
pub const USER: &str = "posthouse";
/// The role's password, which is required. The superuser `postgres` needs none.
pub const PASSWORD: &str = "a password: with 'quotes'";

/// For initdb, which takes a second.
const INIT_LIMIT: Duration = Duration::from_secs(120);
/// For the processes of a killed server to end.
const ORPHANS_LIMIT: Duration = Duration::from_secs(30);
/// For one probe of the server.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// The line of the superuser. The first matching line counts.
const ADMIN_HBA: &str = "host all postgres 127.0.0.1/32 trust\n";
/// The lines of all others.
const HBA: &str = "host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
";
/// For a reload of the configuration.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

/// Settings beside the defaults. A killed process loses no acknowledged write, because the kernel
/// has it, so fsync is off. Full pages stay on, because a kill may tear a page.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("wal_level", "logical"),
    ("fsync", "off"),
    // Tests that share a server each have their own slots and many connections.
    ("max_wal_senders", "64"),
    ("max_replication_slots", "64"),
    ("max_connections", "200"),
    // In the data folder, so that a killed server leaves no file in /dev/shm.
    ("dynamic_shared_memory_type", "mmap"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
];

/// A PostgreSQL server. It can be killed, and as a [`Server`] stopped and restarted.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    port: Port,
    bin: PathBuf,
    dir: PathBuf,
}

impl Postgres {
    /// Creates its folder and links the programs where its user may read them, without a start.
    pub(crate) fn prepare(package: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let (port, dir) = (ports::reserve()?, scratch.join("postgres"));
        fs::create_dir_all(&dir)?;
        let bin = if is_root() {
            let programs = dir.join("programs");
            nobody::link_all(&package.join("native"), &programs)?;
            nobody::let_in(scratch, &dir)?;
            programs.join("bin")
        } else {
            package.join("native/bin")
        };
        let (number, data, postgres) = (port.number(), dir.join("data"), bin.join("postgres"));
        let sockets = dir.clone();
        let server = Server::new(Launch {
            name: "postgres".into(),
            output: dir.join("postgres.log"),
            logs: Vec::new(),
            command: Box::new(move || {
                // If one survives, the server reports it in its log.
                let _ = end_orphans(&data);
                let mut command = command(&postgres, &data);
                command.arg("-D").arg(&data).arg("-p").arg(number.to_string());
                for (name, value) in SETTINGS {
                    command.arg("-c").arg(format!("{name}={value}"));
                }
                command.arg("-c").arg(format!("unix_socket_directories={}", sockets.display()));
                command
            }),
            probe: Box::new(move || Ok(admin(number).connect(NoTls)?.batch_execute("SELECT 1")?)),
            stop_by: StopBy::Interrupt,
            on_end: OnEnd::Report,
        });
        Ok(Self { server, port, bin, dir })
    }

    /// Creates the data folder and [`USER`] on the first start, and starts the server.
    ///
    /// # Errors
    /// As [`Server::start`]. If the data folder can't be created, with the tool's output.
    pub fn start(&self) -> anyhow::Result<()> {
        if self.dir.join("data/PG_VERSION").exists() {
            return self.server.start();
        }
        self.init()?;
        self.server.start()?;
        let password = secrets::register(PASSWORD).replace('\'', "''");
        let role = format!("CREATE ROLE {USER} LOGIN REPLICATION PASSWORD '{password}'");
        self.admin("postgres")?.batch_execute(&role).context("cannot create the role of posthouse")
    }

    /// Sends SIGKILL to all of its processes. Returns when they are gone.
    ///
    /// # Errors
    /// If one survives.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.server.kill();
        end_orphans(&self.dir.join("data"))
    }

    /// Copies its files, as a snapshot of the disk would. The server is stopped meanwhile.
    ///
    /// # Errors
    /// If the server does not restart, or files can't be copied.
    pub fn backup(&self, folder: &Path) -> anyhow::Result<()> {
        self.server.stop();
        copy_all(&self.dir.join("data"), &folder.join("data"))?;
        self.server.start()
    }

    /// Replaces its files with a backup's.
    ///
    /// # Errors
    /// If the server does not restart, or files can't be copied.
    pub fn restore(&self, folder: &Path) -> anyhow::Result<()> {
        self.replace_files(folder)?;
        self.server.start()
    }

    /// Replaces its files with a backup's and starts it as a standby without a primary, which stays
    /// where the backup ended until it is promoted.
    ///
    /// # Errors
    /// If the server does not restart, or files can't be copied.
    pub fn restore_as_standby(&self, folder: &Path) -> anyhow::Result<()> {
        self.replace_files(folder)?;
        fs::write(self.dir.join("data/standby.signal"), "")?;
        self.server.start()
    }

    fn replace_files(&self, folder: &Path) -> anyhow::Result<()> {
        self.server.stop();
        fs::remove_dir_all(self.dir.join("data"))?;
        copy_all(&folder.join("data"), &self.dir.join("data"))
    }

    fn init(&self) -> anyhow::Result<()> {
        let data = self.dir.join("data");
        let mut initdb = command(&self.bin.join("initdb"), &self.dir);
        initdb.args(["--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "--auth=trust"]);
        initdb.arg("-D").arg(&data);
        process::run(initdb, &self.dir.join("initdb.log"), INIT_LIMIT, || ())?;
        Ok(fs::write(data.join("pg_hba.conf"), format!("{ADMIN_HBA}{HBA}"))?)
    }

    /// Replaces the lines of `pg_hba.conf`, except that of the superuser, and the settings of
    /// `postgresql.auto.conf`. Takes effect at once for new connections.
    ///
    /// # Errors
    /// If the server does not take them.
    pub fn configure(&self, hba: &str, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        fs::write(self.dir.join("data/pg_hba.conf"), format!("{ADMIN_HBA}{hba}"))?;
        let loaded = || -> anyhow::Result<SystemTime> {
            Ok(self.admin("postgres")?.query_one("SELECT pg_conf_load_time()", &[])?.get(0))
        };
        let (before, mut client) = (loaded()?, self.admin("postgres")?);
        client.batch_execute("ALTER SYSTEM RESET ALL")?;
        for (name, value) in settings {
            client.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'"))?;
        }
        client.batch_execute("SELECT pg_reload_conf()")?;
        wait_until("PostgreSQL to load its configuration", RELOAD_LIMIT, || match loaded() {
            Ok(now) if now > before => ControlFlow::Break(Ok(())),
            other => ControlFlow::Continue(anyhow!("{other:?}")),
        })
    }

    /// Writes a file into the data folder, for the server alone.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write_file(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let path = self.dir.join("data").join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }

    /// The folder of its Unix socket, with the port.
    pub fn socket(&self) -> String {
        format!("{}:{}", self.dir.display(), self.port.number())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `host:port` for clients.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// A connection of the superuser `postgres` to a database.
    ///
    /// # Errors
    /// If it is refused.
    pub fn admin(&self, database: &str) -> anyhow::Result<Client> {
        let connected = admin(self.port.number()).dbname(database).connect(NoTls);
        connected.with_context(|| format!("cannot connect to database {database} of {}", self.address()))
    }

    /// A connection of [`USER`], with the password.
    ///
    /// # Errors
    /// If it is refused.
    pub fn client(&self, database: &str) -> anyhow::Result<Client> {
        let mut login = admin(self.port.number());
        let connected = login.user(USER).password(PASSWORD).dbname(database).connect(NoTls);
        connected
            .with_context(|| format!("{USER} cannot connect to database {database} of {}", self.address()))
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn admin(port: u16) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user("postgres").connect_timeout(PROBE_LIMIT);
    config
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command for one of its programs, run by a user that it accepts. The user is changed before the
/// parent-death signal is set, because the kernel clears that signal at a change of user.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").current_dir(folder);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Kills the processes of a killed server. They would end without this, but some serve their client
/// a little longer, and the next server refuses the data folder as long as one lives. Each has the
/// data folder as its working directory.
fn end_orphans(data: &Path) -> anyhow::Result<()> {
    wait_until("the processes of a killed PostgreSQL to end", ORPHANS_LIMIT, || {
        let orphans = orphans(data);
        for orphan in &orphans {
            // It may have ended just now.
            let _ = kill_process(*orphan, Signal::KILL);
        }
        if orphans.is_empty() {
            return ControlFlow::Break(Ok(()));
        }
        ControlFlow::Continue(anyhow!("{orphans:?} still run"))
    })
}

fn orphans(data: &Path) -> Vec<Pid> {
    let (Ok(data), Ok(processes)) = (data.canonicalize(), fs::read_dir("/proc")) else { return Vec::new() };
    processes
        .filter_map(Result::ok)
        .filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|folder| folder == data))
        .filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?))
        .collect()
}
/// Copies with owners and modes, because PostgreSQL checks them.
fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    anyhow::ensure!(copied.success(), "cannot copy {} to {}", from.display(), to.display());
    Ok(())
}
