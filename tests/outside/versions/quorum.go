// Replicas, leaders, the quorum and its features, asked of a cluster of one: what it can do it does, and what it cannot
// it refuses by the right code. What several brokers make of it is for other tests.
package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// An id that no broker has.
const nobody = 2_000_000_000

func denied(what string, got int16, wanted error) error {
	return want(what, code(got), wanted)
}

func (s *scene) self(ctx context.Context) (int32, error) {
	answer, err := kmsg.NewPtrDescribeClusterRequest().RequestWith(ctx, s.seed())
	if err != nil {
		return 0, err
	}
	return answer.Brokers[0].NodeID, code(answer.ErrorCode)
}

func electLeaders(ctx context.Context, s *scene, p *pinned) error {
	if err := s.topic(ctx, p.name, 2); err != nil {
		return err
	}
	topic := kmsg.NewElectLeadersRequestTopic()
	topic.Topic, topic.Partitions = p.name, []int32{0, 1, 9}
	request := kmsg.NewPtrElectLeadersRequest()
	request.Topics, request.TimeoutMillis = []kmsg.ElectLeadersRequestTopic{topic}, 30_000
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	parts := answer.Topics[0].Partitions
	err = first(code(answer.ErrorCode), want("the topic", answer.Topics[0].Topic, p.name), want("partitions", len(parts), 3),
		denied("the preferred one leads", parts[1].ErrorCode, kerr.ElectionNotNeeded),
		denied("no such partition", parts[2].ErrorCode, kerr.UnknownTopicOrPartition))
	if err != nil {
		return err
	}
	// Of all partitions only those are told where something was to be done.
	request.Topics = nil
	answer, err = request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	return first(code(answer.ErrorCode), want("topics told", len(answer.Topics), 0))
}

func alterPartitionAssignments(ctx context.Context, s *scene, p *pinned) error {
	self, err := s.self(ctx)
	if err := first(err, s.topic(ctx, p.name, 3)); err != nil {
		return err
	}
	request := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	topic := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	topic.Topic = p.name
	for n, replicas := range [][]int32{{self}, {nobody}, nil} {
		partition := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		partition.Partition, partition.Replicas = int32(n), replicas
		topic.Partitions = append(topic.Partitions, partition)
	}
	request.TimeoutMillis, request.Topics = 30_000, []kmsg.AlterPartitionAssignmentsRequestTopic{topic}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	parts := answer.Topics[0].Partitions
	return first(code(answer.ErrorCode), want("partitions", len(parts), 3), code(parts[0].ErrorCode),
		denied("a broker nobody has", parts[1].ErrorCode, kerr.InvalidReplicaAssignment),
		denied("nothing to cancel", parts[2].ErrorCode, kerr.NoReassignmentInProgress))
}

func listPartitionReassignments(ctx context.Context, s *scene, p *pinned) error {
	answer, err := kmsg.NewPtrListPartitionReassignmentsRequest().RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	return first(code(answer.ErrorCode), want("moves", len(answer.Topics), 0))
}

func describeQuorum(ctx context.Context, s *scene, p *pinned) error {
	self, err := s.self(ctx)
	if err != nil {
		return err
	}
	request := kmsg.NewPtrDescribeQuorumRequest()
	for _, name := range []string{"__cluster_metadata", p.name} {
		topic := kmsg.NewDescribeQuorumRequestTopic()
		topic.Topic, topic.Partitions = name, []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}}
		request.Topics = append(request.Topics, topic)
	}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	quorum := answer.Topics[0].Partitions[0]
	return first(code(answer.ErrorCode), code(quorum.ErrorCode), want("the leader", quorum.LeaderID, self),
		want("voters", len(quorum.CurrentVoters), 1), want("the voter", quorum.CurrentVoters[0].ReplicaID, self),
		want("observers", len(quorum.Observers), 0), want("something is committed", quorum.HighWatermark > 0, true),
		want("the voter has it", quorum.CurrentVoters[0].LogEndOffset >= quorum.HighWatermark, true),
		denied("another topic", answer.Topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition))
}

func (s *scene) level(ctx context.Context, feature string) (int16, error) {
	request := kmsg.NewPtrApiVersionsRequest()
	request.ClientSoftwareName, request.ClientSoftwareVersion = "versions", "1"
	answer, err := request.RequestWith(ctx, s.seed())
	if err != nil {
		return 0, err
	}
	for _, found := range answer.FinalizedFeatures {
		if found.Name == feature {
			return found.MaxVersionLevel, nil
		}
	}
	return 0, nil
}

func updateFeatures(ctx context.Context, s *scene, p *pinned) error {
	level, err := s.level(ctx, "firn.level")
	if err := first(err, want("there is a level", level > 0, true)); err != nil {
		return err
	}
	ask := func(feature string, level int16) (int16, error) {
		update := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		update.Feature, update.MaxVersionLevel, update.UpgradeType = feature, level, 1
		request := kmsg.NewPtrUpdateFeaturesRequest()
		request.TimeoutMillis, request.FeatureUpdates = 30_000, []kmsg.UpdateFeaturesRequestFeatureUpdate{update}
		answer, err := request.RequestWith(ctx, p.seed())
		if err != nil || p.version >= 2 || answer.ErrorCode != 0 {
			return answer.ErrorCode, err
		}
		return answer.Results[0].ErrorCode, want("the feature", answer.Results[0].Feature, feature)
	}
	same, err := ask("firn.level", level)
	if err := first(err, code(same)); err != nil {
		return err
	}
	above, err := ask("firn.level", 9_999)
	if err := first(err, denied("a level nobody knows", above, kerr.InvalidUpdateVersion)); err != nil {
		return err
	}
	after, err := s.level(ctx, "firn.level")
	return first(err, want("the level after", after, level))
}

func unregisterBroker(ctx context.Context, s *scene, p *pinned) error {
	request := kmsg.NewPtrUnregisterBrokerRequest()
	request.BrokerID = nobody
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	return denied("a broker nobody has", answer.ErrorCode, kerr.BrokerIDNotRegistered)
}

func addRaftVoter(ctx context.Context, s *scene, p *pinned) error {
	other, listener := "AAAAAAAAAAAAAAAAAAAAAA", kmsg.NewAddRaftVoterRequestListener()
	listener.Name, listener.Host, listener.Port = "CONTROLLER", "127.0.0.1", 9
	request := kmsg.NewPtrAddRaftVoterRequest()
	request.ClusterID, request.VoterID, request.TimeoutMillis = &other, nobody, 5_000
	request.Listeners = []kmsg.AddRaftVoterRequestListener{listener}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	return denied("another cluster", answer.ErrorCode, kerr.InconsistentClusterID)
}

func removeRaftVoter(ctx context.Context, s *scene, p *pinned) error {
	request := kmsg.NewPtrRemoveRaftVoterRequest()
	request.VoterID = nobody
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	return denied("a voter nobody knows", answer.ErrorCode, kerr.VoterNotFound)
}

func alterReplicaLogDirs(ctx context.Context, s *scene, p *pinned) error {
	if err := s.topic(ctx, p.name, 1); err != nil {
		return err
	}
	dirs, err := kmsg.NewPtrDescribeLogDirsRequest().RequestWith(ctx, s.seed())
	if err != nil {
		return err
	}
	request := kmsg.NewPtrAlterReplicaLogDirsRequest()
	for _, name := range []string{dirs.Dirs[0].Dir, "/nowhere"} {
		topic := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
		topic.Topic, topic.Partitions = p.name, []int32{0}
		dir := kmsg.NewAlterReplicaLogDirsRequestDir()
		dir.Dir, dir.Topics = name, []kmsg.AlterReplicaLogDirsRequestDirTopic{topic}
		request.Dirs = append(request.Dirs, dir)
	}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	return first(want("topics", len(answer.Topics), 2), code(answer.Topics[0].Partitions[0].ErrorCode),
		denied("no such directory", answer.Topics[1].Partitions[0].ErrorCode, kerr.LogDirNotFound))
}
