// The broker under test and two ways to speak to it: a free client, which sets scenes up and looks at what became of
// them in the versions it likes best, and pinned ones. Nothing here judges an answer but whether it came.
package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

type scene struct {
	address    string
	run        string // makes names of this run unlike those of any other
	free       *kgo.Client
	advertised []kmsg.ApiVersionsResponseApiKey
}

// A client that can speak one version of one key, and what it put on the wire.
type pinned struct {
	client  *kgo.Client
	wire    *wire
	version int16
	name    string // of a topic or a group that no other check uses
	options []kgo.Opt
}

func open(address string) (*scene, error) {
	free, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		return nil, err
	}
	s := &scene{address: address, run: fmt.Sprintf("%x", time.Now().UnixNano()), free: free}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, s.seed())
	if err != nil {
		return nil, fmt.Errorf("no broker at %s: %w", address, err)
	}
	s.advertised = answer.ApiKeys
	return s, nil
}

// The broker by its address: requests go to it as they are, without the client's retries.
func (s *scene) seed() *kgo.Broker { return s.free.SeedBrokers()[0] }

func (p *pinned) seed() *kgo.Broker { return p.client.SeedBrokers()[0] }

func (s *scene) pin(key, version int16) (*pinned, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(key, version)
	p := &pinned{wire: newWire(), version: version, name: fmt.Sprintf("v-%s-%d-%d", s.run, key, version)}
	p.options = []kgo.Opt{kgo.SeedBrokers(s.address), kgo.MaxVersions(versions), kgo.Dialer(p.wire.dial)}
	client, err := kgo.NewClient(p.options...)
	p.client = client
	return p, err
}

// A further client with the same pin, for what a client is told when it is made.
func (p *pinned) another(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(append([]kgo.Opt{}, p.options...), options...)...)
}

// Makes a topic by the free client.
func (s *scene) topic(ctx context.Context, name string, partitions int32) error {
	request := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	request.Topics, request.TimeoutMillis = append(request.Topics, topic), 30_000
	answer, err := request.RequestWith(ctx, s.seed())
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.Topics[0].ErrorCode)
}

// A topic as the free client sees it; nil if there is none.
func (s *scene) look(ctx context.Context, name string) (*kmsg.MetadataResponseTopic, error) {
	request := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	request.Topics = append(request.Topics, topic)
	answer, err := request.RequestWith(ctx, s.seed())
	if err != nil {
		return nil, err
	}
	found := &answer.Topics[0]
	if found.ErrorCode == kerr.UnknownTopicOrPartition.Code {
		return nil, nil
	}
	return found, kerr.ErrorForCode(found.ErrorCode)
}

// What is sent in checks that need records: values, a key, a header, and times one second apart.
func records(topic string, count int) []*kgo.Record {
	var made []*kgo.Record
	for n := range count {
		made = append(made, &kgo.Record{
			Topic: topic, Partition: 0, Key: []byte("key"), Value: fmt.Appendf(nil, "value %d", n),
			Headers:   []kgo.RecordHeader{{Key: "header", Value: []byte{byte(n)}}},
			Timestamp: time.UnixMilli(firstTime + int64(n)*1000),
		})
	}
	return made
}

// Of the first record: young enough for every retention.
var firstTime = time.Now().Add(-time.Minute).UnixMilli()

// Writes records to partition 0 by a client of these options, one after the other, so that each is a batch.
func send(ctx context.Context, records []*kgo.Record, options ...kgo.Opt) error {
	client, err := kgo.NewClient(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, record := range records {
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

// Reads partition 0 from offset 0 by this client until as many records came as were sent, and compares them.
func readBack(ctx context.Context, client *kgo.Client, sent []*kgo.Record) error {
	place := kgo.NewOffset().At(0)
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{sent[0].Topic: {0: place}})
	var got []*kgo.Record
	for len(got) < len(sent) {
		fetched := client.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			return fmt.Errorf("after %d of %d records: %w", len(got), len(sent), err)
		}
		got = append(got, fetched.Records()...)
	}
	for n, record := range got {
		want := sent[n]
		same := record.Offset == int64(n) && bytes.Equal(record.Key, want.Key) && bytes.Equal(record.Value, want.Value) &&
			record.Timestamp.Equal(want.Timestamp) && len(record.Headers) == 1 &&
			record.Headers[0].Key == "header" && bytes.Equal(record.Headers[0].Value, want.Headers[0].Value)
		if !same {
			return fmt.Errorf("record %d came back as %+v, sent was %+v", n, record, want)
		}
	}
	return nil
}

// Makes a topic and writes to its partition 0 by the free client's options.
func (s *scene) written(ctx context.Context, topic string, count int) ([]*kgo.Record, error) {
	if err := s.topic(ctx, topic, 2); err != nil {
		return nil, err
	}
	sent := records(topic, count)
	return sent, send(ctx, sent, kgo.SeedBrokers(s.address))
}

func code(of int16) error { return kerr.ErrorForCode(of) }

// An error if what came is not what was wanted.
func want[T comparable](what string, got, wanted T) error {
	if got == wanted {
		return nil
	}
	return fmt.Errorf("%s is %v, wanted %v", what, got, wanted)
}

// The first error of several.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func text(of *string) string {
	if of == nil {
		return "(null)"
	}
	return *of
}
