//! Lists of keys by pages.

use tonic::Status;

use super::KeyApi;
use crate::grpc::convert::keys as convert;
use crate::grpc::convert::list_request::{position_bytes, read_list};
use crate::grpc::error;
use crate::grpc::page::fitting;
use crate::grpc::page_token;
use crate::grpc::pb;
use crate::grpc::violations::Violations;

impl KeyApi {
    pub(super) async fn list(&self, request: pb::ListKeysRequest) -> Result<pb::ListKeysResponse, Status> {
        let mut violations = Violations::default();
        let (list, request) = read_list(&mut violations, request);
        let request = violations.finish(request)?;
        let page = self.admin.list_keys(request).await.map_err(error::admin)?;
        let mut keys: Vec<pb::Key> = page.keys.iter().map(|(key, _)| convert::key(key)).collect();
        let fitting = fitting(&keys);
        let mut next = page.next;
        if fitting < keys.len() {
            keys.truncate(fitting);
            next = page.keys.into_iter().nth(fitting - 1).map(|(_, place)| place);
        }
        let token = next.map(|place| page_token::write(list, &position_bytes(&place)));
        Ok(pb::ListKeysResponse {
            keys,
            next_page_token: token.unwrap_or_default(),
            revision: page.revision.get(),
        })
    }
}
