//! What the page must contain, and must not.

use std::path::PathBuf;

use pyralog_runtime::sim::{DiskFault, NetFault, NodeId, TraceKind};

use super::*;

const SERVER: NodeId = NodeId(0);
const CLIENT: NodeId = NodeId(1);

fn nodes() -> Vec<String> {
    ["server", "client 0"].map(str::to_owned).to_vec()
}

fn event(at: u64, node: NodeId, shard: Option<usize>, kind: TraceKind) -> TraceEvent {
    TraceEvent { at, node: Some(node), shard, kind }
}

fn segment() -> PathBuf {
    PathBuf::from("/data/1.seg")
}

fn send(at: u64, bytes: usize, arrives: Option<u64>) -> TraceEvent {
    let kind = TraceKind::Send { connection: 7, to: SERVER, bytes, arrives };
    event(at, CLIENT, Some(0), kind)
}

fn receive(at: u64, bytes: usize) -> TraceEvent {
    event(at, SERVER, None, TraceKind::Receive { connection: 7, from: CLIENT, bytes })
}

fn write(at: u64, took: u64, ok: bool) -> TraceEvent {
    let kind = TraceKind::Write { path: segment(), position: 4096, len: 512, sync: true, took, ok };
    event(at, SERVER, Some(1), kind)
}

fn mark(at: u64, text: &str, kind: MarkKind) -> Mark {
    Mark { at, text: text.to_owned(), kind }
}

fn violation(at: u64, text: &str) -> Mark {
    mark(at, text, MarkKind::Violation { evidence: vec![(at / 2, "because".to_owned())] })
}

/// One of each kind.
fn trace() -> Vec<TraceEvent> {
    let (from, to) = (CLIENT, SERVER);
    let of_world = |at, kind| TraceEvent { at, node: None, shard: None, kind };
    let path = segment;
    vec![
        event(0, SERVER, None, TraceKind::Boot { shards: 2 }),
        event(1, SERVER, None, TraceKind::File { call: "create", path: path(), ok: false }),
        event(2, CLIENT, Some(0), TraceKind::Connect { connection: 7, to: SERVER }),
        send(10, 100, Some(20)),
        receive(20, 100),
        of_world(25, TraceKind::Cut { from, to }),
        send(30, 200, None),
        of_world(40, TraceKind::Healed { from, to }),
        receive(50, 200),
        write(60, 8, true),
        write(64, 8, false),
        event(70, SERVER, Some(1), TraceKind::Sync { path: path(), took: 5, ok: true }),
        event(71, SERVER, Some(1), TraceKind::Read { path: path(), position: 0, len: 9, ok: true }),
        event(72, SERVER, Some(1), TraceKind::DiskFault { fault: DiskFault::BitRot, path: path() }),
        event(
            73,
            CLIENT,
            None,
            TraceKind::NetFault { fault: NetFault::Reset, connection: Some(7) },
        ),
        send(74, 300, Some(90)),
        event(75, SERVER, None, TraceKind::Reset { connection: 7 }),
        event(76, CLIENT, None, TraceKind::Closed { connection: 7 }),
        event(77, CLIENT, None, TraceKind::ClockJumped { by_us: -5 }),
        event(78, SERVER, None, TraceKind::Paused { until: 80 }),
        event(80, SERVER, None, TraceKind::Resumed),
        event(81, SERVER, None, TraceKind::Note("WARN log: a <b> note".to_owned())),
        event(82, SERVER, None, TraceKind::Panicked { message: "oh".to_owned(), durable: None }),
        event(85, SERVER, None, TraceKind::Crash { power: true }),
        event(86, SERVER, None, TraceKind::Wiped),
        event(88, SERVER, None, TraceKind::Boot { shards: 1 }),
        event(99, SERVER, None, TraceKind::Ended),
    ]
}

fn marks() -> Vec<Mark> {
    let request = |until, answer| MarkKind::Request { node: 1, until, answer };
    vec![
        mark(0, "faults strike", MarkKind::Phase),
        violation(90, "durability: it is </script> lost"),
        mark(5, "append 1", request(Some(9), Answer::Done)),
        mark(6, "append 2", request(None, Answer::Unknown)),
    ]
}

fn page() -> String {
    html("seed 1: <all> & \"more\"\nsecond {{data}} line", &nodes(), &trace(), &marks())
}

/// What stands in the page under `"name":` of its data.
fn data<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\"{name}\":")).unwrap();
    rest.split_once(",\n").unwrap().0
}

/// Tags of `html` that are not closed, or closed without having been opened.
fn unbalanced(html: &str) -> Vec<String> {
    let (mut open, mut wrong): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap();
        rest = after;
        let name = tag.split_whitespace().next().unwrap_or_default();
        if let Some(name) = name.strip_prefix('/') {
            if open.pop() != Some(name) {
                wrong.push(tag.to_owned());
            }
        } else if !["!DOCTYPE", "meta", "input"].contains(&name) {
            open.push(name);
            // What is inside is no HTML until the end of the element.
            if let "script" | "style" = name {
                rest = &rest[rest.find(&format!("</{name}")).unwrap()..];
            }
        }
    }
    wrong.extend(open.into_iter().map(str::to_owned));
    wrong
}

/// Brackets that are open at the end of JSON.
fn open_brackets(json: &str) -> Vec<char> {
    let (mut open, mut quoted, mut escaped) = (Vec::new(), false, false);
    for c in json.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => open.push(c),
            ']' => assert!(quoted || open.pop() == Some('['), "{json}"),
            '}' => assert!(quoted || open.pop() == Some('{'), "{json}"),
            _ => {}
        }
    }
    open
}

#[test]
fn the_page_is_balanced_and_so_is_its_data() {
    let page = page();
    assert_eq!(unbalanced(&page), [""; 0]);
    assert_eq!(unbalanced("<p><b></p>"), ["/p", "p"]);
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    assert_eq!(open_brackets(json), [' '; 0]);
    assert!(json.starts_with('{') && json.ends_with('}'));
    assert!(!json.contains(",]") && !json.contains(",}") && !json.contains(",,"), "{json}");
}

#[test]
fn nothing_of_the_page_comes_from_elsewhere() {
    let page = page();
    for foreign in ["http:", "https:", "src=", "href=", "@import", "url(", "import(", "fetch("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn texts_cannot_become_html_or_script() {
    let page = page();
    assert!(page.contains("<title>seed 1: &lt;all&gt; &amp; &quot;more&quot;</title>"));
    assert!(page.contains("<p>second {{data}} line</p>"), "what is filled in is not filled again");
    assert!(page.contains(r"it is \u003c/script\u003e lost"));
    assert!(page.contains(r"a \u003cb\u003e note"));
    assert_eq!(page.matches("</script>").count(), 2);
    assert_eq!(page.matches("{{").count(), 1);
}

#[test]
fn each_table_has_what_its_events_say() {
    let page = page();
    let tables = [
        // Sent at 10 and there at 20; held from 30 to 50; lost at 75 of 74 to 90.
        ("messages", "[10,1,0,1,7,100,10,0,10,20,1,0,1,7,200,20,1,-1,44,1,0,1,7,300,1,2,16]"),
        // From 52, 56 and 65 on: the first two overlap and get rows of their own.
        ("bars", "[52,0,2,0,1,8,1,0,4096,512,4,0,2,1,1,8,0,0,4096,512,9,0,2,0,2,5,1,0,0,0]"),
        ("ticks", "[1,0,0,1,0,0,1,0,70,0,2,0,1,0,0,9]"),
        ("links", "[2,1,1,0,7,1,73,0,0,2,7,0,1,1,0,1,7,0]"),
        ("life", "[0,0,0,2,77,1,5,-5,1,0,6,2,2,0,7,0,5,0,2,0,1,0,4,0,2,0,0,1,11,0,3,0]"),
        ("spans", "[0,1,0,99,78,0,4,2,7,0,2,3]"),
        ("cuts", "[25,1,0,15]"),
        ("faults", "[72,1,2,0,2,2,0,1,2,0,1,3,2,8]"),
        ("notes", "[81,1,0,2,6,1,1,0,4,7]"),
        ("requests", "[5,1,0,4,0,4,1,1,1,93,2,5]"),
        ("violations", r#"[[90,"durability: it is \u003c/script\u003e lost",[[45,"because"]]]]"#),
        ("phases", r#"[[0,"faults strike"]]"#),
        ("nodes", r#"["server","client 0"]"#),
        ("tracks", "[[[0,0],[2,2]],[]]"),
        ("requestRows", "[0, 2]"),
    ];
    for (name, expected) in tables {
        assert_eq!(data(&page, name), expected, "{name}");
    }
    let texts = r#"["/data/1.seg","create","BitRot","Reset","append 1","append 2","WARN log: a \u003cb\u003e note","a task panicked: oh"]"#;
    assert_eq!(data(&page, "texts"), texts);
    assert!(page.contains("\"end\":99,\"events\":27,\"thinned\":0,"));
    assert!(page.contains("\"violationsInAll\":1}"));
}

#[test]
fn the_script_reads_as_many_columns_as_there_are() {
    let page = page();
    let model = SCRIPTS[0];
    let mut seen = 0;
    for part in model.split("= table(\"").skip(1) {
        let (name, rest) = part.split_once('"').unwrap();
        let (columns, _) = rest.split_once(']').unwrap();
        let width = columns.matches('"').count() / 2 + 1;
        let rows = match name {
            "messages" | "bars" | "links" | "spans" => 3,
            "ticks" | "faults" | "notes" | "requests" => 2,
            "life" => 8,
            "cuts" => 1,
            _ => panic!("{name} is not known here"),
        };
        assert_eq!(data(&page, name).split(',').count(), width * rows, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn what_is_on_its_way_to_a_node_that_dies_is_lost() {
    let trace = [send(10, 5, Some(90)), event(30, SERVER, None, TraceKind::Crash { power: false })];
    let page = html("x", &nodes(), &trace, &[]);
    assert_eq!(data(&page, "messages"), "[10,1,0,1,7,5,20,2,80]");
}

#[test]
fn a_node_without_a_name_gets_a_lane() {
    let page =
        html("x", &nodes(), &[event(3, NodeId(3), None, TraceKind::Boot { shards: 1 })], &[]);
    assert_eq!(data(&page, "nodes"), r#"["server","client 0","n2","n3"]"#);
    assert_eq!(data(&page, "tracks"), "[[],[],[],[]]");
}

#[test]
fn a_run_without_events_is_a_page() {
    let page = html("", &[], &[], &[]);
    assert_eq!(unbalanced(&page), [""; 0]);
    assert_eq!(data(&page, "messages"), "[]");
}

#[test]
fn a_long_trace_is_thinned_but_not_near_a_violation() {
    let mut trace = Vec::new();
    for number in 0..150_000 {
        let at = number * 100_000;
        trace.push(send(at, 100, Some(at + 50)));
        trace.push(receive(at + 50, 100));
        trace.push(write(at + 60, 10, number % 1_000 > 0));
    }
    let at = 7_000_000_000;
    let page = html("long", &nodes(), &trace, &[violation(at, "wrong")]);
    assert!(page.len() < 8 << 20, "{} bytes", page.len());
    assert!(!page.contains("\"thinned\":0,"));
    let mut sent = 0;
    let rows: Vec<u64> = data(&page, "messages")
        .trim_matches(['[', ']'])
        .split(',')
        .step_by(9)
        .map(|step| {
            sent += step.parse::<u64>().unwrap();
            sent
        })
        .collect();
    assert!(rows.len() < 60_000 && rows.len() > 40_000, "{}", rows.len());
    let near = (at - 50_000_000..at + 50_000_000).step_by(100_000);
    for wanted in near {
        assert!(rows.binary_search(&wanted).is_ok(), "{wanted}");
    }
    let failed = data(&page, "bars").matches(",10,0,0,4096,512").count();
    assert_eq!(failed, 150, "what failed stays");
}

#[test]
fn no_more_violations_are_listed_than_somebody_reads() {
    let marks: Vec<_> = (0..500).map(|at| violation(at, "wrong")).collect();
    let page = html("many", &nodes(), &trace(), &marks);
    assert_eq!(data(&page, "violations").matches("wrong").count(), 100);
    assert!(page.contains("\"violationsInAll\":500}"));
}
