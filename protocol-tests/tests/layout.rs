//! The shape of the project: who may depend on whom, what lies at the top, how long files are.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Longer, and it is more than one job.
const FILE_LINES_MAX: usize = 500;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .current_dir(top())
        .no_deps()
        .exec()
        .unwrap()
}

/// What the crate needs to be built, of ours and of others.
fn dependencies(metadata: &Metadata, package: &str) -> BTreeSet<String> {
    let package = metadata
        .packages
        .iter()
        .find(|found| found.name == package)
        .unwrap();
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .map(|dependency| dependency.name.clone())
        .collect()
}

fn ours(metadata: &Metadata, package: &str) -> Vec<String> {
    let dependencies = dependencies(metadata, package);
    dependencies
        .into_iter()
        .filter(|name| name.starts_with("nuthatch"))
        .collect()
}

#[test]
fn the_crates_depend_on_each_other_in_one_direction() {
    let metadata = metadata();
    assert_eq!(ours(&metadata, "nuthatch-protocol"), [""; 0]);
    assert_eq!(ours(&metadata, "nuthatch-store"), [""; 0]);
    assert_eq!(ours(&metadata, "nuthatch-client"), ["nuthatch-protocol"]);
    assert_eq!(ours(&metadata, "nuthatch-load"), ["nuthatch-protocol"]);
    assert_eq!(
        ours(&metadata, "nuthatch"),
        ["nuthatch-load", "nuthatch-protocol", "nuthatch-store"]
    );
    let published: BTreeSet<&str> = metadata
        .packages
        .iter()
        .filter(|package| package.publish != Some(Vec::new()))
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(
        published,
        [
            "nuthatch",
            "nuthatch-client",
            "nuthatch-load",
            "nuthatch-protocol",
            "nuthatch-store"
        ]
        .into()
    );
}

#[test]
fn protocol_and_store_know_no_runtime_and_no_logs() {
    let metadata = metadata();
    for package in ["nuthatch-protocol", "nuthatch-store"] {
        for name in ["tokio", "tracing", "clap", "nix"] {
            assert!(
                !dependencies(&metadata, package).contains(name),
                "{package} needs {name}"
            );
        }
    }
}

/// The files of the project, as paths from its top.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(top())
        .output()
        .unwrap();
    assert!(listed.status.success(), "not a git checkout");
    String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file)
        .extension()
        .is_some_and(|found| found == extension)
}

#[test]
fn one_file_alone_has_unsafe_code() {
    let top = top();
    let with_unsafe: Vec<_> = files()
        .into_iter()
        .filter(|file| has_extension(file, "rs") && !file.ends_with("tests/layout.rs"))
        .filter(|file| {
            fs::read_to_string(top.join(file))
                .unwrap()
                .contains("unsafe {")
        })
        .collect();
    assert_eq!(with_unsafe, ["src/store/prefetch.rs"]);
}

#[test]
fn the_top_level_holds_what_it_shall_and_nothing_else() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "protocol-tests",
        "benches",
        "deploy",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ];
    for file in files() {
        let first = file.split('/').next().unwrap();
        assert!(first.starts_with('.') || allowed.contains(&first), "{file}");
    }
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    let long: Vec<String> = files()
        .into_iter()
        .filter(|file| has_extension(file, "rs") || has_extension(file, "py"))
        .filter(|file| {
            let text = fs::read_to_string(top().join(file)).unwrap_or_default();
            text.lines().count() > FILE_LINES_MAX
        })
        .collect();
    assert_eq!(long, [""; 0]);
}

#[test]
fn only_the_index_of_the_store_names_dashmap_and_only_clocks_read_the_time() {
    let allowed = |word: &str, file: &str| match word {
        "dashmap::" => file == "src/store/index.rs" || !file.starts_with("src/store/"),
        // The load generator measures time.
        _ => [
            "src/server/clock.rs",
            "src/client/clock.rs",
            "src/load/driver.rs",
        ]
        .contains(&file),
    };
    for file in files()
        .iter()
        .filter(|file| file.starts_with("src/") && has_extension(file, "rs"))
    {
        let text = fs::read_to_string(top().join(file)).unwrap_or_default();
        for word in ["dashmap::", "Instant::now", "SystemTime::now"] {
            assert!(
                !text.contains(word) || allowed(word, file),
                "{file} says {word}"
            );
        }
    }
}
