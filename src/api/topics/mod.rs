//! Topics: what there is, and making and removing it.
//! One API per file; `partition_row` holds the columns that Metadata and DescribeTopicPartitions share.
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_topic_partitions;
pub mod metadata;
pub mod partition_row;
pub mod topic_name;
