//! Exports a session's keys from TLS (RFC 8915 section 5.1), on both sides.

use ntp_proto::nts::{AeadAlgorithm, Direction, EXPORTER_LABEL, SessionKeys, exporter_context};
use rustls::{ConnectionCommon, Error};
use zeroize::Zeroizing;

/// Exports keys of a next protocol for `algorithm` in the context of `context_algorithm`. These are
/// equal, except for the keys of chrony 4.4 to 4.6.0 (see [`exporter_context`]).
pub(crate) fn session_keys<Side>(
    tls: &ConnectionCommon<Side>,
    protocol: u16,
    algorithm: AeadAlgorithm,
    context_algorithm: AeadAlgorithm,
) -> Result<SessionKeys, Error> {
    let key = |direction| {
        let context = exporter_context(protocol, context_algorithm, direction);
        let mut key = Zeroizing::new(vec![0; algorithm.key_length()]);
        tls.export_keying_material(key.as_mut_slice(), EXPORTER_LABEL, Some(&context))?;
        Ok::<_, Error>(key)
    };
    let c2s = key(Direction::ClientToServer)?;
    let s2c = key(Direction::ServerToClient)?;
    SessionKeys::new(algorithm, &c2s, &s2c)
        .ok_or_else(|| Error::General("exported keys have a wrong length".into()))
}
