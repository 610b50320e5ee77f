//! The session's keys out of TLS (RFC 8915 section 5.1), the same on both sides.

use ntp_proto::nts::exchange::NTPV4;
use ntp_proto::nts::{AeadAlgorithm, Direction, EXPORTER_LABEL, SessionKeys, exporter_context};
use rustls::{ConnectionCommon, Error};
use zeroize::Zeroizing;

/// Keys for `algorithm`, exported in the context of `named`: the same one, but for what chrony 4.4 did (see [`exporter_context`]).
pub(crate) fn session_keys<Side>(
    tls: &ConnectionCommon<Side>,
    algorithm: AeadAlgorithm,
    named: AeadAlgorithm,
) -> Result<SessionKeys, Error> {
    let key = |direction| {
        let context = exporter_context(NTPV4, named, direction);
        let mut key = Zeroizing::new(vec![0; algorithm.key_length()]);
        tls.export_keying_material(key.as_mut_slice(), EXPORTER_LABEL, Some(&context))?;
        Ok::<_, Error>(key)
    };
    let c2s = key(Direction::ClientToServer)?;
    let s2c = key(Direction::ServerToClient)?;
    SessionKeys::new(algorithm, &c2s, &s2c)
        .ok_or_else(|| Error::General("keys of a wrong length".into()))
}
