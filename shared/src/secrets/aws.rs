//! Secrets from AWS Secrets Manager, by ARN; the one home of the AWS SDK.

use aws_config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_smithy_http_client::{Builder, tls};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{Secret, WrongKeys};
use crate::settings::SecretsWaits;

/// The certificate authorities that AWS endpoints use. Reading a system's 140 others takes longer
/// than the rest of a cold start.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// Secrets Manager in this process's account and region. Nothing is kept here: a process fetches
/// each secret once, at its start.
#[derive(Debug, Clone)]
pub struct SecretsManager(Client);

impl SecretsManager {
    /// A client with the credentials and region of the environment, as Lambda gives them. Opens no
    /// connection yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub async fn from_env(waits: SecretsWaits) -> Result<Self, WrongKeys> {
        let roots = tls::TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
        let context = tls::TlsContext::builder().with_trust_store(roots).build();
        let context = context.map_err(|why| WrongKeys::new(format!("Secrets Manager: {why}")))?;
        let https = Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .tls_context(context)
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(waits.attempt)
            .operation_timeout(waits.all)
            .build();
        let config = aws_config::from_env().http_client(https).timeout_config(timeouts);
        Ok(Self(Client::new(&config.load().await)))
    }

    /// The secret that `variable` names by its ARN, read and checked.
    ///
    /// # Errors
    /// [`WrongKeys`] that names the variable: the secret cannot be had, or is not of this kind.
    pub async fn get<S: Secret>(&self, variable: &str, arn: &str) -> Result<S, WrongKeys> {
        let text = self.fetch(variable, arn).await?;
        S::parse(&text).map_err(|why| WrongKeys::new(format!("{variable}: {arn}: {why}")))
    }

    /// The secret's text, such as a database's address.
    ///
    /// # Errors
    /// [`WrongKeys`] that names the variable: the secret cannot be had, or is empty.
    pub async fn get_text(&self, variable: &str, arn: &str) -> Result<SecretString, WrongKeys> {
        let text = self.fetch(variable, arn).await?;
        match text.trim() {
            "" => Err(WrongKeys::new(format!("{variable}: {arn}: the secret is empty"))),
            text => Ok(SecretString::from(text)),
        }
    }

    async fn fetch(&self, variable: &str, arn: &str) -> Result<Zeroizing<String>, WrongKeys> {
        let found = self.0.get_secret_value().secret_id(arn).send().await;
        let wrong = |why: String| WrongKeys::new(format!("{variable}: {arn}: {why}"));
        let text = found.map_err(|error| wrong(reason(&error)))?.secret_string;
        text.map(Zeroizing::new).ok_or_else(|| wrong("it holds bytes, not text".to_owned()))
    }
}

/// What to do about it, where that is known; else the whole chain of causes.
fn reason(error: &SdkError<GetSecretValueError>) -> String {
    match error.code() {
        Some("ResourceNotFoundException") => {
            "Secrets Manager has no such secret in this account and region, or it has no value yet"
                .to_owned()
        }
        Some("AccessDeniedException") => {
            "this role may not read it: it needs secretsmanager:GetSecretValue on this ARN \
             (and kms:Decrypt when the secret has a key of its own)"
                .to_owned()
        }
        _ => format!("Secrets Manager: {}", DisplayErrorContext(error)),
    }
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn every_amazon_root_is_a_certificate() {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(AMAZON_ROOTS) {
            store.add(root.unwrap()).unwrap();
        }
        assert_eq!(store.len(), 5);
    }
}
