package e2e

import (
	"fmt"
	"testing"
)

// The hosts of the second example do not get in each other's way, whenever
// they come and whichever is resolved first, also over a restart.
func TestExampleCPUUsageCheckKeepsHostsApart(t *testing.T) {
	k, panda := start(t)
	k.define("cpu_usage_check", example(t, "cpu_usage_check"))
	n := 0
	window := func(usage map[string]int) {
		for _, second := range []int{1, 6} {
			for host, used := range usage {
				k.write(fmt.Sprintf("cpu,host=%s,cpu=cpu-total usage_idle=%d %d", host, 100-used, at(10*n+second)))
			}
		}
		n++
	}
	window(map[string]int{"a": 95})
	window(map[string]int{"a": 95})
	window(map[string]int{"a": 95, "late": 20})
	window(map[string]int{"a": 95, "late": 20, "b": 95})
	window(map[string]int{"a": 95, "late": 20, "b": 95})
	window(map[string]int{"a": 95, "late": 20, "b": 20})
	window(map[string]int{"a": 95, "late": 20, "b": 20})
	panda.waitForCount(3) // a and b critical, b ok
	k.stop()
	k.start()
	for range 3 {
		window(map[string]int{"a": 20, "late": 20, "b": 20})
	}
	panda.waitForCount(4)
	byHost := make(map[string][]string)
	for _, e := range panda.Events() {
		byHost[e.Title] = append(byHost[e.Title], e.Status)
	}
	if got := fmt.Sprint(byHost); got != "map[a:[critical ok] b:[critical ok]]" {
		t.Errorf("got %s", got)
	}
}
