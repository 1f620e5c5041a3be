//! The door to aws-sdk-s3: AWS's own chain of credentials, and what only the S3 API can tell about a bucket.
//! No data goes through here. Invariant: nothing here can delay or fail the broker; every answer has a time limit.

use aws_config::BehaviorVersion;
use aws_sdk_s3::config::{ProvideCredentials, Region, SharedCredentialsProvider};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Longest wait for a provider of credentials: an instance role that is not there answers slowly.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(8);

/// A key pair as the chain gave it.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

/// AWS's chain: environment, profile, web identity, container and instance roles. Nothing is asked before the
/// first request; the SDK caches and renews.
#[derive(Debug)]
pub(crate) struct CredentialChain {
    region: String,
    provider: OnceCell<Option<SharedCredentialsProvider>>,
}

impl CredentialChain {
    pub(crate) fn new(region: String) -> Self {
        Self { region, provider: OnceCell::new() }
    }

    /// The present keys, or why there are none.
    pub(crate) async fn keys(&self) -> Result<Keys, String> {
        let provider = self.provider.get_or_init(|| load_chain(self.region.clone())).await;
        let Some(provider) = provider else {
            return Err("no credentials: set firn.s3.access.key.id or AWS_ACCESS_KEY_ID".to_owned());
        };
        let asked = tokio::time::timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials()).await;
        let given = asked.map_err(|_| format!("no credentials within {CREDENTIALS_TIMEOUT:?}"))?;
        let keys = given.map_err(|error| {
            format!("no credentials: set firn.s3.access.key.id, AWS_ACCESS_KEY_ID or AWS_PROFILE ({error})")
        })?;
        Ok(Keys {
            id: keys.access_key_id().to_owned(),
            secret: keys.secret_access_key().to_owned(),
            token: keys.session_token().map(str::to_owned),
        })
    }
}

async fn load_chain(region: String) -> Option<SharedCredentialsProvider> {
    let config = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region)).load().await;
    config.credentials_provider()
}
