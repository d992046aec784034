//! Real ZooKeeper servers from Debian's package, unprivileged, on ports of their own. A machine
//! without it fails the tests: `scripts/test` installs it.

use super::ports::lasting_ports;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const JARS: &str = "/usr/share/java";
const START_LIMIT: Duration = Duration::from_secs(60);
/// What is shown of the log of a server that does not start.
const LAST_LINES: usize = 30;

/// Servers that vanish with this value.
pub struct Ensemble {
    dir: PathBuf,
    servers: Vec<Server>,
}

struct Server {
    port: u16,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Ensemble {
    /// Starts this many servers (1: standalone) and waits until they serve.
    pub fn start(count: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let jar = format!("{JARS}/zookeeper.jar");
        assert!(fs::exists(&jar).unwrap(), "{jar} is missing: apt-get install zookeeper");
        let name = format!("steadfast-zk-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        let ports = lasting_ports(count * 3);
        let servers = (0..count).map(|n| Server::write(&dir, n, &ports)).collect();
        let mut ensemble = Self { dir, servers };
        for n in 0..count {
            ensemble.servers[n].launch();
        }
        for n in 0..count {
            ensemble.servers[n].wait();
        }
        ensemble
    }

    /// The connect string.
    pub fn connect_string(&self) -> String {
        let addresses: Vec<_> = (0..self.servers.len()).map(|n| self.address(n)).collect();
        addresses.join(",")
    }

    /// One server alone, for a connect string.
    pub fn address(&self, n: usize) -> String {
        format!("127.0.0.1:{}", self.servers[n].port)
    }

    /// Kills a server.
    pub fn kill(&mut self, n: usize) {
        self.servers[n].kill();
    }

    /// Starts a killed server again and waits until it serves.
    pub fn restart(&mut self, n: usize) {
        self.servers[n].launch();
        self.servers[n].wait();
    }

    /// The server that leads.
    pub fn leader(&self) -> usize {
        let leads = |server: &Server| server.ask("srvr").is_some_and(|said| said.contains("Mode: leader"));
        self.servers.iter().position(leads).expect("an ensemble has a leader")
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        self.servers.iter_mut().for_each(Server::kill);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Server {
    /// Writes the configuration of server `n`; three ports each: clients, peers, elections.
    fn write(dir: &std::path::Path, n: usize, ports: &[u16]) -> Self {
        let own = dir.join(n.to_string());
        let data = own.join("data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("myid"), (n + 1).to_string()).unwrap();
        let port = ports[n * 3];
        let mut text = format!(
            "tickTime=100\ninitLimit=50\nsyncLimit=20\ndataDir={}\nclientPort={port}\n\
             clientPortAddress=127.0.0.1\nminSessionTimeout=200\nmaxSessionTimeout=60000\nmaxClientCnxns=0\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\nforceSync=no\n",
            data.display()
        );
        if ports.len() > 3 {
            for (index, of_server) in ports.chunks(3).enumerate() {
                let (peers, elections) = (of_server[1], of_server[2]);
                text += &format!("server.{}=127.0.0.1:{peers}:{elections}\n", index + 1);
            }
        }
        let config = own.join("zoo.cfg");
        fs::write(&config, text).unwrap();
        Self { port, config, log: own.join("log"), child: None }
    }

    fn launch(&mut self) {
        let log = fs::File::create(&self.log).unwrap();
        let class_path =
            format!("{JARS}/zookeeper.jar:{JARS}/slf4j-log4j12.jar:{JARS}/log4j-1.2.jar:/etc/zookeeper/conf");
        let child = Command::new("java")
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &class_path])
            .args(["-Dzookeeper.root.logger=INFO,CONSOLE"])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&self.config)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("java runs: apt-get install zookeeper");
        self.child = Some(child);
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while !self.serves() {
            let ended = self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
            if ended || start.elapsed() > START_LIMIT {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(LAST_LINES).collect();
                panic!("ZooKeeper does not start; its last lines, the latest first:\n{}", last.join("\n"));
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn serves(&self) -> bool {
        self.ask("ruok").is_some_and(|said| said == "imok")
            && self.ask("srvr").is_some_and(|said| said.contains("Mode:"))
    }

    fn ask(&self, word: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(word.as_bytes()).ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).ok()?;
        Some(said)
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
