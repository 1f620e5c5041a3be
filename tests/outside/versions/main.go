// Speaks every advertised (key, version) to a broker with franz-go, a client that nobody here wrote, and checks what
// each answer says. It reads ApiVersions first, so that a version nobody exercised cannot be advertised unseen.
// It starts no broker (tests/outside/run does) and knows Firnline only by its address.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// How long one (key, version) may take before it counts as failed.
const patience = 60 * time.Second

func main() {
	broker := flag.String("broker", "127.0.0.1:9092", "host:port of the broker to speak to")
	write := flag.String("write", "", "file to write the evidence to, if nothing failed")
	flag.Parse()
	if err := run(*broker, *write); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(broker, write string) error {
	s, err := open(broker)
	if err != nil {
		return err
	}
	defer s.free.Close()
	var spoken []row
	good, bad := 0, 0
	for _, api := range s.advertised {
		name := kmsg.NameForKey(api.ApiKey)
		seen := row{key: api.ApiKey, name: name, min: api.MinVersion, max: api.MaxVersion}
		for version := api.MinVersion; version <= api.MaxVersion; version++ {
			if err := speak(s, api.ApiKey, version); err != nil {
				fmt.Printf("%-2d %s v%d FAIL %v\n", api.ApiKey, name, version, err)
				bad++
				continue
			}
			fmt.Printf("%-2d %s v%d ok\n", api.ApiKey, name, version)
			good++
		}
		spoken = append(spoken, seen)
	}
	fmt.Printf("%d (key, version) ok, %d failed\n", good, bad)
	if bad > 0 {
		return fmt.Errorf("%d of %d failed", bad, good+bad)
	}
	if write == "" {
		return nil
	}
	return os.WriteFile(write, []byte(table(spoken)), 0o644)
}

// One (key, version): the check of that key through a client that can speak no other version of it.
func speak(s *scene, key, version int16) (err error) {
	// An answer that lacks what a check reads, such as its only topic, is a failure like any other.
	defer func() {
		if missing := recover(); missing != nil {
			err = fmt.Errorf("the answer is not what was asked for: %v", missing)
		}
	}()
	check, known := checks[key]
	if !known {
		return fmt.Errorf("advertised, but this program has no check for it")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p, err := s.pin(key, version)
	if err != nil {
		return err
	}
	defer p.client.Close()
	if err := check(ctx, s, p); err != nil {
		return err
	}
	return p.wire.only(key, version)
}

type check func(context.Context, *scene, *pinned) error

var checks = map[int16]check{
	0: produce, 1: fetch, 2: listOffsets, 3: metadata,
	8: offsetCommit, 9: offsetFetch, 10: findCoordinator, 11: joinGroup, 12: heartbeat, 13: leaveGroup, 14: syncGroup,
	15: describeGroups, 16: listGroups, 18: apiVersions, 19: createTopics, 20: deleteTopics, 21: deleteRecords,
	22: initProducerID, 23: offsetForLeaderEpoch, 32: describeConfigs, 35: describeLogDirs, 37: createPartitions,
	34: alterReplicaLogDirs, 42: deleteGroups, 47: offsetDelete, 61: describeProducers, 43: electLeaders, 44: incrementalAlterConfigs, 45: alterPartitionAssignments,
	46: listPartitionReassignments, 55: describeQuorum, 57: updateFeatures, 60: describeCluster, 64: unregisterBroker,
	75: describeTopicPartitions, 80: addRaftVoter, 81: removeRaftVoter,
}
