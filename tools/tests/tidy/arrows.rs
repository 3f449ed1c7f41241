//! Rules about dependencies: the arrows of the design, and who may name which library.

use std::collections::BTreeMap;
use std::process::Command;

use crate::none;
use crate::tree::{File, root, sources};

/// Which of our packages each of them may depend on (the second table of the design). Development
/// dependencies are free: a test may look at anything.
const ARROWS: [(&str, &[&str]); 12] = [
    ("pyralog-runtime", &[]),
    ("pyralog-seq", &["pyralog-runtime"]),
    ("pyralog-log", &["pyralog-runtime"]),
    // The other body of `log::remote`: it answers cores through the runtime's mesh.
    ("pyralog-store", &["pyralog-log", "pyralog-runtime"]),
    ("pyralog-wire", &["pyralog-log"]),
    // The batch format is part of what a client says, so it sees `log` as `wire` does, and what an id is made of `seq`.
    ("pyralog-client", &["pyralog-wire", "pyralog-log", "pyralog-seq"]),
    ("pyralog-http", &["pyralog-wire", "pyralog-query"]),
    ("pyralog-replication", &["pyralog-runtime", "pyralog-log", "pyralog-seq"]),
    ("pyralog-query", &["pyralog-log"]),
    (
        "pyralog-shard",
        &[
            "pyralog-runtime",
            "pyralog-seq",
            "pyralog-log",
            "pyralog-store",
            "pyralog-wire",
            "pyralog-http",
            "pyralog-replication",
            "pyralog-query",
        ],
    ),
    // The binary also probes the machine through the runtime and shows values of log, wire and seq, and it is the command
    // line of the load generator.
    (
        "pyralog",
        &[
            "pyralog-shard",
            "pyralog-perf",
            "pyralog-client",
            "pyralog-query",
            "pyralog-runtime",
            "pyralog-log",
            "pyralog-seq",
            "pyralog-store",
            "pyralog-wire",
        ],
    ),
    // The simulation runs the server and the client's machines in one world, and judges what they say.
    (
        "pyralog-sim",
        &[
            "pyralog-shard",
            "pyralog-client",
            "pyralog-runtime",
            "pyralog-seq",
            "pyralog-log",
            "pyralog-wire",
        ],
    ),
];

/// May depend on everything but the binary.
const BENCHES: &str = "pyralog-perf";

/// Libraries that only some packages may name, with the crate's name in code.
const GUARDED: [(&str, &str, &[&str]); 6] = [
    ("glommio", "glommio", &["pyralog-runtime"]),
    ("io-uring", "io_uring", &["pyralog-runtime"]),
    ("socket2", "socket2", &["pyralog-runtime", "pyralog-perf"]),
    // `shard` hands requests of the admin listener over: see `shard/src/admin.rs`.
    (
        "tokio",
        "tokio",
        &["pyralog-client", "pyralog-http", "pyralog-shard", "pyralog-store", "pyralog-perf"],
    ),
    // The benchmark reads what the store is asked for without it, for comparison.
    ("object_store", "object_store", &["pyralog-store", "pyralog-perf"]),
    ("axum", "axum", &["pyralog-http"]),
];

/// A dependency of a package.
#[derive(Clone, Debug)]
struct Arrow {
    from: String,
    to: String,
    development: bool,
}

fn metadata() -> (Vec<Arrow>, BTreeMap<String, String>) {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (mut arrows, mut folders) = (Vec::new(), BTreeMap::new());
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().to_owned();
        let manifest = std::path::Path::new(package["manifest_path"].as_str().unwrap());
        let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap();
        folders.insert(format!("{}/", folder.display()), name.clone());
        for dependency in package["dependencies"].as_array().unwrap() {
            arrows.push(Arrow {
                from: name.clone(),
                to: dependency["name"].as_str().unwrap().to_owned(),
                development: dependency["kind"] == "dev",
            });
        }
    }
    assert!(folders.len() >= 8, "only {} packages were found", folders.len());
    (arrows, folders)
}

/// Arrows between our packages that the design does not have.
fn wrong_arrows(arrows: &[Arrow]) -> Vec<String> {
    let wrong = arrows.iter().filter(|arrow| {
        if arrow.development || !arrow.to.starts_with("pyralog") {
            return false;
        }
        if arrow.from == BENCHES {
            return arrow.to == "pyralog";
        }
        let allowed = ARROWS.iter().find(|(package, _)| *package == arrow.from);
        allowed.is_none_or(|(_, to)| !to.contains(&arrow.to.as_str()))
    });
    wrong.map(|arrow| format!("{} must not depend on {}", arrow.from, arrow.to)).collect()
}

/// Guarded libraries in manifests where they do not belong.
fn wrong_libraries(arrows: &[Arrow]) -> Vec<String> {
    let wrong = arrows.iter().filter(|arrow| {
        let guard = GUARDED.iter().find(|(library, ..)| *library == arrow.to);
        guard.is_some_and(|(_, _, allowed)| !allowed.contains(&arrow.from.as_str()))
    });
    wrong.map(|arrow| format!("{} must not name {}", arrow.from, arrow.to)).collect()
}

/// Guarded libraries in code of packages where they do not belong.
fn wrong_names(package: &str, file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (_, name, allowed) in GUARDED {
            let named = code.match_indices(&format!("{name}::")).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | ':' | '"'))
            });
            if named && !allowed.contains(&package) {
                let place = format!("{}:{}", file.path, index + 1);
                complaints.push(format!("{place}: {package} must not name {name}"));
            }
        }
    }
    complaints
}

fn arrow(from: &str, to: &str) -> Arrow {
    Arrow { from: from.to_owned(), to: to.to_owned(), development: false }
}

#[test]
fn arrows_between_packages_are_those_of_the_design() {
    let (arrows, _) = metadata();
    none(&wrong_arrows(&arrows));
}

#[test]
fn guarded_libraries_are_named_where_they_belong_only() {
    let (arrows, folders) = metadata();
    let mut complaints = wrong_libraries(&arrows);
    let ours = |file: &File| !file.path.starts_with("tools/tests/tidy/");
    for file in sources().into_iter().filter(ours) {
        // The longest folder that holds the file: `shard/runtime/` before `shard/`.
        let holds = folders.iter().filter(|(folder, _)| file.path.starts_with(folder.as_str()));
        let package = holds.max_by_key(|(folder, _)| folder.len()).map(|(_, package)| package);
        complaints.extend(package.map_or(Vec::new(), |package| wrong_names(package, &file)));
    }
    none(&complaints);
}

#[test]
fn a_wrong_arrow_is_noticed() {
    let wrong = [
        arrow("pyralog-log", "pyralog-wire"),
        arrow("pyralog-client", "pyralog-runtime"),
        arrow("pyralog-unheard", "pyralog-log"),
        arrow("pyralog-perf", "pyralog"),
    ];
    assert_eq!(wrong_arrows(&wrong).len(), wrong.len());
    let test_only = Arrow { development: true, ..arrow("pyralog-log", "pyralog-wire") };
    assert_eq!(wrong_arrows(&[test_only, arrow("pyralog-log", "crc32c")]).len(), 0);
}

#[test]
fn a_library_out_of_place_is_noticed() {
    assert_eq!(wrong_libraries(&[arrow("pyralog-log", "glommio")]).len(), 1);
    assert_eq!(wrong_libraries(&[arrow("pyralog-runtime", "glommio")]).len(), 0);
    let file = |text: &str| File { path: "a.rs".to_owned(), text: text.to_owned() };
    assert_eq!(wrong_names("pyralog-log", &file("use tokio::time;\n")).len(), 1);
    assert_eq!(wrong_names("pyralog-log", &file("// tokio::time\nmy_tokio::x\n")).len(), 0);
    assert_eq!(wrong_names("pyralog-client", &file("use tokio::time;\n")).len(), 0);
}
