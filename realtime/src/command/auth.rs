//! `auth`: a sign-in on the open socket, and its renewal.

use secrecy::{ExposeSecret, SecretString};
use shared::problem::Code;

use super::{Outcome, store_is_away};
use crate::close::CloseCode;
use crate::protocol::{ErrorCode, Refusal, Reply, SignedIn};
use crate::shard::client::Client;

/// Signs in, or renews the sign-in. Another user than before is sent away for good.
pub(super) async fn auth(client: &Client, token: &SecretString) -> Outcome {
    let store = client.store();
    let token = token.expose_secret().to_owned();
    let judged = store.run(async move |store| store.auth.identify(Some(&token)).await).await;
    let identity = match judged {
        Some(Ok(identity)) => identity,
        Some(Err(problem)) => match problem.code {
            Code::TokenInvalid => return Err(ErrorCode::TokenInvalid.into()),
            Code::SessionRevoked => return Err(ErrorCode::SessionRevoked.into()),
            _ => return Err(store_is_away(client)),
        },
        None => return Err(store_is_away(client)),
    };
    let counted = match client.identity() {
        Some(before) if before.user != identity.user => {
            client.close(CloseCode::Forbidden);
            return Err(ErrorCode::Forbidden.into());
        }
        Some(_) => None,
        None => {
            let counted = store.users.take(identity.user);
            Some(counted.ok_or_else(|| {
                client.close(CloseCode::TryLater);
                Refusal::from(ErrorCode::Unavailable)
            })?)
        }
    };
    let user = identity.sender();
    client.signed_in(identity, counted);
    Ok(Reply::SignedIn(SignedIn { user }))
}
