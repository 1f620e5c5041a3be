// Topics, their settings and the cluster around them. What an answer says was done, the free client must see.
package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func apiVersions(ctx context.Context, s *scene, p *pinned) error {
	request := kmsg.NewPtrApiVersionsRequest()
	request.ClientSoftwareName, request.ClientSoftwareVersion = "versions", "1"
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	if err := first(code(answer.ErrorCode), want("the count of keys", len(answer.ApiKeys), len(s.advertised))); err != nil {
		return err
	}
	for n, api := range answer.ApiKeys {
		told := s.advertised[n]
		same := api.ApiKey == told.ApiKey && api.MinVersion == told.MinVersion && api.MaxVersion == told.MaxVersion
		if !same {
			return fmt.Errorf("row %d is %+v, in another version %+v", n, api, told)
		}
	}
	return nil
}

func metadata(ctx context.Context, s *scene, p *pinned) error {
	if err := s.topic(ctx, p.name, 3); err != nil {
		return err
	}
	seen, err := s.look(ctx, p.name)
	if err != nil {
		return err
	}
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &p.name
	if p.version >= 12 {
		asked.Topic, asked.TopicID = nil, seen.TopicID
	}
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{asked}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	found, broker := answer.Topics[0], answer.Brokers[0]
	err = first(code(found.ErrorCode), want("the name", text(found.Topic), p.name), want("partitions", len(found.Partitions), 3),
		want("the address", fmt.Sprintf("%s:%d", broker.Host, broker.Port), s.address),
		want("the leader", found.Partitions[2].Leader, broker.NodeID), want("replicas", len(found.Partitions[2].Replicas), 1))
	if err != nil {
		return err
	}
	if p.version >= 1 {
		err = want("the controller", answer.ControllerID, broker.NodeID)
	}
	if p.version >= 2 {
		err = first(err, want("the length of the cluster's id", len(text(answer.ClusterID)), 22))
	}
	if p.version >= 10 {
		err = first(err, want("the topic's id", found.TopicID, seen.TopicID))
	}
	return err
}

func createTopics(ctx context.Context, s *scene, p *pinned) error {
	retention := "7654321"
	config := kmsg.NewCreateTopicsRequestTopicConfig()
	config.Name, config.Value = "retention.ms", &retention
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = p.name, 3, 1
	topic.Configs = []kmsg.CreateTopicsRequestTopicConfig{config}
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis, request.Topics = 30_000, []kmsg.CreateTopicsRequestTopic{topic}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	made := answer.Topics[0]
	seen, err := s.look(ctx, p.name)
	if err := first(code(made.ErrorCode), err); err != nil {
		return err
	}
	if seen == nil {
		return fmt.Errorf("the topic is not there")
	}
	value, err := s.config(ctx, s.seed(), p.name, "retention.ms")
	err = first(err, want("partitions", len(seen.Partitions), 3), want("retention.ms", value, retention))
	if p.version >= 5 {
		err = first(err, want("partitions told", made.NumPartitions, 3), want("replicas told", made.ReplicationFactor, 1))
	}
	if p.version >= 7 {
		err = first(err, want("the topic's id", made.TopicID, seen.TopicID))
	}
	return err
}

func deleteTopics(ctx context.Context, s *scene, p *pinned) error {
	names := []string{p.name, p.name + "-by-id"}
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TimeoutMillis = 30_000
	for n := range names {
		if err := s.topic(ctx, names[n], 2); err != nil {
			return err
		}
		seen, err := s.look(ctx, names[n])
		if err != nil {
			return err
		}
		topic := kmsg.NewDeleteTopicsRequestTopic()
		if n == 0 {
			topic.Topic = &names[n]
		} else {
			topic.TopicID = seen.TopicID
		}
		request.TopicNames, request.Topics = append(request.TopicNames, names[n]), append(request.Topics, topic)
	}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	for n, gone := range answer.Topics {
		seen, err := s.look(ctx, names[n])
		if err := first(code(gone.ErrorCode), err, want("the name", text(gone.Topic), names[n]), want("still there", seen != nil, false)); err != nil {
			return err
		}
	}
	return want("topics answered", len(answer.Topics), len(names))
}

func createPartitions(ctx context.Context, s *scene, p *pinned) error {
	if err := s.topic(ctx, p.name, 1); err != nil {
		return err
	}
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = p.name, 4
	request := kmsg.NewPtrCreatePartitionsRequest()
	request.TimeoutMillis, request.Topics = 30_000, []kmsg.CreatePartitionsRequestTopic{topic}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	seen, err := s.look(ctx, p.name)
	if err := first(code(answer.Topics[0].ErrorCode), err); err != nil {
		return err
	}
	return want("partitions", len(seen.Partitions), 4)
}

func describeTopicPartitions(ctx context.Context, s *scene, p *pinned) error {
	if err := s.topic(ctx, p.name, 3); err != nil {
		return err
	}
	topic := kmsg.NewDescribeTopicPartitionsRequestTopic()
	topic.Topic = p.name
	request := kmsg.NewPtrDescribeTopicPartitionsRequest()
	request.Topics, request.ResponsePartitionLimit = []kmsg.DescribeTopicPartitionsRequestTopic{topic}, 2
	var pages []int
	for {
		answer, err := request.RequestWith(ctx, p.seed())
		if err != nil {
			return err
		}
		if err := first(code(answer.Topics[0].ErrorCode)); err != nil {
			return err
		}
		pages = append(pages, len(answer.Topics[0].Partitions))
		if answer.NextCursor == nil {
			return want("partitions by page", fmt.Sprint(pages), "[2 1]")
		}
		cursor := kmsg.NewDescribeTopicPartitionsRequestCursor()
		cursor.Topic, cursor.Partition = answer.NextCursor.Topic, answer.NextCursor.Partition
		request.Cursor = &cursor
	}
}

func describe(ctx context.Context, by kmsg.Requestor, topic, key string) (*kmsg.DescribeConfigsResponseResourceConfig, error) {
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{key}
	request := kmsg.NewPtrDescribeConfigsRequest()
	request.Resources = []kmsg.DescribeConfigsRequestResource{resource}
	request.IncludeSynonyms, request.IncludeDocumentation = true, true
	answer, err := request.RequestWith(ctx, by)
	if err != nil {
		return nil, err
	}
	found := answer.Resources[0]
	if err := first(code(found.ErrorCode), want("keys", len(found.Configs), 1)); err != nil {
		return nil, err
	}
	return &found.Configs[0], nil
}

func (s *scene) config(ctx context.Context, by kmsg.Requestor, topic, key string) (string, error) {
	found, err := describe(ctx, by, topic, key)
	if err != nil {
		return "", err
	}
	return text(found.Value), nil
}

func alter(ctx context.Context, by kmsg.Requestor, topic, key, value string) error {
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Op, config.Value = key, kmsg.IncrementalAlterConfigOpSet, &value
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	resource.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{config}
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	request.Resources = []kmsg.IncrementalAlterConfigsRequestResource{resource}
	answer, err := request.RequestWith(ctx, by)
	if err != nil {
		return err
	}
	return code(answer.Resources[0].ErrorCode)
}

func describeConfigs(ctx context.Context, s *scene, p *pinned) error {
	if err := first(s.topic(ctx, p.name, 1), alter(ctx, s.seed(), p.name, "retention.ms", "7654321")); err != nil {
		return err
	}
	found, err := describe(ctx, p.seed(), p.name, "retention.ms")
	if err != nil {
		return err
	}
	err = first(want("retention.ms", text(found.Value), "7654321"), want("its source", found.Source, kmsg.ConfigSourceDynamicTopicConfig),
		want("synonyms told", len(found.ConfigSynonyms) > 0, true))
	if p.version >= 3 {
		err = first(err, want("its type", found.ConfigType, kmsg.ConfigTypeLong), want("documented", found.Documentation != nil, true))
	}
	return err
}

func incrementalAlterConfigs(ctx context.Context, s *scene, p *pinned) error {
	if err := first(s.topic(ctx, p.name, 1), alter(ctx, p.seed(), p.name, "retention.ms", "1234567")); err != nil {
		return err
	}
	value, err := s.config(ctx, s.seed(), p.name, "retention.ms")
	return first(err, want("retention.ms", value, "1234567"))
}

func describeLogDirs(ctx context.Context, s *scene, p *pinned) error {
	if _, err := s.written(ctx, p.name, 3); err != nil {
		return err
	}
	topic := kmsg.NewDescribeLogDirsRequestTopic()
	topic.Topic, topic.Partitions = p.name, []int32{0, 1}
	request := kmsg.NewPtrDescribeLogDirsRequest()
	request.Topics = []kmsg.DescribeLogDirsRequestTopic{topic}
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	sizes := map[int32]int64{}
	for _, dir := range answer.Dirs {
		if err := code(dir.ErrorCode); err != nil {
			return err
		}
		for _, topic := range dir.Topics {
			for _, partition := range topic.Partitions {
				sizes[partition.Partition] += partition.Size
			}
		}
		if p.version >= 4 && dir.TotalBytes <= 0 {
			return fmt.Errorf("%s holds %d bytes in all", dir.Dir, dir.TotalBytes)
		}
	}
	return first(code(answer.ErrorCode), want("partitions", len(sizes), 2), want("0 holds something", sizes[0] > 0, true),
		want("bytes of 1", sizes[1], 0))
}

func describeCluster(ctx context.Context, s *scene, p *pinned) error {
	request := kmsg.NewPtrDescribeClusterRequest()
	answer, err := request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	if err := first(code(answer.ErrorCode), want("brokers", len(answer.Brokers), 1)); err != nil {
		return err
	}
	broker := answer.Brokers[0]
	err = first(want("the address", fmt.Sprintf("%s:%d", broker.Host, broker.Port), s.address),
		want("the controller", answer.ControllerID, broker.NodeID), want("the length of the cluster's id", len(answer.ClusterID), 22))
	if err != nil || p.version < 1 {
		return err
	}
	// Controllers are not for clients to speak to.
	request.EndpointType = 2
	answer, err = request.RequestWith(ctx, p.seed())
	if err != nil {
		return err
	}
	return first(want("asked for controllers, the error", code(answer.ErrorCode), error(kerr.MismatchedEndpointType)))
}
