package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"bigpanda-udf/sandbox"
)

// Several uses of the function see the same points, in one task or in several,
// over a kill of kapacitord: each keeps its own levels and tells BigPanda all
// that it sees. What BigPanda makes of it goes by app key and properties.
func TestSameSeriesTwice(t *testing.T) {
	t.Parallel()
	alert := func(id, topic string) string {
		return "var alerts = " + cpuAlert(`.id('`+id+`').topic('`+topic+`')`+thresholds+conventional)
	}
	for _, test := range []struct {
		name    string
		scripts []string // a task each
		alerts  int      // that BigPanda tells apart
		// superfluous says that each alert comes again, from the other use.
		superfluous bool
	}{
		{
			name:    "two nodes in a row, with app keys of their own",
			scripts: []string{alert("cpu", "one") + "\nalerts @bigpanda().appKey('one') @bigpanda().appKey('two')"},
			alerts:  2,
		},
		{
			name:    "two nodes side by side, with app keys of their own",
			scripts: []string{alert("cpu", "one") + "\nalerts @bigpanda().appKey('one')\nalerts @bigpanda().appKey('two')"},
			alerts:  2,
		},
		{
			name:        "two nodes that say the same",
			scripts:     []string{alert("cpu", "one") + "\nalerts @bigpanda() @bigpanda()"},
			alerts:      1,
			superfluous: true,
		},
		{
			name: "two tasks, with ids of their own",
			scripts: []string{
				alert("{{ .TaskName }} cpu", "one") + "\nalerts @bigpanda()",
				alert("{{ .TaskName }} cpu", "two") + "\nalerts @bigpanda()",
			},
			alerts: 2,
		},
		{
			name: "two tasks that say the same but for the property task",
			scripts: []string{
				alert("cpu", "one") + "\nalerts @bigpanda()",
				alert("cpu", "two") + "\nalerts @bigpanda()",
			},
			alerts:      1,
			superfluous: true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			panda := startBigPanda(t)
			outbox := filepath.Join(t.TempDir(), "outbox")
			k := startKapacitor(t, functionConfig(t, panda, map[string]string{"BIGPANDA_OUTBOX": outbox}))
			for n, script := range test.scripts {
				k.define(fmt.Sprintf("task-%d", n), script)
			}
			k.waitForFunctions(2)
			told := 0
			tell := func(next level) {
				k.write(fmt.Sprintf("cpu,host=h usage=%d %d", next.usage, at(10*told)))
				told++
				panda.waitForCount(2 * told)
			}
			tell(warning)
			tell(critical)
			k.waitForQueue(outbox, 0) // else something may come twice
			k.kill()
			k.start()
			panda.failure = k.failure
			k.write(fmt.Sprintf("cpu,host=h usage=%d %d", critical.usage, at(15))) // no change
			tell(ok)

			// Of each alert, as BigPanda tells them apart.
			alerts := make(map[string][]sandbox.Event)
			superfluous := 0
			for _, e := range panda.Events() {
				if e.Duplicate || e.Stale {
					superfluous++
					continue
				}
				alerts[e.AppKey+" "+e.Payload.Text("check")] = append(alerts[e.AppKey+" "+e.Payload.Text("check")], e)
			}
			for key, events := range alerts {
				t.Log(key)
				wantStatuses(t, events, "warning", "critical", "ok")
			}
			if len(alerts) != test.alerts {
				t.Errorf("BigPanda tells %d alerts apart, want %d", len(alerts), test.alerts)
			}
			if want := map[bool]int{false: 0, true: told}[test.superfluous]; superfluous != want {
				t.Errorf("%d alerts were of no use, want %d%s", superfluous, want, describe(panda.Events()))
			}
		})
	}
}
