//! Where metrics go, checked before anything starts: the client library panics on a bad address.

use crate::secret::Secret;
use std::ops::RangeInclusive;
use std::time::Duration;
use url::Url;

/// Bounds of the interval.
pub const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);
/// Bounds of the queue, in points: those that wait take memory.
pub const QUEUES: RangeInclusive<u64> = 100..=1_000_000;
/// Longest token, in bytes.
const MAX_TOKEN: usize = 4_096;

/// Where metrics go, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server, for example `http://127.0.0.1:8086`: no path, no user, no `https`.
    pub url: String,
    /// The organisation.
    pub org: String,
    /// The bucket.
    pub bucket: String,
    /// The token, printable characters alone; without one the server must not ask for any.
    pub token: Option<Secret>,
    /// Put on every point, to tell clusters apart.
    pub cluster: String,
    /// Between two points of one series.
    pub interval: Duration,
    /// Points that may wait to be sent. Beyond it the oldest are dropped.
    pub queue: usize,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How long points are tried again before they are given up.
    pub retry_for: Duration,
    /// How long the last points may take when the process ends.
    pub flush_timeout: Duration,
}

impl Settings {
    /// Settings for this server, with the usual patience.
    pub fn new(url: &str, org: &str, bucket: &str) -> Self {
        Self {
            url: url.into(),
            org: org.into(),
            bucket: bucket.into(),
            token: None,
            cluster: "main".into(),
            interval: Duration::from_secs(10),
            queue: 10_000,
            request_timeout: Duration::from_secs(5),
            retry_for: Duration::from_secs(300),
            flush_timeout: Duration::from_secs(2),
        }
    }

    /// Checks everything that can be checked without the server.
    ///
    /// # Errors
    /// Names the setting and what it should be.
    pub fn check(&self) -> Result<(), SettingsError> {
        check_url(&self.url).map_err(SettingsError::Url)?;
        if !self.token.as_ref().is_none_or(is_token) {
            return Err(SettingsError::Token);
        }
        for (what, text) in [("organisation", &self.org), ("bucket", &self.bucket)] {
            if text.is_empty() || text.chars().any(char::is_control) {
                return Err(SettingsError::Name(what));
            }
        }
        if !INTERVALS.contains(&self.interval) {
            return Err(SettingsError::Interval(self.interval));
        }
        if !QUEUES.contains(&(self.queue as u64)) {
            return Err(SettingsError::Queue(self.queue));
        }
        let timeouts = [self.request_timeout, self.retry_for, self.flush_timeout];
        match timeouts.iter().any(Duration::is_zero) {
            true => Err(SettingsError::Timeout),
            false => Ok(()),
        }
    }
}

/// Says what is wrong with a server's address. It may hold a password, so it is not shown.
pub(crate) fn check_url(text: &str) -> Result<(), &'static str> {
    // The parser would pass over some of them.
    if text.chars().any(|c| !c.is_ascii_graphic()) {
        return Err("holds a character that no address has");
    }
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    match url.scheme() {
        "http" => {}
        "https" => return Err("asks for encryption (https), which this program does not have"),
        _ => return Err("does not begin with http://"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password; give a token by file or environment instead");
    }
    if !url.has_host() {
        return Err("names no server");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("goes on after the port");
    }
    Ok(())
}

/// Whether a header can carry it.
fn is_token(token: &Secret) -> bool {
    let text = token.expose();
    !text.is_empty() && text.len() <= MAX_TOKEN && text.chars().all(|c| c.is_ascii_graphic())
}

/// A setting that makes no sense, and what would.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The address of the server, and what is wrong with it.
    #[error("the metrics server's address {0}; write for example http://127.0.0.1:8086")]
    Url(&'static str),
    /// The organisation or the bucket.
    #[error("the metrics {0} is empty or holds a control character; give the name that the server knows")]
    Name(&'static str),
    /// The interval.
    #[error("a metrics interval of {0:?} is out of range; give 100ms to 1h")]
    Interval(Duration),
    /// The queue.
    #[error("a metrics queue of {0} points is out of range; give 100 to 1000000")]
    Queue(usize),
    /// A time-out.
    #[error("a metrics time-out is zero; give a time")]
    Timeout,
    /// The token.
    #[error(
        "the metrics token is empty or holds more than printable characters; give it as the server shows it"
    )]
    Token,
    /// The exporter's thread.
    #[error("cannot start the metrics thread: {0}; raise the limits of threads and open files")]
    Thread(std::io::Error),
    /// The client library.
    #[error("cannot build the metrics client: {0}; report it")]
    Client(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Settings)) -> Result<(), SettingsError> {
        let mut settings = Settings::new("http://127.0.0.1:8086", "org", "bucket");
        change(&mut settings);
        settings.check()
    }

    #[test]
    fn a_bad_address_is_one_line_with_a_remedy() {
        for good in ["http://a", "http://a:1/", "http://[::1]:8086"] {
            with(|settings| settings.url = good.into()).unwrap();
        }
        let bad = [
            "",
            "/3242/23",
            "a:1",
            "ftp://a",
            "https://a",
            "http://",
            "http://a/influx",
            "http://a?x=1",
            "http://a#b",
            "http://a:99999",
            "http://a\nb c",
            "unix:/run/x",
            "http://%00",
            "http://a\n",
            "http://me:hunter2@a:99999",
        ];
        for url in bad {
            let error = with(|settings| settings.url = url.into()).expect_err(url).to_string();
            assert!(error.contains("http://127.0.0.1:8086") && !error.contains('\n'), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = with(|settings| settings.url = "http://me:hunter2@a".into()).unwrap_err().to_string();
        assert!(error.contains("token") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn other_settings_are_checked() {
        assert!(matches!(with(|settings| settings.org.clear()), Err(SettingsError::Name("organisation"))));
        assert!(matches!(
            with(|settings| settings.bucket = "a\nb".into()),
            Err(SettingsError::Name("bucket"))
        ));
        let short = with(|settings| settings.interval = Duration::from_millis(99));
        assert!(matches!(short, Err(SettingsError::Interval(_))));
        assert!(matches!(with(|settings| settings.queue = 0), Err(SettingsError::Queue(0))));
        let none = with(|settings| settings.flush_timeout = Duration::ZERO);
        assert!(matches!(none, Err(SettingsError::Timeout)));
    }

    #[test]
    fn a_token_is_what_a_header_can_carry() {
        let given = |text: &str| with(|settings| settings.token = Some(Secret::new(text.into())));
        given("s3cret==").unwrap();
        for bad in ["", " \n", "a b", "a\u{0}b", "é"] {
            assert!(matches!(given(bad), Err(SettingsError::Token)), "{bad:?}");
        }
        let settings = Settings { token: Some(Secret::new("s3cret==".into())), ..Settings::new("", "", "") };
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
