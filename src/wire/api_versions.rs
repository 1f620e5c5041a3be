//! Builds the ApiVersions answer: the version table, and features by the rules that keep old clients alive.
//! Its one invariant: the finalized epoch is never below zero, or clients ignore every feature.
