//! A web server's access log in combined format, made up from a seed.
//!
//! The shape is that of a shop: a few clients and pages get most requests, traffic swells and ebbs,
//! crawlers come by, some requests fail. Lines differ in length and content as real ones do, so that
//! batching, compression and keys have something to work on. The same seed gives the same bytes.

use crate::timestamp::civil_from_days;

/// Distinct clients; each is the key of its lines.
const CLIENTS: usize = 20_000;

/// Distinct articles behind `{}` in a path.
const ARTICLES: u64 = 50_000;

/// 2026-11-01T00:00:00Z, when the log begins.
const BEGIN_SECONDS: u64 = 1_793_491_200;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Weight, method, path, median size. `{}` is an article.
const REQUESTS: [(u32, &str, &str, u32); 12] = [
    (24, "GET", "/article/{}", 18_400),
    (17, "GET", "/static/app.7f3a1c.js", 88_213),
    (13, "GET", "/static/site.css", 14_112),
    (12, "GET", "/images/{}-480.webp", 31_870),
    (9, "GET", "/search?q=boots&page={}", 22_040),
    (8, "GET", "/", 12_930),
    (6, "GET", "/api/v2/stock/{}", 412),
    (4, "POST", "/api/v2/cart/{}", 233),
    (3, "GET", "/cart", 9_204),
    (2, "POST", "/checkout", 1_870),
    (1, "GET", "/wp-login.php", 162),
    (1, "GET", "/robots.txt", 68),
];

const REFERRERS: [&str; 5] = [
    "-",
    "https://shop.example/",
    "https://shop.example/search?q=boots",
    "https://www.search.example/",
    "https://news.example/2026/11/winter",
];

const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/142.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 16) Chrome/142.0 Mobile Safari/537.36",
    "curl/8.16.0",
    "Crawler/2.1 (+https://search.example/bot)",
];

/// One line and the client it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccessLine<'a> {
    /// Address of the client, at the start of the line.
    pub(crate) client: &'a [u8],
    /// The whole line, without a newline.
    pub(crate) line: &'a [u8],
}

/// The generator: an endless access log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    random: Random,
    clients: Vec<String>,
    micros: u64,
    second: u64,
    stamp: String,
    line: Vec<u8>,
}

impl AccessLog {
    /// The access log of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let clients = (0..CLIENTS).map(|_| {
            let [a, b, c, d, ..] = random.next().to_le_bytes();
            format!("{}.{b}.{c}.{}", 11 + a % 200, 1 + d % 254)
        });
        let clients = clients.collect();
        let stamp = String::new();
        Self { random, clients, micros: 0, second: u64::MAX, stamp, line: Vec::with_capacity(512) }
    }

    /// The next line. It stands until the next call.
    pub(crate) fn next_line(&mut self) -> AccessLine<'_> {
        self.advance_time();
        let client = self.random.skewed(CLIENTS);
        let (method, path, size) = self.request();
        let article = self.random.below(ARTICLES);
        let status = self.status(method);
        let size = u64::from(size) / 2 + self.random.below(u64::from(size));
        let referrer = REFERRERS[self.random.skewed(REFERRERS.len())];
        // A client keeps its browser.
        let agent = AGENTS[client % 61 % AGENTS.len()];

        let client = &self.clients[client];
        let line = &mut self.line;
        line.clear();
        line.extend_from_slice(client.as_bytes());
        line.extend_from_slice(b" - - [");
        line.extend_from_slice(self.stamp.as_bytes());
        line.extend_from_slice(b"] \"");
        line.extend_from_slice(method.as_bytes());
        line.push(b' ');
        match path.split_once("{}") {
            Some((before, after)) => {
                line.extend_from_slice(before.as_bytes());
                push_number(line, article);
                line.extend_from_slice(after.as_bytes());
            }
            None => line.extend_from_slice(path.as_bytes()),
        }
        line.extend_from_slice(b" HTTP/1.1\" ");
        push_number(line, status);
        line.push(b' ');
        push_number(line, if status == 304 { 0 } else { size });
        for text in [referrer, agent] {
            line.extend_from_slice(b" \"");
            line.extend_from_slice(text.as_bytes());
            line.push(b'"');
        }
        AccessLine { client: client.as_bytes(), line }
    }

    /// Between 600 and 3000 requests a second, in waves of some ten minutes.
    fn advance_time(&mut self) {
        let minute = self.micros / 60_000_000;
        let wave = (minute % 10).abs_diff(5);
        self.micros += 1 + self.random.below(600 + 560 * wave);
        let second = BEGIN_SECONDS + self.micros / 1_000_000;
        if second != self.second {
            self.second = second;
            self.stamp = common_log_time(second);
        }
    }

    fn request(&mut self) -> (&'static str, &'static str, u32) {
        let total: u32 = REQUESTS.iter().map(|(weight, ..)| weight).sum();
        let mut at = self.random.below(u64::from(total));
        for (weight, method, path, size) in REQUESTS {
            match at.checked_sub(u64::from(weight)) {
                Some(left) => at = left,
                None => return (method, path, size),
            }
        }
        unreachable!("the draw is below the sum of the weights")
    }

    fn status(&mut self, method: &str) -> u64 {
        match self.random.below(1000) {
            0..3 => 500,
            3..5 => 503,
            5..25 => 404,
            25..40 => 302,
            40..160 if method == "GET" => 304,
            40..100 => 201,
            _ => 200,
        }
    }
}

/// `22/Nov/2026:10:00:00 +0000`.
fn common_log_time(seconds: u64) -> String {
    let days = i64::try_from(seconds / 86_400).expect("centuries away from the limit");
    let (year, month, day) = civil_from_days(days);
    let name = MONTHS[usize::try_from(month - 1).expect("months count from 1")];
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{day:02}/{name}/{year}:{h:02}:{m:02}:{s:02} +0000")
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// `SplitMix64` (Steele, Lea and Flood, 2014): small, and the same in every version of this program.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`, close enough to uniform for made-up traffic.
    fn below(&mut self, bound: u64) -> u64 {
        let scaled = (u128::from(self.next()) * u128::from(bound)) >> 64;
        u64::try_from(scaled).expect("below the bound")
    }

    /// Below `bound`, small numbers much more often: the product of two draws.
    fn skewed(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        let first = self.below(bound) + 1;
        usize::try_from(self.below(first)).expect("below the bound")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn lines(seed: u64, count: usize) -> Vec<String> {
        let mut log = AccessLog::new(seed);
        (0..count).map(|_| String::from_utf8(log.next_line().line.to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_first_line_of_seed_one_never_changes() {
        assert_eq!(lines(1, 1)[0], GOLDEN);
    }

    const GOLDEN: &str = "74.180.10.81 - - [01/Nov/2026:00:00:00 +0000] \
        \"GET /static/site.css HTTP/1.1\" 200 19571 \"https://shop.example/search?q=boots\" \
        \"Mozilla/5.0 (Linux; Android 16) Chrome/142.0 Mobile Safari/537.36\"";

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        assert_eq!(lines(7, 1000), lines(7, 1000));
        assert_ne!(lines(7, 1000), lines(8, 1000));
    }

    #[test]
    fn lines_are_in_combined_format_in_order_of_time() {
        let mut last = String::new();
        for line in lines(3, 20_000) {
            let quoted: Vec<&str> = line.split('"').collect();
            assert_eq!(quoted.len(), 7, "{line}");
            let (head, request, result) = (quoted[0], quoted[1], quoted[2]);
            assert!(head.ends_with(" +0000] ") && request.ends_with(" HTTP/1.1"), "{line}");
            assert_eq!(result.split_whitespace().count(), 2, "{line}");
            let time = head[head.find('[').unwrap()..].to_owned();
            assert!(time >= last, "{last} before {time}");
            last = time;
        }
    }

    #[test]
    fn sizes_and_clients_are_spread_as_in_a_real_log() {
        let lines = lines(1, 50_000);
        let mean = lines.iter().map(String::len).sum::<usize>() / lines.len();
        assert!((150..220).contains(&mean), "mean length {mean}");
        let mut clients: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &lines {
            *clients.entry(line.split(' ').next().unwrap()).or_default() += 1;
        }
        let busiest = clients.values().max().unwrap();
        assert!(clients.len() > 5_000 && *busiest > 20, "{} clients", clients.len());
    }

    #[test]
    fn the_key_is_the_client_at_the_start_of_the_line() {
        let mut log = AccessLog::new(1);
        for _ in 0..1000 {
            let AccessLine { client, line } = log.next_line();
            assert!(line.starts_with(client) && line[client.len()] == b' ');
        }
    }
}
