package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// batchOf is a batch of three points as |alert() passes it on: with .levelTag()
// the level is part of the group that Kapacitor makes of the tags.
func batchOf(host, level string, second int64) []*agent.Request {
	tags := map[string]string{"host": host, "alertID": "cpu:host=" + host, "level": level}
	group := fmt.Sprintf("alertID=cpu:host=%s,host=%[1]s,level=%s", host, level)
	all := []*agent.Request{{Message: &agent.Request_Begin{Begin: &agent.BeginBatch{Name: "cpu", Group: group, Tags: tags, Size: 3}}}}
	for i := range int64(3) {
		all = append(all, &agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
			Time: (second + i) * 1e9, Group: group, Tags: tags, FieldsInt: map[string]int64{"usage": 90 + i, "duration": 60e9},
		}}})
	}
	return append(all, &agent.Request{Message: &agent.Request_End{End: &agent.EndBatch{Name: "cpu", Group: group, Tags: tags, Tmax: (second + 10) * 1e9}}})
}

// P3, P4: batches pass over real pipes in order, and each makes one alert at
// most, of one incident that the OK ends.
func TestBatchEdge(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	vars := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_APP_KEY": "k", "BIGPANDA_URL": url, "BIGPANDA_OUTBOX": "memory"}
	const start = 1_700_000_000
	sent := slices.Concat(
		batchOf("a", "CRITICAL", start), batchOf("b", "WARNING", start), batchOf("a", "CRITICAL", start+60), batchOf("a", "OK", start+120))
	stdin, kapacitor, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	in := frames(slices.Concat([]*agent.Request{test.Info(), test.Init("task", "bigpanda2")}, sent)...)
	go func() {
		defer kapacitor.Close()
		_, _ = io.Copy(kapacitor, in)
	}()
	r := run(t, stdin, vars, "--edge", "batch")
	got := answers(t, r.stdout)
	if r.code != 0 || len(got) != 2+len(sent) || !got[1].GetInit().GetSuccess() {
		t.Fatalf("exit code %d, %d answers, log %s", r.code, len(got), r.stderr)
	}
	if info := got[0].GetInfo(); info.GetWants() != agent.EdgeType_BATCH || info.GetProvides() != agent.EdgeType_BATCH {
		t.Errorf("Info is %v", info)
	}
	for i, q := range sent {
		// The two agree on the numbers of data.
		want, err := proto.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		response := new(agent.Response)
		if err := proto.Unmarshal(want, response); err != nil || !proto.Equal(got[2+i], response) {
			t.Errorf("frame %d is %v, want %v", i, got[2+i], q)
		}
	}
	var told []string
	for _, e := range api.Events() {
		told = append(told, fmt.Sprintf("%s %s@%s %s", e.Title, e.Status, e.Payload.Text("timestamp"), e.Payload.Text("usage")))
	}
	slices.Sort(told) // those of different hosts come in any order
	if want := []string{
		fmt.Sprintf("a critical@%d 90", start), fmt.Sprintf("a ok@%d 90", start+130), fmt.Sprintf("b warning@%d 90", start),
	}; !slices.Equal(told, want) {
		t.Errorf("the events are %q, want %q", told, want)
	}
}
