//! Kafka's rules for topic names. Not whether a name is taken. Invariant: a legal name is a legal file name, and
//! with `-<partition>` behind it at most 255 bytes long.

/// Longest topic name, in characters (all of one byte).
pub const NAME_LEN_MAX: usize = 249;

/// Why the name is not allowed, in Kafka's words; `None` if it is.
pub fn illegal(name: &str) -> Option<String> {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if name.is_empty() {
        return Some("the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return Some(format!("'{name}' is not allowed"));
    }
    if name.len() > NAME_LEN_MAX {
        let shown: String = name.chars().take(NAME_LEN_MAX).collect();
        return Some(format!("the length of '{shown}' is longer than the max allowed length {NAME_LEN_MAX}"));
    }
    if !name.chars().all(legal) {
        return Some(format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_rules() {
        let longest = "x".repeat(NAME_LEN_MAX);
        for name in ["a", "...", "A.b_c-9", "__consumer_offsets", &longest] {
            assert_eq!(illegal(name), None, "{name}");
        }
        let too_long = "x".repeat(NAME_LEN_MAX + 1);
        for name in ["", ".", "..", "a/b", "a b", "ä", "a\0", "a:b", &too_long] {
            assert!(illegal(name).is_some(), "{name}");
        }
    }
}
