//! What users enrol: an authenticator app and a passkey, as their devices hold them.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::app::{Answer, TestApp, credentials};
use crate::authenticator::Authenticator;

/// The address that passkeys are made for, and its setting.
pub(crate) const ORIGIN: &str = "https://app.example.com";
/// As [`ORIGIN`].
pub(crate) const PUBLIC_URL: (&str, &str) = ("PUBLIC_URL", ORIGIN);
/// Its RP ID.
pub(crate) const PARTY: &str = "app.example.com";

/// An authenticator app that was confirmed.
pub(crate) struct TotpApp {
    /// The factor's id.
    pub(crate) id: String,
    /// The codes that came with it.
    pub(crate) recovery_codes: Vec<String>,
    secret: Vec<u8>,
}

impl TotpApp {
    /// Adds one to the account. Its code of now is used up by that.
    pub(crate) async fn enrol(app: &TestApp, token: &str) -> Self {
        let begun = app.call(Method::POST, "/me/factors/totp", token, Some(json!({}))).await;
        assert_eq!(begun.status, StatusCode::CREATED, "{begun:?}");
        let mut totp = Self::read(&begun);
        let code = json!({ "code": totp.code(app.clock.now()) });
        let done = app.call(Method::POST, "/me/factors/totp/confirm", token, Some(code)).await;
        assert_eq!(done.status, StatusCode::OK, "{done:?}");
        let codes = done.body["recovery_codes"].as_array().unwrap();
        totp.recovery_codes = codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
        totp
    }

    /// From the answer that shows its secret.
    pub(crate) fn read(begun: &Answer) -> Self {
        let text = |name: &str| begun.body[name].as_str().unwrap().to_owned();
        let secret = BASE32_NOPAD.decode(text("secret").as_bytes()).unwrap();
        Self { id: text("id"), recovery_codes: Vec::new(), secret }
    }

    /// The code it shows then: RFC 6238, written down once more.
    pub(crate) fn code(&self, at: OffsetDateTime) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret);
        let mac = hmac::sign(&key, &(at.unix_timestamp() / 30).to_be_bytes());
        let mac = mac.as_ref();
        let at = usize::from(mac[19] % 16);
        let word = mac[at..at + 4].iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
    }

    /// A code that is not right then.
    pub(crate) fn wrong_code(&self, at: OffsetDateTime) -> String {
        let near = [-30, 0, 30].map(|seconds| self.code(at + time::Duration::seconds(seconds)));
        let mut guesses = (0..4).map(|n| format!("{n:06}"));
        guesses.find(|guess| !near.contains(guess)).unwrap()
    }
}

impl TestApp {
    /// Signs in with the password of [`TestApp::user`], and returns the challenge that asks for more.
    pub(crate) async fn challenge(&self, name: &str) -> String {
        let answer = self.post("/login", credentials(name, "password123")).await;
        answer.assert_problem(403, "second_factor_required");
        answer.body["challenge"].as_str().unwrap().to_owned()
    }

    /// Brings a code.
    pub(crate) async fn prove(&self, challenge: &str, code: &str) -> Answer {
        let kind = if code.len() == 6 { "code" } else { "recovery_code" };
        self.post("/login/second-factor", json!({ "challenge": challenge, kind: code })).await
    }

    /// The challenge in the options of a passkey's sign-in.
    pub(crate) async fn passkey_challenge(&self) -> Vec<u8> {
        let answer = self.post("/login/passkey/options", json!({})).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        challenge_of(&answer)
    }
}

/// The challenge in options.
pub(crate) fn challenge_of(options: &Answer) -> Vec<u8> {
    let challenge = options.body["publicKey"]["challenge"].as_str().unwrap();
    URL_SAFE_NO_PAD.decode(challenge).unwrap()
}

/// A passkey that was added, in its authenticator.
pub(crate) struct Passkey {
    /// The authenticator.
    pub(crate) authenticator: Authenticator,
    /// The user's handle.
    pub(crate) user: Vec<u8>,
    /// The factor's id.
    pub(crate) id: String,
}

impl Passkey {
    /// Adds it to the account.
    pub(crate) async fn enrol(app: &TestApp, token: &str, authenticator: Authenticator) -> Self {
        let options = options(app, token).await;
        let user = options.body["publicKey"]["user"]["id"].as_str().unwrap();
        let user = URL_SAFE_NO_PAD.decode(user).unwrap();
        let added = add(app, token, &authenticator, &challenge_of(&options)).await;
        assert_eq!(added.status, StatusCode::CREATED, "{added:?}");
        let id = added.body["id"].as_str().unwrap().to_owned();
        Self { authenticator, user, id }
    }

    /// What its browser sends to sign in, with the counter one higher than before.
    pub(crate) fn assertion(&mut self, challenge: &[u8]) -> Value {
        self.authenticator.count += 1;
        let (client_data, data, signature) = self.authenticator.get(challenge);
        let [id, client_data, data, signature, user] =
            [&self.authenticator.id, &client_data, &data, &signature, &self.user]
                .map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        json!({
            "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": client_data, "authenticatorData": data,
                "signature": signature, "userHandle": user,
            },
        })
    }

    /// Signs in.
    pub(crate) async fn sign_in(&mut self, app: &TestApp) -> Answer {
        let assertion = self.assertion(&app.passkey_challenge().await);
        app.post("/login/passkey", json!({ "credential": assertion })).await
    }
}

/// The options of a new passkey.
pub(crate) async fn options(app: &TestApp, token: &str) -> Answer {
    app.call(Method::POST, "/me/factors/passkey/options", token, Some(json!({}))).await
}

/// What a browser sends of a new passkey.
pub(crate) fn credential(authenticator: &Authenticator, challenge: &[u8]) -> Value {
    let (client_data, attestation) = authenticator.create(challenge);
    let [id, client_data, attestation] =
        [&authenticator.id, &client_data, &attestation].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    json!({
        "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
        "response": {
            "clientDataJSON": client_data, "attestationObject": attestation,
            "transports": ["internal"],
        },
    })
}

/// Sends a new passkey, whatever becomes of it.
pub(crate) async fn add(
    app: &TestApp,
    token: &str,
    authenticator: &Authenticator,
    challenge: &[u8],
) -> Answer {
    let body = json!({ "name": "Phone", "credential": credential(authenticator, challenge) });
    app.call(Method::POST, "/me/factors/passkey", token, Some(body)).await
}
