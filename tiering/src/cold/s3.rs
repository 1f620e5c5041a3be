//! The door to aws-sdk-s3: AWS's own chain of credentials, and what only the S3 API can tell about a bucket.
//! No data goes through here. Invariant: nothing here can delay or fail the broker; every answer has a time limit.

use crate::cold::url::S3Options;
use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, ProvideCredentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, ChecksumAlgorithm, ChecksumMode};
use std::error::Error;
use std::ops::RangeInclusive;
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

/// One bucket, asked about itself. Nothing is repeated: a probe may fail.
#[derive(Debug)]
pub(crate) struct BucketControl {
    client: Client,
    bucket: String,
}

impl BucketControl {
    /// `timeout` bounds each question.
    pub(crate) async fn new(bucket: String, options: &S3Options, timeout: Duration) -> Self {
        let region = options.region().to_owned();
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .force_path_style(options.path_style)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(timeout).build())
            // "When supported" breaks stores that know no checksums; where we want one we ask for it.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &options.endpoint {
            config = config.endpoint_url(endpoint);
        }
        config = match &options.access_key {
            Some(key) => {
                config.credentials_provider(Credentials::new(&key.id, &key.secret, None, None, "firnline"))
            }
            None => match load_chain(region).await {
                Some(provider) => config.credentials_provider(provider),
                None => config,
            },
        };
        Self { client: Client::from_conf(config.build()), bucket }
    }

    /// Whether the bucket is there and answers us.
    pub(crate) async fn head_bucket(&self) -> Result<(), String> {
        self.client.head_bucket().bucket(&self.bucket).send().await.map(drop).map_err(|error| said(&error))
    }

    /// Writes an object with a CRC-32C of its own; answers what the store says it is, if it says anything.
    pub(crate) async fn put(&self, key: &str, body: Vec<u8>) -> Result<Option<String>, String> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(body));
        let with_checksum =
            Builder::new().request_checksum_calculation(RequestChecksumCalculation::WhenSupported);
        let put =
            put.checksum_algorithm(ChecksumAlgorithm::Crc32C).customize().config_override(with_checksum);
        let sent = put.send().await;
        sent.map(|answer| answer.checksum_crc32_c).map_err(|error| said(&error))
    }

    /// Some bytes of an object, both ends included.
    pub(crate) async fn get_range(&self, key: &str, range: RangeInclusive<usize>) -> Result<Vec<u8>, String> {
        let range = format!("bytes={}-{}", range.start(), range.end());
        let got = self.client.get_object().bucket(&self.bucket).key(key).range(range).send().await;
        let body = got.map_err(|error| said(&error))?.body;
        body.collect().await.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())
    }

    /// The CRC-32C the store kept with an object.
    pub(crate) async fn checksum(&self, key: &str) -> Result<Option<String>, String> {
        let head =
            self.client.head_object().bucket(&self.bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        head.send().await.map(|answer| answer.checksum_crc32_c).map_err(|error| said(&error))
    }

    /// Whether the bucket keeps old versions of objects.
    pub(crate) async fn is_versioned(&self) -> Result<bool, String> {
        let asked = self.client.get_bucket_versioning().bucket(&self.bucket).send().await;
        asked
            .map(|answer| answer.status == Some(BucketVersioningStatus::Enabled))
            .map_err(|error| said(&error))
    }

    /// Removes an object.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), String> {
        let gone = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        gone.map(drop).map_err(|error| said(&error))
    }
}

/// What went wrong, on one line for people: the store's answer, or what kept the question from reaching it.
fn said<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E>) -> String {
    let Some(answer) = error.raw_response() else { return causes(error) };
    let status = answer.status().as_u16();
    let mut said = format!("the store answered {status}");
    // An answer without a body, as to HEAD, has its code in a header if anywhere.
    let code = error.code().or_else(|| answer.headers().get("x-minio-error-code"));
    for more in [code, error.message()].into_iter().flatten() {
        said.push(' ');
        said.push_str(more);
    }
    if matches!(status, 401 | 403) {
        said.push_str(": check the credentials and what they may do");
    }
    said.replace(['\n', '\r'], " ")
}

/// An error and its causes, outermost first.
fn causes(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ").replace(['\n', '\r'], " ")
}
