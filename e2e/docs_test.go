package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/test/docs"
)

// pageOf reads a page of the documentation.
func pageOf(t *testing.T, path string) docs.Page {
	t.Helper()
	all, err := docs.Pages("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.Path == path {
			return p
		}
	}
	t.Fatalf("there is no page %s", path)
	return docs.Page{}
}

// A reader is somebody who does what a page says, on a host whose folders are those of
// the server.
type reader struct {
	*kapacitor
	env     []string
	sandbox string // its host and port, once there is one
}

// newReader needs the command line of Kapacitor.
func newReader(t *testing.T, k *kapacitor) *reader {
	t.Helper()
	if client == "" {
		t.Skip("there is no kapacitor beside the installed kapacitord")
	}
	r := &reader{kapacitor: k}
	bin := filepath.Join(k.dir, "usr", "local", "bin")
	for _, dir := range []string{bin, filepath.Join(k.dir, "etc", "kapacitor"), filepath.Join(k.dir, "var", "lib", "kapacitor")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(client, filepath.Join(bin, "kapacitor")); err != nil {
		t.Fatal(err)
	}
	// Whoever runs the tests does all of it.
	const sudo = "#!/bin/sh\nif [ \"$1\" = -u ]; then shift 2; fi\nexec env \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte(sudo), 0o755); err != nil {
		t.Fatal(err)
	}
	r.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	return r
}

// rewritten is a text of the page with what is elsewhere here.
func (r *reader) rewritten(text string) string {
	server, _, _ := strings.Cut(strings.TrimPrefix(r.url, "http://"), "/")
	project, err := filepath.Abs("..")
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.NewReplacer(
		"/etc/kapacitor/kapacitor.conf", r.conf,
		"/etc/", r.dir+"/etc/", "/usr/local/", r.dir+"/usr/local/", "/var/lib/", r.dir+"/var/lib/",
		"-o kapacitor -g kapacitor ", "", // there may be no such user
		"go build -o bigpanda-udf .", "go build -C "+project+" -o "+r.dir+"/bigpanda-udf .",
		"localhost:9092", server, "127.0.0.1:8089", r.sandbox,
	).Replace(text)
}

// run runs a command of a page, and returns what it prints, as the page has it.
func (r *reader) run(command string) (string, error) {
	server, _, _ := strings.Cut(r.url, "/kapacitor/v1")
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", r.rewritten(command))
	cmd.WaitDelay = time.Second // what it started may have its output
	cmd.Dir = r.dir
	cmd.Env = append(r.env, "KAPACITOR_URL="+server, "BIGPANDA_URL=http://"+r.sandbox+"/data/v2/alerts")
	out, err := cmd.CombinedOutput()
	shown := strings.ReplaceAll(string(out), r.dir, "")
	if r.sandbox != "" {
		shown = strings.ReplaceAll(shown, r.sandbox, "127.0.0.1:8089")
	}
	return shown, err
}

// startSandbox does what the page does in another terminal, at a port of its own.
func (r *reader) startSandbox(command string) string {
	cmd := exec.Command("sh", "-ec", "exec "+strings.TrimSpace(command)+" --listen 127.0.0.1:0")
	cmd.Env = r.env
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	found := regexp.MustCompile(`http://(\S+)/`).FindStringSubmatch(first)
	if err != nil || found == nil {
		r.t.Fatalf("the sandbox says %q (%v)", first, err)
	}
	r.sandbox = found[1]
	go io.Copy(io.Discard, lines)
	return strings.ReplaceAll(first, r.sandbox, "127.0.0.1:8089")
}

// follow does all that a page says, from its beginning to its end.
func (r *reader) follow(p docs.Page) {
	for _, block := range p.Blocks {
		switch block.Language {
		case "toml":
			conf, err := os.OpenFile(r.conf, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = io.WriteString(conf, "\n"+r.rewritten(block.Text))
				conf.Close()
			}
			if err != nil {
				r.t.Fatal(err)
			}
		case "js":
			if err := os.WriteFile(filepath.Join(r.dir, "cpu.tick"), []byte(block.Text), 0o600); err != nil {
				r.t.Fatal(err)
			}
		case "console":
			steps, err := block.Steps()
			if err != nil {
				r.t.Fatal(err)
			}
			for _, step := range steps {
				r.do(block, step)
			}
		default:
			r.t.Errorf("%s: a reader does not know what to do with it", block)
		}
	}
}

// do does one step. What shows something is done until it does: alerts take a moment.
func (r *reader) do(block docs.Block, step docs.Step) {
	r.t.Helper()
	switch step.Command {
	case "sudo systemctl restart kapacitor\n":
		r.stop()
		r.start()
		return
	case "bigpanda-udf sandbox\n":
		if said := r.startSandbox(step.Command); !docs.Shows(step.Output, said) {
			r.t.Errorf("%s: the sandbox says %q", block, said)
		}
		return
	}
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		shown, err := r.run(step.Command)
		switch {
		case step.Output == "" && (err != nil || shown != ""):
			r.t.Fatalf("%s: %s prints %q (%v)", block, step.Command, shown, err)
		case docs.Shows(step.Output, shown):
			return
		case time.Now().After(end):
			r.t.Fatalf("%s: %s prints\n%s(%v), and not\n%s", block, step.Command, shown, err, step.Output)
		}
	}
}

// From nothing to an alert, word for word as docs/getting-started.md has it.
func TestGettingStarted(t *testing.T) {
	t.Parallel()
	r := newReader(t, startKapacitor(t, nil))
	conf, err := os.ReadFile(r.conf)
	if err == nil {
		err = os.WriteFile(r.conf, append(conf, stockUDF...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.follow(pageOf(t, "docs/getting-started.md"))
}

// The script of README.md makes the alert that it is for.
func TestScriptOfReadme(t *testing.T) {
	k, panda := start(t)
	k.define("readme", script(t, "README.md"))
	k.write(fmt.Sprintf("cpu,host=web-1 usage_user=95 %d", at(0)))
	got := panda.waitForCount(1)[0].Payload
	for name, want := range map[string]string{
		"status": "critical", "primary_property": "host", "host": "web-1", "check": "cpu:web-1",
		"dashboard": "https://example.com/d/web-1",
	} {
		if got.Text(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Text(name), want)
		}
	}
}

// script is the first TICKscript of a page.
func script(t *testing.T, path string) string {
	t.Helper()
	for _, block := range pageOf(t, path).Blocks {
		if block.Language == "js" {
			return block.Text
		}
	}
	t.Fatalf("%s has no script", path)
	return ""
}

// keepWriting writes points, each a second later, until it is told to stop: a recording
// lasts as long as the times of its points.
func (r *reader) keepWriting() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			line := fmt.Sprintf("cpu,host=web-1 usage_user=1 %d", time.Now().Add(time.Duration(n)*time.Second).UnixNano())
			if _, err := r.try(http.MethodPost, "/write?db="+database+"&rp="+retention, strings.NewReader(line)); err != nil {
				ended <- err
				return
			}
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-time.After(poll):
			}
		}
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("write points: %v", err)
		}
	}
}

// Each command of Kapacitor that a page shows is one that it takes, in the order of
// the page.
func TestKapacitorCommandsOfDocs(t *testing.T) {
	t.Parallel()
	panda := startBigPanda(t)
	k := startKapacitor(t, map[string]any{"udf": map[string]any{"functions": map[string]any{
		"bigpanda": map[string]any{"prog": function, "timeout": "10s", "env": map[string]string{
			"BIGPANDA_URL": panda.url, "BIGPANDA_TOKEN": token, "BIGPANDA_APP_KEY": appKey, "BIGPANDA_OUTBOX": t.TempDir(),
		}},
		"bigpandaQuiet": map[string]any{"prog": function, "args": []string{"--enabled=false"}, "timeout": "10s"},
	}}})
	r := newReader(t, k)
	cpu := script(t, "README.md")
	k.define("cpu", cpu)
	copied := strings.NewReplacer("@bigpanda()", "@bigpandaQuiet()", ".topic('cpu')", ".topic('cpu-copy')").Replace(cpu)
	if err := os.WriteFile(filepath.Join(k.dir, "cpu-copy.tick"), []byte(copied), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := docs.Pages("..")
	if err != nil {
		t.Fatal(err)
	}
	comment, recording, run := regexp.MustCompile(`\s+# .*$`), "", 0
	for _, p := range all {
		for _, block := range p.Blocks {
			for line := range strings.Lines(block.Text) {
				command := comment.ReplaceAllString(strings.TrimSpace(line), "")
				if block.Language != "sh" || !strings.HasPrefix(command, "kapacitor ") || strings.Contains(command, "topic-handler") {
					continue // those of topics are run by the tests of topics
				}
				command = strings.NewReplacer("TASK …", "cpu", "-recording ID", "-recording "+recording, "-duration 1h", "-duration 1s").Replace(command)
				stop := func() {}
				if strings.HasPrefix(command, "kapacitor record ") {
					stop = r.keepWriting()
				}
				shown, err := r.run(command)
				stop()
				if err != nil {
					t.Errorf("%s: %s: %v\n%s", block, command, err, shown)
				}
				if strings.HasPrefix(command, "kapacitor record ") {
					recording = strings.TrimSpace(shown)
				}
				run++
			}
		}
	}
	if run == 0 {
		t.Error("no page has a command of Kapacitor")
	}
}
