DROP INDEX key_secrets_by_expiry, api_keys_by_purge;
DROP TABLE idempotent_requests;
