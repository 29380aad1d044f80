//! From a token that was found somewhere to its key. Counts no use and writes nothing, not even the digest of
//! an imported token that bcrypt has proven: its holder has not used it.
//!
//! Not audited: it tells a reader nothing that he may not read anyway. bcrypt runs on the threads that make
//! tokens, which no end user's token can take; a reader who floods them gets OVERLOADED.

use super::read::read;
use super::{Admin, AdminError, KeyView};
use crate::policy::KeyId;
use crate::storage::secrets::{self, Candidate, Of};
use crate::token::Presented;

impl Admin {
    /// The key of a token: the current one, or the one before it during its grace. Keys that are revoked,
    /// expired or deleted are found as well.
    ///
    /// # Errors
    /// [`AdminError::TokenUnknown`] for any other bytes; [`AdminError::Overloaded`], [`AdminError::Store`].
    pub async fn lookup_key(&self, token: &[u8]) -> Result<KeyView, AdminError> {
        let Ok(presented) = Presented::classify(token, &self.settings.brand) else {
            return Err(AdminError::TokenUnknown);
        };
        let key_id = self.key_of(presented).await?.ok_or(AdminError::TokenUnknown)?;
        let now = self.settings.clock.now();
        let found = self
            .store
            .snapshot("keys.get", move |session| Box::pin(async move { read(session, key_id, now).await }));
        // It may have been purged in between.
        found.await?.ok_or(AdminError::TokenUnknown)
    }

    async fn key_of(&self, presented: Presented<'_>) -> Result<Option<KeyId>, AdminError> {
        // A secret gets its digest at any moment: those without are read first, so that it is in one of the two.
        let Some(candidates) = self.candidates(presented.prefix()).await? else { return Ok(None) };
        let digests = self.settings.peppers.digests(presented.bytes());
        let digests: Vec<_> = digests.into_iter().map(|(_, digest)| digest).collect();
        let found = self.store.read("secrets.find_by_digests", move |session| {
            Box::pin(async move { secrets::find_by_digests(session, &digests).await })
        });
        let found = found.await?.keys.into_iter().next();
        let now = self.settings.clock.now();
        if let Some((_, proven)) = found {
            let proven = proven?;
            let works = proven.grace_end.is_none_or(|end| now < end);
            return Ok(works.then_some(proven.key.key_id));
        }
        for candidate in candidates {
            let works = candidate.grace_end.is_none_or(|end| now < end);
            if works && self.settings.bcrypt.verify(presented.to_token(), candidate.key_hash).await? {
                return Ok(Some(candidate.key_id));
            }
        }
        Ok(None)
    }

    /// `None` where no secret has the prefix.
    async fn candidates(&self, key_prefix: &str) -> Result<Option<Vec<Candidate>>, AdminError> {
        let marks = self.settings.peppers.marks();
        let peppers: Vec<String> = marks.map(|mark| mark.as_str().to_owned()).collect();
        let prefixes = [key_prefix.to_owned()];
        let read = self.store.read("secrets.candidates", |session| {
            Box::pin(async move { secrets::candidates(session, &prefixes, &peppers, Of::All).await })
        });
        Ok(read.await?.remove(key_prefix).transpose()?)
    }
}
