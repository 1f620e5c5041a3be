//! `firn topic create|list|describe|delete`, over a broker's client port.
//! Each command gives the text to print; the calls are in `client::topics`.

use std::fmt::Write as _;

use crate::cli::arguments::Topic;
use crate::cli::columns::Columns;
use crate::cli::failure::{Exit, Failure};
use crate::client::connection::Connection;
use crate::client::topics::{self, NewTopic};

/// Client id of the command line.
pub const CLIENT_ID: &str = "firn-cli";

/// Runs `firn topic`.
pub async fn run(command: &Topic) -> Result<String, Failure> {
    match command {
        Topic::Create { name, partitions, replication_factor, configs, broker } => {
            let what = format!("topic {name} was not created");
            let new = NewTopic {
                name: name.clone(),
                partitions: partitions.unwrap_or(-1),
                replication_factor: replication_factor.unwrap_or(-1),
                configs: pairs(configs).map_err(|why| Failure::new(&what, why).exit(Exit::Configuration))?,
            };
            create(&broker.bootstrap_server, &what, &new).await
        }
        Topic::List { internal, broker } => list(&broker.bootstrap_server, *internal).await,
        Topic::Describe { names, broker } => describe(&broker.bootstrap_server, names).await,
        Topic::Delete { names, broker } => delete(&broker.bootstrap_server, names).await,
    }
}

async fn open(bootstrap: &str, what: &str) -> Result<Connection, Failure> {
    Connection::open(bootstrap, CLIENT_ID).await.map_err(|error| Failure::of_call(what, &error))
}

fn pairs(configs: &[String]) -> Result<Vec<(String, String)>, String> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
        None => Err(format!("--config {text}: expected KEY=VALUE")),
    };
    configs.iter().map(pair).collect()
}

async fn create(bootstrap: &str, what: &str, new: &NewTopic) -> Result<String, Failure> {
    let mut connection = open(bootstrap, what).await?;
    let partitions =
        topics::create(&mut connection, new).await.map_err(|error| Failure::of_call(what, &error))?;
    let count = if partitions > 0 { format!(" with {partitions} partitions") } else { String::new() };
    Ok(format!(
        "created topic {}{}\n",
        new.name,
        if partitions == 1 { " with 1 partition".into() } else { count }
    ))
}

async fn list(bootstrap: &str, internal: bool) -> Result<String, Failure> {
    let what = "topics were not listed";
    let mut connection = open(bootstrap, what).await?;
    let all =
        topics::describe(&mut connection, None).await.map_err(|error| Failure::of_call(what, &error))?;
    let mut text = String::new();
    for topic in all.iter().filter(|topic| internal || !topic.internal) {
        text.push_str(&topic.name);
        text.push('\n');
    }
    Ok(text)
}

async fn describe(bootstrap: &str, names: &[String]) -> Result<String, Failure> {
    let what = "topics were not described";
    let failed = |error: &_| Failure::of_call(what, error);
    let mut connection = open(bootstrap, what).await?;
    let asked = (!names.is_empty()).then_some(names);
    let found = topics::describe(&mut connection, asked).await.map_err(|error| failed(&error))?;
    let mut text = String::new();
    for topic in found {
        let own = topics::own_configs(&mut connection, &topic.name).await.map_err(|error| failed(&error))?;
        let own: Vec<String> = own.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let own = if own.is_empty() { "none of its own".to_owned() } else { own.join(" ") };
        let _ = write!(text, "{}\n  id       {}\n  configs  {own}\n", topic.name, topic.id);
        let mut columns = Columns::new(&["  PARTITION", "LEADER", "REPLICAS", "IN SYNC"]);
        for partition in &topic.partitions {
            let nodes = |nodes: &[i32]| nodes.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
            columns.row(vec![
                format!("  {}", partition.index),
                partition.leader.to_string(),
                nodes(&partition.replicas),
                nodes(&partition.in_sync),
            ]);
        }
        text.push_str(&columns.print());
    }
    Ok(text)
}

async fn delete(bootstrap: &str, names: &[String]) -> Result<String, Failure> {
    let what = format!("{} not deleted", names.join(", "));
    let mut connection = open(bootstrap, &what).await?;
    topics::delete(&mut connection, names).await.map_err(|error| Failure::of_call(&what, &error))?;
    Ok(names.iter().map(|name| format!("deleted topic {name}\n")).collect())
}
