//! Who is at the other end of a connection, as far as the connection itself tells.

use std::net::SocketAddr;

use crate::policy::KeyId;

/// What every request of a connection has among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// The key that its verified client certificate stands for; `None` without a certificate, or where it stands
    /// for none.
    pub key_id: Option<KeyId>,
}
