// The brokers: processes of the real binary, each in a network namespace of its own behind one bridge, so that links can
// be cut like cables. It knows nothing of what is written. Without root there are no namespaces and no cuts.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const bridge = "firnchaos"

type node struct {
	id      int
	ip      string
	dir     string
	ns      string
	process *exec.Cmd
	exited  chan error
}

type nodes struct {
	o       options
	all     []*node
	cluster string
}

func sh(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %v: %s", line, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func startNodes(o options) (*nodes, error) {
	n := &nodes{o: o, cluster: "Y2hhb3MtY2x1c3Rlci0wMA"}
	tearDownNetwork()
	if err := sh("ip link add %[1]s type bridge && ip addr add 10.77.7.1/24 dev %[1]s && ip link set %[1]s up", bridge); err != nil {
		return nil, fmt.Errorf("namespaces need root: %w", err)
	}
	// Where the firewall also judges what crosses a bridge, it must let this one's through; elsewhere nothing is lost.
	_ = sh("iptables -I FORWARD -i %[1]s -o %[1]s -j ACCEPT", bridge)
	for id := 1; id <= 3; id++ {
		node := &node{id: id, ip: fmt.Sprintf("10.77.7.1%d", id), ns: fmt.Sprintf("%s%d", bridge, id)}
		node.dir = filepath.Join(o.dir, fmt.Sprint(id))
		n.all = append(n.all, node)
		err := sh("ip netns add %[1]s && ip link add v%[1]s type veth peer name eth0 netns %[1]s && "+
			"ip link set v%[1]s master %[2]s up && ip -n %[1]s addr add %[3]s/24 dev eth0 && "+
			"ip -n %[1]s link set eth0 up && ip -n %[1]s link set lo up", node.ns, bridge, node.ip)
		if err != nil {
			return nil, err
		}
	}
	for _, node := range n.all {
		if err := n.format(node); err != nil {
			return nil, err
		}
	}
	for _, node := range n.all {
		if err := n.start(node); err != nil {
			return nil, err
		}
	}
	for _, node := range n.all {
		if err := node.listens(60 * time.Second); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func tearDownNetwork() {
	for id := 1; id <= 3; id++ {
		// Whatever an interrupted run left behind.
		_ = sh("ip netns del %s%d", bridge, id)
	}
	_ = sh("ip link del %s", bridge)
	_ = sh("iptables -D FORWARD -i %[1]s -o %[1]s -j ACCEPT", bridge)
}

func (n *nodes) format(node *node) error {
	if err := os.MkdirAll(node.dir, 0o755); err != nil {
		return err
	}
	var voters []string
	for id := 1; id <= 3; id++ {
		voters = append(voters, fmt.Sprintf("%d@10.77.7.1%d:9093", id, id))
	}
	lines := []string{
		"process.roles=broker,controller",
		fmt.Sprintf("node.id=%d", node.id),
		"controller.quorum.voters=" + strings.Join(voters, ","),
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		fmt.Sprintf("listeners=PLAINTEXT://%[1]s:9092,CONTROLLER://%[1]s:9093", node.ip),
		"log.dirs=" + filepath.Join(node.dir, "data"),
		"offsets.topic.replication.factor=3",
		"replica.lag.time.max.ms=3000",
		"firn.metrics.listener=",
		"firn.admin.listener=",
	}
	lines = append(lines, strings.Fields(n.o.set)...)
	file := filepath.Join(node.dir, "server.properties")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	out, err := exec.Command(n.o.firn, "storage", "format", "--config", file, "--cluster-id", n.cluster).CombinedOutput()
	if err != nil {
		return fmt.Errorf("format node %d: %v: %s", node.id, err, out)
	}
	return nil
}

func (n *nodes) start(node *node) error {
	log, err := os.OpenFile(filepath.Join(node.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	node.process = exec.Command("ip", "netns", "exec", node.ns, n.o.firn, "server", "--config",
		filepath.Join(node.dir, "server.properties"))
	node.process.Stdout, node.process.Stderr = log, log
	if err := node.process.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	node.exited = exited
	process := node.process
	go func() { exited <- process.Wait() }()
	return nil
}

func (node *node) listens(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		select {
		case err := <-node.exited:
			tail, _ := exec.Command("tail", "-n", "15", filepath.Join(node.dir, "log")).Output()
			return fmt.Errorf("broker %d ended: %v\n%s", node.id, err, tail)
		default:
		}
		connection, err := net.DialTimeout("tcp", node.ip+":9092", time.Second)
		if err == nil {
			connection.Close()
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("broker %d does not listen after %v", node.id, patience)
}

func (node *node) signal(s syscall.Signal) {
	if node.process != nil {
		_ = node.process.Process.Signal(s)
	}
}

// The process is gone when it returns.
func (node *node) kill() {
	node.signal(syscall.SIGKILL)
	<-node.exited
	node.process = nil
}

func (n *nodes) restart(node *node) error {
	if node.process != nil {
		return nil
	}
	return n.start(node)
}

func (n *nodes) wipe(node *node) error {
	node.kill()
	if err := os.RemoveAll(filepath.Join(node.dir, "data")); err != nil {
		return err
	}
	return n.format(node)
}

func (node *node) cut() error { return sh("ip link set v%s down", node.ns) }

func (node *node) cutIn() error {
	return sh("ip netns exec %s iptables -A INPUT -i eth0 -j DROP", node.ns)
}

func (node *node) cutOut() error {
	return sh("ip netns exec %s iptables -A OUTPUT -o eth0 -j DROP", node.ns)
}

func (node *node) mend() error {
	return sh("ip link set v%[1]s up && ip netns exec %[1]s iptables -F", node.ns)
}

// Nothing is wrong from here on.
func (n *nodes) heal() error {
	for _, node := range n.all {
		if err := node.mend(); err != nil {
			return err
		}
		node.signal(syscall.SIGCONT)
		if err := n.restart(node); err != nil {
			return err
		}
	}
	for _, node := range n.all {
		if err := node.listens(60 * time.Second); err != nil {
			return err
		}
	}
	return nil
}

func (n *nodes) stopAll() {
	for _, node := range n.all {
		if node.process != nil {
			node.signal(syscall.SIGCONT)
			node.kill()
		}
	}
	tearDownNetwork()
}

func (n *nodes) bootstrap() []string {
	var all []string
	for _, node := range n.all {
		all = append(all, node.ip+":9092")
	}
	return all
}
