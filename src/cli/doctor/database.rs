//! The database: what a server must be, what the role must be allowed, how far away it is.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;

use super::judge;
use super::peppers;
use super::report::Report;
use crate::clock::{Clock, monotonic_now};
use crate::config::Serve;
use crate::storage::{Connection, StorageError, Store, inspection, migrations, probe};

/// How often the server is asked for the time: the quickest answer says most.
const TIME_TRIES: u32 = 7;

/// The checks that take a database that answers, in their order.
const BEYOND: [&str; 11] = [
    "version",
    "primary",
    "durability",
    "standbys",
    "role",
    "connections",
    "clock",
    "schema",
    "rights",
    "peppers",
    "write",
];
/// Why they are not made, without one.
pub const AWAY: &str = "not looked at: the database comes first";

/// What a check needs to know.
pub struct Context<'a> {
    /// The configuration.
    pub serve: &'a Serve,
    /// Replicas that share the database.
    pub replicas: u32,
    /// It is the private PostgreSQL of this machine.
    pub is_embedded: bool,
}

/// One asking for the time, by this machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeAsked {
    /// How long it took.
    pub round_trip: Duration,
    /// The server's time less ours, half-way.
    pub offset: TimeDelta,
}

/// Looks at everything that can be seen; what cannot is a finding, and the rest goes on.
pub async fn examine(url: &SecretString, context: &Context<'_>, report: &mut Report) {
    // One connection that is used throughout, and one for the trial.
    let store = match Store::new(url, 2) {
        Ok(store) => store,
        Err(error) => return unreachable_database(&error, context, report),
    };
    let mut connection = match store.connection().await {
        Ok(connection) => connection,
        Err(error) => return unreachable_database(&error, context, report),
    };
    // The server's settings decide what is worth trying.
    let facts = match inspection::server_facts(&mut connection).await {
        Ok(facts) => facts,
        Err(error) => {
            report.fail(
                "database",
                error.to_string(),
                "Is it PostgreSQL itself, or a pooler that speaks for it?",
            );
            return skip_rest(context.is_embedded, AWAY, report);
        }
    };
    match ask_time(&mut connection).await {
        Ok(asked) => {
            judge::round_trip(asked, report);
            judge::server(&facts, context, report);
            judge::clock(asked, report);
        }
        Err(error) => report.fail("database", error.to_string(), ""),
    }
    let is_whole = schema(&store, &mut connection, context, report).await.unwrap_or_else(|error| {
        report.fail("schema", error.to_string(), "");
        false
    });
    if !is_whole {
        report.skip("peppers", "not looked at: the schema comes first");
        report.skip("write", "not tried: the schema comes first");
        return;
    }
    let file = context.serve.tokens.peppers_file.as_deref();
    if let Err(error) = peppers::examine(file, &mut connection, report).await {
        report.fail("peppers", error.to_string(), "");
    }
    write(&store, report).await;
}

fn unreachable_database(error: &StorageError, context: &Context<'_>, report: &mut Report) {
    let advice = if context.is_embedded {
        "The private PostgreSQL's log is postgres.log in the data directory."
    } else {
        "Check KEYSTILE_DATABASE_URL: host, port, user, password, name of the database; and that the server lets this \
         machine in (pg_hba.conf, firewalls)."
    };
    report.fail("database", error.to_string(), advice);
    skip_rest(context.is_embedded, AWAY, report);
}

/// What is looked at in a database, where there is none to look at.
pub fn skip_rest(is_embedded: bool, why: &str, report: &mut Report) {
    let own = |check: &&str| !is_embedded || !["standbys", "role"].contains(check);
    for check in BEYOND.into_iter().filter(own) {
        report.skip(check, why);
    }
}

/// The quickest of several.
async fn ask_time(connection: &mut Connection) -> Result<TimeAsked, StorageError> {
    let mut best = ask_time_once(connection).await?;
    for _ in 1..TIME_TRIES {
        let asked = ask_time_once(connection).await?;
        if asked.round_trip < best.round_trip {
            best = asked;
        }
    }
    Ok(best)
}

async fn ask_time_once(connection: &mut Connection) -> Result<TimeAsked, StorageError> {
    let (start, before) = (monotonic_now(), Clock::System.now());
    let theirs = inspection::server_time(connection).await?;
    Ok(time_asked(before, theirs, start.elapsed()))
}

fn time_asked(before: DateTime<Utc>, theirs: DateTime<Utc>, round_trip: Duration) -> TimeAsked {
    let half = TimeDelta::from_std(round_trip / 2).unwrap_or_default();
    TimeAsked {
        round_trip,
        offset: theirs.signed_duration_since(before).checked_sub(&half).unwrap_or_default(),
    }
}

/// Whether the schema is this program's, and may be used.
async fn schema(
    store: &Store,
    connection: &mut Connection,
    context: &Context<'_>,
    report: &mut Report,
) -> Result<bool, StorageError> {
    let access = probe::access(connection).await?;
    let further = inspection::further_rights(connection).await?;
    let migrates = context.is_embedded || context.serve.database.auto_migrate;
    let mut is_whole = match migrations::status(store).await {
        Ok(status) => judge::schema(&status, migrates, &access, report),
        // Without the right to read it, which is a finding of its own.
        Err(_) if !access.missing_rights.is_empty() => false,
        Err(error) => return Err(error),
    };
    if is_whole
        && access.missing_rights.is_empty()
        && let Err(error) = probe::read_nothing(connection).await
    {
        is_whole = false;
        report.fail(
            "schema",
            format!("it is not as the migrations made it: {error}"),
            "Somebody has changed it by hand: undo that, or restore a backup.",
        );
    }
    let prunes_audit = context.serve.audit.retention.days().is_some();
    if access.present.is_empty() && access.schema.is_some() {
        report.skip("rights", "not looked at: there is no table yet, the schema comes first");
    } else {
        judge::rights(&access, further, prunes_audit, report);
    }
    Ok(is_whole && access.missing_rights.is_empty())
}

async fn write(store: &Store, report: &mut Report) {
    let start = monotonic_now();
    match inspection::trial_write(store).await {
        Ok(()) => report
            .ok("write", format!("a change was tried and rolled back in {}", judge::millis(start.elapsed()))),
        Err(error) => report.fail("write", format!("a change cannot be made: {error}"), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_seen_from_half_way() {
        let before = DateTime::from_timestamp(1_000, 0).unwrap();
        let theirs = DateTime::from_timestamp(1_003, 0).unwrap();
        let asked = time_asked(before, theirs, Duration::from_secs(2));
        assert_eq!(asked.offset, TimeDelta::seconds(2));
    }
}
