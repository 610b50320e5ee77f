//! Cursors over octets: the only place where offsets into a packet are calculated.
//!
//! Both cursors advance by what they return, and return errors instead of panicking: [`Truncated`]
//! if a [`Reader`] has too little left, [`BufferTooSmall`] if the buffer of a [`Writer`] is full.
//! Numbers are in network byte order.

/// Fewer octets are left than were requested: the peer's data is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected end of data")]
pub struct Truncated;

/// The buffer is too small for what is to be written: a mistake of the caller, never of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the output buffer is too small")]
pub struct BufferTooSmall;

/// Reads octets from the front of a slice. A failed call does not advance.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    whole: &'a [u8],
    /// Always the end of `whole`.
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `octets`.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self {
            whole: octets,
            rest: octets,
        }
    }

    /// The next `count` octets.
    pub const fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Truncated),
        }
    }

    /// The next `N` octets.
    pub const fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(Truncated),
        }
    }

    /// The next octet.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_be_bytes)
    }

    /// The next octet as a two's complement number.
    pub fn i8(&mut self) -> Result<i8, Truncated> {
        self.array().map(i8::from_be_bytes)
    }

    /// The next 16 bits.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    /// Number of octets that were read.
    pub const fn position(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    /// The octets that were read.
    pub const fn taken(&self) -> &'a [u8] {
        self.whole.split_at(self.position()).0
    }

    /// Number of octets that are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The octets that are left; does not advance.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Appends octets to a buffer of fixed size. A failed call writes nothing.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    /// At most `buffer.len()`.
    written: usize,
}

impl<'a> Writer<'a> {
    /// A writer at the start of `buffer`, whose contents do not matter.
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, written: 0 }
    }

    /// Appends `octets`.
    pub fn put(&mut self, octets: &[u8]) -> Result<(), BufferTooSmall> {
        self.reserve(octets.len())?.copy_from_slice(octets);
        Ok(())
    }

    /// Reserves the next `N` octets for the caller to fill.
    pub fn array<const N: usize>(&mut self) -> Result<&mut [u8; N], BufferTooSmall> {
        self.reserve(N)?.first_chunk_mut().ok_or(BufferTooSmall)
    }

    /// Appends `count` zeros.
    pub fn zeros(&mut self, count: usize) -> Result<(), BufferTooSmall> {
        self.reserve(count)?.fill(0);
        Ok(())
    }

    /// Appends one octet.
    pub fn u8(&mut self, value: u8) -> Result<(), BufferTooSmall> {
        self.put(&value.to_be_bytes())
    }

    /// Appends one octet in two's complement.
    pub fn i8(&mut self, value: i8) -> Result<(), BufferTooSmall> {
        self.put(&value.to_be_bytes())
    }

    /// Appends 16 bits.
    pub fn u16(&mut self, value: u16) -> Result<(), BufferTooSmall> {
        self.put(&value.to_be_bytes())
    }

    /// Appends 32 bits.
    pub fn u32(&mut self, value: u32) -> Result<(), BufferTooSmall> {
        self.put(&value.to_be_bytes())
    }

    /// Appends 64 bits.
    pub fn u64(&mut self, value: u64) -> Result<(), BufferTooSmall> {
        self.put(&value.to_be_bytes())
    }

    /// The octets written so far; a MAC is calculated over these.
    pub fn written(&self) -> &[u8] {
        self.buffer.get(..self.written).unwrap_or_default()
    }

    /// The octets written so far, for changes.
    pub fn written_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.written).unwrap_or_default()
    }

    /// Number of octets that still fit.
    pub const fn remaining(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Returns the written part of the buffer.
    pub fn finish(self) -> &'a mut [u8] {
        self.buffer.get_mut(..self.written).unwrap_or_default()
    }

    /// Reserves the next `count` octets for the caller to fill.
    pub fn reserve(&mut self, count: usize) -> Result<&mut [u8], BufferTooSmall> {
        let free = self.buffer.get_mut(self.written..).ok_or(BufferTooSmall)?;
        let space = free.get_mut(..count).ok_or(BufferTooSmall)?;
        self.written += count;
        Ok(space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_read_takes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), Err(Truncated));
        assert_eq!(reader.take(4), Err(Truncated));
        assert_eq!(reader.u16(), Ok(0x0102));
        assert_eq!((reader.taken(), reader.position()), (&[1, 2][..], 2));
        assert_eq!(reader.rest(), [3]);
    }

    #[test]
    fn a_failed_write_writes_nothing() {
        let mut buffer = [0xff; 3];
        let mut writer = Writer::new(&mut buffer);
        writer.u16(0x0102).unwrap();
        assert_eq!(writer.u16(0x0304), Err(BufferTooSmall));
        assert_eq!(writer.written(), [1, 2]);
        assert_eq!(writer.remaining(), 1);
        writer.zeros(1).unwrap();
        assert_eq!(writer.finish(), [1, 2, 0]);
    }

    #[test]
    fn a_huge_length_is_an_error() {
        assert_eq!(Reader::new(&[]).take(usize::MAX), Err(Truncated));
        let mut buffer = [0; 8];
        let mut writer = Writer::new(&mut buffer);
        writer.u8(0).unwrap();
        assert_eq!(writer.zeros(usize::MAX), Err(BufferTooSmall));
    }
}
