//! `Debug` for messages that hold a secret: it names what a person may see, never the secret.

use std::fmt::{Debug, Formatter, Result};

use super::pb;

const REDACTED: &str = "[redacted]";

impl Debug for pb::AuthorizeRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("AuthorizeRequest")
            .field("token", &REDACTED)
            .field("model", &self.model)
            .field("endpoint", &self.endpoint)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl Debug for pb::FilterModelsRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("FilterModelsRequest")
            .field("token", &REDACTED)
            .field("models", &self.models.len())
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl Debug for pb::IntrospectKeyRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("IntrospectKeyRequest").field("token", &REDACTED).finish()
    }
}

impl Debug for pb::LookupKeyRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("LookupKeyRequest").field("token", &REDACTED).finish()
    }
}

impl Debug for pb::CreateKeyResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("CreateKeyResponse")
            .field("key", &self.key)
            .field("token", &REDACTED)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl Debug for pb::RotateKeyResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("RotateKeyResponse")
            .field("key", &self.key)
            .field("token", &REDACTED)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl Debug for pb::Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Key")
            .field("key_id", &self.key_id)
            .field("user_id", &self.user_id)
            .field("key_prefix", &self.key_prefix)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
