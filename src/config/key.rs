//! One configuration key: its name, kind, default, scope, what we do with it, and a line of documentation.
//! It is not the list (`table`) and holds no value. Invariant: every default passes its own kind's check.

use std::fmt;

/// Who has the key. The same name may exist for both (`compression.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Set for the broker.
    Broker,
    /// Set per topic.
    Topic,
}

impl Scope {
    /// `broker` or `topic`, for messages.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Broker => "broker",
            Scope::Topic => "topic",
        }
    }
}

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A 16-bit number within bounds.
    Short(i64, i64),
    /// A 32-bit number within bounds.
    Int(i64, i64),
    /// A 64-bit number within bounds.
    Long(i64, i64),
    /// A fraction within bounds.
    Double(f64, f64),
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A comma-separated list; of these words, or of any when the slice is empty.
    List(&'static [&'static str]),
    /// The name of a Java class; read, never loaded.
    Class,
    /// Text that is never shown.
    Secret,
}

/// What we do with a key that somebody set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// The broker acts on it.
    Acted,
    /// Accepted so that existing files load; named once at start, with this reason.
    Accepted(&'static str),
    /// Accepted at its default only; anything else is refused, saying this is missing.
    DefaultOnly(&'static str),
    /// Never accepted, saying this is missing.
    Refused(&'static str),
}

/// One row of the table. A name that ends in `*` stands for every key with that beginning.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Kafka's name, or ours under `firn.`.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// As text; `None` = no value.
    pub default: Option<&'static str>,
    /// Broker or topic.
    pub scope: Scope,
    /// What we do with it.
    pub stance: Stance,
    /// True when a running broker takes a new value. Topic keys always are.
    pub dynamic: bool,
    /// For a topic key: the broker keys that give its default, the first one set wins.
    pub synonyms: &'static [&'static str],
    /// What it does, in one or two sentences.
    pub doc: &'static str,
}

/// A broker key we act on.
pub const fn broker(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Key {
    let stance = Stance::Acted;
    Key { name, kind, default, scope: Scope::Broker, stance, dynamic: false, synonyms: &[], doc }
}

/// A topic key we act on.
pub const fn topic(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    let (stance, default) = (Stance::Acted, Some(default));
    Key { name, kind, default, scope: Scope::Topic, stance, dynamic: true, synonyms: &[], doc }
}

/// A 32-bit number of at least `min`.
pub const fn int_from(min: i64) -> Kind {
    Kind::Int(min, i32::MAX as i64)
}

/// A 64-bit number of at least `min`.
pub const fn long_from(min: i64) -> Kind {
    Kind::Long(min, i64::MAX)
}

/// Any 64-bit number.
pub const fn long_any() -> Kind {
    Kind::Long(i64::MIN, i64::MAX)
}

impl Key {
    /// Accepted and named once, for this reason.
    pub const fn accepted(mut self, why: &'static str) -> Key {
        self.stance = Stance::Accepted(why);
        self
    }

    /// Accepted at its default only.
    pub const fn default_only(mut self, missing: &'static str) -> Key {
        self.stance = Stance::DefaultOnly(missing);
        self
    }

    /// Never accepted.
    pub const fn refused(mut self, missing: &'static str) -> Key {
        self.stance = Stance::Refused(missing);
        self
    }

    /// A running broker takes a new value.
    pub const fn dynamic(mut self) -> Key {
        self.dynamic = true;
        self
    }

    /// Broker keys that give a topic key its default.
    pub const fn from(mut self, synonyms: &'static [&'static str]) -> Key {
        self.synonyms = synonyms;
        self
    }

    /// True for a row that stands for a family of keys.
    pub fn is_family(&self) -> bool {
        self.name.ends_with('*')
    }

    /// True for secrets.
    pub fn is_sensitive(&self) -> bool {
        matches!(self.kind, Kind::Secret)
    }

    /// True when `name` is this key or one of its family.
    pub fn covers(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(beginning) => name.len() > beginning.len() && name.starts_with(beginning),
            None => self.name == name,
        }
    }
}

impl Kind {
    /// Checks a value and gives it back trimmed; the error says what would be accepted.
    pub fn check<'a>(&self, value: &'a str) -> Result<&'a str, String> {
        let value = value.trim();
        match *self {
            Kind::Boolean => match value.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(value),
                _ => Err("Expected value to be either true or false".to_owned()),
            },
            Kind::Short(min, max) | Kind::Int(min, max) | Kind::Long(min, max) => {
                let number: i64 =
                    value.parse().map_err(|_| format!("Not a number of type {}", self.name()))?;
                self.in_range(number >= min, number <= max).map(|()| value)
            }
            Kind::Double(min, max) => {
                let number: f64 = value.parse().map_err(|_| "Not a number of type DOUBLE".to_owned())?;
                self.in_range(number >= min, number <= max).map(|()| value)
            }
            Kind::Choice(words) if !words.contains(&value) => {
                Err(format!("String must be one of: {}", words.join(", ")))
            }
            Kind::List(words) => list_items(value)
                .find(|item| !words.is_empty() && !words.contains(item))
                .map_or(Ok(value), |_| Err(format!("List must hold only: {}", words.join(", ")))),
            Kind::Text | Kind::Choice(_) | Kind::Class | Kind::Secret => Ok(value),
        }
    }

    fn in_range(&self, above: bool, below: bool) -> Result<(), String> {
        if above && below { Ok(()) } else { Err(format!("Value must be {}", self.range())) }
    }

    /// The values it takes, for documentation and errors; empty for any text.
    pub fn range(&self) -> String {
        match *self {
            Kind::Boolean => "true or false".to_owned(),
            Kind::Short(min, max) => bounds(min, max, i64::from(i16::MAX)),
            Kind::Int(min, max) => bounds(min, max, i64::from(i32::MAX)),
            Kind::Long(min, max) => bounds(min, max, i64::MAX),
            Kind::Double(min, f64::MAX) => format!("at least {min}"),
            Kind::Double(min, max) => format!("between {min} and {max}"),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::List(words) if !words.is_empty() => format!("a list of {}", words.join(", ")),
            Kind::List(_) => "a list".to_owned(),
            Kind::Text | Kind::Class | Kind::Secret => String::new(),
        }
    }

    /// Kafka's type name.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::Short(..) => "SHORT",
            Kind::Int(..) => "INT",
            Kind::Long(..) => "LONG",
            Kind::Double(..) => "DOUBLE",
            Kind::Text | Kind::Choice(_) => "STRING",
            Kind::List(_) => "LIST",
            Kind::Class => "CLASS",
            Kind::Secret => "PASSWORD",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn bounds(min: i64, max: i64, largest: i64) -> String {
    if min == i64::MIN {
        return "any number".to_owned();
    }
    if max >= largest { format!("at least {min}") } else { format!("between {min} and {max}") }
}

/// The items of a comma-separated list: trimmed, empty ones left out.
pub fn list_items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_say_what_they_would_accept() {
        assert_eq!(Kind::Int(1, i64::from(i32::MAX)).check(" 7 "), Ok("7"));
        assert_eq!(Kind::Int(1, i64::from(i32::MAX)).check("0"), Err("Value must be at least 1".into()));
        assert_eq!(Kind::Int(1, 9).check("2147483648"), Err("Value must be between 1 and 9".into()));
        assert_eq!(Kind::Long(-1, i64::MAX).check("7d"), Err("Not a number of type LONG".into()));
        assert_eq!(Kind::Boolean.check("yes"), Err("Expected value to be either true or false".into()));
        assert_eq!(Kind::Boolean.check("TRUE"), Ok("TRUE"));
        assert_eq!(Kind::Double(0.0, 1.0).check("1.5"), Err("Value must be between 0 and 1".into()));
        assert_eq!(Kind::Double(0.0, 1.0).check("NaN"), Err("Value must be between 0 and 1".into()));
        assert_eq!(Kind::Choice(&["a", "b"]).check("c"), Err("String must be one of: a, b".into()));
        assert_eq!(Kind::List(&["a", "b"]).check(" a, b ,"), Ok("a, b ,"));
        assert_eq!(Kind::List(&["a", "b"]).check("a,z"), Err("List must hold only: a, b".into()));
    }

    #[test]
    fn a_family_covers_what_begins_like_it() {
        let family = broker("ssl.*", Kind::Text, None, "");
        assert!(family.covers("ssl.keystore.location") && !family.covers("ssl.") && !family.covers("sslx"));
    }
}
