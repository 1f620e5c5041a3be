//! Java's properties format, as far as a server.properties uses it: comments, `=`/`:`/blank separators, `\` escapes and
//! continued lines. It knows no keys. Bounded: a file of more than 1 MiB or 10,000 entries is refused.
//!
//! ```text
//! # comment        ! comment
//! key=value        key: value        key value
//! long.key=one,\
//!          two     (leading blanks of a continued line go)
//! ```

use thiserror::Error;

/// Largest file read.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most entries of one file.
pub const ENTRIES_MAX: usize = 10_000;

/// One `key=value`, with the line it begins on (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Line number.
    pub line: usize,
    /// Unescaped key; may be empty when the file says so.
    pub key: String,
    /// Unescaped value, without blanks at its beginning.
    pub value: String,
}

/// Why a file is not a properties file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PropertiesError {
    /// Too many bytes.
    #[error("the file is larger than 1 MiB")]
    TooLarge,
    /// Too many entries.
    #[error("the file has more than {ENTRIES_MAX} entries")]
    TooMany,
    /// A broken `\uXXXX`.
    #[error("line {line}: \\u needs four hexadecimal digits of a character")]
    Unicode {
        /// Line number.
        line: usize,
    },
}

/// Reads a whole file.
pub fn parse(text: &str) -> Result<Vec<Entry>, PropertiesError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(PropertiesError::TooLarge);
    }
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let first = first.trim_start_matches(BLANK);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while is_continued(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start_matches(BLANK)),
                None => break,
            }
        }
        if entries.len() == ENTRIES_MAX {
            return Err(PropertiesError::TooMany);
        }
        entries.push(entry(number + 1, &logical)?);
    }
    Ok(entries)
}

const BLANK: [char; 3] = [' ', '\t', '\u{c}'];

/// An odd number of backslashes at the end joins the next line.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn entry(line: usize, logical: &str) -> Result<Entry, PropertiesError> {
    let end = key_end(logical);
    let mut rest = logical[end..].trim_start_matches(BLANK);
    if let Some(after) = rest.strip_prefix(['=', ':']) {
        rest = after.trim_start_matches(BLANK);
    }
    let broken = PropertiesError::Unicode { line };
    let key = unescape(&logical[..end]).ok_or_else(|| broken.clone())?;
    Ok(Entry { line, key, value: unescape(rest).ok_or(broken)? })
}

/// The first separator that no backslash escapes.
fn key_end(logical: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in logical.char_indices() {
        if !escaped && (letter == '=' || letter == ':' || BLANK.contains(&letter)) {
            return at;
        }
        escaped = letter == '\\' && !escaped;
    }
    logical.len()
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = letters.by_ref().take(4).collect();
                if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                let code = u32::from_str_radix(&digits, 16).ok()?;
                plain.push(char::from_u32(code)?);
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text).unwrap().into_iter().map(|entry| (entry.line, entry.key, entry.value)).collect()
    }

    fn pair(line: usize, key: &str, value: &str) -> (usize, String, String) {
        (line, key.to_owned(), value.to_owned())
    }

    #[test]
    fn reads_what_java_reads() {
        let text = "# comment\n! comment\r\n\n  a=1\r\nb : two words \nc\td\ne\n\\=f\\ g=h\\u00e4\\t|\n\
                    list=one,\\\n   two,\\\n\tthree\nwin=c:\\\\dir\nx==y\n";
        assert_eq!(
            pairs(text),
            vec![
                pair(4, "a", "1"),
                pair(5, "b", "two words "),
                pair(6, "c", "d"),
                pair(7, "e", ""),
                pair(8, "=f g", "hä\t|"),
                pair(9, "list", "one,two,three"),
                pair(12, "win", "c:\\dir"),
                pair(13, "x", "=y"),
            ]
        );
        assert_eq!(pairs("a=1\\"), vec![pair(1, "a", "1")]);
        assert_eq!(pairs(""), vec![]);
    }

    #[test]
    fn refuses_what_it_cannot_hold() {
        assert_eq!(parse(&"a".repeat(FILE_BYTES_MAX + 1)), Err(PropertiesError::TooLarge));
        assert_eq!(parse(&"a\n".repeat(ENTRIES_MAX + 1)), Err(PropertiesError::TooMany));
        for broken in ["a=\\u12", "a=\\uzzzz", "a=\\ud800", "a=\\u+123"] {
            assert_eq!(parse(&format!("\n{broken}")), Err(PropertiesError::Unicode { line: 2 }), "{broken}");
        }
    }

    fn escape(text: &str) -> String {
        text.chars()
            .map(|letter| if letter == '\n' { "\\n".to_owned() } else { format!("\\{letter}") })
            .collect()
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn an_escaped_pair_comes_back(key in "[a-m .=:#!-]{1,20}", value in "[A-Z .=:#!\n-]{0,20}") {
            // Lower-case t, n, r, f and u mean something after a backslash, so keys stop at m, but f: leave it out.
            let key = key.replace('f', "e");
            let read = parse(&format!("{}={}", escape(&key), escape(&value))).unwrap();
            prop_assert_eq!(read, vec![Entry { line: 1, key, value }]);
        }
    }
}
