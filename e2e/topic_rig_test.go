package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/test"
)

// A topicDaemon is `bigpanda-udf serve --http` on loopback, with a folder of handler
// files and an outbox on disk. It can be stopped or killed, and started again.
type topicDaemon struct {
	t        testing.TB
	dir      string // of the handler files
	outbox   string
	settings []string // the environment
	address  string   // once it listens
	cmd      *exec.Cmd
	log      *test.LogBuffer // of this start
}

// startTopics starts one that sends to a BigPanda. files are those of the folder, by
// name.
func startTopics(t testing.TB, b *bigPanda, files map[string]any, settings ...string) *topicDaemon {
	t.Helper()
	dir := t.TempDir()
	d := &topicDaemon{t: t, dir: filepath.Join(dir, "handlers"), outbox: filepath.Join(dir, "outbox"), address: "127.0.0.1:0"}
	d.settings = append([]string{
		"HOME=" + dir, "BIGPANDA_TOKEN=" + token, "BIGPANDA_APP_KEY=" + appKey, "BIGPANDA_URL=" + b.url, "BIGPANDA_OUTBOX=" + d.outbox,
	}, settings...)
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, spec := range files {
		d.put(name, spec)
	}
	t.Cleanup(func() {
		d.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the daemon's last log:\n%s", d.log.String())
		}
	})
	d.start()
	return d
}

// put writes a handler file, which is of kind bigpanda unless it says otherwise.
func (d *topicDaemon) put(name string, spec any) {
	d.t.Helper()
	text, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		d.t.Fatal(err)
	}
	path := filepath.Join(d.dir, name+".json")
	if err := errors.Join(os.WriteFile(path+"~", text, 0o600), os.Rename(path+"~", path)); err != nil {
		d.t.Fatal(err)
	}
}

// handlerSpec is a handler of kind bigpanda, as its file has it.
func handlerSpec(topic string, options map[string]any) map[string]any {
	return map[string]any{"topic": topic, "id": "bigpanda", "kind": "bigpanda", "options": options}
}

var takesEvents = regexp.MustCompile(`msg=listening socket=(\S+) edge=http`)

// start starts it at the address where it was before, and waits until it listens.
func (d *topicDaemon) start() {
	d.t.Helper()
	d.log = new(test.LogBuffer)
	d.cmd = exec.Command(function, "serve", "--http", d.address, "--handlers", d.dir)
	d.cmd.Env, d.cmd.Stderr = d.settings, d.log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.until("the daemon listens", func() bool {
		found := takesEvents.FindStringSubmatch(d.log.String())
		if found != nil {
			d.address = found[1]
		}
		return found != nil
	})
}

// end ends it. It may be called twice.
func (d *topicDaemon) end(signal syscall.Signal) {
	if d.cmd != nil {
		d.cmd.Process.Signal(signal)
		d.cmd.Wait()
		d.cmd = nil
	}
	if strings.Contains(d.log.String(), token) {
		d.t.Error("P9: the log shows the token")
	}
}

func (d *topicDaemon) until(what string, ok func() bool) {
	d.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(poll) {
		if time.Now().After(end) {
			d.t.Fatalf("waited %v until %s; the log:\n%s", patience, what, d.log.String())
		}
	}
}

// url is where a handler's events are posted.
func (d *topicDaemon) url(name string) string { return "http://" + d.address + "/alerts/" + name }

// handle has a topic's events posted to the daemon, and adds to the handler's
// properties.
func (d *topicDaemon) handle(k *kapacitor, topic, name, match string) {
	k.t.Helper()
	k.handle(topic, map[string]any{"id": "post-" + name, "kind": "post", "match": match, "options": map[string]any{"url": d.url(name)}})
}

// handle defines a handler of a topic.
func (k *kapacitor) handle(topic string, spec map[string]any) {
	k.t.Helper()
	k.call(http.MethodPost, "/alerts/topics/"+topic+"/handlers", spec)
}

// command runs `kapacitor` against the server.
func (k *kapacitor) command(args ...string) string {
	k.t.Helper()
	if client == "" {
		k.t.Skip("there is no kapacitor beside the installed kapacitord")
	}
	cmd := exec.Command(client, append([]string{"-url", strings.TrimSuffix(k.url, "/kapacitor/v1")}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		k.t.Fatalf("kapacitor %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// topicAlert is a task up to its alert node, whose events go to a topic and nowhere
// else.
func topicAlert(topic, properties string) string {
	return cpuAlert(fmt.Sprintf(".topic('%s')", topic) + thresholds + properties)
}
