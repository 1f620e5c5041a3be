//! Runs the groups of a partition by transcripts: `> command` in, exactly the events that follow out.
//! Run with FIRN_BLESS=1 to write down what happens; then read it. Invariant: every transcript ends with live state
//! equal to a replay of what it wrote.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;

    use bytes::Bytes;

    use crate::coordinator::group::classic::Limits;
    use crate::coordinator::group::effects::{Effects, Now};
    use crate::coordinator::group::error::GroupError;
    use crate::coordinator::group::groups::{Commit, Groups, OffsetToCommit};
    use crate::coordinator::group::id::{GroupId, MemberId};
    use crate::coordinator::group::join::Join;
    use crate::coordinator::group::member::{Protocol, Waiter};
    use crate::coordinator::group::records::Record;
    use crate::coordinator::group::sync::{Claim, Leaving, Sync};

    /// 2026-01-01, when every transcript begins.
    const BEGIN_MS: i64 = 1_767_225_600_000;

    struct Machine {
        groups: Groups,
        effects: Effects,
        limits: Limits,
        tick_ms: u64,
        log: Vec<Record>,
        fail: Option<GroupError>,
        waiters: u64,
        open: BTreeMap<Waiter, String>,
        ids: u128,
        out: String,
    }

    /// `key=value` arguments of a command.
    struct Args<'a>(BTreeMap<&'a str, &'a str>, Vec<&'a str>);

    impl<'a> Args<'a> {
        fn parse(words: &[&'a str]) -> Self {
            let (named, plain): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.contains('='));
            Args(named.iter().filter_map(|word| word.split_once('=')).collect(), plain)
        }

        fn get(&self, key: &str, default: &'a str) -> &'a str {
            self.0.get(key).copied().unwrap_or(default)
        }

        fn number<T: std::str::FromStr>(&self, key: &str, default: T) -> T {
            self.0.get(key).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{key}={text}")))
        }
    }

    /// `a-3` stands for the member id that the third uuid makes of `a`; `_` for none.
    fn member(name: &str) -> MemberId {
        match name.rsplit_once('-') {
            _ if name == "_" => MemberId::from(""),
            Some((client, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number: u128 = number.parse().expect("digits");
                MemberId::from(format!("{client}-{}", uuid::Uuid::from_u128(number)))
            }
            _ => MemberId::from(name),
        }
    }

    fn short(text: &str) -> String {
        let mut out = text.to_owned();
        while let Some(at) = out.find("00000000-0000-0000-0000-") {
            let number: u128 = u128::from_str_radix(&out[at + 24..at + 36], 16).expect("a uuid");
            out.replace_range(at..at + 36, &number.to_string());
        }
        out
    }

    fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
        text.split(',').filter(|part| !part.is_empty()).map(|part| part.split_once(':').unwrap_or((part, "")))
    }

    fn text(bytes: &Bytes) -> String {
        String::from_utf8_lossy(bytes).replace(char::from(0), ".")
    }

    impl Machine {
        fn new() -> Self {
            let limits = Limits {
                session_timeout_ms_min: 6_000,
                session_timeout_ms_max: 1_800_000,
                initial_rebalance_delay_ms: 3_000,
                size_max: 100,
                retention_ms: 7 * 86_400_000,
                metadata_bytes_max: 8,
            };
            Machine {
                groups: Groups::default(),
                effects: Effects::default(),
                limits,
                tick_ms: 0,
                log: Vec::new(),
                fail: None,
                waiters: 0,
                open: BTreeMap::new(),
                ids: 0,
                out: String::new(),
            }
        }

        fn now(&self) -> Now {
            Now { wall_ms: BEGIN_MS + self.tick_ms as i64, tick_ms: self.tick_ms }
        }

        fn say(&mut self, line: impl AsRef<str>) {
            writeln!(self.out, "{}", short(line.as_ref())).expect("a string grows");
        }

        fn waiter(&mut self) -> Waiter {
            self.waiters += 1;
            let waiter = Waiter(self.waiters);
            self.open.insert(waiter, format!("w{}", self.waiters));
            waiter
        }

        fn close(&mut self, waiter: Waiter) -> String {
            self.open.remove(&waiter).unwrap_or_else(|| panic!("{waiter:?} is answered twice"))
        }

        /// Stores what is to be stored and tells every answer.
        fn flush(&mut self) {
            while let Some(store) = self.effects.stores.pop_front() {
                let outcome = self.fail.take().map_or(Ok(()), Err);
                match &outcome {
                    Ok(()) => store.records.iter().for_each(|record| {
                        let line = format!("  log {}", describe_record(record));
                        self.say(line);
                        self.log.push(record.clone());
                    }),
                    Err(error) => self.say(format!("  log refused: {error}")),
                }
                let now = self.now();
                self.groups.stored(now, &self.limits, store, outcome, &mut self.effects);
            }
            for (waiter, answer) in std::mem::take(&mut self.effects.joined) {
                let name = self.close(waiter);
                self.say(match answer {
                    Err(refused) => {
                        format!("  {name} join refused: {} member={}", refused.error, refused.member)
                    }
                    Ok(joined) => {
                        let members =
                            joined.members.iter().map(|it| format!("{}:{}", it.id, text(&it.metadata)));
                        let members: Vec<String> = members.collect();
                        format!(
                            "  {name} joined {} generation={} {}/{} leader={} members=[{}]{}",
                            joined.member,
                            joined.generation,
                            joined.protocol_type.unwrap_or_default(),
                            joined.protocol.unwrap_or_default(),
                            joined.leader.map_or("-".to_owned(), |id| id.to_string()),
                            members.join(" "),
                            if joined.skip_assignment { " skip" } else { "" },
                        )
                    }
                });
            }
            for (waiter, answer) in std::mem::take(&mut self.effects.synced) {
                let name = self.close(waiter);
                self.say(match answer {
                    Err(error) => format!("  {name} sync refused: {error}"),
                    Ok(synced) => format!("  {name} synced {:?}", text(&synced.assignment)),
                });
            }
            for (waiter, answer) in std::mem::take(&mut self.effects.settled) {
                let name = self.close(waiter);
                self.say(match answer {
                    Err(error) => format!("  {name} refused: {error}"),
                    Ok(()) => format!("  {name} stored"),
                });
            }
            self.groups.iter().for_each(|(_, classic, _)| classic.check());
        }

        fn run(&mut self, command: &str) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let (verb, rest) = words.split_first().expect("a command");
            let args = Args::parse(rest);
            let group = GroupId::from(args.1.first().copied().unwrap_or("g"));
            match *verb {
                "join" => self.join(&group, &args),
                "sync" => self.sync(&group, &args),
                "heartbeat" => {
                    let answer = self.groups.heartbeat(self.now(), &group, &claim(&args));
                    self.say(answer.map_or_else(|error| format!("  refused: {error}"), |()| "  ok".into()));
                }
                "leave" => self.leave(&group, &args),
                "commit" => self.commit(&group, &args),
                "fetch" => self.fetch(&group),
                "delete" => {
                    let waiter = self.waiter();
                    if let Err(error) = self.groups.delete(&group, waiter, &mut self.effects) {
                        let name = self.close(waiter);
                        self.say(format!("  {name} refused: {error}"));
                    }
                }
                "forget" => {
                    let now = self.now();
                    let next = self.groups.forget_expired(now, &self.limits, None, 100, &mut self.effects);
                    assert_eq!(next, None);
                }
                "forget-topic" => {
                    self.groups.forget_topics(|topic| args.1.contains(&topic), &mut self.effects);
                }
                "describe" => self.describe(&group),
                "wait" => self.wait(args.1[0].parse().expect("milliseconds")),
                "fail" => self.fail = Some(GroupError::NotAvailable),
                "set" => {
                    self.limits.size_max = args.number("max-size", self.limits.size_max);
                    let delay = self.limits.initial_rebalance_delay_ms;
                    self.limits.initial_rebalance_delay_ms = args.number("initial-delay", delay);
                }
                "restart" => self.restart(),
                verb => panic!("no command {verb}"),
            }
            self.flush();
            let now = self.now();
            self.groups.expire(now, &self.limits, &mut self.effects);
            self.flush();
        }

        fn join(&mut self, group: &GroupId, args: &Args<'_>) {
            let version: i16 = args.number("v", 9);
            self.ids += 1;
            let protocol = |(name, metadata): (&str, &str)| Protocol {
                name: name.to_owned(),
                metadata: Bytes::copy_from_slice(metadata.as_bytes()),
            };
            let join = Join {
                member: member(args.1.get(1).copied().unwrap_or("_")),
                instance: args.0.get("instance").map(|name| (*name).into()),
                client_id: args.get("client", "c").to_owned(),
                client_host: args.get("host", "/127.0.0.1").to_owned(),
                rebalance_timeout_ms: args.number("rebalance", 60_000),
                session_timeout_ms: args.number("session", 10_000),
                protocol_type: args.get("type", "consumer").to_owned(),
                protocols: pairs(args.get("protocols", "range:m")).map(protocol).collect(),
                needs_id: version >= 4,
                may_skip: version >= 9,
                reason: "test".to_owned(),
                fresh: uuid::Uuid::from_u128(self.ids),
            };
            let (waiter, now) = (self.waiter(), self.now());
            self.groups.join(now, &self.limits, group, join, waiter, &mut self.effects);
        }

        fn sync(&mut self, group: &GroupId, args: &Args<'_>) {
            let assignment = pairs(args.get("assign", ""))
                .map(|(id, bytes)| (member(id), Bytes::copy_from_slice(bytes.as_bytes())))
                .collect();
            let sync = Sync {
                claim: claim(args),
                protocol_type: args.0.get("type").map(|text| (*text).to_owned()),
                protocol: args.0.get("protocol").map(|text| (*text).to_owned()),
                assignment,
            };
            let (waiter, now) = (self.waiter(), self.now());
            self.groups.sync(now, group, sync, waiter, &mut self.effects);
        }

        fn leave(&mut self, group: &GroupId, args: &Args<'_>) {
            let leaving = |name: &&str| match name.strip_prefix('@') {
                Some(instance) => Leaving {
                    member: MemberId::from(""),
                    instance: Some(instance.into()),
                    reason: String::new(),
                },
                None => Leaving { member: member(name), instance: None, reason: String::new() },
            };
            let leaving: Vec<Leaving> = args.1[1..].iter().map(leaving).collect();
            let now = self.now();
            for answer in self.groups.leave(now, &self.limits, group, &leaving, &mut self.effects) {
                self.say(answer.map_or_else(|error| format!("  refused: {error}"), |()| "  left".into()));
            }
        }

        fn commit(&mut self, group: &GroupId, args: &Args<'_>) {
            let offset = |(place, text): (&&str, &&str)| {
                let (topic, partition) = place.rsplit_once('/')?;
                let (offset, metadata) = text.split_once(':').unwrap_or((text, ""));
                Some(OffsetToCommit {
                    topic: topic.to_owned(),
                    partition: partition.parse().expect("a partition"),
                    offset: offset.parse().expect("an offset"),
                    leader_epoch: 3,
                    metadata: metadata.to_owned(),
                })
            };
            let commit = Commit {
                claim: claim(args),
                retention_ms: args.0.get("retention").map(|text| text.parse().expect("milliseconds")),
                knows_not_found: args.number::<i16>("v", 9) >= 9,
                offsets: args.0.iter().filter_map(offset).collect(),
            };
            let (waiter, now) = (self.waiter(), self.now());
            match self.groups.commit(now, &self.limits, group, commit, waiter, &mut self.effects) {
                Ok(answers) => {
                    for answer in answers.into_iter().filter_map(Result::err) {
                        self.say(format!("  offset refused: {answer}"));
                    }
                }
                Err(error) => {
                    let name = self.close(waiter);
                    self.say(format!("  {name} refused: {error}"));
                }
            }
        }

        fn fetch(&mut self, group: &GroupId) {
            let lines: Vec<String> = match self.groups.get(group.as_str()) {
                None => vec!["  no group".into()],
                Some((_, offsets)) => {
                    let line = |(topic, partition, value): (&str, i32, &_)| {
                        format!("  {topic}/{partition} {value:?}")
                    };
                    offsets.iter().map(line).collect()
                }
            };
            lines.into_iter().for_each(|line| self.say(line));
        }

        fn describe(&mut self, group: &GroupId) {
            let Some((classic, _)) = self.groups.get(group.as_str()) else { return self.say("  no group") };
            let mut lines = vec![format!(
                "  {} generation={} {}/{}",
                classic.state().name(),
                classic.generation(),
                classic.protocol_type().unwrap_or("-"),
                classic.protocol().unwrap_or("-"),
            )];
            lines.extend(classic.members().map(|(id, member)| {
                let instance = member.instance.as_ref().map_or(String::new(), |name| format!(" @{name}"));
                format!(
                    "  {id}{instance} {} {} has {:?}",
                    member.client_id,
                    member.client_host,
                    text(&member.assignment)
                )
            }));
            lines.into_iter().for_each(|line| self.say(line));
        }

        /// Time passes, stopping at every deadline.
        fn wait(&mut self, ms: u64) {
            let end = self.tick_ms + ms;
            while let Some(at) = self.groups.next_deadline().filter(|at| *at <= end) {
                self.tick_ms = self.tick_ms.max(at);
                let (now, before) = (self.now(), self.out.len());
                self.groups.expire(now, &self.limits, &mut self.effects);
                self.flush();
                if self.out.len() > before {
                    let line = format!("  at {}:\n", self.tick_ms);
                    self.out.insert_str(before, &line);
                }
            }
            self.tick_ms = end;
        }

        fn replayed(&self) -> Groups {
            let mut groups = Groups::default();
            for record in &self.log {
                let (key, value) = record.encode().expect("a record that was written");
                let value = value.map(Bytes::from);
                let read =
                    Record::decode(&Bytes::from(key), value.as_ref()).expect("a record that was written");
                groups.apply(read.expect("a record of ours"));
            }
            groups
        }

        fn compare(&self) {
            let found = self.groups.dump().differences(&self.replayed().dump());
            assert!(
                found.is_empty(),
                "live state differs from its replay:\n{}\n{}",
                found.join("\n"),
                self.out
            );
        }

        fn restart(&mut self) {
            self.compare();
            self.groups = self.replayed();
            self.open.clear();
            let now = self.now();
            self.groups.begin(now, &self.limits, &mut self.effects);
        }
    }

    fn claim(args: &Args<'_>) -> Claim {
        Claim {
            member: member(args.1.get(1).copied().unwrap_or("_")),
            instance: args.0.get("instance").map(|name| (*name).into()),
            generation: args.number("generation", -1),
        }
    }

    fn describe_record(record: &Record) -> String {
        match record {
            Record::Offset { topic, partition, value: None, .. } => format!("{topic}/{partition} tombstone"),
            Record::Offset { topic, partition, value: Some(value), .. } => {
                format!("{topic}/{partition} = {} {:?}", value.offset, value.metadata)
            }
            Record::Group { group, value: None } => format!("group {group} tombstone"),
            Record::Group { group, value: Some(value) } => {
                let members = value.members.iter().map(|member| {
                    let instance = member.instance.as_ref().map_or(String::new(), |name| format!("@{name}"));
                    format!(
                        "{}{instance}:{}={}",
                        member.id,
                        text(&member.subscription),
                        text(&member.assignment)
                    )
                });
                let members: Vec<String> = members.collect();
                format!(
                    "group {group} generation={} {}/{} leader={} [{}]",
                    value.generation,
                    value.protocol_type,
                    value.protocol.as_deref().unwrap_or("-"),
                    value.leader.as_ref().map_or("-".to_owned(), |id| id.to_string()),
                    members.join(" ")
                )
            }
        }
    }

    /// Runs a transcript and compares every event; lines that are neither command nor event are its text.
    #[allow(clippy::disallowed_methods, reason = "a test that writes its own expectations when asked to")]
    fn transcript(name: &str, expected: &str) {
        let mut machine = Machine::new();
        for line in expected.lines().filter(|line| !line.starts_with("  ")) {
            machine.out.push_str(line);
            machine.out.push('\n');
            if let Some(command) = line.strip_prefix("> ") {
                machine.run(command);
            }
        }
        machine.compare();
        if std::env::var_os("FIRN_BLESS").is_some() {
            let path = format!("{}/src/coordinator/group/transcripts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, &machine.out).expect("the transcript is written");
            return;
        }
        let mut lines = machine.out.lines().zip(expected.lines()).enumerate();
        if let Some((at, (got, wanted))) = lines.find(|(_, (got, wanted))| got != wanted) {
            panic!("{name}.txt:{}: expected {wanted:?}, got {got:?}\n{}", at + 1, machine.out);
        }
        assert_eq!(machine.out.lines().count(), expected.lines().count(), "{name}.txt:\n{}", machine.out);
    }

    macro_rules! transcripts {
        ($($name:ident),* $(,)?) => {
            $(
                #[test]
                fn $name() {
                    transcript(stringify!($name), include_str!(concat!("transcripts/", stringify!($name), ".txt")));
                }
            )*
        };
    }

    transcripts![
        joining,
        rejoining,
        leaving,
        syncing,
        timeouts,
        static_members,
        commits,
        deletion,
        limits,
        restarts,
        failures,
        protocols
    ];
}
