//! Key exchange in a build without NTS: none. A configuration that needs it is refused
//! ([`ntp_config::Config::unsupported`]).
//!
//! What only a key exchange can make is a type without values, so that the compiler removes the
//! code that handles it.

use core::convert::Infallible;
use core::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ntp_config::Config;
use ntp_proto::engine::TimePrior;
use ntp_proto::nts::Keyset;
use ntp_types::path::ListenAddress;
use ntp_types::status::{KeServerStatus, ProviderStatus};

use crate::runtime::driver::Driver;
use crate::runtime::pollable::Pollable;

/// Why keys are not served.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Listen(ListenAddress, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Listen(address, error) = self;
        write!(f, "cannot listen on {address}: {error}")
    }
}

/// No listening sockets.
#[derive(Debug, Default)]
pub struct Bound(());

impl Bound {
    /// # Errors
    /// Never.
    pub(crate) fn bind(_: Vec<Infallible>) -> Result<Self, StartError> {
        Ok(Self(()))
    }

    pub(crate) fn without_ipv6(&self) -> &[(SocketAddr, Option<SocketAddr>)] {
        &[]
    }

    pub(crate) fn is_empty(&self) -> bool {
        true
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        core::iter::empty()
    }
}

/// Returns the endpoints of the key-exchange server: none.
pub(crate) fn endpoints(_: &Config) -> Vec<Infallible> {
    Vec::new()
}

/// An endpoint with its certificates.
#[derive(Debug)]
pub(crate) enum PreparedEndpoint {}

impl PreparedEndpoint {
    pub(crate) fn read(config: Infallible) -> Self {
        match config {}
    }
}

/// The key-exchange server.
#[derive(Debug)]
pub(crate) enum KeServer {}

impl KeServer {
    pub(crate) fn start(
        _: Bound,
        _: Arc<ArcSwap<Keyset>>,
        _: [u8; 32],
    ) -> Result<Self, StartError> {
        Err(StartError::Listen(
            SocketAddr::from(([0; 4], 0)).into(),
            io::ErrorKind::Unsupported.into(),
        ))
    }

    pub(crate) fn reconfigure(&mut self, _: Vec<PreparedEndpoint>) -> Vec<StartError> {
        match *self {}
    }

    pub(crate) fn waiting(&self) -> core::iter::Empty<ListenAddress> {
        match *self {}
    }

    pub(crate) fn status(&self, _: &Keyset) -> Option<KeServerStatus> {
        match *self {}
    }

    pub(crate) fn reload(&self) {
        match *self {}
    }

    pub(crate) fn stop(self) {
        match self {}
    }
}

impl Pollable for KeServer {}

/// The key-exchange client, which no source asks for keys.
#[derive(Debug, Default)]
pub(crate) struct KeClient;

impl KeClient {
    pub(crate) fn new(_: &Config, _: TimePrior) -> Self {
        Self
    }

    pub(crate) fn configure(&mut self, _: &Config) {}

    pub(crate) fn expiry(&self, _: &str) -> Option<u64> {
        None
    }

    pub(crate) fn group(&self, _: &str) -> Option<&'static str> {
        None
    }
}

impl Pollable for KeClient {
    fn execute(&mut self, driver: &mut Driver) {
        // Floors of the time, for certificates.
        driver.requests.keys.clear();
    }
}

/// Returns what provides the cryptography of the key exchange.
pub(crate) fn provider() -> Option<ProviderStatus> {
    None
}
