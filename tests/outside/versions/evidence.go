// The evidence: one line per key, which versions were spoken, by which client. docs/protocol.md takes its franz-go
// column from it, and a unit test of the broker holds it against the version table.
package main

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

type row struct {
	key      int16
	name     string
	min, max int16
}

func table(rows []row) string {
	slices.SortFunc(rows, func(a, b row) int { return int(a.key) - int(b.key) })
	client := "franz-go " + version("github.com/twmb/franz-go")
	var out strings.Builder
	out.WriteString("# Every (key, version) that an outside client spoke with a running broker, and whose answers it checked.\n")
	out.WriteString("# Written by tests/outside/run; not by hand.\n")
	out.WriteString("# key name versions client\n")
	for _, r := range rows {
		fmt.Fprintf(&out, "%-3d %-24s %-5s %s\n", r.key, r.name, fmt.Sprintf("%d-%d", r.min, r.max), client)
	}
	return out.String()
}

// The version of a package this program was built with.
func version(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Version
		}
	}
	return "unknown"
}
