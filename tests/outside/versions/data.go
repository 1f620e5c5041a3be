// Records: written, read back, found by time and by epoch, deleted, and the identity of who wrote them.
// What one pinned client wrote, a free one reads, and the other way round.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Below this, Produce is advertised for the sake of old clients that look at the range, and refused.
const producedFrom = 3

func produce(ctx context.Context, s *scene, p *pinned) error {
	if err := s.topic(ctx, p.name, 1); err != nil {
		return err
	}
	sent := records(p.name, 3)
	if p.version < producedFrom {
		return refused(ctx, s, p)
	}
	if err := send(ctx, sent, p.options...); err != nil {
		return err
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(s.address))
	if err != nil {
		return err
	}
	defer reader.Close()
	return readBack(ctx, reader, sent)
}

// A message set of old is answered with UNSUPPORTED_VERSION, and nothing of it is kept.
func refused(ctx context.Context, s *scene, p *pinned) error {
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = (&kmsg.MessageV0{Key: []byte("key"), Value: []byte("value")}).AppendTo(nil)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = p.name, []kmsg.ProduceRequestTopicPartition{partition}
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis, request.Topics = 1, 10_000, []kmsg.ProduceRequestTopic{topic}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	err = code(answer.Topics[0].Partitions[0].ErrorCode)
	if !errors.Is(err, kerr.UnsupportedVersion) {
		return fmt.Errorf("answered with %v", err)
	}
	end, err := s.offset(ctx, s.seed(), p.name, -1)
	return first(err, want("the log's end", end, 0))
}

func fetch(ctx context.Context, s *scene, p *pinned) error {
	sent, err := s.written(ctx, p.name, 5)
	if err != nil {
		return err
	}
	return readBack(ctx, p.client, sent)
}

// Where the log of partition 0 has this time, by ListOffsets; -1 for nowhere.
func (s *scene) offset(ctx context.Context, by kmsg.Requestor, name string, at int64) (int64, error) {
	partition := kmsg.NewListOffsetsRequestTopicPartition()
	partition.Timestamp = at
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic, topic.Partitions = name, []kmsg.ListOffsetsRequestTopicPartition{partition}
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID, request.Topics = -1, []kmsg.ListOffsetsRequestTopic{topic}
	answer, err := request.RequestWith(ctx, by)
	if err != nil {
		return 0, err
	}
	found := answer.Topics[0].Partitions[0]
	return found.Offset, code(found.ErrorCode)
}

func listOffsets(ctx context.Context, s *scene, p *pinned) error {
	if _, err := s.written(ctx, p.name, 3); err != nil {
		return err
	}
	places := []struct {
		from      int16
		at, found int64
	}{
		{1, -1, 3}, {1, -2, 0}, {1, firstTime + 1, 1}, {1, firstTime + 9_000, -1},
		{7, -3, 2}, {8, -4, 0}, {9, -5, -1},
	}
	for _, place := range places {
		if p.version < place.from {
			continue
		}
		found, err := s.offset(ctx, p.seed(), p.name, place.at)
		if err := first(err, want(fmt.Sprintf("the offset of time %d", place.at), found, place.found)); err != nil {
			return err
		}
	}
	return nil
}

func deleteRecords(ctx context.Context, s *scene, p *pinned) error {
	if _, err := s.written(ctx, p.name, 3); err != nil {
		return err
	}
	partition := kmsg.NewDeleteRecordsRequestTopicPartition()
	partition.Offset = 2
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic, topic.Partitions = p.name, []kmsg.DeleteRecordsRequestTopicPartition{partition}
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis, request.Topics = 30_000, []kmsg.DeleteRecordsRequestTopic{topic}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	done := answer.Topics[0].Partitions[0]
	start, err := s.offset(ctx, s.seed(), p.name, -2)
	return first(code(done.ErrorCode), err, want("the low watermark", done.LowWatermark, 2), want("the log's start", start, 2))
}

func initProducerID(ctx context.Context, s *scene, p *pinned) error {
	var ids []int64
	for range 2 {
		request := kmsg.NewPtrInitProducerIDRequest()
		request.TransactionTimeoutMillis = 60_000
		answer, err := request.RequestWith(ctx, p.seed())
		if err != nil {
			return err
		}
		if err := first(code(answer.ErrorCode), want("the epoch", answer.ProducerEpoch, 0)); err != nil {
			return err
		}
		ids = append(ids, answer.ProducerID)
	}
	if ids[0] < 0 || ids[0] == ids[1] {
		return fmt.Errorf("producer ids %v", ids)
	}
	// An idempotent producer that got its identity in this version.
	if err := s.topic(ctx, p.name, 1); err != nil {
		return err
	}
	sent := records(p.name, 3)
	if err := send(ctx, sent, p.options...); err != nil {
		return err
	}
	return readBack(ctx, p.client, sent)
}

func describeProducers(ctx context.Context, s *scene, p *pinned) error {
	if _, err := s.written(ctx, p.name, 3); err != nil {
		return err
	}
	topic := kmsg.NewDescribeProducersRequestTopic()
	topic.Topic, topic.Partitions = p.name, []int32{0, 99}
	request := kmsg.NewPtrDescribeProducersRequest()
	request.Topics = []kmsg.DescribeProducersRequestTopic{topic}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	partitions := answer.Topics[0].Partitions
	if err := first(code(partitions[0].ErrorCode), want("producers", len(partitions[0].ActiveProducers), 1)); err != nil {
		return err
	}
	return first(want("the last sequence", partitions[0].ActiveProducers[0].LastSequence, 2),
		want("an unknown partition's error", code(partitions[1].ErrorCode), error(kerr.UnknownTopicOrPartition)))
}

func offsetForLeaderEpoch(ctx context.Context, s *scene, p *pinned) error {
	if _, err := s.written(ctx, p.name, 3); err != nil {
		return err
	}
	seen, err := s.look(ctx, p.name)
	if err != nil {
		return err
	}
	epoch := seen.Partitions[0].LeaderEpoch
	for _, asked := range []struct {
		epoch int32
		end   int64
	}{{epoch, 3}, {epoch + 1, -1}} {
		partition := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		partition.LeaderEpoch = asked.epoch
		topic := kmsg.NewOffsetForLeaderEpochRequestTopic()
		topic.Topic, topic.Partitions = p.name, []kmsg.OffsetForLeaderEpochRequestTopicPartition{partition}
		request := kmsg.NewPtrOffsetForLeaderEpochRequest()
		request.ReplicaID, request.Topics = -1, []kmsg.OffsetForLeaderEpochRequestTopic{topic}
		answer, err := request.RequestWith(ctx, p.seed())
		if err != nil {
			return err
		}
		found := answer.Topics[0].Partitions[0]
		if err := first(code(found.ErrorCode), want("the epoch's end", found.EndOffset, asked.end)); err != nil {
			return err
		}
	}
	return nil
}
