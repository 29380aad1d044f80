//! KeyService as the administrator.

use std::net::SocketAddr;
use std::time::Duration;

use keystile::grpc::pb;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::failure::Failure;

/// How long a call may take.
const CALL_MAX: Duration = Duration::from_secs(30);

/// A client with the administrator's token.
pub struct Admin {
    client: KeyServiceClient<Channel>,
    authorization: MetadataValue<Ascii>,
}

/// A new key.
pub struct Created {
    /// Its id.
    pub key_id: i64,
    /// Its token.
    pub token: String,
}

impl Admin {
    /// Connects.
    ///
    /// # Errors
    /// There is nobody, or the token is no metadata.
    pub async fn connect(address: SocketAddr, token: &str) -> Result<Self, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.timeout(CALL_MAX);
        let channel = endpoint.connect().await?;
        let authorization = format!("Bearer {token}").parse();
        let authorization = authorization.map_err(|_| Failure::Unusable("admin.token holds no token"))?;
        Ok(Self { client: KeyServiceClient::new(channel), authorization })
    }

    /// Creates a key.
    ///
    /// # Errors
    /// The service refuses.
    pub async fn create(&mut self, key: pb::Key) -> Result<Created, Failure> {
        let request = pb::CreateKeyRequest { key: Some(key), ..pb::CreateKeyRequest::default() };
        let request = self.authorized(request);
        let created = self.client.create_key(request).await.map_err(refused)?.into_inner();
        let key_id = created.key.map(|key| key.key_id).unwrap_or_default();
        Ok(Created { key_id, token: created.token })
    }

    /// Revokes a key, and says how far that has come.
    ///
    /// # Errors
    /// The service refuses, or says nothing of it.
    pub async fn revoke(&mut self, key_id: i64) -> Result<pb::Propagation, Failure> {
        let request = self.authorized(pb::RevokeKeyRequest { key_id, ..pb::RevokeKeyRequest::default() });
        let revoked = self.client.revoke_key(request).await.map_err(refused)?.into_inner();
        revoked.propagation.ok_or(Failure::Unusable("the answer to RevokeKey has no propagation"))
    }

    fn authorized<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request
    }
}

fn refused(status: Status) -> Failure {
    Failure::Admin(Box::new(status))
}
