//! The programs under test, as they were built beside the tests, and addresses for them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, bail, ensure};

/// The program of that name in the folder of this build. Error: it was not built.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    // Tests lie one folder below the programs.
    let folder = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).context("no build folder")?;
    let path = folder.join(name);
    ensure!(path.exists(), "{} is not built; run `make test` or `cargo build -p {name}`", path.display());
    Ok(path)
}

/// An address of this machine at which nobody listens yet, and another one each time. It is none of those that the kernel gives to
/// connections: one of them could take it before the program listens there.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    free_address_of(Ipv4Addr::LOCALHOST.into())
}

/// The same where this machine is known by that address.
pub fn free_address_of(host: IpAddr) -> anyhow::Result<SocketAddr> {
    const PORTS: Range<u32> = 20_000..32_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes of tests begin at different places.
    let begin = process::id().wrapping_mul(97);
    for _ in PORTS {
        let number = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((host, u16::try_from(PORTS.start + number)?));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("all ports of {PORTS:?} are taken")
}
