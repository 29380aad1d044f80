//! The main job, end to end.

use keystile::grpc::pb;

use crate::harness::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_from_its_creation_to_its_revocation() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    assert_eq!(app.reason(&token).await, None);
    let revoke = pb::RevokeKeyRequest { key_id: key.key_id, reason: "leaked".into(), ..Default::default() };
    let revoked = app.keys().revoke_key(revoke).await.unwrap().into_inner();
    assert!(revoked.propagation.unwrap().complete);
    assert_eq!(app.reason(&token).await.as_deref(), Some("KEY_REVOKED"));
    app.stop().await;
}
