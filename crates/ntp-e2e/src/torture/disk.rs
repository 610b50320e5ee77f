//! A disk that loses unflushed writes at a power loss.
//!
//! Killing an emulator is not a power loss, since the guest's writes stay in the host's memory.
//! This is therefore a network block device (the simple part of the NBD protocol: fixed newstyle
//! handshake, simple replies) with a **volatile cache**. Writes are acknowledged at once and kept
//! apart until the guest flushes, which a file system does for `fsync`. At a power loss each
//! unflushed block survives at random, in any combination: the weakest guarantee of real disks.
//! Blocks of 4 KiB are written atomically, as on current disks.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rand_core::RngCore;

const BLOCK: usize = 4096;
/// Maximum length of a request, in octets.
const MAX_REQUEST: usize = 32 << 20;

const GREETING: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

/// A disk; clones share their contents.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<Contents>>);

#[derive(Debug)]
struct Contents {
    /// Contents that survive a power loss.
    stable: Vec<u8>,
    /// Contents as the guest reads them.
    visible: Vec<u8>,
    /// Writes since the last flush, in order.
    unflushed: Vec<(usize, Vec<u8>)>,
    flushes: u64,
}

impl Disk {
    /// A disk with these contents.
    pub fn new(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Contents {
            stable: image.clone(),
            visible: image,
            unflushed: Vec::new(),
            flushes: 0,
        })))
    }

    /// Serves the disk at a Unix socket, to one emulator after another, until this process ends.
    ///
    /// # Errors
    /// If the socket cannot be bound.
    pub fn serve(&self, socket: &Path) -> io::Result<()> {
        let listener = UnixListener::bind(socket)?;
        let disk = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let disk = disk.clone();
                // A killed emulator may disconnect at any point.
                thread::spawn(move || drop(disk.serve_connection(stream)));
            }
        });
        Ok(())
    }

    /// Simulates a power loss. Returns the number of unflushed blocks, and how many of them are
    /// lost.
    pub fn lose_power(&self, rng: &mut impl RngCore) -> (usize, usize) {
        let mut contents = self.lock();
        let unflushed = core::mem::take(&mut contents.unflushed);
        // Sometimes all is lost, sometimes nothing, mostly a part.
        let survive = rng.next_u32() % 5;
        let (mut blocks, mut lost) = (0, 0);
        for (offset, octets) in unflushed {
            for (number, block) in octets.chunks(BLOCK).enumerate() {
                blocks += 1;
                if rng.next_u32() % 4 < survive {
                    let at = offset + number * BLOCK;
                    contents.stable[at..at + block.len()].copy_from_slice(block);
                } else {
                    lost += 1;
                }
            }
        }
        contents.visible = contents.stable.clone();
        (blocks, lost)
    }

    /// Number of flushes by the guest.
    pub fn flushes(&self) -> u64 {
        self.lock().flushes
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve_connection(&self, mut stream: UnixStream) -> io::Result<()> {
        self.handshake(&mut stream)?;
        loop {
            let (magic, _flags, command) =
                (u32(&mut stream)?, u16(&mut stream)?, u16(&mut stream)?);
            let (cookie, offset, length) =
                (u64(&mut stream)?, u64(&mut stream)?, u32(&mut stream)?);
            let length = length as usize;
            if magic != REQUEST || length > MAX_REQUEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut answer = Vec::new();
            let mut error = 0_u32;
            let range = usize::try_from(offset)
                .ok()
                .map(|offset| offset..offset + length);
            match command {
                0 => {
                    match range.and_then(|range| self.lock().visible.get(range).map(<[u8]>::to_vec))
                    {
                        Some(octets) => answer = octets,
                        None => error = INVALID,
                    }
                }
                1 => {
                    let mut octets = vec![0; length];
                    stream.read_exact(&mut octets)?;
                    if !self.write(offset as usize, octets) {
                        error = INVALID;
                    }
                }
                2 => return Ok(()),
                3 => self.flush(),
                _ => error = INVALID,
            }
            stream.write_all(&REPLY.to_be_bytes())?;
            stream.write_all(&error.to_be_bytes())?;
            stream.write_all(&cookie.to_be_bytes())?;
            stream.write_all(&answer)?;
        }
    }

    fn write(&self, offset: usize, octets: Vec<u8>) -> bool {
        let mut contents = self.lock();
        let Some(place) = contents.visible.get_mut(offset..offset + octets.len()) else {
            return false;
        };
        place.copy_from_slice(&octets);
        contents.unflushed.push((offset, octets));
        true
    }

    fn flush(&self) {
        let mut contents = self.lock();
        for (offset, octets) in core::mem::take(&mut contents.unflushed) {
            contents.stable[offset..offset + octets.len()].copy_from_slice(&octets);
        }
        contents.flushes += 1;
    }

    /// Performs the handshake, up to the transmission phase.
    fn handshake(&self, stream: &mut UnixStream) -> io::Result<()> {
        stream.write_all(&GREETING.to_be_bytes())?;
        stream.write_all(&OPTION.to_be_bytes())?;
        // Fixed newstyle, and no padding.
        stream.write_all(&3_u16.to_be_bytes())?;
        u32(stream)?;
        // Export flags: flags are present, flush is supported.
        const FLAGS: u16 = 1 | 1 << 2;
        let size = self.lock().visible.len() as u64;
        loop {
            let (magic, option, length) = (u64(stream)?, u32(stream)?, u32(stream)?);
            if magic != OPTION || length as usize > MAX_REQUEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut data = vec![0; length as usize];
            stream.read_exact(&mut data)?;
            let mut reply = |kind: u32, data: &[u8]| {
                stream.write_all(&OPTION_REPLY.to_be_bytes())?;
                stream.write_all(&option.to_be_bytes())?;
                stream.write_all(&kind.to_be_bytes())?;
                stream.write_all(&(data.len() as u32).to_be_bytes())?;
                stream.write_all(data)
            };
            match option {
                // NBD_OPT_GO: information about the export, then transmission.
                7 => {
                    let mut export = vec![0, 0];
                    export.extend_from_slice(&size.to_be_bytes());
                    export.extend_from_slice(&FLAGS.to_be_bytes());
                    reply(3, &export)?;
                    return reply(1, &[]);
                }
                2 => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => reply(1 << 31 | 1, &[])?,
            }
        }
    }
}

/// NBD error EINVAL.
const INVALID: u32 = 22;

fn u16(stream: &mut impl Read) -> io::Result<u16> {
    let mut octets = [0; 2];
    stream.read_exact(&mut octets)?;
    Ok(u16::from_be_bytes(octets))
}

fn u32(stream: &mut impl Read) -> io::Result<u32> {
    let mut octets = [0; 4];
    stream.read_exact(&mut octets)?;
    Ok(u32::from_be_bytes(octets))
}

fn u64(stream: &mut impl Read) -> io::Result<u64> {
    let mut octets = [0; 8];
    stream.read_exact(&mut octets)?;
    Ok(u64::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn flushed_writes_survive_and_unflushed_ones_at_random() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut some, mut none) = (0, 0);
        for _ in 0..100 {
            let disk = Disk::new(vec![0; 16 * BLOCK]);
            assert!(disk.write(0, vec![1; 2 * BLOCK]));
            disk.flush();
            assert!(disk.write(BLOCK, vec![2; 8 * BLOCK]));
            assert!(!disk.write(16 * BLOCK, vec![2]));
            let (blocks, lost) = disk.lose_power(&mut rng);
            assert_eq!(blocks, 8);
            let contents = disk.lock();
            assert_eq!(contents.stable, contents.visible);
            assert!(contents.visible[..BLOCK].iter().all(|octet| *octet == 1));
            assert!([1, 2].contains(&contents.visible[BLOCK]));
            some += usize::from(lost > 0 && lost < blocks);
            none += usize::from(lost == blocks);
        }
        assert!(some > 10 && none > 5, "{some} {none}");
    }
}
