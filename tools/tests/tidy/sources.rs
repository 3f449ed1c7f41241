//! Rules about Rust sources: size, first line, names, unsafe code, simulation.

use crate::none;
use crate::tree::{File, files, root, sources};

/// Longest source without its tests.
const LINES_MAX: usize = 600;

/// Names that say nothing.
const EMPTY_NAMES: [&str; 7] = ["common", "core", "util", "utils", "helpers", "misc", "types"];

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

/// Whether the whole file is tests.
fn is_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Lines before the tests at the end.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim_start().starts_with("#[cfg(test)]") && pair[1].starts_with("mod ")
    });
    tests.unwrap_or(lines.len())
}

fn too_long(file: &File) -> Option<String> {
    let lines = if is_tests(&file.path) { 0 } else { lines_without_tests(&file.text) };
    (lines > LINES_MAX).then(|| format!("{}: {lines} lines, at most {LINES_MAX}", file.path))
}

fn first_line(file: &File) -> Option<String> {
    let first = file.text.lines().next().unwrap_or_default();
    let sentence = first.strip_prefix("//! ").is_some_and(|text| text.trim().len() > 3);
    (!sentence).then(|| format!("{}:1: must begin with `//! ` and what it is", file.path))
}

/// Empty names of files, folders and inline modules, and any `mod.rs`.
fn names(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    for part in file.path.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&part) || part == "mod" {
            found.push(format!("{}: the name `{part}` says nothing", file.path));
        }
    }
    for (index, line) in file.text.lines().enumerate() {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        if words.next() == Some("mod") {
            let name = words.next().unwrap_or_default().trim_end_matches([';', '{']);
            if EMPTY_NAMES.contains(&name) {
                found.push(format!("{}:{}: module `{name}` says nothing", file.path, index + 1));
            }
        }
    }
    found
}

/// `shard/runtime/src/a/b.rs` as `runtime::a::b`, and a test by its path: how `docs/UNSAFE.md` calls
/// it.
fn module(path: &str) -> String {
    let Some((package, inside)) = path.split_once("/src/") else { return path.to_owned() };
    let package = package.rsplit('/').next().unwrap();
    let inside = inside.trim_end_matches(".rs").replace('/', "::");
    format!("{package}::{inside}")
}

/// Unsafe code outside `listed` modules.
fn unlisted_unsafe(file: &File, listed: &[String]) -> Vec<String> {
    if listed.contains(&module(&file.path)) {
        return Vec::new();
    }
    let starts = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"];
    let numbered = file.text.lines().enumerate();
    let found = numbered.filter(|(_, line)| {
        let code = line.split("//").next().unwrap_or_default();
        starts.iter().any(|start| {
            code.find(start)
                .is_some_and(|at| !code[..at].ends_with('"') && !code[..at].ends_with('_'))
        })
    });
    found
        .map(|(index, _)| {
            format!("{}:{}: unsafe code, not listed in docs/UNSAFE.md", file.path, index + 1)
        })
        .collect()
}

/// Modules in the first column of the table of `docs/UNSAFE.md`.
fn listed_modules(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect()
}

/// `cfg`s for simulation outside the runtime.
fn simulation(file: &File) -> Vec<String> {
    if file.path.starts_with("shard/runtime/") {
        return Vec::new();
    }
    let numbered = file.text.lines().enumerate();
    numbered
        .filter(|(_, line)| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("cfg") && code.contains("sim")
        })
        .map(|(index, _)| {
            format!("{}:{}: only the runtime knows about simulation", file.path, index + 1)
        })
        .collect()
}

/// Paths of the machine on which somebody worked.
fn machine_paths(file: &File) -> Vec<String> {
    let places = ["work", "root", "home"].map(|place| format!("/{place}/"));
    let numbered = file.text.lines().enumerate();
    numbered
        .filter(|(_, line)| {
            places.iter().any(|place| {
                line.match_indices(place.as_str()).any(|(at, _)| {
                    // `docs/work/` and `https://x/home/` are no absolute paths.
                    let before = line[..at].chars().next_back();
                    before
                        .is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '/' | '~' | '}'))
                })
            })
        })
        .map(|(index, _)| format!("{}:{}: a path of one machine", file.path, index + 1))
        .collect()
}

#[test]
fn sources_are_short_and_say_what_they_are() {
    let sources = sources();
    let long = sources.iter().filter_map(too_long);
    let unsaid = sources.iter().filter_map(first_line);
    none(&long.chain(unsaid).collect::<Vec<_>>());
}

#[test]
fn a_long_or_silent_source_is_noticed() {
    let long = "//! Long.\n".repeat(601);
    assert!(too_long(&file("log/src/a.rs", &long)).is_some());
    assert!(too_long(&file("log/src/a/tests.rs", &long)).is_none());
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{long}}}\n", "x\n".repeat(600));
    assert!(too_long(&file("log/src/a.rs", &tested)).is_none());
    assert!(first_line(&file("a.rs", "// no\n")).is_some());
    assert!(first_line(&file("a.rs", "")).is_some());
    assert!(first_line(&file("a.rs", "//! A thing.\n")).is_none());
}

#[test]
fn names_of_modules_say_something() {
    none(&sources().iter().flat_map(names).collect::<Vec<_>>());
}

#[test]
fn an_empty_name_is_noticed() {
    assert_eq!(names(&file("log/src/utils.rs", "")).len(), 1);
    assert_eq!(names(&file("log/src/core/a.rs", "")).len(), 1);
    assert_eq!(names(&file("log/src/a/mod.rs", "")).len(), 1);
    assert_eq!(names(&file("log/src/a.rs", "pub(crate) mod helpers;\n")).len(), 1);
    assert_eq!(names(&file("log/src/a.rs", "    mod misc {\n")).len(), 1);
    assert_eq!(names(&file("log/src/codec.rs", "mod tests;\nmod core_affinity;\n")).len(), 0);
}

#[test]
fn unsafe_code_is_listed() {
    let text = std::fs::read_to_string(root().join("docs/UNSAFE.md")).unwrap();
    let listed = listed_modules(&text);
    let complaints = sources().iter().flat_map(|file| unlisted_unsafe(file, &listed)).collect();
    let ours = |complaint: &String| !complaint.starts_with("tools/tests/tidy/");
    let complaints: Vec<String> = Vec::into_iter(complaints).filter(ours).collect();
    none(&complaints);
}

#[test]
fn unlisted_unsafe_code_is_noticed() {
    let text = "| `runtime::a::b`, `f` | … |\n\n`runtime::c` needs none.\n";
    let listed = listed_modules(text);
    assert_eq!(listed, ["runtime::a::b"]);
    let code = "fn f() {\n    unsafe { g() }\n}\n";
    assert_eq!(unlisted_unsafe(&file("shard/runtime/src/a/b.rs", code), &listed).len(), 0);
    assert_eq!(unlisted_unsafe(&file("shard/runtime/src/c.rs", code), &listed).len(), 1);
    assert_eq!(unlisted_unsafe(&file("wire/src/a.rs", "// unsafe { }\n"), &listed).len(), 0);
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let listed = std::fs::read_to_string(root().join("docs/UNSAFE.md")).unwrap();
    let packages = listed_modules(&listed);
    let roots = sources()
        .into_iter()
        .filter(|file| file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs"));
    let complaints: Vec<String> = roots
        .filter(|file| {
            let package = module(&file.path).split("::").next().unwrap().to_owned();
            let excused = packages.iter().any(|listed| listed.starts_with(&format!("{package}::")));
            let wanted = if excused { "deny(unsafe_code)" } else { "forbid(unsafe_code)" };
            !file.text.contains(&format!("#![{wanted}]"))
        })
        .map(|file| format!("{}: must forbid unsafe code", file.path))
        .collect();
    none(&complaints);
}

#[test]
fn only_the_runtime_knows_about_simulation() {
    let files = sources().into_iter().filter(|file| !file.path.starts_with("tools/tests/tidy/"));
    none(&files.flat_map(|file| simulation(&file)).collect::<Vec<_>>());
}

#[test]
fn simulation_elsewhere_is_noticed() {
    let code = "#[cfg(feature = \"simulation\")]\n";
    assert_eq!(simulation(&file("log/src/a.rs", code)).len(), 1);
    assert_eq!(simulation(&file("shard/runtime/src/a.rs", code)).len(), 0);
    assert_eq!(simulation(&file("log/src/a.rs", "// cfg(sim)\n#[cfg(test)]\n")).len(), 0);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let files = files().into_iter().filter(|file| !file.path.starts_with("tools/tests/tidy/"));
    none(&files.flat_map(|file| machine_paths(&file)).collect::<Vec<_>>());
}

#[test]
fn a_path_of_one_machine_is_noticed() {
    for line in ["see /work/x", "\"/root/.cargo\"", "(/home/me/x)"] {
        assert_eq!(machine_paths(&file("a.md", line)).len(), 1, "{line}");
    }
    for line in ["docs/work/x", "https://a.example/home/x", "~/work/x", "$HOME/x"] {
        assert_eq!(machine_paths(&file("a.md", line)).len(), 0, "{line}");
    }
}
