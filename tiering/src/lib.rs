//! Floor 2 of the house: keeps ONE log over its tiers, hot segments on local disk and cold objects in a bucket.
//! It knows no topic, no broker and no API; its logs have opaque ids.
