//! A load as data: what `firn bench` is asked to do. Pure; `measure.rs` runs it.
//! Invariant: both contestants get the same words but for the address, the topic and how long.

/// Which side of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Write.
    Produce,
    /// Read from the start, again and again.
    Consume,
    /// Wait at the end.
    Tail,
}

/// How much a run moves before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// 10^6 bytes of ours and of Kafka's: each so many that a run takes long enough to be told from noise. With
    /// `--quick`; a full race moves four times as many.
    Megabytes(u64, u64),
    /// Seconds, with and without `--quick`.
    Seconds(u64, u64),
}

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// As fast as answers come.
    Closed,
    /// 10^6 bytes per second, whatever the answers.
    Megabytes(f64),
    /// Operations per second, whatever the answers.
    Operations(f64),
    /// This share of what Kafka does as fast as answers come.
    ShareOfKafka(f64),
}

/// A load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Side.
    pub side: Side,
    /// Bytes of a record's value.
    pub record: u32,
    /// Bytes of a batch, or of one partition in one fetch.
    pub batch: u32,
    /// Connections.
    pub connections: u32,
    /// Unanswered requests of a connection.
    pub in_flight: u32,
    /// Codec, as the bench names it.
    pub codec: &'static str,
    /// How much of a value is random.
    pub random_percent: u32,
    /// How fast.
    pub rate: Rate,
    /// How long.
    pub until: Until,
    /// Batches carry the time they were due.
    pub stamp: bool,
}

/// One connection, 1 KiB records in 16 KiB batches, five requests in flight: a Kafka producer's defaults.
pub const PRODUCE: Load = Load {
    side: Side::Produce,
    record: 1024,
    batch: 16_384,
    connections: 1,
    in_flight: 5,
    codec: "none",
    random_percent: 100,
    rate: Rate::Closed,
    until: Until::Megabytes(1000, 150),
    stamp: false,
};

/// One connection, fetches of 1 MiB of a partition: a Kafka consumer's defaults.
pub const CONSUME: Load =
    Load { side: Side::Consume, batch: 1 << 20, until: Until::Megabytes(2000, 1000), ..PRODUCE };

/// Who is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contestant {
    /// firn.
    Ours,
    /// Apache Kafka.
    Kafka,
}

impl Contestant {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Contestant::Ours => "firn",
            Contestant::Kafka => "kafka",
        }
    }
}

/// What turns a load into words.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Who is loaded.
    pub who: Contestant,
    /// Its address.
    pub bootstrap: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// A short race.
    pub quick: bool,
    /// What [`Rate::ShareOfKafka`] is a share of, operations per second.
    pub kafka_operations: f64,
}

impl Load {
    /// The words behind `firn`.
    pub fn words(&self, scene: &Scene<'_>) -> Vec<String> {
        let side = match self.side {
            Side::Produce => format!(
                "produce --record-bytes {} --in-flight {} --codec {} --random-percent {} --acks all{}",
                self.record,
                self.in_flight,
                self.codec,
                self.random_percent,
                if self.stamp { " --stamp" } else { "" },
            ),
            Side::Consume => "consume".into(),
            Side::Tail => "consume --tail".into(),
        };
        let rate = match self.rate {
            Rate::Closed => String::new(),
            Rate::Megabytes(rate) => format!(" --rate {rate}"),
            Rate::Operations(rate) => format!(" --operation-rate {rate}"),
            Rate::ShareOfKafka(share) => {
                format!(" --operation-rate {}", (share * scene.kafka_operations).round())
            }
        };
        let until = match self.until {
            Until::Megabytes(..) => {
                format!("--megabytes {} --seconds 600", self.megabytes(scene.who, scene.quick))
            }
            Until::Seconds(quick, full) => format!("--seconds {}", if scene.quick { quick } else { full }),
        };
        let line = format!(
            "bench {side} --batch-bytes {} --connections {}{rate} {until} --topic {} --bootstrap-server {} \
             --output json",
            self.batch, self.connections, scene.topic, scene.bootstrap
        );
        line.split(' ').map(str::to_owned).collect()
    }

    /// 10^6 bytes that a run moves; 0 where time ends it.
    pub fn megabytes(&self, who: Contestant, quick: bool) -> u64 {
        match self.until {
            Until::Megabytes(ours, kafka) => {
                let megabytes = if who == Contestant::Ours { ours } else { kafka };
                if quick { megabytes } else { 4 * megabytes }
            }
            Until::Seconds(..) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENE: Scene<'_> = Scene {
        who: Contestant::Kafka,
        bootstrap: "127.0.0.1:1",
        topic: "t",
        quick: true,
        kafka_operations: 1000.0,
    };

    #[test]
    fn a_load_is_words_for_the_bench() {
        assert_eq!(
            PRODUCE.words(&SCENE).join(" "),
            "bench produce --record-bytes 1024 --in-flight 5 --codec none --random-percent 100 --acks all \
             --batch-bytes 16384 --connections 1 --megabytes 150 --seconds 600 --topic t \
             --bootstrap-server 127.0.0.1:1 --output json"
        );
        let tail =
            Load { side: Side::Tail, rate: Rate::ShareOfKafka(0.3), until: Until::Seconds(5, 60), ..CONSUME };
        let words = tail.words(&Scene { quick: false, ..SCENE }).join(" ");
        assert!(words.starts_with("bench consume --tail --batch-bytes 1048576"), "{words}");
        assert!(words.contains("--operation-rate 300 --seconds 60 "), "{words}");
    }

    #[test]
    fn a_full_race_moves_four_times_as_much() {
        assert_eq!(PRODUCE.megabytes(Contestant::Ours, false), 4 * PRODUCE.megabytes(Contestant::Ours, true));
    }
}
