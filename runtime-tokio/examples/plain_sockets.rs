//! What plain sockets do on this machine over the hops that a record takes: publisher, primary, backup, primary, and then
//! publisher and subscriber, a process each. No frames, no checksums, no log: whatever keeps to these hops moves no more
//! bytes.
//!
//! ```sh
//! cargo run --release -p steadfast-tokio --example plain_sockets
//! ```

use std::io;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const RUN: Duration = Duration::from_secs(3);
/// Most bytes that are read at once.
const READ: usize = 256 << 10;
/// What the primary keeps; more than is ever under way.
const KEPT: usize = 16 << 20;

/// How much is sent: so many bytes at a time, so many times before the first must be confirmed.
#[derive(Clone, Copy)]
struct Load {
    chunk: usize,
    ahead: usize,
    replicated: bool,
}

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => runtime.block_on(measure()),
        [role, address] if role == "backup" => runtime.block_on(backup(address)),
        [role, address] if role == "subscriber" => runtime.block_on(subscriber(address)),
        [role, address, load @ ..] if role == "publisher" => {
            runtime.block_on(publisher(address, parse(load)?))
        }
        _ => Err(io::Error::other("it takes no arguments")),
    }
}

fn parse(load: &[String]) -> io::Result<Load> {
    let number =
        |at: usize| load.get(at).and_then(|text| text.parse().ok()).ok_or(io::ErrorKind::InvalidInput);
    Ok(Load { chunk: number(0)?, ahead: number(1)?, replicated: number(2)? == 1 })
}

async fn measure() -> io::Result<()> {
    for replicated in [true, false] {
        println!("{}", if replicated { "primary and backup" } else { "primary alone" });
        for (chunk, ahead) in [(64 << 10, 16), (100, 1)] {
            run(Load { chunk, ahead, replicated }).await?;
        }
    }
    Ok(())
}

/// Is the primary of one run.
async fn run(load: Load) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let start = |role: &str| -> io::Result<Child> {
        let load = [load.chunk, load.ahead, usize::from(load.replicated)].map(|number| number.to_string());
        let extra = if role == "publisher" { &load[..] } else { &[] };
        Command::new(std::env::current_exe()?).arg(role).arg(&address).args(extra).spawn()
    };
    let mut children = vec![start("subscriber")?];
    let mut subscriber = accept(&listener).await?;
    let mut backup = None;
    if load.replicated {
        children.push(start("backup")?);
        backup = Some(accept(&listener).await?);
    }
    children.push(start("publisher")?);
    let mut publisher = accept(&listener).await?;

    let (mut kept, mut confirmation) = (vec![0; KEPT + READ], [0; 8]);
    let (mut taken, mut delivered) = (0, 0);
    let begin = Instant::now();
    loop {
        let at = taken % KEPT;
        let confirmed = tokio::select! {
            read = publisher.read(&mut kept[at..at + READ.min(KEPT - at)]) => {
                let read = read?;
                if read == 0 {
                    break;
                }
                taken += read;
                match &mut backup {
                    Some(backup) => {
                        backup.write_all(&kept[at..at + read]).await?;
                        continue;
                    }
                    None => taken,
                }
            }
            read = confirmed(&mut backup, &mut confirmation) => read?,
        };
        publisher.write_all(&confirmed.to_le_bytes()).await?;
        while delivered < confirmed {
            let at = delivered % KEPT;
            let end = KEPT.min(at + confirmed - delivered);
            subscriber.write_all(&kept[at..end]).await?;
            delivered += end - at;
        }
    }
    if load.ahead > 1 {
        println!("  {:.0} MB/s", delivered as f64 / begin.elapsed().as_secs_f64() / 1e6);
    }
    drop((publisher, subscriber, backup));
    children.iter_mut().try_for_each(|child| child.wait().map(drop))
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true).map(|()| stream)
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true).map(|()| stream)
}

/// How far the backup has confirmed; without one, never. Eight bytes that are written at once come at once on a loopback, so
/// none are lost where this is given up for the publisher's.
async fn confirmed(backup: &mut Option<TcpStream>, buffer: &mut [u8; 8]) -> io::Result<usize> {
    match backup {
        Some(backup) => backup.read_exact(buffer).await.map(|_| u64::from_le_bytes(*buffer) as usize),
        None => std::future::pending().await,
    }
}

async fn backup(address: &str) -> io::Result<()> {
    let (mut primary, mut buffer, mut taken) = (connect(address).await?, vec![0; READ], 0);
    loop {
        let read = primary.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        taken += read as u64;
        primary.write_all(&taken.to_le_bytes()).await?;
    }
}

async fn subscriber(address: &str) -> io::Result<()> {
    let (mut primary, mut buffer) = (connect(address).await?, vec![0; READ]);
    while primary.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn publisher(address: &str, Load { chunk, ahead, .. }: Load) -> io::Result<()> {
    let (mut primary, body, mut confirmation) = (connect(address).await?, vec![0; chunk], [0; 8]);
    let (mut sent, mut acknowledged, mut waits) = (0, 0, Vec::new());
    let begin = Instant::now();
    while begin.elapsed() < RUN || acknowledged < sent {
        let since = Instant::now();
        while sent - acknowledged < chunk * ahead && begin.elapsed() < RUN {
            primary.write_all(&body).await?;
            sent += chunk;
        }
        primary.read_exact(&mut confirmation).await?;
        acknowledged = u64::from_le_bytes(confirmation) as usize;
        waits.push(since.elapsed());
    }
    if ahead == 1 {
        waits.sort_unstable();
        println!("  one at a time: p50 {} us", waits[waits.len() / 2].as_micros());
    }
    Ok(())
}
