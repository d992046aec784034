//! Servers to write metrics to: VictoriaMetrics from Debian's package, and stubs. A machine without the
//! package fails the tests: `scripts/test` installs it.

use crate::ports::lasting_ports;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A real server that vanishes with this value.
pub struct VictoriaMetrics {
    dir: PathBuf,
    address: String,
    child: Child,
}

impl VictoriaMetrics {
    pub fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("steadfast-vm-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let address = free_address();
        let child = Command::new("victoria-metrics")
            .arg(format!("-storageDataPath={}", dir.display()))
            .arg(format!("-httpListenAddr={address}"))
            .arg("-search.latencyOffset=0s")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts: apt-get install victoria-metrics");
        let server = Self { dir, address, child };
        let end = Instant::now() + PATIENCE;
        while get(&server.address, "/health").is_none_or(|said| !said.contains("OK")) {
            assert!(Instant::now() < end, "VictoriaMetrics does not start");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A series of this name: labels, values and times in milliseconds.
    pub fn series(&self, name: &str) -> serde_json::Value {
        self.series_where(name, |_| true)
    }

    /// A series of this name of which this holds. What was written shows after some seconds only,
    /// whatever is flushed.
    pub fn series_where(&self, name: &str, holds: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let end = Instant::now() + PATIENCE;
        loop {
            get(&self.address, "/internal/force_flush").expect("it flushes");
            let found = get(&self.address, &format!("/api/v1/export?match[]={name}")).unwrap();
            let mut series = found.lines().map(|line| serde_json::from_str(line).unwrap());
            if let Some(series) = series.find(&holds) {
                return series;
            }
            assert!(Instant::now() < end, "{name} does not arrive: {found}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for VictoriaMetrics {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The body of an answer.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    said.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// An address that nobody listens at.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", lasting_ports(1)[0])
}

/// One request, as a stub saw it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its first line.
    pub head: String,
    /// Its `Authorization`.
    pub authorization: Option<String>,
    /// Its body.
    pub body: String,
}

/// A server that answers as it is told to.
#[derive(Clone)]
pub struct Stub {
    pub url: String,
    pub requests: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    /// Answers the n-th request (from 0) with `answer(n)`, a status; `None`: never.
    pub fn start(answer: impl Fn(usize) -> Option<u16> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        Self { url, requests }
    }

    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &dyn Fn(usize) -> Option<u16>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(request) = read_request(&mut reader) {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(request);
            seen.len() - 1
        };
        let Some(status) = answer(number) else {
            thread::sleep(PATIENCE);
            return;
        };
        let text = if status == 204 { "" } else { "because of a test" };
        let length = text.len();
        // A server that is asked too often wants a long pause.
        let pause = if status == 429 { "Retry-After: 3600\r\n" } else { "" };
        if write!(stream, "HTTP/1.1 {status} X\r\n{pause}Content-Length: {length}\r\n\r\n{text}").is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut head = String::new();
    reader.read_line(&mut head).ok().filter(|count| *count > 0)?;
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head: head.trim_end().to_owned(), authorization, body: String::from_utf8(body).ok()? })
}
