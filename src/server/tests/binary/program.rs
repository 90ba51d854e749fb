//! The program, run to its end, and files for it.

use crate::daemon;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_nuthatch");

/// It with no environment but what the test gives it.
pub(crate) fn nuthatch(arguments: &[&str]) -> Command {
    let mut command = daemon::nuthatch(arguments);
    command.env_clear();
    command
}

/// Exit code, standard output and standard error.
pub(crate) fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    outcome(&mut nuthatch(arguments))
}

/// A folder with one file.
pub(crate) struct File {
    folder: TempDir,
}

impl File {
    pub(crate) fn new(content: impl AsRef<[u8]>) -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("file"), content).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    pub(crate) fn name(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }
}

/// What `config show --json` says.
pub(crate) fn shown(command: &mut Command) -> Value {
    let (code, text, errors) = outcome(command);
    assert_eq!(code, Some(0), "{errors}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["schema"], 1);
    shown["settings"].clone()
}

pub(crate) fn shown_from(content: &str) -> Value {
    let file = File::new(content);
    shown(&mut nuthatch(&[
        "config",
        "show",
        "--json",
        "--config",
        &file.name(),
    ]))
}
