//! Tests of the files that an install writes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::super::place::FILE_TIME_STEP;
use super::*;

fn release(folder: &Path, content: &str) -> Release {
    let path = folder.join("program");
    fs::write(&path, content).expect("a program");
    Release::read(&path).expect("a release")
}

#[test]
fn the_second_time_changes_nothing_and_damage_is_mended() {
    let disk = tempfile::tempdir().expect("a folder");
    let scripts = disk.path().join("scripts");
    let files = NodeFiles {
        user_scripts_path: scripts.clone(),
        functions_config_file: disk.path().join("functions.xml"),
    };
    let release = release(disk.path(), "program");
    let write = || write_files(&files, &release).expect("written");
    assert_eq!(write(), (FileState::Written, FileState::Written));
    assert_eq!(write(), (FileState::Unchanged, FileState::Unchanged));

    let program = scripts.join(release.program());
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode(&program), mode(&files.functions_config_file)), (PROGRAM_MODE, DECLARATION_MODE));
    fs::write(&program, "prog").expect("damage");
    assert_eq!(write(), (FileState::Written, FileState::Unchanged));
    fs::set_permissions(&program, Permissions::from_mode(0o600)).expect("damage");
    assert_eq!(write(), (FileState::Written, FileState::Unchanged));
    assert_eq!(fs::read(&program).expect("a file"), b"program");

    let left: Vec<_> = fs::read_dir(&scripts).expect("a folder").collect();
    assert_eq!(left.len(), 1, "temporary files are left: {left:?}");
}

#[test]
fn another_program_gets_another_folder_and_the_old_one_stays() {
    let disk = tempfile::tempdir().expect("a folder");
    let scripts = disk.path().join("scripts");
    let files = NodeFiles {
        user_scripts_path: scripts.clone(),
        functions_config_file: disk.path().join("functions.xml"),
    };
    let old = release(disk.path(), "old");
    write_files(&files, &old).expect("written");
    let modified = || fs::metadata(&files.functions_config_file).expect("a file").modified().expect("a time");
    let before = modified();
    let new = release(disk.path(), "new");
    assert_eq!(write_files(&files, &new).expect("written"), (FileState::Written, FileState::Written));
    assert_eq!(fs::read(scripts.join(old.program())).expect("the old one"), b"old");
    let xml = fs::read_to_string(&files.functions_config_file).expect("a file");
    assert!(xml.contains(&new.program()) && !xml.contains(&old.program()));
    assert!(modified() >= before + FILE_TIME_STEP, "the node would not read it again");
}

#[test]
fn a_declaration_of_another_program_is_not_overwritten() {
    let disk = tempfile::tempdir().expect("a folder");
    let functions = disk.path().join("functions.xml");
    fs::write(&functions, "<functions/>").expect("a file");
    let files = NodeFiles {
        user_scripts_path: disk.path().join("scripts"),
        functions_config_file: functions.clone(),
    };
    let error = write_files(&files, &release(disk.path(), "p")).expect_err("not ours").to_string();
    assert!(error.contains(&functions.display().to_string()), "{error}");
    assert_eq!(fs::read(&functions).expect("a file"), b"<functions/>");
}

#[test]
fn a_folder_that_can_not_be_made_is_named() {
    let disk = tempfile::tempdir().expect("a folder");
    let blocked = disk.path().join("file");
    fs::write(&blocked, "").expect("a file");
    let files = NodeFiles {
        user_scripts_path: blocked.clone(),
        functions_config_file: disk.path().join("functions.xml"),
    };
    let error = write_files(&files, &release(disk.path(), "p")).expect_err("not a folder").to_string();
    assert!(error.contains(&blocked.display().to_string()), "{error}");
}

/// The files of a node on a disk of its own.
struct Disk {
    folder: tempfile::TempDir,
    files: NodeFiles,
    release: Release,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = NodeFiles {
            user_scripts_path: folder.path().join("scripts"),
            functions_config_file: folder.path().join("functions.xml"),
        };
        fs::create_dir(&files.user_scripts_path).expect("a folder");
        let release = release(folder.path(), "program");
        Self { folder, files, release }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn release_folder(&self) -> PathBuf {
        self.files.user_scripts_path.join(self.release.folder())
    }

    fn refusal(&self) -> String {
        format!("{:#}", write_files(&self.files, &self.release).expect_err("a refusal"))
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("an entry").permissions().mode() & 0o7777
}

#[test]
fn planted_links_are_refused_and_their_targets_stay() {
    // A link instead of the release's folder, whose target must keep its mode.
    let disk = Disk::new();
    let target = disk.path("private");
    fs::create_dir(&target).expect("a folder");
    fs::set_permissions(&target, Permissions::from_mode(0o700)).expect("a mode");
    symlink(&target, disk.release_folder()).expect("a link");
    let refusal = disk.refusal();
    assert!(refusal.contains("is a symbolic link") && refusal.contains(disk.release.folder()), "{refusal}");
    assert_eq!((mode(&target), fs::read_dir(&target).expect("a folder").count()), (0o700, 0));

    // Links instead of files, to files and to nothing.
    for target in ["victim", "nowhere"] {
        for is_program in [true, false] {
            let disk = Disk::new();
            let target = disk.path(target);
            fs::write(disk.path("victim"), "").expect("a file");
            fs::set_permissions(disk.path("victim"), Permissions::from_mode(0o600)).expect("a mode");
            fs::create_dir(disk.release_folder()).expect("a folder");
            let program = disk.release_folder().join(PROGRAM);
            symlink(&target, if is_program { &program } else { &disk.files.functions_config_file })
                .expect("a link");
            let refusal = disk.refusal();
            assert!(refusal.contains("is a symbolic link"), "{refusal}");
            assert_eq!((mode(&disk.path("victim")), disk.path("nowhere").exists()), (0o600, false));
            assert_eq!(fs::read(disk.path("victim")).expect("a file"), b"");
        }
    }
}

#[test]
fn a_hard_link_to_another_file_is_replaced_and_the_file_stays() {
    let disk = Disk::new();
    let victim = disk.path("victim");
    fs::write(&victim, "program").expect("a file");
    fs::set_permissions(&victim, Permissions::from_mode(PROGRAM_MODE)).expect("a mode");
    fs::create_dir(disk.release_folder()).expect("a folder");
    fs::hard_link(&victim, disk.release_folder().join(PROGRAM)).expect("a link");
    let written = write_files(&disk.files, &disk.release).expect("written");
    assert_eq!(written.0, FileState::Written, "who owns the other name can change the program");
    assert_eq!(fs::metadata(&victim).expect("a file").nlink(), 1);
}

#[test]
fn other_entries_than_files_are_refused_without_a_wait() {
    let disk = Disk::new();
    fs::create_dir_all(disk.release_folder().join(PROGRAM)).expect("a folder");
    assert!(disk.refusal().contains("is no file"), "{}", disk.refusal());

    let disk = Disk::new();
    let made = std::process::Command::new("mkfifo").arg(&disk.files.functions_config_file).status();
    assert!(made.expect("mkfifo").success());
    assert!(disk.refusal().contains("is no file"), "{}", disk.refusal());
}

#[test]
fn a_folder_that_all_users_can_write_to_is_refused() {
    for mode in [0o777, 0o1777] {
        let disk = Disk::new();
        fs::set_permissions(&disk.files.user_scripts_path, Permissions::from_mode(mode)).expect("a mode");
        assert!(disk.refusal().contains("chmod o-w"), "{}", disk.refusal());
        assert!(!disk.release_folder().exists());
    }
}

#[test]
fn a_linked_folder_of_the_config_is_followed() {
    let disk = Disk::new();
    let link = disk.path("link");
    symlink(&disk.files.user_scripts_path, &link).expect("a link");
    let files = NodeFiles { user_scripts_path: link, ..disk.files.clone() };
    write_files(&files, &disk.release).expect("written");
    assert!(disk.release_folder().join(PROGRAM).is_file());
}

#[test]
fn a_release_folder_of_others_is_removed_only_if_it_is_no_link() {
    let disk = Disk::new();
    write_files(&disk.files, &disk.release).expect("written");
    let (real, link) = (disk.release_folder(), disk.path("posthouse-0.1.0-00000001"));
    symlink(&real, &link).expect("a link");
    folders::remove(&link).expect_err("a link");
    assert!(real.join(PROGRAM).is_file());
    folders::remove(&real).expect("removed");
    assert!(!real.exists());
}
