// Producers of unique values, a reader beside them, and what must be true of them in the end: nothing acked is lost,
// nothing stands twice, order is kept, nothing unsent is read, and what was once read stays.
package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const topic = "chaos"

type place struct {
	partition int32
	offset    int64
}

type workload struct {
	o         options
	bootstrap []string
	began     time.Time
	admin     *kgo.Client
	group     sync.WaitGroup
	sent      []atomic.Int64
	failed    atomic.Int64

	lock    sync.Mutex
	acked   map[place]string
	read    map[place]string
	lastAck []time.Time // per partition: others go on while one has no leader
	gap     time.Duration
	changed error
}

func newWorkload(ctx context.Context, bootstrap []string, o options) (*workload, error) {
	w := &workload{o: o, bootstrap: bootstrap, began: time.Now(), lastAck: make([]time.Time, o.partitions),
		acked: map[place]string{}, read: map[place]string{}, sent: make([]atomic.Int64, o.producers)}
	admin, err := kgo.NewClient(kgo.SeedBrokers(bootstrap...))
	if err != nil {
		return nil, err
	}
	w.admin = admin
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = 20000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, int32(o.partitions), 3
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	c.Name, c.Value = "min.insync.replicas", kmsg.StringPtr("2")
	t.Configs = append(t.Configs, c)
	request.Topics = append(request.Topics, t)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		response, err := request.RequestWith(ctx, admin)
		if err == nil {
			err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
		}
		if err == nil || errors.Is(err, kerr.TopicAlreadyExists) {
			return w, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the topic cannot be created: %w", err)
		}
	}
}

func (w *workload) start(ctx context.Context) {
	w.resetGap()
	for producer := range w.o.producers {
		w.group.Add(1)
		go w.produce(ctx, producer)
	}
	w.group.Add(1)
	go w.follow(ctx)
}

func (w *workload) wait() { w.group.Wait() }

func (w *workload) produce(ctx context.Context, producer int) {
	defer w.group.Done()
	client, err := kgo.NewClient(kgo.SeedBrokers(w.bootstrap...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(200), kgo.ProducerLinger(2*time.Millisecond), kgo.RecordDeliveryTimeout(2*time.Minute),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.DialTimeout(2*time.Second), kgo.RequestTimeoutOverhead(5*time.Second),
		kgo.ProduceRequestTimeout(5*time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for ctx.Err() == nil {
		serial := w.sent[producer].Add(1)
		value := fmt.Sprintf("%d:%d:%s", producer, serial, strings.Repeat("x", 200))
		record := &kgo.Record{Topic: topic, Partition: int32(serial) % int32(w.o.partitions), Value: []byte(value)}
		client.Produce(ctx, record, func(r *kgo.Record, err error) {
			if err != nil {
				w.failed.Add(1)
				return
			}
			w.ack(place{r.Partition, r.Offset}, value)
		})
		time.Sleep(time.Millisecond)
	}
}

func (w *workload) ack(at place, value string) {
	now := time.Now()
	w.lock.Lock()
	defer w.lock.Unlock()
	if before, there := w.acked[at]; there && w.changed == nil {
		w.changed = fmt.Errorf("%v was acked twice: %.20s and %.20s", at, before, value)
	}
	w.acked[at] = value
	w.gap = max(w.gap, now.Sub(w.lastAck[at.partition]))
	w.lastAck[at.partition] = now
}

func (w *workload) resetGap() {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.gap = 0
	for partition := range w.lastAck {
		w.lastAck[partition] = time.Now()
	}
}

func (w *workload) longestGap() time.Duration {
	w.lock.Lock()
	defer w.lock.Unlock()
	gap := w.gap
	for _, last := range w.lastAck {
		gap = max(gap, time.Since(last))
	}
	return gap
}

// Reads along, and remembers what it saw where.
func (w *workload) follow(ctx context.Context) {
	defer w.group.Done()
	client := w.reader()
	defer client.Close()
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(w.remember)
	}
}

func (w *workload) reader() *kgo.Client {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.bootstrap...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		panic(err)
	}
	return client
}

func (w *workload) remember(r *kgo.Record) {
	at, value := place{r.Partition, r.Offset}, string(r.Value)
	w.lock.Lock()
	defer w.lock.Unlock()
	if before, there := w.read[at]; there && before != value && w.changed == nil {
		w.changed = fmt.Errorf("%v was read as %.20s and as %.20s", at, before, value)
	}
	w.read[at] = value
}

// Waits until every partition has all its replicas in sync; false if it did not within the patience.
func (w *workload) wholeWithin(ctx context.Context, patience time.Duration) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
		request := kmsg.NewPtrMetadataRequest()
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		request.Topics = append(request.Topics, t)
		response, err := request.RequestWith(ctx, w.admin)
		if err != nil || len(response.Topics) == 0 || len(response.Topics[0].Partitions) != w.o.partitions {
			continue
		}
		whole := true
		for _, p := range response.Topics[0].Partitions {
			whole = whole && len(p.ISR) == 3 && p.Leader >= 0
		}
		if whole {
			return true
		}
	}
	return false
}

// I16: writable within 15 s and fully replicated within 60 s of healing.
func (w *workload) settle(ctx context.Context) error {
	healed := time.Now()
	w.resetGap()
	if !w.wholeWithin(ctx, 60*time.Second) {
		return errors.New("not fully replicated 60 s after everything healed")
	}
	fmt.Printf("fully replicated %v after everything healed\n", time.Since(healed).Round(time.Millisecond))
	sleep(ctx, 5*time.Second)
	if gap := w.longestGap(); gap > 15*time.Second {
		return fmt.Errorf("not writable for %v after everything healed", gap)
	}
	return nil
}

func (w *workload) check(ctx context.Context) error {
	if w.changed != nil {
		return w.changed
	}
	log, err := w.readAll(ctx)
	if err != nil {
		return err
	}
	var wrong []string
	say := func(format string, args ...any) {
		if len(wrong) < 20 {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	count := map[string]int{}
	for at, value := range w.acked {
		if found, there := log[at]; !there || found != value {
			count["lost"]++
			say("lost: acked at %v: %.20s, found %.20s", at, value, found)
		}
	}
	for at, value := range w.read {
		if found, there := log[at]; !there || found != value {
			count["changed"]++
			say("changed: read at %v: %.20s, found %.20s", at, value, found)
		}
	}
	w.checkOrder(log, count, say)
	sent := int64(0)
	for producer := range w.sent {
		sent += w.sent[producer].Load()
	}
	fmt.Printf("sent %d, acked %d, failed %d, read along %d, in the log %d; lost %d, double %d, out of order %d, never sent %d, changed %d\n",
		sent, len(w.acked), w.failed.Load(), len(w.read), len(log), count["lost"], count["double"], count["order"], count["unsent"], count["changed"])
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}

func (w *workload) checkOrder(log map[place]string, count map[string]int, say func(string, ...any)) {
	seen := map[string]place{}
	for partition := range int32(w.o.partitions) {
		last := make([]int64, w.o.producers)
		for offset := int64(0); ; offset++ {
			at := place{partition, offset}
			value, there := log[at]
			if !there {
				break
			}
			if before, twice := seen[value]; twice {
				count["double"]++
				say("double: %.20s stands at %v and %v", value, before, at)
			}
			seen[value] = at
			parts := strings.SplitN(value, ":", 3)
			producer, _ := strconv.Atoi(parts[0])
			serial, _ := strconv.ParseInt(parts[1], 10, 64)
			if producer >= w.o.producers || serial > w.sent[producer].Load() {
				count["unsent"]++
				say("never sent: %.20s at %v", value, at)
				continue
			}
			if serial <= last[producer] {
				count["order"]++
				say("out of order: %.20s at %v after serial %d", value, at, last[producer])
			}
			last[producer] = serial
		}
	}
	if len(seen) != len(log) {
		say("%d values readable without a hole, %d in all", len(seen), len(log))
	}
}

// Everything from offset 0 to the ends as they are now.
func (w *workload) readAll(ctx context.Context) (map[place]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	ends := map[int32]int64{}
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for partition := range int32(w.o.partitions) {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = partition, -1
		t.Partitions = append(t.Partitions, p)
	}
	request.Topics = append(request.Topics, t)
	for len(ends) < w.o.partitions && ctx.Err() == nil {
		for _, shard := range w.admin.RequestSharded(ctx, request) {
			if shard.Err != nil {
				continue
			}
			for _, p := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
				if p.ErrorCode == 0 {
					ends[p.Partition] = p.Offset
				}
			}
		}
	}
	log := map[place]string{}
	missing := int64(0)
	for _, end := range ends {
		missing += end
	}
	client := w.reader()
	defer client.Close()
	for missing > 0 {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%d records below the ends %v could not be read", missing, ends)
		}
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			at := place{r.Partition, r.Offset}
			if _, there := log[at]; !there && r.Offset < ends[r.Partition] {
				log[at] = string(r.Value)
				missing--
			}
		})
	}
	return log, nil
}
