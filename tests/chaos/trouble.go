// Which fault comes when, and how long nobody got an ack because of it. One node is in trouble at a time; a wiped one
// gets time to copy before the next fault, because two of three copies may not be lost.
package main

import (
	"context"
	"fmt"
	"math/rand"
	"sort"
	"strings"
	"syscall"
	"time"
)

type fault struct {
	kind string
	gap  time.Duration
}

type faults struct{ seen []fault }

func trouble(ctx context.Context, n *nodes, w *workload, dice *rand.Rand, o options) *faults {
	kinds := strings.Split(o.faults, ",")
	table := &faults{}
	end := time.Now().Add(time.Duration(o.minutes * float64(time.Minute)))
	time.Sleep(3 * time.Second)
	for time.Now().Before(end) && ctx.Err() == nil {
		kind := kinds[dice.Intn(len(kinds))]
		node := n.all[dice.Intn(len(n.all))]
		lasts := time.Duration(1000+dice.Intn(7000)) * time.Millisecond
		quiet := time.Duration(3000+dice.Intn(5000)) * time.Millisecond
		if kind == "wipe" {
			w.wholeWithin(ctx, 60*time.Second)
		}
		w.resetGap()
		began := time.Now()
		fmt.Printf("%6.1fs %-7s broker %d for %v\n", time.Since(w.began).Seconds(), kind, node.id, lasts)
		if err := begin(n, node, kind); err != nil {
			fmt.Println("  cannot:", err)
			continue
		}
		sleep(ctx, lasts)
		if err := over(n, node, kind); err != nil {
			fmt.Println("  cannot end it:", err)
		}
		sleep(ctx, quiet)
		gap := w.longestGap()
		table.seen = append(table.seen, fault{kind, gap})
		fmt.Printf("        longest pause of a partition %v, over %v\n", gap.Round(time.Millisecond), time.Since(began).Round(time.Second))
	}
	return table
}

func begin(n *nodes, node *node, kind string) error {
	switch kind {
	case "kill":
		node.kill()
	case "stop":
		node.signal(syscall.SIGSTOP)
	case "cut":
		return node.cut()
	case "cut-in":
		return node.cutIn()
	case "cut-out":
		return node.cutOut()
	case "wipe":
		return n.wipe(node)
	default:
		return fmt.Errorf("no fault is called %q", kind)
	}
	return nil
}

func over(n *nodes, node *node, kind string) error {
	switch kind {
	case "kill", "wipe":
		return n.restart(node)
	case "stop":
		node.signal(syscall.SIGCONT)
		return nil
	default:
		return node.mend()
	}
}

func sleep(ctx context.Context, time_ time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(time_):
	}
}

func (t *faults) print() {
	byKind := map[string][]time.Duration{}
	for _, f := range t.seen {
		byKind[f.kind] = append(byKind[f.kind], f.gap)
	}
	kinds := make([]string, 0, len(byKind))
	for kind := range byKind {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	fmt.Println("fault    times  longest pause of a partition: median      max")
	for _, kind := range kinds {
		gaps := byKind[kind]
		sort.Slice(gaps, func(a, b int) bool { return gaps[a] < gaps[b] })
		fmt.Printf("%-8s %5d %33v %8v\n", kind, len(gaps), gaps[len(gaps)/2].Round(time.Millisecond),
			gaps[len(gaps)-1].Round(time.Millisecond))
	}
}
