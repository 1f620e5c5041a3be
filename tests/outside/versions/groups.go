// Consumer groups, classic protocol: found, joined, kept, left, described, and the offsets they commit.
// Each (key, version) has a group of its own; the steps around the pinned one are the free client's.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A member of a group, as the group told it.
type member struct {
	group, id  string
	generation int32
}

func joining(group, id string, instance *string) *kmsg.JoinGroupRequest {
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", []byte("metadata")
	request := kmsg.NewPtrJoinGroupRequest()
	request.Group, request.MemberID, request.InstanceID = group, id, instance
	request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = 30_000, 30_000
	request.ProtocolType, request.Protocols = "consumer", []kmsg.JoinGroupRequestProtocol{protocol}
	return request
}

// Joins; a member that is told to come again with an id does so.
func join(ctx context.Context, by kmsg.Requestor, group string, instance *string) (*kmsg.JoinGroupResponse, int, error) {
	answer, err := joining(group, "", instance).RequestWith(ctx, by)
	if err != nil || answer.ErrorCode != kerr.MemberIDRequired.Code {
		return answer, 1, err
	}
	answer, err = joining(group, answer.MemberID, instance).RequestWith(ctx, by)
	return answer, 2, err
}

func assigned(ctx context.Context, by kmsg.Requestor, who member) (*kmsg.SyncGroupResponse, error) {
	assignment := kmsg.NewSyncGroupRequestGroupAssignment()
	assignment.MemberID, assignment.MemberAssignment = who.id, []byte("assignment")
	request := kmsg.NewPtrSyncGroupRequest()
	request.Group, request.Generation, request.MemberID = who.group, who.generation, who.id
	request.ProtocolType, request.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	request.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{assignment}
	return request.RequestWith(ctx, by)
}

func beat(ctx context.Context, by kmsg.Requestor, who member, generation int32) (error, error) {
	request := kmsg.NewPtrHeartbeatRequest()
	request.Group, request.Generation, request.MemberID = who.group, generation, who.id
	answer, err := request.RequestWith(ctx, by)
	if err != nil {
		return nil, err
	}
	return code(answer.ErrorCode), nil
}

// The first question makes the groups' topic, which is replayed before a coordinator serves: ask until it does.
func (s *scene) coordinated(ctx context.Context, group string) error {
	for {
		request := kmsg.NewPtrFindCoordinatorRequest()
		request.CoordinatorKey, request.CoordinatorKeys = group, []string{group}
		found, err := request.RequestWith(ctx, s.seed())
		if err != nil {
			return err
		}
		told, err := beat(ctx, s.seed(), member{group: group, id: "nobody"}, 1)
		if err != nil {
			return err
		}
		if found.Coordinators[0].ErrorCode == 0 && told == error(kerr.UnknownMemberID) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no coordinator: %v", told)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A member that joined a group of its own by the free client.
func (s *scene) joined(ctx context.Context, group string) (member, error) {
	if err := s.coordinated(ctx, group); err != nil {
		return member{}, err
	}
	answer, _, err := join(ctx, s.seed(), group, nil)
	if err != nil {
		return member{}, err
	}
	return member{group: group, id: answer.MemberID, generation: answer.Generation}, code(answer.ErrorCode)
}

// The same, with its assignment.
func (s *scene) stable(ctx context.Context, group string) (member, error) {
	who, err := s.joined(ctx, group)
	if err != nil {
		return who, err
	}
	answer, err := assigned(ctx, s.seed(), who)
	if err != nil {
		return who, err
	}
	return who, code(answer.ErrorCode)
}

func findCoordinator(ctx context.Context, s *scene, p *pinned) error {
	if err := s.coordinated(ctx, p.name); err != nil {
		return err
	}
	ask := func(kind int8) (string, int16, error) {
		request := kmsg.NewPtrFindCoordinatorRequest()
		request.CoordinatorType, request.CoordinatorKey, request.CoordinatorKeys = kind, p.name, []string{p.name}
		answer, err := request.RequestWith(ctx, p.seed())
		if err != nil {
			return "", 0, err
		}
		if p.version >= 4 {
			found := answer.Coordinators[0]
			return fmt.Sprintf("%s:%d", found.Host, found.Port), found.ErrorCode, nil
		}
		return fmt.Sprintf("%s:%d", answer.Host, answer.Port), answer.ErrorCode, nil
	}
	at, told, err := ask(0)
	err = first(err, code(told), want("the coordinator", at, s.address))
	if err != nil || p.version < 1 {
		return err
	}
	_, told, err = ask(1)
	return first(err, want("for a transaction, the error", code(told), error(kerr.TransactionalIDAuthorizationFailed)))
}

func joinGroup(ctx context.Context, s *scene, p *pinned) error {
	if err := s.coordinated(ctx, p.name); err != nil {
		return err
	}
	answer, asked, err := join(ctx, p.seed(), p.name, nil)
	if err != nil {
		return err
	}
	wanted := 1
	if p.version >= 4 {
		wanted = 2
	}
	err = first(code(answer.ErrorCode), want("requests to join", asked, wanted), want("the generation", answer.Generation, 1),
		want("the leader", answer.LeaderID, answer.MemberID), want("the protocol", text(answer.Protocol), "range"),
		want("members", len(answer.Members), 1))
	if err != nil {
		return err
	}
	err = first(want("the member's id", answer.Members[0].MemberID, answer.MemberID),
		want("the member's metadata", string(answer.Members[0].ProtocolMetadata), "metadata"))
	if p.version >= 7 {
		err = first(err, want("the protocol's type", text(answer.ProtocolType), "consumer"))
	}
	if err != nil || p.version < 5 {
		return err
	}
	return joinStatic(ctx, s, p)
}

// A member with a name of its own joins without being sent for an id, and comes back without a rebalance.
func joinStatic(ctx context.Context, s *scene, p *pinned) error {
	group, instance := p.name+"-static", "instance"
	if err := s.coordinated(ctx, group); err != nil {
		return err
	}
	answer, asked, err := join(ctx, p.seed(), group, &instance)
	if err != nil {
		return err
	}
	if err := first(code(answer.ErrorCode), want("requests to join", asked, 1), want("members", len(answer.Members), 1),
		want("the instance", text(answer.Members[0].InstanceID), instance)); err != nil {
		return err
	}
	synced, err := assigned(ctx, s.seed(), member{group, answer.MemberID, answer.Generation})
	if err != nil {
		return err
	}
	if err := code(synced.ErrorCode); err != nil {
		return err
	}
	again, _, err := join(ctx, p.seed(), group, &instance)
	if err != nil {
		return err
	}
	if err := first(code(again.ErrorCode), want("the generation", again.Generation, answer.Generation),
		want("the same id twice", again.MemberID == answer.MemberID, false)); err != nil {
		return err
	}
	if p.version >= 9 {
		return want("told to skip the assignment", again.SkipAssignment, true)
	}
	return nil
}

func syncGroup(ctx context.Context, s *scene, p *pinned) error {
	who, err := s.joined(ctx, p.name)
	if err != nil {
		return err
	}
	answer, err := assigned(ctx, p.seed(), who)
	if err != nil {
		return err
	}
	err = first(code(answer.ErrorCode), want("the assignment", string(answer.MemberAssignment), "assignment"))
	if err == nil && p.version >= 5 {
		err = first(want("the protocol's type", text(answer.ProtocolType), "consumer"), want("the protocol", text(answer.Protocol), "range"))
	}
	return err
}

func heartbeat(ctx context.Context, s *scene, p *pinned) error {
	who, err := s.stable(ctx, p.name)
	if err != nil {
		return err
	}
	told, err := beat(ctx, p.seed(), who, who.generation)
	if err := first(err, told); err != nil {
		return err
	}
	told, err = beat(ctx, p.seed(), who, who.generation+1)
	return first(err, want("in a generation to come, the error", told, error(kerr.IllegalGeneration)))
}

func leaveGroup(ctx context.Context, s *scene, p *pinned) error {
	who, err := s.stable(ctx, p.name)
	if err != nil {
		return err
	}
	leaver := kmsg.NewLeaveGroupRequestMember()
	leaver.MemberID = who.id
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Group, request.MemberID, request.Members = who.group, who.id, []kmsg.LeaveGroupRequestMember{leaver}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	if err := code(answer.ErrorCode); err != nil {
		return err
	}
	if p.version >= 3 {
		if err := first(want("members answered", len(answer.Members), 1), code(answer.Members[0].ErrorCode)); err != nil {
			return err
		}
	}
	told, err := beat(ctx, s.seed(), who, who.generation)
	return first(err, want("after it left, the error", told, error(kerr.UnknownMemberID)))
}

func commit(ctx context.Context, by kmsg.Requestor, group, topic string, offset int64) error {
	partition := kmsg.NewOffsetCommitRequestTopicPartition()
	partition.Partition, partition.Offset, partition.Metadata = 0, offset, kmsg.StringPtr("kept")
	one := kmsg.NewOffsetCommitRequestTopic()
	one.Topic, one.Partitions = topic, []kmsg.OffsetCommitRequestTopicPartition{partition}
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.Generation, request.Topics = group, -1, []kmsg.OffsetCommitRequestTopic{one}
	answer, err := request.RequestWith(ctx, by)
	if err != nil {
		return err
	}
	return code(answer.Topics[0].Partitions[0].ErrorCode)
}

// What a group committed for partition 0, as "offset metadata".
func committed(ctx context.Context, by kmsg.Requestor, group, topic string) (string, error) {
	one := kmsg.NewOffsetFetchRequestTopic()
	one.Topic, one.Partitions = topic, []int32{0}
	inGroup := kmsg.NewOffsetFetchRequestGroupTopic()
	inGroup.Topic, inGroup.Partitions = topic, []int32{0}
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group, asked.Topics = group, []kmsg.OffsetFetchRequestGroupTopic{inGroup}
	request := kmsg.NewPtrOffsetFetchRequest()
	request.Group, request.Topics = group, []kmsg.OffsetFetchRequestTopic{one}
	request.Groups = []kmsg.OffsetFetchRequestGroup{asked}
	answer, err := request.RequestWith(ctx, by)
	if err != nil {
		return "", err
	}
	if len(answer.Groups) > 0 {
		found := answer.Groups[0].Topics[0].Partitions[0]
		return fmt.Sprint(found.Offset, " ", text(found.Metadata)), first(code(answer.Groups[0].ErrorCode), code(found.ErrorCode))
	}
	found := answer.Topics[0].Partitions[0]
	return fmt.Sprint(found.Offset, " ", text(found.Metadata)), first(code(answer.ErrorCode), code(found.ErrorCode))
}

func offsetCommit(ctx context.Context, s *scene, p *pinned) error {
	if err := first(s.coordinated(ctx, p.name), s.topic(ctx, p.name, 1), commit(ctx, p.seed(), p.name, p.name, 77)); err != nil {
		return err
	}
	found, err := committed(ctx, s.seed(), p.name, p.name)
	return first(err, want("committed", found, "77 kept"))
}

func offsetFetch(ctx context.Context, s *scene, p *pinned) error {
	if err := first(s.coordinated(ctx, p.name), s.topic(ctx, p.name, 1), commit(ctx, s.seed(), p.name, p.name, 78)); err != nil {
		return err
	}
	found, err := committed(ctx, p.seed(), p.name, p.name)
	if err := first(err, want("committed", found, "78 kept")); err != nil {
		return err
	}
	found, err = committed(ctx, p.seed(), p.name+"-nobody", p.name)
	return first(err, want("by a group nobody knows, committed", found, "-1 "))
}

func describeGroups(ctx context.Context, s *scene, p *pinned) error {
	who, err := s.stable(ctx, p.name)
	if err != nil {
		return err
	}
	request := kmsg.NewPtrDescribeGroupsRequest()
	request.Groups = []string{who.group, who.group + "-nobody"}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	known, unknown := answer.Groups[0], answer.Groups[1]
	if err := first(code(known.ErrorCode), want("the state", known.State, "Stable"), want("the type", known.ProtocolType, "consumer"),
		want("the protocol", known.Protocol, "range"), want("members", len(known.Members), 1)); err != nil {
		return err
	}
	var missing error
	if p.version >= 6 {
		missing = kerr.GroupIDNotFound
	}
	only := known.Members[0]
	return first(want("the member", only.MemberID, who.id), want("its metadata", string(only.ProtocolMetadata), "metadata"),
		want("its assignment", string(only.MemberAssignment), "assignment"), want("a group nobody knows", unknown.State, "Dead"),
		want("its error", code(unknown.ErrorCode), missing))
}

func listGroups(ctx context.Context, s *scene, p *pinned) error {
	who, err := s.stable(ctx, p.name)
	if err != nil {
		return err
	}
	ask := func(state string) (bool, error) {
		request := kmsg.NewPtrListGroupsRequest()
		request.StatesFilter, request.TypesFilter = []string{state}, []string{"classic"}
		answer, err := request.RequestWith(ctx, p.seed())
		if err != nil {
			return false, err
		}
		if err := code(answer.ErrorCode); err != nil {
			return false, err
		}
		for _, group := range answer.Groups {
			if group.Group != who.group {
				continue
			}
			err := want("the type", group.ProtocolType, "consumer")
			if p.version >= 4 {
				err = first(err, want("the state", group.GroupState, "Stable"))
			}
			if p.version >= 5 {
				err = first(err, want("the kind of group", group.GroupType, "classic"))
			}
			return true, err
		}
		return false, nil
	}
	listed, err := ask("Stable")
	if err := first(err, want("listed", listed, true)); err != nil || p.version < 4 {
		return err
	}
	listed, err = ask("Empty")
	return first(err, want("listed among empty groups", listed, false))
}

func offsetDelete(ctx context.Context, s *scene, p *pinned) error {
	if err := first(s.coordinated(ctx, p.name), s.topic(ctx, p.name, 1), commit(ctx, s.seed(), p.name, p.name, 79)); err != nil {
		return err
	}
	topic := kmsg.NewOffsetDeleteRequestTopic()
	topic.Topic = p.name
	for _, index := range []int32{0, 99} {
		partition := kmsg.NewOffsetDeleteRequestTopicPartition()
		partition.Partition = index
		topic.Partitions = append(topic.Partitions, partition)
	}
	request := kmsg.NewPtrOffsetDeleteRequest()
	request.Group, request.Topics = p.name, []kmsg.OffsetDeleteRequestTopic{topic}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	if err := first(code(answer.ErrorCode), want("topics answered", len(answer.Topics), 1)); err != nil {
		return err
	}
	partitions := answer.Topics[0].Partitions
	found, err := committed(ctx, s.seed(), p.name, p.name)
	return first(err, want("the partition's error", code(partitions[0].ErrorCode), nil),
		want("an unknown partition's error", code(partitions[1].ErrorCode), error(kerr.UnknownTopicOrPartition)),
		want("committed afterwards", found, "-1 "))
}

func deleteGroups(ctx context.Context, s *scene, p *pinned) error {
	busy, err := s.stable(ctx, p.name+"-busy")
	if err != nil {
		return err
	}
	if err := first(s.coordinated(ctx, p.name), s.topic(ctx, p.name, 1), commit(ctx, s.seed(), p.name, p.name, 79)); err != nil {
		return err
	}
	request := kmsg.NewPtrDeleteGroupsRequest()
	request.Groups = []string{p.name, busy.group, p.name + "-nobody"}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	if err := first(want("groups answered", len(answer.Groups), 3)); err != nil {
		return err
	}
	found, err := committed(ctx, s.seed(), p.name, p.name)
	return first(err, want("an idle group's error", code(answer.Groups[0].ErrorCode), nil),
		want("a busy group's error", code(answer.Groups[1].ErrorCode), error(kerr.NonEmptyGroup)),
		want("an unknown group's error", code(answer.Groups[2].ErrorCode), error(kerr.GroupIDNotFound)),
		want("committed afterwards", found, "-1 "))
}
