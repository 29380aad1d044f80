//! Reads from the server the keys that the files may mean.

use std::collections::BTreeSet;

use tonic::Code;

use super::plan::Present;
use super::wanted::Wanted;
use crate::cli::client::Client;
use crate::grpc::pb;
use crate::grpc::pb::list_keys_request::Filter;

const PAGE_SIZE: i32 = 1000;

/// The keys that are named by id, and all keys of the owners that the others name.
///
/// # Errors
/// What the server refuses with.
pub async fn read(client: &Client, wanted: &[Wanted]) -> anyhow::Result<Present> {
    let mut present = Present::default();
    let named = wanted.iter().filter(|entry| entry.key_id.is_none());
    let owners: BTreeSet<i64> = named.filter_map(|entry| entry.user_id).collect();
    for user_id in owners {
        present.owned.extend(keys_of(client, user_id).await?);
    }
    for key_id in wanted.iter().filter_map(|entry| entry.key_id) {
        let asked = pb::GetKeyRequest { key_id, ..Default::default() };
        match client.keys().get_key(asked).await {
            Ok(answer) => present.by_id.extend(answer.into_inner().key.map(|key| (key_id, key))),
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(client.failure(&status).into()),
        }
    }
    Ok(present)
}

async fn keys_of(client: &Client, user_id: i64) -> anyhow::Result<Vec<pb::Key>> {
    let mut keys = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListKeysRequest {
            filter: Some(Filter { user_id: Some(user_id), ..Default::default() }),
            page_size: PAGE_SIZE,
            page_token,
            ..Default::default()
        };
        let page = client.keys().list_keys(request).await.map_err(|status| client.failure(&status))?;
        let page = page.into_inner();
        keys.extend(page.keys);
        if page.next_page_token.is_empty() {
            return Ok(keys);
        }
        page_token = page.next_page_token;
    }
}
