//! Environment variables as configuration: `KAFKA_LOG_DIRS` is `log.dirs`, `FIRN_REMOTE_URL` is `firn.remote.url`.
//! It reads no environment itself: the caller hands over the variables. The spelling is that of Kafka's own image:
//! `_` for a dot, `__` for an underscore, `___` for a dash.

/// The key that a variable means, or `None` for a variable that is not ours.
pub fn key_of(variable: &str) -> Option<String> {
    if let Some(rest) = variable.strip_prefix("KAFKA_") {
        return Some(spell(rest));
    }
    variable.strip_prefix("FIRN_").map(|rest| format!("firn.{}", spell(rest)))
}

/// Variables that Kafka's start scripts and ours read, and that mean no key.
pub fn is_launcher(variable: &str) -> bool {
    const EXACT: &[&str] = &["KAFKA_OPTS", "KAFKA_DEBUG", "KAFKA_CLUSTER_ID", "FIRN_BLESS"];
    const FAMILIES: &[&str] =
        &["KAFKA_HEAP_", "KAFKA_JMX_", "KAFKA_JVM_", "KAFKA_LOG4J_", "KAFKA_GC_", "KAFKA_TOOLS_"];
    EXACT.contains(&variable) || FAMILIES.iter().any(|family| variable.starts_with(family))
}

fn spell(rest: &str) -> String {
    let mut key = String::with_capacity(rest.len());
    let mut letters = rest.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '_' {
            key.extend(letter.to_lowercase());
            continue;
        }
        let mut run = 1;
        while run < 3 && letters.next_if_eq(&'_').is_some() {
            run += 1;
        }
        key.push(['.', '_', '-'][run - 1]);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_spell_keys() {
        let key = |variable| key_of(variable);
        assert_eq!(key("KAFKA_LOG_RETENTION_MS").as_deref(), Some("log.retention.ms"));
        assert_eq!(key("KAFKA_LISTENER_NAME_MY__NET_X___Y").as_deref(), Some("listener.name.my_net.x-y"));
        assert_eq!(key("FIRN_REMOTE_URL").as_deref(), Some("firn.remote.url"));
        assert_eq!(key("FIRN_S3_SECRET_ACCESS_KEY").as_deref(), Some("firn.s3.secret.access.key"));
        assert_eq!(key("CLUSTER_ID"), None);
        assert!(is_launcher("KAFKA_JMX_PORT") && !is_launcher("KAFKA_LOG_DIRS"));
    }
}
