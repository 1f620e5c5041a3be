//! Data directories as `firn storage` and `firn server` find and make them: whose they are, and their cluster id.
//! A directory that belongs to a cluster is never given to another one; a bucket that says it is another cluster's
//! stops the format, one that does not answer does not.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firnline_controller::id::{BrokerId, TopicId};
use firnline_controller::quorum::founder::{self, FirstVoter};
use firnline_tiering::clock::{Clock, SystemClock};
use firnline_tiering::cold::layout::Layout;
use firnline_tiering::cold::marker::{Bucket, ClaimError};
use firnline_tiering::cold::store::{Store, StoreLimits};
use firnline_tiering::entropy::{Entropy, OsEntropy};
use firnline_tiering::hot::file::{Files, OsFiles};
use firnline_tiering::log::directory::{DirectoryError, DirectoryIdentity, DirectoryOwner, LogDirectory};

use crate::broker::storage::QUORUM_LOG;
use crate::cli::failure::{Exit, Failure};
use crate::config::broker::{BrokerConfig, Remote};

/// What every id of a `--dev` cluster begins with; a drawn id begins so once in 16 million.
pub const DEV_PREFIX: &str = "dev-";
/// How long the bucket may take to say whose it is.
const BUCKET_PATIENCE: Duration = Duration::from_secs(10);

/// What a format did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formatted {
    /// The cluster all directories belong to now.
    pub cluster_id: String,
    /// Directories that were fresh.
    pub fresh: Vec<PathBuf>,
    /// Directories that belonged to it already.
    pub kept: Vec<PathBuf>,
    /// Lines worth a warning.
    pub warnings: Vec<String>,
}

impl Formatted {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let lines = [("formatted", &self.fresh), ("already formatted", &self.kept)];
        for (what, dir) in lines.iter().flat_map(|(what, dirs)| dirs.iter().map(move |dir| (what, dir))) {
            let _ = writeln!(text, "{what} {} for cluster {}", dir.display(), self.cluster_id);
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }
}

/// The machine's disks, clock and randomness, for the commands that touch directories.
pub struct Disks {
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Disks {
    /// The real ones.
    pub fn real() -> Disks {
        Disks { files: Arc::new(OsFiles), clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) }
    }

    /// `config` without the log directories that cannot be read: a broker starts without them, and says so. The first
    /// stays whatever it is, since the quorum's own log lies there.
    pub fn readable(&self, config: &BrokerConfig) -> BrokerConfig {
        let mut readable = config.clone();
        let mut first = true;
        readable.log_dirs.retain(|dir| {
            let unreadable = || {
                let identity = LogDirectory::identity_of(&*self.files, dir);
                matches!(identity, Err(DirectoryError::Storage { .. }))
            };
            std::mem::take(&mut first) || !unreadable()
        });
        readable
    }

    /// The one cluster that the formatted directories belong to; `None` when all are fresh.
    pub fn cluster_of(&self, config: &BrokerConfig) -> Result<Option<String>, Failure> {
        let mut found: Option<(String, &Path)> = None;
        for dir in &config.log_dirs {
            let Some(identity) = self.identity(dir)? else { continue };
            if identity.node_id != config.node_id {
                let why = format!("it belongs to node {}, this is node {}", identity.node_id, config.node_id);
                return Err(Failure::new(format!("{} cannot be used", dir.display()), why)
                    .next("set node.id to that node's, or use another directory"));
            }
            match &found {
                Some((cluster, first)) if *cluster != identity.cluster_id => {
                    let (first, dir) = (first.display(), dir.display());
                    let why = format!("{first} is of cluster {cluster}, {dir} of {}", identity.cluster_id);
                    return Err(Failure::new("the log directories belong to different clusters", why));
                }
                _ => found = Some((identity.cluster_id, dir)),
            }
        }
        Ok(found.map(|(cluster, _)| cluster))
    }

    fn identity(&self, dir: &Path) -> Result<Option<DirectoryIdentity>, Failure> {
        LogDirectory::identity_of(&*self.files, dir)
            .map_err(|error| Failure::new(format!("{} cannot be read", dir.display()), error))
    }

    /// Formats the fresh directories of `config` for `wanted`, for the cluster of the others, or for a new one.
    pub async fn format(&self, config: &BrokerConfig, wanted: Option<&str>) -> Result<Formatted, Failure> {
        self.format_with(config, wanted, &[]).await
    }

    /// As [`Disks::format`]; `first` are the first voters of a new quorum, this node among them, or nobody.
    pub(super) async fn format_with(
        &self,
        config: &BrokerConfig,
        wanted: Option<&str>,
        first: &[FirstVoter],
    ) -> Result<Formatted, Failure> {
        if let Some(wanted) = wanted {
            check_cluster_id(wanted)?;
        }
        let cluster_id = match (self.cluster_of(config)?, wanted) {
            (Some(found), Some(wanted)) if found != wanted => {
                let dirs: Vec<String> = config.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
                let what = format!("{} cannot be formatted", dirs.join(", "));
                return Err(Failure::new(
                    what,
                    format!("the data in it is of cluster {found}, not {wanted}"),
                )
                .next("leave out --cluster-id to keep that cluster, or use an empty directory"));
            }
            (Some(found), _) => found,
            (None, Some(wanted)) => wanted.to_owned(),
            (None, None) => TopicId::draw(&*self.entropy).to_string(),
        };
        let mut warnings = Vec::new();
        if let Some(remote) = &config.remote {
            warnings.extend(self.check_bucket(remote, &cluster_id).await?);
        }
        let owner = DirectoryOwner { cluster_id: cluster_id.clone(), node_id: config.node_id };
        let mut formatted = Formatted { cluster_id, fresh: Vec::new(), kept: Vec::new(), warnings };
        let mine = first.iter().find(|voter| voter.node.0 == config.node_id);
        for (place, dir) in config.log_dirs.iter().enumerate() {
            let mine = mine.filter(|_| place == 0);
            if mine.is_some() {
                self.begin_quorum(dir, config.node_id, first)?;
            }
            if self.identity(dir)?.is_some() {
                formatted.kept.push(dir.clone());
                continue;
            }
            if let Some(mine) = mine {
                LogDirectory::format(&*self.files, dir, &owner, mine.directory)
                    .map_err(|error| Failure::new(format!("{} cannot be formatted", dir.display()), error))?;
            }
            LogDirectory::open(self.files.clone(), self.clock.clone(), &*self.entropy, dir, &owner)
                .map_err(|error| Failure::new(format!("{} cannot be formatted", dir.display()), error))?;
            formatted.fresh.push(dir.clone());
        }
        Ok(formatted)
    }

    /// Writes down the first voters, where the quorum's log will lie.
    fn begin_quorum(&self, dir: &Path, node_id: i32, first: &[FirstVoter]) -> Result<(), Failure> {
        let what = || format!("{} cannot be formatted with these first controllers", dir.display());
        let next = "leave them out to keep what is there, or use an empty directory";
        let mine = first.iter().find(|voter| voter.node.0 == node_id).map(|voter| voter.directory);
        if let Some(known) = self.identity(dir)?.filter(|known| Some(known.directory_id) != mine) {
            let why = format!("its directory.id is {} already", TopicId(known.directory_id));
            return Err(Failure::new(what(), why).next(next));
        }
        let quorum = dir.join(format!("{QUORUM_LOG}-0"));
        founder::format(&self.files, &quorum, BrokerId(node_id), first)
            .map_err(|error| Failure::new(what(), error).next(next))
    }

    /// An id that nobody has.
    pub(super) fn draw(&self) -> TopicId {
        TopicId::draw(&*self.entropy)
    }

    /// The id of the first directory, where the quorum's log lies; `None` while it is fresh.
    pub(super) fn directory(&self, config: &BrokerConfig) -> Result<Option<TopicId>, Failure> {
        let Some(first) = config.log_dirs.first() else { return Ok(None) };
        Ok(self.identity(first)?.map(|identity| TopicId(identity.directory_id)))
    }

    /// Refuses a bucket of another cluster; a bucket that does not answer is a warning.
    async fn check_bucket(&self, remote: &Remote, cluster_id: &str) -> Result<Option<String>, Failure> {
        let url = &remote.url;
        let store =
            Store::open(url, &remote.s3, StoreLimits::default(), self.entropy.clone()).map_err(|error| {
                Failure::new("the bucket's settings cannot be used", error).exit(Exit::Configuration)
            })?;
        let bucket = Bucket::new(store, Layout::new(cluster_id));
        let later = "whose it is will be checked before the first upload";
        match tokio::time::timeout(BUCKET_PATIENCE, bucket.recognise()).await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error @ ClaimError::Foreign { .. })) => {
                Err(Failure::new("nothing was formatted: the bucket belongs to another cluster", error)
                    .next("use another bucket or prefix in firn.remote.url"))
            }
            Ok(Err(error)) => Ok(Some(format!("the bucket did not answer ({error}); {later}"))),
            Err(_) => {
                Ok(Some(format!("{url} did not answer within {} s; {later}", BUCKET_PATIENCE.as_secs())))
            }
        }
    }

    /// An id for a throw-away cluster.
    pub fn draw_dev_id(&self) -> String {
        let drawn = TopicId::draw(&*self.entropy).to_string();
        format!("{DEV_PREFIX}{}", &drawn[DEV_PREFIX.len()..])
    }

    pub(super) fn info(&self, config: &BrokerConfig) -> Result<String, Failure> {
        let mut text = String::new();
        for dir in &config.log_dirs {
            let _ = writeln!(text, "{}", dir.display());
            match self.identity(dir)? {
                Some(identity) => {
                    let directory_id = TopicId(identity.directory_id);
                    let _ = writeln!(
                        text,
                        "  cluster.id    {}\n  node.id       {}\n  directory.id  {directory_id}",
                        identity.cluster_id, identity.node_id
                    );
                }
                None => text.push_str("  not formatted: run `firn storage format --config FILE`\n"),
            }
        }
        Ok(text)
    }
}

/// A cluster id is 16 bytes in URL-safe base64: 22 characters, as `kafka-storage random-uuid` prints them.
fn check_cluster_id(id: &str) -> Result<(), Failure> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.len() == 22 && id.chars().all(letter) {
        return Ok(());
    }
    Err(Failure::new(format!("{id} is not a cluster id"), "it has 22 letters, digits, dashes or underscores")
        .next("leave --cluster-id out to have one drawn")
        .exit(Exit::Configuration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Places, load};
    use crate::config::start::build;
    use firnline_tiering::hot::file::OpenMode;

    const A: &str = "MkU3OEVBNTcwNTJENDM2Qk";
    const B: &str = "4L6g3nShT-eMCtK--X86sw";

    fn config(dirs: &[&Path], node_id: i32, bucket: Option<&Path>) -> BrokerConfig {
        let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        let mut set = vec![format!("node.id={node_id}"), format!("log.dirs={}", dirs.join(","))];
        if let Some(bucket) = bucket {
            set.push("remote.log.storage.system.enable=true".to_owned());
            set.push(format!("firn.remote.url=file://{}", bucket.display()));
        }
        build(load(&Places { set, ..Places::default() }).unwrap().settings, false).unwrap().config
    }

    #[tokio::test]
    async fn directories_are_formatted_once_and_for_one_cluster() {
        let temporary = tempfile::tempdir().unwrap();
        let (one, two) = (temporary.path().join("one"), temporary.path().join("two"));
        let disks = Disks::real();
        let first = disks.format(&config(&[&one], 1, None), Some(A)).await.unwrap();
        assert_eq!((first.cluster_id.as_str(), first.fresh.as_slice()), (A, [one.clone()].as_slice()));
        // A second disk joins the same cluster without being told.
        let both = config(&[&one, &two], 1, None);
        let second = disks.format(&both, None).await.unwrap();
        assert_eq!(
            (second.cluster_id.as_str(), second.fresh, second.kept),
            (A, vec![two.clone()], vec![one.clone()])
        );
        let again = disks.format(&both, Some(A)).await.unwrap();
        assert_eq!((again.fresh.len(), again.kept.len()), (0, 2));
        let info = disks.info(&both).unwrap();
        assert!(info.contains(&format!("cluster.id    {A}\n  node.id       1\n")), "{info}");

        let other = disks.format(&both, Some(B)).await.unwrap_err().to_string();
        assert!(other.contains(&format!("the data in it is of cluster {A}, not {B}")), "{other}");
        let node = disks.format(&config(&[&one], 2, None), None).await.unwrap_err().to_string();
        assert!(node.contains("it belongs to node 1, this is node 2"), "{node}");
        let bad = disks.format(&both, Some("short")).await.unwrap_err().to_string();
        assert!(bad.starts_with("error: short is not a cluster id"), "{bad}");
    }

    #[tokio::test]
    async fn a_broker_starts_without_a_further_directory_that_cannot_be_read() {
        let temporary = tempfile::tempdir().unwrap();
        let (one, two) = (temporary.path().join("one"), temporary.path().join("two"));
        let (disks, both) = (Disks::real(), config(&[&one, &two], 1, None));
        disks.format(&both, Some(A)).await.unwrap();
        assert_eq!(disks.readable(&both).log_dirs, [one.clone(), two.clone()]);
        let break_it = |dir: &Path| {
            OsFiles.remove_dir_all(dir).unwrap();
            OsFiles.open(dir, OpenMode::CreateNew).unwrap();
        };
        break_it(&two);
        assert!(disks.cluster_of(&both).unwrap_err().to_string().contains("two cannot be read"));
        let readable = disks.readable(&both);
        assert_eq!(readable.log_dirs, [one.clone()].as_slice());
        assert_eq!(disks.cluster_of(&readable).unwrap().as_deref(), Some(A));
        break_it(&one);
        assert_eq!(disks.readable(&both).log_dirs, [one], "nothing goes without the first");
    }

    #[tokio::test]
    async fn a_bucket_of_another_cluster_stops_the_format() {
        let temporary = tempfile::tempdir().unwrap();
        let (dir, bucket) = (temporary.path().join("data"), temporary.path().join("bucket"));
        OsFiles.create_dir_all(&bucket).unwrap();
        let marker = firnline_tiering::cold::marker::marker(B);
        OsFiles.write_atomic(&bucket.join("firn-cluster.json"), marker.as_bytes()).unwrap();
        let config = config(&[&dir], 1, Some(&bucket));
        let refused = Disks::real().format(&config, Some(A)).await.unwrap_err().to_string();
        assert!(
            refused.contains("the bucket belongs to another cluster") && refused.contains(B),
            "{refused}"
        );
        assert!(!OsFiles.exists(&dir.join("meta.properties")));
        assert_eq!(Disks::real().format(&config, Some(B)).await.unwrap().warnings, Vec::<String>::new());
    }

    #[test]
    fn a_dev_id_is_a_cluster_id() {
        let id = Disks::real().draw_dev_id();
        assert!(id.starts_with(DEV_PREFIX) && check_cluster_id(&id).is_ok(), "{id}");
    }
}
