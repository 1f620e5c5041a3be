//! Idempotent producers: who wrote which sequence last, in memory, on disk and in objects.
