//! The writing half of an import from the older system: its rows, converted by [`super::enclava`], into ours.
//!
//! - **Insert-only and repeatable.** An id that is here stays as it is, and a run that finds every key here
//!   writes nothing. With [`Import::sync`], what was changed there later is applied
//!   ([`super::enclava::sync_action`]).
//! - **Batches.** The keys of a page go in one transaction; where it fails, each goes alone, so that a row that
//!   the database refuses is named and the others are taken. Each key, and each owner that is disabled, has
//!   its own revision and its own lines in the change log and the audit log.
//! - **Ids.** They are kept. New keys get higher ones from before the first imported one is visible, also
//!   while the import runs. An id that another key has here, or that a purged key had, is not taken.
//! - **Owners** are disabled where they are inactive there, and never enabled. An owner whom an administrator
//!   enabled here again stays enabled, until a key of his is inserted or applied.
//! - Several imports may run at once: what one has inserted, the other finds unchanged.

mod apply;
mod insert;
mod owners;
mod plan;
mod records;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::enclava::{Options, Rejection, RejectionKind, Warning, name_ninths};
use crate::cache::{Propagation, Replicas};
use crate::policy::{KeyId, UserId};
use crate::storage::changes::{Actor, Stamp};
use crate::storage::enclava_source::{EnclavaSource, SourceError, SourceRow, UnreadableRow};
use crate::storage::{StorageError, Store, keys, secrets};
use insert::Inserted;
use plan::{Candidate, Plan};

/// The action of every line that an import writes into the audit log about a key.
const ACTION: &str = "keys.import";

/// How often ids that were taken between looking and inserting are looked at again.
const LOOKS_MAX: usize = 3;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Import {
    /// How rows are read.
    pub options: Options,
    /// Apply what was changed there later.
    pub sync: bool,
    /// Find out what would be done, and write nothing.
    pub dry_run: bool,
    /// The time of the import.
    pub now: DateTime<Utc>,
}

/// What was done; under [`Import::dry_run`], what would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Rows of the source that were looked at: the sum of the next four.
    pub rows: u64,
    /// Keys that are new here.
    pub inserted: u64,
    /// Keys that were here and stay as they are.
    pub unchanged: u64,
    /// Keys that were here and got their later change there.
    pub applied: u64,
    /// Rows that could not be taken, in the order of the source.
    pub rejections: Vec<Rejection>,
    /// About keys that were inserted or applied; and those whose tokens cannot be found.
    pub warnings: Vec<Warning>,
    /// Owners that were disabled.
    pub owners_disabled: BTreeSet<UserId>,
    /// Whether any replica may still decide from the state before the import; `None` where nothing was changed, or the
    /// import ended early.
    pub propagation: Option<Propagation>,
}

/// An import that ended early. What it has done stays; the same import again goes on with the rest.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct ImportStopped {
    /// What was done.
    pub so_far: Box<ImportReport>,
    /// Why it ended.
    #[source]
    pub cause: ImportError,
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Our database.
    #[error(transparent)]
    Store(#[from] StorageError),
}

/// Imports what is left of `source`. `progress` is told, page by page, how many rows are done.
///
/// # Errors
/// [`ImportStopped`] where one of the databases fails; a row that cannot be taken is no error, but a
/// [`Rejection`] in the report.
pub async fn import(
    store: &Store,
    source: &mut EnclavaSource,
    import: Import,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<ImportReport, ImportStopped> {
    let report = ImportReport::default();
    let mut run =
        Run { store, import, report, last_id: None, planned_prefixes: Vec::new(), last_change: None };
    match run.all(source, progress).await {
        Ok(()) => {
            if let Some(change) = run.last_change {
                let replicas = Replicas::of_command(store.clone());
                run.report.propagation = Some(replicas.wait_for(change, None).await);
                if let Err(error) = analyze(store).await {
                    tracing::warn!(error = %error, "the tables were not analyzed; autovacuum does it in some minutes");
                }
            }
            Ok(run.report)
        }
        Err(cause) => Err(ImportStopped { so_far: Box::new(run.report), cause }),
    }
}

async fn analyze(store: &Store) -> Result<(), StorageError> {
    keys::analyze(&mut *store.connection().await?).await
}

struct Run<'a> {
    store: &'a Store,
    import: Import,
    report: ImportReport,
    /// Of the row before.
    last_id: Option<i64>,
    /// Of the keys that a dry run would insert.
    planned_prefixes: Vec<(KeyId, String)>,
    /// The newest change of this run.
    last_change: Option<Stamp>,
}

impl Run<'_> {
    async fn all(
        &mut self,
        source: &mut EnclavaSource,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), ImportError> {
        loop {
            let rows = source.next_page().await?;
            if rows.is_empty() {
                break;
            }
            let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            self.page(rows).await?;
            self.report.rows = self.report.rows.saturating_add(count);
            progress(self.report.rows);
        }
        self.name_ninths().await?;
        Ok(())
    }

    async fn page(&mut self, rows: Vec<Result<SourceRow, UnreadableRow>>) -> Result<(), StorageError> {
        let rejected_before = self.report.rejections.len();
        let mut pending = self.convert(rows);
        for _ in 0..LOOKS_MAX {
            let plan = plan::look(self.store, pending, self.import).await?;
            pending = self.carry_out(plan).await?;
            if pending.is_empty() {
                break;
            }
        }
        for candidate in pending {
            let what = "the key changes while it is imported; run the import again";
            self.reject(candidate.reject(RejectionKind::RefusedByDatabase, what));
        }
        if let Some(of_page) = self.report.rejections.get_mut(rejected_before..) {
            of_page.sort_by_key(|rejection| rejection.key_id);
        }
        Ok(())
    }

    fn convert(&mut self, rows: Vec<Result<SourceRow, UnreadableRow>>) -> Vec<Arc<Candidate>> {
        let mut candidates = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.as_ref().map_or_else(|row| row.id, |row| row.id);
            let repeated = self.last_id.replace(id) == Some(id);
            match plan::candidate(row, repeated, self.import) {
                Ok(candidate) => candidates.push(Arc::new(candidate)),
                Err(rejection) => self.reject(rejection),
            }
        }
        candidates
    }

    /// Does what is planned and returns the candidates whose ids were taken since.
    async fn carry_out(&mut self, plan: Plan) -> Result<Vec<Arc<Candidate>>, StorageError> {
        let Plan { insert, apply, unchanged, rejected, disable } = plan;
        rejected.into_iter().for_each(|rejection| self.reject(rejection));
        self.report.unchanged = self.report.unchanged.saturating_add(unchanged);
        if self.import.dry_run {
            self.report.owners_disabled.extend(disable.of_written.iter().chain(&disable.of_unchanged));
            for candidate in &insert {
                self.planned_prefixes.push((candidate.key.key_id, candidate.key.key_prefix.clone()));
                self.note_inserted(candidate);
            }
            apply.iter().for_each(|candidate| self.note_applied(candidate));
            return Ok(Vec::new());
        }
        self.disable(disable.of_unchanged).await?;
        for candidate in apply {
            self.apply(candidate).await?;
        }
        self.insert(insert).await
    }

    async fn disable(&mut self, users: BTreeSet<UserId>) -> Result<(), StorageError> {
        if users.is_empty() {
            return Ok(());
        }
        let now = self.import.now;
        let disabled = self.store.write("import.disable_owners", move |session| {
            Box::pin(async move { owners::disable_unknown(session, &actor(), &users, now).await })
        });
        let (disabled, stamp) = disabled.await?;
        self.report.owners_disabled.extend(disabled);
        self.last_change = stamp.or(self.last_change);
        Ok(())
    }

    async fn apply(&mut self, candidate: Arc<Candidate>) -> Result<(), StorageError> {
        match apply::apply(self.store, &candidate, self.import.now).await {
            Ok(Some(applied)) => {
                self.report.owners_disabled.extend(applied.owners_disabled);
                self.last_change = applied.stamp.or(self.last_change);
                self.note_applied(&candidate);
            }
            Ok(None) => self.report.unchanged = self.report.unchanged.saturating_add(1),
            Err(error @ (StorageError::Constraint { .. } | StorageError::Corrupt { .. })) => {
                self.reject(candidate.reject(RejectionKind::RefusedByDatabase, error));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn insert(&mut self, candidates: Vec<Arc<Candidate>>) -> Result<Vec<Arc<Candidate>>, StorageError> {
        let Some(last) = candidates.last().map(|candidate| candidate.key.key_id) else {
            return Ok(candidates);
        };
        let reserve = self.store.write("import.reserve_ids", move |session| {
            Box::pin(async move { keys::reserve_ids_up_to(session, last).await })
        });
        reserve.await?;
        let Inserted { keys, owners_disabled, refused, stamp } =
            insert::insert(self.store, candidates.clone(), self.import.now).await?;
        self.report.owners_disabled.extend(owners_disabled);
        self.last_change = stamp.or(self.last_change);
        let mut taken = Vec::new();
        for candidate in candidates {
            let key_id = candidate.key.key_id;
            if keys.contains(&key_id) {
                self.note_inserted(&candidate);
            } else if let Some(error) = refused.get(&key_id) {
                self.reject(candidate.reject(RejectionKind::RefusedByDatabase, error));
            } else {
                taken.push(candidate);
            }
        }
        Ok(taken)
    }

    fn note_inserted(&mut self, candidate: &Candidate) {
        self.report.inserted = self.report.inserted.saturating_add(1);
        self.report.warnings.extend(candidate.warnings.iter().cloned());
    }

    fn note_applied(&mut self, candidate: &Candidate) {
        self.report.applied = self.report.applied.saturating_add(1);
        self.report.warnings.extend(candidate.warnings.iter().cloned());
    }

    fn reject(&mut self, rejection: Rejection) {
        self.report.rejections.push(rejection);
    }

    /// Over everything that is here afterwards, so that keys of earlier runs count too.
    async fn name_ninths(&mut self) -> Result<(), StorageError> {
        let mut session = self.store.connection().await?;
        let here = secrets::imported_prefixes(&mut session).await?;
        let all = here.iter().chain(&self.planned_prefixes);
        self.report.warnings.extend(name_ninths(all.map(|(key_id, prefix)| (*key_id, prefix.as_str()))));
        Ok(())
    }
}

/// Who the logs say that it was.
fn actor() -> Actor {
    Actor::command("import")
}
