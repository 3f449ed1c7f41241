//! Where a store is: a URL with what belongs to it, made into a client.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::limits::{CONNECT_WAIT, REQUEST_WAIT, RETRIES};

/// What names a store.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreConfig {
    /// `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `memory:///prefix`.
    pub url: String,
    /// Another server that speaks the protocol of the URL's scheme: `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// Variables of the environment whose names begin with `AWS_`, `GOOGLE_` or `AZURE_`: credentials, region and the
    /// like, under the names that the tools of each provider use.
    pub environment: Vec<(String, String)>,
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values are secrets.
        let Self { url, endpoint, environment } = self;
        let names: Vec<&String> = environment.iter().map(|(name, _)| name).collect();
        write!(formatter, "StoreConfig({url}, {endpoint:?}, {names:?})")
    }
}

impl StoreConfig {
    /// The store at a URL, with nothing else.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// Whether a variable of the environment belongs into [`StoreConfig::environment`].
    #[must_use]
    pub fn takes_variable(name: &str) -> bool {
        ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix))
    }

    /// Whether the URL is one that a store can be opened from; asks nothing of the store.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), OpenError> {
        parse(&self.url).map(drop)
    }
}

/// Why a store cannot be opened. Says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL cannot be read, or is of no kind that is known.
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// The directory of a `file` URL is not there.
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// The client refuses what it was given.
    Client {
        /// The URL.
        url: String,
        /// What it said.
        problem: String,
    },
    /// No threads.
    Threads(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { problem, .. } => write!(
                formatter,
                "{problem}; use file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or memory:///"
            ),
            Self::Directory { path, problem } => write!(
                formatter,
                "the directory of tier.url, {}, cannot be used: {problem}; make it, or mount what belongs there",
                path.display()
            ),
            Self::Client { url, problem } => write!(
                formatter,
                "the object store {url} cannot be used: {problem}; look at tier.url, tier.endpoint and the variables \
                 AWS_*, GOOGLE_*, AZURE_*"
            ),
            Self::Threads(problem) => {
                write!(formatter, "no threads for the object store: {problem}")
            }
        }
    }
}

impl std::error::Error for OpenError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    File,
    Memory,
    S3,
    Google,
    Azure,
}

/// A client, and where its keys begin.
#[derive(Debug)]
pub(crate) struct Location {
    name: String,
    client: Arc<dyn ObjectStore>,
    prefix: String,
    /// The directory, if it is one.
    directory: Option<PathBuf>,
}

impl Location {
    pub(crate) fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        let (scheme, url) = parse(&config.url)?;
        let prefix = url.path().trim_matches('/').to_owned();
        let client = |error: object_store::Error| OpenError::Client {
            url: config.url.clone(),
            problem: error.to_string(),
        };
        let at = |client: Arc<dyn ObjectStore>, directory: Option<PathBuf>| Self {
            name: config.url.clone(),
            client,
            prefix: if directory.is_none() { prefix.clone() } else { String::new() },
            directory,
        };
        Ok(match scheme {
            Scheme::File => {
                let path = directory_of(&url)?;
                let files = LocalFileSystem::new_with_prefix(&path).map_err(client)?;
                at(Arc::new(files.with_automatic_cleanup(true)), Some(path))
            }
            Scheme::Memory => at(Arc::new(InMemory::new()), None),
            Scheme::S3 => at(Arc::new(s3(config).build().map_err(client)?), None),
            Scheme::Google => at(Arc::new(google(config).build().map_err(client)?), None),
            Scheme::Azure => at(Arc::new(azure(config).build().map_err(client)?), None),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn client(&self) -> &dyn ObjectStore {
        &*self.client
    }

    pub(crate) fn directory(&self) -> Option<&PathBuf> {
        self.directory.as_ref()
    }

    /// The path of a key.
    pub(crate) fn path(&self, key: &str) -> Result<Path, object_store::Error> {
        let prefix = &self.prefix;
        let path = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") };
        Path::parse(path.trim_end_matches('/')).map_err(object_store::Error::from)
    }

    /// The key of a path.
    pub(crate) fn key(&self, path: &Path) -> Option<String> {
        let key = path.as_ref().strip_prefix(self.prefix.as_str())?;
        Some(key.trim_start_matches('/').to_owned())
    }
}

fn parse(text: &str) -> Result<(Scheme, Url), OpenError> {
    let wrong = |problem: String| OpenError::Url { url: text.to_owned(), problem };
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    let scheme = match url.scheme() {
        "file" => Scheme::File,
        "memory" => Scheme::Memory,
        "s3" | "s3a" => Scheme::S3,
        "gs" => Scheme::Google,
        "az" | "azure" | "abfs" | "abfss" => Scheme::Azure,
        other => return Err(wrong(format!("`{other}` is not a kind of store"))),
    };
    let bucketless = matches!(scheme, Scheme::File | Scheme::Memory);
    let host = url.host_str().unwrap_or_default();
    if bucketless != host.is_empty() {
        let problem = if bucketless { "three slashes begin a path" } else { "a bucket is missing" };
        return Err(wrong(problem.to_owned()));
    }
    if url.password().is_some() || url.query().is_some() {
        return Err(wrong("passwords and options do not belong into it".to_owned()));
    }
    Ok((scheme, url))
}

fn directory_of(url: &Url) -> Result<PathBuf, OpenError> {
    let path = url.to_file_path().map_err(|()| OpenError::Url {
        url: url.to_string(),
        problem: "it is not a path".to_owned(),
    })?;
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err(OpenError::Directory { path, problem: "it is not a directory".to_owned() }),
        Err(error) => Err(OpenError::Directory { path, problem: error.to_string() }),
    }
}

fn retry() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: REQUEST_WAIT, ..RetryConfig::default() }
}

fn options(config: &StoreConfig) -> ClientOptions {
    let plain = config.endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
    ClientOptions::new()
        .with_connect_timeout(CONNECT_WAIT)
        .with_timeout(REQUEST_WAIT)
        .with_allow_http(plain)
}

/// The variables that the builder of a provider knows, as it calls them.
fn known<K: FromStr>(config: &StoreConfig) -> impl Iterator<Item = (K, &String)> {
    let named = |name: &String| name.to_ascii_lowercase().parse().ok();
    config.environment.iter().filter_map(move |(name, value)| Some((named(name)?, value)))
}

fn s3(config: &StoreConfig) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new().with_client_options(options(config));
    for (key, value) in known(config) {
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder.with_url(&config.url).with_retry(retry())
}

fn google(config: &StoreConfig) -> GoogleCloudStorageBuilder {
    let mut builder = GoogleCloudStorageBuilder::new().with_client_options(options(config));
    for (key, value) in known(config) {
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    builder.with_url(&config.url).with_retry(retry())
}

fn azure(config: &StoreConfig) -> MicrosoftAzureBuilder {
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(options(config));
    for (key, value) in known(config) {
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    builder.with_url(&config.url).with_retry(retry())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        StoreConfig::new(url).check().unwrap_err().to_string()
    }

    #[test]
    fn a_url_that_names_no_store_is_refused_with_what_to_write() {
        for url in ["", "store", "ftp://host/x", "s3:///prefix", "file://host/x", "memory://x/"] {
            assert!(refused(url).contains("s3://bucket/prefix"), "{url}: {}", refused(url));
        }
        assert!(refused("s3://key:secret@bucket/x").contains("do not belong"));
        assert!(refused("s3://bucket/x?region=a").contains("do not belong"));
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made() {
        let error = Location::open(&StoreConfig::new("file:///nowhere/at/all")).unwrap_err();
        assert!(error.to_string().contains("mount what belongs there"), "{error}");
    }

    #[test]
    fn keys_lie_below_the_prefix_of_the_url() {
        let location = Location::open(&StoreConfig::new("memory:///a/b/")).unwrap();
        let path = location.path("7/x.seg").unwrap();
        assert_eq!(path.as_ref(), "a/b/7/x.seg");
        assert_eq!(location.key(&path).as_deref(), Some("7/x.seg"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let environment = vec![("AWS_SECRET_ACCESS_KEY".to_owned(), "hush".to_owned())];
        let config = StoreConfig { environment, ..StoreConfig::new("s3://bucket/x") };
        let location = Location::open(&config);
        assert!(!format!("{config:?}").contains("hush"));
        assert!(!format!("{:?}", location.map(|location| location.name)).contains("hush"));
    }
}
