//! Distribution of datagrams to several sockets at one address, by a small program in the kernel.
//!
//! # Purpose
//! Sockets that share an address and port (`SO_REUSEPORT`) get their datagrams by the kernel's hash
//! of addresses *and ports*. A client that changes its port with each request, as RFC 9109
//! recommends, then reaches another worker each time, and everything that a worker stores about a
//! client (its rate, its last transmit time) would have to be shared and locked. Steering by the
//! source address alone keeps a client on one worker, so that workers share nothing. For IPv6 the
//! first 64 bits count: a host with one address of a /64 can use all of them.
//!
//! # Implementation
//! `SO_ATTACH_REUSEPORT_CBPF` takes a classic BPF program; its result is the index of a socket, in
//! the order in which they were bound. For UDP it sees the datagram from its *payload* on; headers
//! are reached by negative offsets, of which `SKF_NET_OFF` is the beginning of the IP header. With
//! `w` the source address (IPv6: its first two words, combined), all numbers of 32 bits and
//! wrapping:
//!
//! ```text
//! h = (w ^ key) * MULTIPLIER;  worker = (h >> 16) % count
//! ```
//!
//! The key is secret: without it, an attacker cannot direct load at one worker. For a datagram that
//! is neither IPv4 nor IPv6 (there are none), and for an index without a socket, the kernel falls
//! back to its own hash.

use std::io;
#[cfg(test)]
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use crate::syscall::{self, FilterInstruction};

/// Odd, and with its bits spread evenly: 2^32 divided by the golden ratio.
const MULTIPLIER: u32 = 0x9e37_79b1;

/// A program that distributes clients over `count` sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steering {
    key: u32,
    count: u32,
}

impl Steering {
    /// A `count` of 0 becomes 1.
    pub(crate) fn new(key: u32, count: usize) -> Self {
        Self {
            key,
            count: u32::try_from(count).unwrap_or(u32::MAX).max(1),
        }
    }

    /// Returns the socket index of a client, as computed by the program.
    #[cfg(test)]
    pub(crate) fn index_of(self, client: IpAddr) -> usize {
        let word = match client.to_canonical() {
            IpAddr::V4(ip) => ip.to_bits(),
            IpAddr::V6(ip) => {
                let network = ip.to_bits() >> 64;
                ((network >> 32) as u32).wrapping_mul(MULTIPLIER) ^ network as u32
            }
        };
        let hash = (word ^ self.key).wrapping_mul(MULTIPLIER);
        ((hash >> 16) % self.count) as usize
    }

    /// Attaches the program, for all sockets that share the address of this one.
    pub(crate) fn attach(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        syscall::attach_reuseport_filter(socket, &self.program().map(Instruction::encode))
    }

    fn program(self) -> [Instruction; 15] {
        use Instruction::{
            Jump, JumpIf, LoadByte, LoadWord, Modulo, Move, Multiply, Return, ShiftRight, Xor,
            XorMoved,
        };
        [
            // The version of IP.
            LoadByte(0),
            ShiftRight(4),
            JumpIf {
                value: 6,
                equal: 2,
                otherwise: 0,
            },
            // Version 4.
            LoadWord(12),
            Jump(5),
            // Version 6.
            LoadWord(8),
            Multiply(MULTIPLIER),
            Move,
            LoadWord(12),
            XorMoved,
            // Both.
            Xor(self.key),
            Multiply(MULTIPLIER),
            ShiftRight(16),
            Modulo(self.count),
            Return,
        ]
    }
}

/// BPF instructions used here. They work on an accumulator; offsets count from the IP header; a
/// jump by 0 goes to the next instruction.
#[derive(Clone, Copy, Debug)]
enum Instruction {
    LoadByte(u8),
    /// Four bytes, big-endian.
    LoadWord(u8),
    ShiftRight(u32),
    Multiply(u32),
    Modulo(u32),
    Xor(u32),
    /// Copies the accumulator to the index register.
    Move,
    /// XORs the accumulator with the index register.
    XorMoved,
    Jump(u32),
    JumpIf {
        value: u32,
        equal: u8,
        otherwise: u8,
    },
    /// Ends the program with the accumulator as its result.
    Return,
}

impl Instruction {
    fn encode(self) -> FilterInstruction {
        use libc::{
            BPF_ABS, BPF_ALU, BPF_B, BPF_JA, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MISC, BPF_MOD,
            BPF_MUL, BPF_RET, BPF_RSH, BPF_TAX, BPF_W, BPF_X, BPF_XOR,
        };
        /// For a return instruction: the accumulator.
        const BPF_A: u32 = 0x10;
        let header = |offset: u8| libc::SKF_NET_OFF.cast_unsigned() + u32::from(offset);
        let (code, k) = match self {
            Self::LoadByte(offset) => (BPF_LD | BPF_B | BPF_ABS, header(offset)),
            Self::LoadWord(offset) => (BPF_LD | BPF_W | BPF_ABS, header(offset)),
            Self::ShiftRight(by) => (BPF_ALU | BPF_RSH | BPF_K, by),
            Self::Multiply(by) => (BPF_ALU | BPF_MUL | BPF_K, by),
            Self::Modulo(by) => (BPF_ALU | BPF_MOD | BPF_K, by),
            Self::Xor(with) => (BPF_ALU | BPF_XOR | BPF_K, with),
            Self::Move => (BPF_MISC | BPF_TAX, 0),
            Self::XorMoved => (BPF_ALU | BPF_XOR | BPF_X, 0),
            Self::Jump(by) => (BPF_JMP | BPF_JA, by),
            Self::JumpIf { value, .. } => (BPF_JMP | BPF_JEQ | BPF_K, value),
            Self::Return => (BPF_RET | BPF_A, 0),
        };
        let (jt, jf) = match self {
            Self::JumpIf {
                equal, otherwise, ..
            } => (equal, otherwise),
            _ => (0, 0),
        };
        FilterInstruction {
            code: code as u16,
            jt,
            jf,
            k,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(clients: impl Iterator<Item = IpAddr>, steering: Steering) -> Vec<usize> {
        let mut shares = vec![0; steering.count as usize];
        for client in clients {
            shares[steering.index_of(client)] += 1;
        }
        shares
    }

    #[test]
    fn neighbouring_addresses_are_spread_evenly() {
        for key in [0, 1, 0xdead_beef] {
            let steering = Steering::new(key, 4);
            let v4 = (0..4096u32).map(|low| IpAddr::from((0x0a00_0000 + low).to_be_bytes()));
            let v6 = (0..4096u128)
                .map(|low| IpAddr::from(((0x2001_0db8 << 96) + (low << 64)).to_be_bytes()));
            for shares in [shares(v4, steering), shares(v6, steering)] {
                assert!(
                    shares.iter().all(|share| (896..1152).contains(share)),
                    "{shares:?}"
                );
            }
        }
    }

    #[test]
    fn ipv6_clients_are_steered_by_their_64_bit_prefix() {
        let steering = Steering::new(7, 1000);
        let of = |text: &str| steering.index_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }

    #[test]
    fn jump_targets_are_correct() {
        let program = Steering::new(0, 2).program();
        let at = |index: usize| format!("{:?}", program[index]);
        let Instruction::JumpIf {
            equal, otherwise, ..
        } = program[2]
        else {
            panic!()
        };
        assert_eq!(at(3 + usize::from(otherwise)), "LoadWord(12)");
        assert_eq!(at(3 + usize::from(equal)), "LoadWord(8)");
        let Instruction::Jump(by) = program[4] else {
            panic!()
        };
        assert_eq!(at(5 + by as usize), "Xor(0)");
    }
}
