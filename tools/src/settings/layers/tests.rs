//! Tests of the layers: order, strictness, and what a person is told.

use super::super::print_default;
use super::*;

fn problems(layers: &Layers) -> Vec<String> {
    layers.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_parse() {
    let layers = Layers::default();
    assert_eq!(layers.iter().count(), KEYS.len());
    assert!(layers.iter().all(|(_, _, origin)| *origin == Origin::Default));
}

#[test]
fn a_stronger_layer_wins_and_says_where_it_stands() {
    let mut layers = Layers::default();
    let name = "server.listen";
    let mut seen = Vec::new();
    layers.file("p.toml", "[server]\nlisten = \"127.0.0.1:1\"\n");
    seen.push((layers.address(name), layers.origin(name).to_string()));
    layers.environment([("PYRALOG__SERVER__LISTEN".to_owned(), "127.0.0.1:2".to_owned())]);
    seen.push((layers.address(name), layers.origin(name).to_string()));
    layers.assignment("server.listen = 127.0.0.1:3");
    seen.push((layers.address(name), layers.origin(name).to_string()));
    layers.flag_value("listen", name, "127.0.0.1:4".to_owned());
    seen.push((layers.address(name), layers.origin(name).to_string()));
    let ports: Vec<u16> = seen.iter().map(|(address, _)| address.unwrap().port()).collect();
    let origins: Vec<&str> = seen.iter().map(|(_, origin)| origin.as_str()).collect();
    assert_eq!(ports, [1, 2, 3, 4]);
    assert_eq!(
        origins,
        ["p.toml:2", "environment variable PYRALOG__SERVER__LISTEN", "--set", "--listen"]
    );
    assert_eq!(problems(&layers), Vec::<String>::new());
}

#[test]
fn layers_may_be_laid_in_any_order() {
    let mut layers = Layers::default();
    layers.assignment("server.node_name=set");
    layers.environment([("PYRALOG__SERVER__NODE_NAME".to_owned(), "env".to_owned())]);
    layers.file("p.toml", "[server]\nnode_name = \"file\"\nshards = 3\n");
    assert_eq!(layers.text("server.node_name"), "set");
    assert_eq!(layers.integer("server.shards"), 3);
}

#[test]
fn of_two_values_in_one_layer_the_last_wins() {
    let mut layers = Layers::default();
    layers.assignment("server.node_name=one");
    layers.assignment("server.node_name=two");
    assert_eq!(layers.text("server.node_name"), "two");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let mut layers = Layers::default();
    layers.file("p.toml", "[server]\nlistne = \"127.0.0.1:1\"\n[logs]\nzzz = 1\n");
    layers.assignment("server.segment_bytes=1GiB");
    layers.environment([("PYRALOG__SERVER__NODE_NAEM".to_owned(), "x".to_owned())]);
    assert_eq!(
        problems(&layers),
        [
            "p.toml:2: unknown setting \"server.listne\"; did you mean \"server.listen\"?",
            "p.toml:4: unknown setting \"logs.zzz\"; \
             `pyralog config print-default` lists all of them",
            "--set: unknown setting \"server.segment_bytes\"; \
             did you mean \"logs.segment_bytes\"?",
            "environment variable PYRALOG__SERVER__NODE_NAEM: unknown setting \"server.node_naem\"; \
             did you mean \"server.node_name\"?",
        ]
    );
}

#[test]
fn an_unusable_value_keeps_the_weaker_layer_and_names_the_line() {
    let mut layers = Layers::default();
    layers.file(
        "p.toml",
        "[server]\nshards = \"many\"\nspin = 50\nnode_name = 7\n\
         [logs]\nsegment_bytes = [1]\n",
    );
    assert_eq!(layers.integer("server.shards"), 0);
    assert_eq!(
        problems(&layers),
        [
            "p.toml:2: server.shards = many: expected a whole number from 0 to 256",
            "p.toml:3: server.spin = 50: a duration needs a unit: write \"50ms\" or \"50s\"",
            "p.toml:4: server.node_name = 7: expected text in quotes",
            "p.toml:6: logs.segment_bytes: a list may hold texts only",
        ]
    );
}

#[test]
fn sizes_may_be_numbers_and_lists_may_be_separated_by_commas() {
    let mut layers = Layers::default();
    layers.file("p.toml", "[logs]\nsegment_bytes = 4_194_304\n");
    layers.assignment("client.servers=a:1, b:2");
    assert_eq!(layers.size("logs.segment_bytes"), 4 << 20);
    assert_eq!(layers.list("client.servers"), ["a:1", "b:2"]);
}

#[test]
fn broken_toml_is_one_problem_with_its_line() {
    let mut layers = Layers::default();
    layers.file("p.toml", "[server]\nnode_name = \"a\nx = 1\n");
    let found = problems(&layers);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("p.toml:2: "), "{found:?}");
}

#[test]
fn tables_where_values_belong_and_values_where_tables_belong_are_named() {
    let mut layers = Layers::default();
    layers.file("p.toml", "server = 1\n[http.listen]\nport = 7400\n");
    assert_eq!(
        problems(&layers),
        [
            "p.toml:1: unknown setting \"server\"; `pyralog config print-default` lists all of them",
            "p.toml:3: unknown setting \"http.listen.port\"; \
             `pyralog config print-default` lists all of them",
        ]
    );
}

#[test]
fn an_assignment_without_an_equals_sign_is_refused() {
    let mut layers = Layers::default();
    layers.assignment("server.node_name");
    assert_eq!(
        problems(&layers),
        ["--set: expected section.key=value, found \"server.node_name\""]
    );
}

#[test]
fn the_printed_default_reads_back_to_the_defaults() {
    let text = print_default();
    let mut layers = Layers::default();
    layers.file("default.toml", &text);
    assert_eq!(problems(&layers), Vec::<String>::new());
    let default = Layers::default();
    for ((key, value, origin), (_, expected, _)) in layers.iter().zip(default.iter()) {
        assert_eq!(value, expected, "{}", key.name);
        assert!(matches!(origin, Origin::File { .. }), "{} is not printed", key.name);
    }
}
