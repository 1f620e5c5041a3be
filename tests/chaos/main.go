// Three real brokers under an idempotent acks=all workload while one after the other is killed, stopped, cut off or
// wiped; afterwards everything readable is compared with what was acked, and the longest pauses between acks are told.
// It builds nothing (tests/chaos/run does). Every fault is drawn from the seed; the machine's timing is not.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"os/signal"
	"strings"
	"time"
)

type options struct {
	firn       string
	dir        string
	minutes    float64
	seed       int64
	partitions int
	producers  int
	faults     string
	set        string
}

func main() {
	var o options
	flag.StringVar(&o.firn, "firn", "", "the broker's binary")
	flag.StringVar(&o.dir, "dir", "", "where the brokers keep data and logs (default: a temporary directory)")
	flag.Float64Var(&o.minutes, "minutes", 3, "how long things go wrong")
	flag.Int64Var(&o.seed, "seed", time.Now().Unix()%100000, "draws the faults")
	flag.IntVar(&o.partitions, "partitions", 6, "partitions of the topic")
	flag.IntVar(&o.producers, "producers", 3, "producers, each its own client")
	flag.StringVar(&o.faults, "faults", "kill,stop,cut,cut-in,cut-out,wipe", "which faults to draw from")
	flag.StringVar(&o.set, "set", "", "further broker settings, KEY=VALUE separated by spaces")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "firn-chaos")
		if err != nil {
			return err
		}
		o.dir = dir
		defer os.RemoveAll(dir)
	}
	nodes, err := startNodes(o)
	if err != nil {
		return err
	}
	defer nodes.stopAll()
	fmt.Printf("seed %d, %g minutes, %d partitions, %d producers, brokers %s\n",
		o.seed, o.minutes, o.partitions, o.producers, strings.Join(nodes.bootstrap(), ","))
	w, err := newWorkload(ctx, nodes.bootstrap(), o)
	if err != nil {
		return err
	}
	work, cancel := context.WithCancel(ctx)
	w.start(work)
	table := trouble(ctx, nodes, w, rand.New(rand.NewSource(o.seed)), o)
	if err := nodes.heal(); err != nil {
		cancel()
		return err
	}
	err = w.settle(ctx)
	cancel()
	w.wait()
	table.print()
	if err != nil {
		return err
	}
	return w.check(ctx)
}
