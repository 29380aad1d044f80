//! All ways to an answer about a key that may have to be waited for.
//!
//! A batch and a stream decide what memory does not know by [`Authorizer::authorize`], each request by itself.

use std::net::{IpAddr, Ipv4Addr};

use keystile::authorize::{
    AuthorizeError, Authorizer, Caller, CallerError, FilterQuestion, Freshness, Needed,
};
use keystile::policy::{AccessRequest, KeyId};

use super::{KEY, TOKEN, question};

const PEER: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

#[derive(Clone, Copy, Debug)]
pub enum Way {
    Authorize,
    FilterModels,
    Introspect,
    Caller,
    Certificate,
}

/// What was decided, in words; an error where nothing was.
pub type End = Result<String, AuthorizeError>;

impl Way {
    pub const ALL: [Self; 5] =
        [Self::Authorize, Self::FilterModels, Self::Introspect, Self::Caller, Self::Certificate];
    /// Those that prove a token by bcrypt. A caller's is the operator's, which this one is not.
    pub const BY_BCRYPT: [Self; 3] = [Self::Authorize, Self::FilterModels, Self::Introspect];

    pub async fn go(self, authorizer: Authorizer) -> End {
        let token = TOKEN.as_bytes();
        match self {
            Self::Authorize => authorizer.authorize(&question()).await.map(|it| format!("{:?}", it.denied)),
            Self::FilterModels => {
                let question = FilterQuestion {
                    token,
                    access: AccessRequest::default(),
                    models: &["o3".to_owned()],
                    freshness: Freshness::NONE,
                };
                let outcome = authorizer.filter_models(question).await;
                outcome.map(|it| format!("{:?}", it.context.denied))
            }
            Self::Introspect => authorizer.introspect(token).await.map(|it| format!("{:?}", it.reason)),
            Self::Caller => judged(authorizer.authenticate(token, PEER, Needed::Authorize).await),
            Self::Certificate => {
                let key_id = KeyId::new(KEY).unwrap();
                judged(authorizer.authenticate_certificate(key_id, PEER, Needed::Authorize).await)
            }
        }
    }
}

/// Who is refused was decided about.
fn judged(answer: Result<Caller, CallerError>) -> End {
    match answer {
        Ok(caller) => Ok(format!("{caller:?}")),
        Err(CallerError::Undecided(error)) => Err(error),
        Err(refused) => Ok(format!("{refused:?}")),
    }
}
