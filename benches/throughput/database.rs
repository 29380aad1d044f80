//! Many keys at once, written into a server's database: by gRPC each would take a bcrypt.
//!
//! They are rows like that of a key which the service has made, of owners of their own, with tokens of own format and
//! their digests under the service's pepper.

use bcrypt::hash;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use keystile::storage::peppers::{DATABASE_PEPPER_ID, get_or_insert};
use keystile::token::{Brand, Pepper, PepperId, Peppers, Presented, Token};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::failure::Failure;
use crate::random::Random;
use crate::tokens::Tokens;

/// Rows that are written at once.
const CHUNK: usize = 10_000;
/// Ids of these keys begin here: the service's own ids, from 1 000 001 on, stay free.
const FIRST_KEY: i64 = 100_000_000;
/// Of the hash that stands in for those of keys with a digest, which are never looked at.
const STAND_IN_COST: u32 = 4;
/// Of the hashes of imported keys: bcrypt's usual one.
const IMPORTED_COST: u32 = 10;

/// The database of a Keystile that runs.
pub struct Database {
    connection: AsyncPgConnection,
    peppers: Peppers,
    /// Keys that were written, by others like this too.
    written: i64,
}

/// The greatest id.
#[derive(QueryableByName)]
struct Last {
    #[diesel(sql_type = Nullable<BigInt>)]
    key_id: Option<i64>,
}

/// Keys, in the order of their ids.
pub struct Written {
    /// Their tokens.
    pub tokens: Tokens,
    /// The first one's id; the others' follow.
    pub first_key: i64,
}

impl Database {
    /// Connects, and fetches the service's pepper.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(url: &str) -> Result<Self, Failure> {
        let mut connection = AsyncPgConnection::establish(url).await.map_err(Failure::database)?;
        // The service has made it already: the fresh one is left alone.
        let secret = get_or_insert(&mut connection, &[0; 32]).await.map_err(Failure::database)?;
        let id = PepperId::parse(DATABASE_PEPPER_ID).map_err(Failure::database)?;
        let pepper = Pepper::new(id, &secret).map_err(Failure::database)?;
        let peppers = Peppers::new(pepper, Vec::new()).map_err(Failure::database)?;
        // Neither triggers nor checks of foreign keys: what is written here is whole.
        connection
            .batch_execute("SET session_replication_role = replica")
            .await
            .map_err(Failure::database)?;
        let last: Last = sql_query(LAST).get_result(&mut connection).await.map_err(Failure::database)?;
        let written = last.key_id.map_or(0, |last| (last + 1 - FIRST_KEY).max(0));
        Ok(Self { connection, peppers, written })
    }

    /// Writes `count` keys like the key `like`, with its limits on requests, too. Indexes that keys are not found by are made afterwards: it is quicker.
    ///
    /// # Errors
    /// The database's.
    pub async fn write(&mut self, like: i64, count: usize) -> Result<Written, Failure> {
        let mut random = StdRng::seed_from_u64(self.written.cast_unsigned());
        let first_key = FIRST_KEY + self.written;
        let stand_in = hash("a token that nobody has", STAND_IN_COST).map_err(Failure::database)?;
        let mut all: Option<Tokens> = None;
        self.execute(TAKE_INDEXES).await?;
        let mut left = count;
        while left > 0 {
            let many = left.min(CHUNK);
            let mut rows = Rows::default();
            for _ in 0..many {
                let token = Token::generate(&Brand::default(), &mut random);
                let all = all.get_or_insert_with(|| Tokens::of_length(token.expose().len()));
                if !all.push(token.expose()) {
                    return Err(Failure::Unusable("tokens have several lengths"));
                }
                let (_, digest) = self.peppers.digest_current(token.expose().as_bytes());
                rows.push(FIRST_KEY + self.written, token.prefix(), &stand_in);
                rows.digests.push(digest.as_bytes().to_vec());
                self.written += 1;
            }
            self.insert(like, rows, false).await?;
            left -= many;
        }
        self.execute(MAKE_INDEXES).await?;
        self.execute("VACUUM ANALYZE").await?;
        Ok(Written { tokens: all.unwrap_or_default(), first_key })
    }

    /// Writes imported keys like the key `like`: with tokens of another format, a hash of each, and no digest.
    ///
    /// # Errors
    /// The database's.
    pub async fn write_imported(&mut self, like: i64, count: usize) -> Result<Written, Failure> {
        let first_key = FIRST_KEY + self.written;
        let mut random = Random::new(self.written.cast_unsigned());
        let mut rows = Rows::default();
        let mut tokens = Tokens::of_length(IMPORTED_BYTES);
        for _ in 0..count {
            let token: String = (0..IMPORTED_BYTES).map(|_| char::from(random.digit())).collect();
            let presented = Presented::classify(token.as_bytes(), &Brand::default());
            let prefix = presented.map_err(Failure::database)?.prefix().to_owned();
            tokens.push(&token);
            let hash = hash(&token, IMPORTED_COST).map_err(Failure::database)?;
            rows.push(FIRST_KEY + self.written, prefix, &hash);
            self.written += 1;
        }
        self.insert(like, rows, true).await?;
        Ok(Written { tokens, first_key })
    }

    async fn insert(&mut self, like: i64, rows: Rows, imported: bool) -> Result<(), Failure> {
        let (mark, _) = self.peppers.digest_current(b"");
        let inserted = sql_query(INSERT)
            .bind::<Array<BigInt>, _>(rows.ids)
            .bind::<Array<Text>, _>(rows.prefixes)
            .bind::<Array<Text>, _>(rows.hashes)
            .bind::<Array<Binary>, _>(rows.digests)
            .bind::<Text, _>(mark.as_str())
            .bind::<BigInt, _>(like)
            .bind::<Bool, _>(imported)
            .execute(&mut self.connection)
            .await;
        inserted.map_err(Failure::database)?;
        Ok(())
    }

    async fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        self.connection.batch_execute(sql).await.map_err(Failure::database)
    }
}

/// Bytes of an imported token.
const IMPORTED_BYTES: usize = 40;

/// Columns of rows.
#[derive(Default)]
struct Rows {
    ids: Vec<i64>,
    prefixes: Vec<String>,
    hashes: Vec<String>,
    /// None, or one for each.
    digests: Vec<Vec<u8>>,
}

impl Rows {
    fn push(&mut self, id: i64, prefix: String, hash: &str) {
        self.ids.push(id);
        self.prefixes.push(prefix);
        self.hashes.push(hash.to_owned());
    }
}

const LAST: &str = "SELECT max(key_id) AS key_id FROM api_keys";

/// Ten keys an owner. Where there are fewer digests than keys, `unnest` fills up with NULL.
const INSERT: &str = "
    WITH given AS (
        SELECT * FROM unnest($1, $2, $3, $4) AS given (key_id, key_prefix, key_hash, digest)
    ), made_keys AS (
        INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, permissions, scopes,
                              models, endpoints, ips, chatbots, observe, revision, created_at, updated_at,
                              requests_per_minute, requests_per_hour, requests_per_day)
        SELECT given.key_id, given.key_id / 10, 'key ' || given.key_id, description, tags, metadata, permissions,
               scopes, models, endpoints, ips, chatbots, observe, revision, created_at, updated_at,
               requests_per_minute, requests_per_hour, requests_per_day
        FROM given CROSS JOIN api_keys AS model WHERE model.key_id = $6
    ), made_usage AS (
        INSERT INTO key_usage (key_id) SELECT key_id FROM given
    ), made_secrets AS (
        INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at)
        SELECT key_id, true, key_prefix, key_hash, $7, now() FROM given
        RETURNING secret_id, key_id
    )
    INSERT INTO key_digests (digest, pepper_id, secret_id)
    SELECT digest, $5, secret_id FROM made_secrets JOIN given USING (key_id) WHERE digest IS NOT NULL";

const TAKE_INDEXES: &str = "
    SET maintenance_work_mem = '512MB';
    CREATE TEMPORARY TABLE taken AS SELECT indexname, indexdef FROM pg_indexes
        WHERE tablename IN ('api_keys', 'key_usage') AND indexdef NOT LIKE 'CREATE UNIQUE%';
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT indexname FROM taken LOOP EXECUTE format('DROP INDEX %I', name); END LOOP;
    END $$";

const MAKE_INDEXES: &str = "
    DO $$ DECLARE def text; BEGIN
        FOR def IN SELECT indexdef FROM taken LOOP EXECUTE def; END LOOP;
    END $$;
    DROP TABLE taken";
