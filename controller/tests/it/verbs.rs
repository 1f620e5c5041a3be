//! verbs
//! verbs
