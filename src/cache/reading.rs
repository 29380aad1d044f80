//! The statements of a batch of loads.
//!
//! Digests first: mostly they lead to the key. Of what is left, the prefixes are looked at, and then the digests once
//! more where a prefix is known: a secret gets its digest at any moment, so whatever has left the second look is in
//! the third.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::load::{LoadError, Wanted};
use super::{Lookup, ReadAt};
use crate::policy::KeyId;
use crate::storage::secrets::{self, Candidate, Found, Of, ProvenKey};
use crate::storage::{StorageError, Store};
use crate::token::Digest;

/// What was read for one look-up.
#[derive(Debug)]
pub(super) enum Read {
    /// The key, and the digest that led to it.
    Key(Box<ProvenKey>, Option<Digest>),
    /// Nobody's.
    Unknown,
    /// No digest leads to it; these secrets have none.
    Open(Vec<Candidate>),
}

/// Results of a batch, each as of the state that it was read in.
pub(super) type Results = HashMap<Lookup, Result<(ReadAt, Read), LoadError>>;

/// Keys that were found, in one state.
struct State<T> {
    at: ReadAt,
    keys: HashMap<T, Result<ProvenKey, LoadError>>,
}

impl<T: std::hash::Hash + Eq> State<T> {
    fn of(found: Found<T>) -> Self {
        let Found { epoch, revision, keys } = found;
        let keys = keys.into_iter().map(|(by, key)| (by, key.map_err(LoadError::from)));
        Self { at: ReadAt { epoch, revision }, keys: keys.collect() }
    }
}

/// Reads a batch.
///
/// # Errors
/// [`StorageError`], where a statement failed.
pub(super) async fn read(
    store: &Store,
    peppers: &Arc<[String]>,
    batch: &[Arc<Wanted>],
) -> Result<Results, StorageError> {
    let mut results = Results::with_capacity(batch.len());
    let mut tokens = Vec::new();
    let mut ids = Vec::new();
    for wanted in batch {
        match wanted.as_ref() {
            Wanted::Token { current, accepted, prefix } => tokens.push(Token { current, accepted, prefix }),
            Wanted::Key(id) => ids.push(*id),
        }
    }
    if !ids.is_empty() {
        read_ids(store, ids, &mut results).await?;
    }
    if !tokens.is_empty() {
        let unknown = read_digests(store, tokens, &mut results, |_, _| Read::Unknown).await?;
        read_unknown(store, peppers, unknown, &mut results).await?;
    }
    Ok(results)
}

struct Token<'w> {
    current: &'w Digest,
    accepted: &'w [Digest],
    prefix: &'w str,
}

impl Token<'_> {
    fn digests(&self) -> impl Iterator<Item = Digest> {
        std::iter::once(*self.current).chain(self.accepted.iter().copied())
    }

    fn lookup(&self) -> Lookup {
        Lookup::Token(*self.current)
    }
}

async fn read_ids(store: &Store, ids: Vec<KeyId>, results: &mut Results) -> Result<(), StorageError> {
    let asked = ids.clone();
    let found = store.read("secrets.find_by_ids", move |session| {
        Box::pin(async move { secrets::find_by_ids(session, &asked).await })
    });
    let mut state = State::of(found.await?);
    for id in ids {
        let read = match state.keys.remove(&id) {
            Some(key) => key.map(|key| (state.at, Read::Key(Box::new(key), None))),
            None => Ok((state.at, Read::Unknown)),
        };
        results.insert(Lookup::Key(id), read);
    }
    Ok(())
}

/// Those that no digest leads to get what `otherwise` makes of them, and are given back.
async fn read_digests<'w>(
    store: &Store,
    tokens: Vec<Token<'w>>,
    results: &mut Results,
    mut otherwise: impl FnMut(&Token<'w>, ReadAt) -> Read,
) -> Result<Vec<Token<'w>>, StorageError> {
    let asked: Vec<Digest> = tokens.iter().flat_map(Token::digests).collect();
    let found = store.read("secrets.find_by_digests", move |session| {
        Box::pin(async move { secrets::find_by_digests(session, &asked).await })
    });
    let mut state = State::of(found.await?);
    let mut unknown = Vec::new();
    for token in tokens {
        let found = token.digests().find_map(|digest| Some((digest, state.keys.remove(&digest)?)));
        let read = match found {
            Some((digest, key)) => key.map(|key| (state.at, Read::Key(Box::new(key), Some(digest)))),
            None => Ok((state.at, otherwise(&token, state.at))),
        };
        let is_found = !matches!(read, Ok((_, Read::Unknown | Read::Open(_))));
        results.insert(token.lookup(), read);
        if !is_found {
            unknown.push(token);
        }
    }
    Ok(unknown)
}

/// Looks for secrets that have no digest yet.
async fn read_unknown(
    store: &Store,
    peppers: &Arc<[String]>,
    mut unknown: Vec<Token<'_>>,
    results: &mut Results,
) -> Result<(), StorageError> {
    if unknown.is_empty() {
        return Ok(());
    }
    let prefixes: HashSet<&str> = unknown.iter().map(|token| token.prefix).collect();
    let prefixes: Vec<String> = prefixes.into_iter().map(str::to_owned).collect();
    let peppers = Arc::clone(peppers);
    let candidates = store.read("secrets.candidates", move |session| {
        Box::pin(async move { secrets::candidates(session, &prefixes, &peppers, Of::Undeleted).await })
    });
    let candidates = candidates.await?;
    let candidates: HashMap<String, Result<Vec<Candidate>, LoadError>> =
        candidates.into_iter().map(|(prefix, found)| (prefix, found.map_err(LoadError::from))).collect();
    // What no secret begins like stays nobody's, in the state of the first look.
    unknown.retain(|token| candidates.contains_key(token.prefix));
    if unknown.is_empty() {
        return Ok(());
    }
    let left = read_digests(store, unknown, results, |token, _| match candidates.get(token.prefix) {
        Some(Ok(open)) if !open.is_empty() => Read::Open(open.clone()),
        _ => Read::Unknown,
    });
    for token in left.await? {
        // Nothing can be said where a hash does not parse.
        if let Some(Err(corrupt)) = candidates.get(token.prefix) {
            results.insert(token.lookup(), Err(corrupt.clone()));
        }
    }
    Ok(())
}
