-- Which programs may serve on a schema that is newer than they are: those that know this migration. One that takes
-- something away raises it, in the same transaction; migrations/README.md says to what. Here it is this migration
-- itself: programs from before it do not ask, and refuse every schema that they do not know.
CREATE TABLE schema_compatibility (
    only_row         boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- As __diesel_schema_migrations writes it.
    oldest_migration text NOT NULL CHECK (oldest_migration ~ '^[0-9]{14}$')
);
INSERT INTO schema_compatibility (oldest_migration) VALUES ('20261123120000');
