//! The plan of this house: its floors, the order of rooms on each, and the one door of each package.
//! When it and the code disagree, one of them is wrong: mend it here only if the new arrow is right.

use std::path::Path;

use super::rules::{self, Door, Floor};
use super::source::{Source, Tree};

/// Crates from the ground up, each with its rooms from the ground up.
const FLOORS: &[Floor] = &[
    Floor {
        folder: "cache/src/",
        rooms: &[
            "key",
            "error",
            "metrics",
            "drops",
            "budget",
            "admission",
            "readahead",
            "single_flight",
            "hybrid",
            "read_through",
        ],
    },
    Floor {
        folder: "tiering/src/",
        rooms: &[
            "clock",
            "entropy",
            "offsets",
            "epoch",
            "codec",
            "config",
            "error",
            "batch",
            "producer",
            "hot",
            "retention",
            "cold",
            "log",
            "compact",
            "offload",
            "gc",
            "inspect",
        ],
    },
    Floor {
        folder: "controller/src/",
        rooms: &[
            "serial",
            "id",
            "error",
            "transport",
            "record",
            "image",
            "decide",
            "liveness",
            "quorum",
            "rpc",
            "server",
            "verbs",
            "client",
        ],
    },
    Floor {
        folder: "src/",
        rooms: &[
            "config",
            "wire",
            "transport",
            "purgatory",
            "metadata",
            "partition",
            "replication",
            "coordinator",
            "api",
            "server",
            "broker",
            "telemetry",
            "client",
            "cli",
        ],
    },
];

/// Packages with one door.
const DOORS: &[Door] = &[
    Door { package: "foyer", at: &["cache/src/hybrid.rs"] },
    Door { package: "object_store", at: &["tiering/src/cold/store.rs"] },
    Door { package: "aws_sdk_s3", at: &["tiering/src/cold/s3.rs"] },
    Door { package: "aws_config", at: &["tiering/src/cold/s3.rs"] },
    Door { package: "zstd", at: &["tiering/src/batch/compress.rs"] },
    Door { package: "snap", at: &["tiering/src/batch/compress.rs"] },
    Door { package: "lz4_flex", at: &["tiering/src/batch/compress.rs"] },
    Door { package: "flate2", at: &["tiering/src/batch/compress.rs"] },
    Door { package: "sha2", at: &["tiering/src/compact/offset_map.rs"] },
    Door { package: "kafka_protocol", at: &["src/wire/"] },
    Door { package: "openraft", at: &["controller/src/quorum/"] },
    Door { package: "postcard", at: &["controller/src/serial.rs"] },
    Door { package: "rustls", at: &["src/transport/tls.rs"] },
    Door { package: "clap", at: &["src/cli/", "src/main.rs"] },
    Door { package: "indicatif", at: &["src/cli/demo/progress.rs"] },
    Door { package: "hdrhistogram", at: &["src/cli/bench/meter.rs"] },
    Door { package: "prometheus_client", at: &["src/telemetry/"] },
    Door { package: "axum", at: &["src/telemetry/"] },
];

/// A room (or file) and a name it must never know.
const STRANGERS: &[(&str, &str)] = &[
    ("src/partition/", "wire"),
    ("src/partition/", "api"),
    ("src/replication/", "api"),
    ("src/purgatory/", "wire"),
    ("src/purgatory/", "partition"),
    ("src/wire/", "partition"),
    ("src/api/", "std::fs"),
    ("src/api/", "std::net::Tcp"),
    ("src/api/", "tokio::net"),
    ("src/api/", "firnline_tiering::cold::store"),
    ("controller/src/", "firnline_tiering::batch"),
];

fn house() -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tree = Tree::new();
    for floor in FLOORS {
        read_folder(root, &root.join(floor.folder), &mut tree);
    }
    tree
}

fn read_folder(root: &Path, folder: &Path, tree: &mut Tree) {
    for entry in std::fs::read_dir(folder).expect("a floor's folder") {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() {
            read_folder(root, &path, tree);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("inside the repository").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a readable source");
            let source = Source::parse(&name, &text);
            tree.insert(name, source);
        }
    }
}

#[test]
fn the_house_stands() {
    let tree = house();
    assert!(tree.len() > 10, "the test must see the sources: {}", tree.len());
    let found = [
        rules::arrows_run_down(&tree, FLOORS),
        rules::no_circles(&tree, FLOORS),
        rules::packages_use_their_door(&tree, DOORS),
        rules::strangers(&tree, STRANGERS, FLOORS),
        rules::plates_hold_no_logic(&tree),
        rules::files_introduce_themselves(&tree),
        rules::panics_give_reasons(&tree),
        rules::functions_fit_a_screen(&tree),
    ]
    .concat();
    assert!(found.is_empty(), "{} rules of the house are broken:\n{}", found.len(), found.join("\n"));
}
