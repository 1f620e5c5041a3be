//! Who the first controllers of a new cluster are, as `firn storage format` is told (KIP-853): nobody writes them down
//! here. Invariant: a controller that would never find a quorum, or could begin a second one, is not formatted.

use firnline_controller::id::{BrokerId, TopicId};
use firnline_controller::quorum::founder::FirstVoter;
use firnline_controller::transport::Address;

use crate::cli::arguments::FirstControllers;
use crate::cli::failure::{Exit, Failure};
use crate::config::broker::BrokerConfig;

const FLAGS: &str = "--standalone, --initial-controllers or --no-initial-controllers";
const FORM: &str = "ID@HOST:PORT:DIRECTORY-ID, e.g. 1@10.0.0.1:9093:JEXY6aqzQY-32P5TStzaFg";

/// The voters to begin the quorum with; empty where the directory says nothing about them. `directory`: the id that this
/// node's directory has or will have.
pub fn first_voters(
    first: &FirstControllers,
    config: &BrokerConfig,
    directory: TopicId,
) -> Result<Vec<FirstVoter>, Failure> {
    let FirstControllers { standalone, no_initial_controllers, initial_controllers } = first;
    let quorum = config.quorum.as_ref();
    let named = quorum.is_some_and(|quorum| !quorum.voters.is_empty());
    let finds_others = quorum.is_some_and(|quorum| !quorum.bootstrap.is_empty());
    let asked = *standalone || *no_initial_controllers || initial_controllers.is_some();
    match asked {
        true if named => {
            return refuse(
                format!("controller.quorum.voters names the voters, and so does {FLAGS}"),
                "drop one of the two",
            );
        }
        true if !config.roles.controller && !no_initial_controllers => {
            return refuse(
                "process.roles=broker does not vote",
                "format it without --standalone or --initial-controllers",
            );
        }
        false if config.roles.controller && finds_others && !named => {
            let why = "controller.quorum.voters is not set, so this controller does not know whether a quorum is there";
            return refuse(why, format!("say so with {FLAGS}"));
        }
        _ => {}
    }
    if let Some(list) = initial_controllers {
        return initial(list, config);
    }
    if *no_initial_controllers && config.roles.controller && !finds_others {
        let why = "--no-initial-controllers, but controller.quorum.bootstrap.servers is not set: it would find nobody";
        return refuse(why, "name controllers that run in controller.quorum.bootstrap.servers=HOST:PORT,...");
    }
    let advertised = quorum.and_then(|quorum| quorum.advertised.as_ref()).filter(|_| *standalone);
    let mine = advertised.map(|told| FirstVoter {
        node: BrokerId(config.node_id),
        address: Address { host: told.host.clone(), port: told.port },
        directory: directory.0,
    });
    Ok(mine.into_iter().collect())
}

/// Reads `--initial-controllers`.
fn initial(list: &str, config: &BrokerConfig) -> Result<Vec<FirstVoter>, Failure> {
    let mut voters: Vec<FirstVoter> = Vec::new();
    for entry in list.split(',').map(str::trim) {
        let Some(voter) = voter(entry) else {
            return refuse(
                format!("--initial-controllers: `{entry}` is not of the form {FORM}"),
                "correct it",
            );
        };
        let twice = |other: &&FirstVoter| {
            other.node == voter.node || other.address == voter.address || other.directory == voter.directory
        };
        if let Some(other) = voters.iter().find(twice) {
            let why = format!(
                "--initial-controllers: {} and {} share an id, an address or a directory id",
                other.node, voter.node
            );
            return refuse(why, "correct it");
        }
        voters.push(voter);
    }
    let Some(mine) = voters.iter().find(|voter| voter.node.0 == config.node_id) else {
        let why = format!("--initial-controllers does not name this node, {}", config.node_id);
        return refuse(why, "add it, or format this node with --no-initial-controllers");
    };
    let told = config.quorum.as_ref().and_then(|quorum| quorum.advertised.as_ref());
    let Some(told) = told else {
        let why = "no listener of controller.listener.names is there, so that other controllers cannot reach this one";
        return refuse(
            why,
            "set controller.listener.names=CONTROLLER and listeners=...,CONTROLLER://HOST:PORT",
        );
    };
    if (told.host.as_str(), told.port) != (mine.address.host.as_str(), mine.address.port) {
        let why = format!(
            "--initial-controllers names this node at {}, its configuration says {told}",
            mine.address
        );
        return refuse(why, "make them agree, e.g. by advertised.listeners");
    }
    Ok(voters)
}

fn voter(entry: &str) -> Option<FirstVoter> {
    let (node, rest) = entry.split_once('@')?;
    let (address, directory) = rest.rsplit_once(':')?;
    let node: i32 = node.parse().ok().filter(|node| *node >= 0)?;
    let address: Address = address.parse().ok()?;
    let directory: TopicId = directory.parse().ok()?;
    let fine = address.port != 0 && !address.host.is_empty() && !directory.0.is_nil();
    fine.then_some(FirstVoter { node: BrokerId(node), address, directory: directory.0 })
}

fn refuse<T>(why: impl Into<String>, next: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new("nothing was formatted", why.into()).next(next).exit(Exit::Configuration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Places, load};
    use crate::config::start::build;

    const ID: &str = "JEXY6aqzQY-32P5TStzaFg";
    const OTHER: &str = "MvDxzVmcRsaTz33bUuRU6A";

    fn config(over: &[&str]) -> BrokerConfig {
        let own = [
            "node.id=1",
            "log.dirs=/data",
            "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:19",
            "controller.listener.names=CONTROLLER",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ];
        let set = own.iter().chain(over).map(|each| (*each).to_owned()).collect();
        build(load(&Places { set, ..Places::default() }).unwrap().settings, false).unwrap().config
    }

    fn ask(first: &FirstControllers, over: &[&str]) -> Result<Vec<FirstVoter>, String> {
        first_voters(first, &config(over), ID.parse().unwrap()).map_err(|refused| refused.to_string())
    }

    fn named(list: &str) -> FirstControllers {
        FirstControllers { initial_controllers: Some(list.to_owned()), ..FirstControllers::default() }
    }

    const BOOTSTRAP: &str = "controller.quorum.bootstrap.servers=127.0.0.1:19";

    #[test]
    fn the_first_voters_are_those_named_and_this_one_where_it_is_alone() {
        let two = format!("1@127.0.0.1:19:{ID}, 2@[::1]:29:{OTHER}");
        let voters = ask(&named(&two), &[BOOTSTRAP]).unwrap();
        let seen: Vec<_> = voters.iter().map(|voter| (voter.node.0, voter.address.to_string())).collect();
        assert_eq!(seen, [(1, "127.0.0.1:19".to_owned()), (2, "[::1]:29".to_owned())]);
        assert_eq!(TopicId(voters[1].directory).to_string(), OTHER);
        let standalone = FirstControllers { standalone: true, ..FirstControllers::default() };
        let alone = ask(&standalone, &[BOOTSTRAP]).unwrap();
        assert_eq!((alone.len(), TopicId(alone[0].directory).to_string()), (1, ID.to_owned()));
        let later = FirstControllers { no_initial_controllers: true, ..FirstControllers::default() };
        assert_eq!(ask(&later, &[BOOTSTRAP]), Ok(Vec::new()));
        let voters = "controller.quorum.voters=1@127.0.0.1:19";
        assert_eq!(ask(&FirstControllers::default(), &[voters]), Ok(Vec::new()));
        assert_eq!(ask(&FirstControllers::default(), &[]), Ok(Vec::new()), "a node of its own needs no word");
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_do() {
        let bare = FirstControllers::default();
        let later = FirstControllers { no_initial_controllers: true, ..FirstControllers::default() };
        let one = format!("1@127.0.0.1:19:{ID}");
        let voters = "controller.quorum.voters=1@127.0.0.1:19";
        let broker = ["process.roles=broker", BOOTSTRAP, "listeners=PLAINTEXT://127.0.0.1:9092"];
        for (first, over, said) in [
            (&bare, &[BOOTSTRAP][..], "say so with --standalone, --initial-controllers"),
            (&later, &[][..], "controller.quorum.bootstrap.servers is not set"),
            (&named(&one), &[voters][..], "drop one of the two"),
            (&named(&one), &broker[..], "process.roles=broker does not vote"),
            (&named("1@127.0.0.1:19"), &[BOOTSTRAP][..], "is not of the form ID@HOST:PORT:DIRECTORY-ID"),
            (
                &named(&format!("{one},1@127.0.0.1:20:{OTHER}")),
                &[BOOTSTRAP][..],
                "share an id, an address or",
            ),
            (&named(&format!("2@127.0.0.1:19:{ID}")), &[BOOTSTRAP][..], "does not name this node, 1"),
            (
                &named(&format!("1@127.0.0.1:20:{ID}")),
                &[BOOTSTRAP][..],
                "its configuration says CONTROLLER://127.0.0.1:19",
            ),
        ] {
            let refused = ask(first, over).unwrap_err();
            assert!(refused.contains(said) && refused.contains("nothing was formatted"), "{refused}");
        }
    }
}
