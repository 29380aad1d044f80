-- Requests that carried a request_id, so that a repetition within 24 h does nothing twice; and what the
-- purge looks for by time.

CREATE TABLE idempotent_requests (
    -- Who asked: the audit log's actor.
    caller      text NOT NULL,
    method      text NOT NULL,
    request_id  uuid NOT NULL,
    -- SHA-256 of the request without its id: the same id with another request is refused.
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    -- What came of it. NULL only inside the transaction that took the id.
    key_id      bigint,
    expire_at   timestamptz NOT NULL,
    PRIMARY KEY (caller, method, request_id)
);
CREATE INDEX idempotent_requests_by_expiry ON idempotent_requests (expire_at);

CREATE INDEX api_keys_by_purge ON api_keys (purge_at, key_id) WHERE purge_at IS NOT NULL;
CREATE INDEX key_secrets_by_expiry ON key_secrets (expire_at) WHERE expire_at IS NOT NULL;
