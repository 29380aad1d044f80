ALTER TABLE change_log DROP COLUMN adds_tokens;
DROP TABLE replicas;
