// What a client really put on the wire: a connection that reads the head of each request as it passes and changes no
// byte. Without it, a client that quietly spoke another version would count as evidence.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
)

type wire struct {
	lock sync.Mutex
	sent map[[2]int16]int // requests by key and version
}

func newWire() *wire { return &wire{sent: map[[2]int16]int{}} }

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &tapped{Conn: conn, wire: w}, nil
}

// Whether requests of this key went out, all of them in this version.
func (w *wire) only(key, version int16) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	for sent := range w.sent {
		if sent[0] == key && sent[1] != version {
			return fmt.Errorf("the client spoke version %d instead", sent[1])
		}
	}
	if w.sent[[2]int16{key, version}] == 0 {
		return fmt.Errorf("the client never sent it")
	}
	return nil
}

// A connection whose requests are noted.
type tapped struct {
	net.Conn
	wire *wire
	head []byte // of the request that is passing: size, key, version
	rest int    // bytes of it still to come
}

func (t *tapped) Write(bytes []byte) (int, error) {
	n, err := t.Conn.Write(bytes)
	t.see(bytes[:n])
	return n, err
}

func (t *tapped) see(bytes []byte) {
	for len(bytes) > 0 {
		if t.rest > 0 {
			passed := min(t.rest, len(bytes))
			t.rest, bytes = t.rest-passed, bytes[passed:]
			continue
		}
		missing := min(8-len(t.head), len(bytes))
		t.head, bytes = append(t.head, bytes[:missing]...), bytes[missing:]
		if len(t.head) < 8 {
			continue
		}
		key, version := int16(binary.BigEndian.Uint16(t.head[4:])), int16(binary.BigEndian.Uint16(t.head[6:]))
		t.rest, t.head = int(binary.BigEndian.Uint32(t.head))-4, t.head[:0]
		t.wire.lock.Lock()
		t.wire.sent[[2]int16{key, version}]++
		t.wire.lock.Unlock()
	}
}
