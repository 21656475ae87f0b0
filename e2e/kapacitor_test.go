package e2e

import (
	"bytes"
	"context"
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

	"github.com/BurntSushi/toml"
)

// patience is how long a test waits for what must come: far more than it
// takes, as a busy machine is no failure.
const patience = 60 * time.Second

// kapacitor is a Kapacitor server in a folder of its own. It can be stopped or
// killed, and started again on what it left there.
type kapacitor struct {
	t    testing.TB
	dir  string
	data string // the folder of its database
	conf string
	logs string // the log file of this start
	url  string

	starts  int
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process has ended, after which
	exitErr error         // may be read
}

// startKapacitor starts a server with the configuration and waits until it
// answers. The server is stopped when the test ends; if the test has failed by
// then, its log goes into the test's.
func startKapacitor(t testing.TB, config map[string]any) *kapacitor {
	t.Helper()
	// Each change of a topic's level is a commit to the server's database, which syncs it. No
	// test takes the server's power.
	k := &kapacitor{t: t, dir: t.TempDir(), data: test.MemoryDir(t)}
	k.conf = filepath.Join(k.dir, "kapacitor.conf")
	whole := map[string]any{
		"hostname": "localhost",
		"data_dir": k.dir,
		// The system chooses the port, and the log tells which one.
		"http":      map[string]any{"bind-address": "127.0.0.1:0", "log-enabled": false},
		"storage":   map[string]any{"boltdb": filepath.Join(k.data, "kapacitor.db")},
		"replay":    map[string]any{"dir": filepath.Join(k.dir, "replay")},
		"task":      map[string]any{"dir": filepath.Join(k.dir, "tasks")},
		"load":      map[string]any{"enabled": false, "dir": filepath.Join(k.dir, "load")},
		"logging":   map[string]any{"file": "STDERR", "level": "INFO"},
		"influxdb":  []map[string]any{{"enabled": false, "name": "default"}},
		"stats":     map[string]any{"enabled": false},
		"reporting": map[string]any{"enabled": false},
	}
	merge(whole, config)
	var text bytes.Buffer
	if err := toml.NewEncoder(&text).Encode(whole); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.conf, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k.end(syscall.SIGTERM)
		k.lookForToken()
		if t.Failed() {
			k.printLogs()
		}
	})
	k.start()
	return k
}

// merge puts what is in from into into; tables on both sides are merged.
func merge(into, from map[string]any) {
	for name, value := range from {
		old, ok := into[name].(map[string]any)
		if table, isTable := value.(map[string]any); ok && isTable {
			merge(old, table)
			continue
		}
		into[name] = value
	}
}

// listening finds the address in the server's log.
var listening = regexp.MustCompile(`msg="listening on" service=http addr=(\S+)`)

// start starts the server and returns when it answers.
func (k *kapacitor) start() {
	k.t.Helper()
	k.starts++
	k.logs = filepath.Join(k.dir, fmt.Sprintf("log-%d", k.starts))
	logs, err := os.Create(k.logs)
	if err != nil {
		k.t.Fatal(err)
	}
	defer logs.Close()
	cmd := exec.Command(kapacitord, "-config", k.conf)
	cmd.Stdout, cmd.Stderr = logs, logs
	cmd.Dir = k.dir // so that a path in the configuration may begin there
	// The function inherits the server's environment, so nothing of the
	// machine's (proxies, settings of the function) may be in it.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + k.dir, "TMPDIR=" + k.dir}
	// A group of its own lets end find functions that outlive the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.cmd, k.exited = cmd, make(chan struct{})
	go func(exited chan struct{}) {
		k.exitErr = cmd.Wait()
		close(exited)
	}(k.exited)

	k.eventually("kapacitord listens", func() string {
		select {
		case <-k.exited:
			k.t.Fatalf("kapacitord ended at start: %v\n%s", k.exitErr, k.log())
		default:
		}
		found := listening.FindStringSubmatch(k.log())
		if found == nil {
			return "it has not said where"
		}
		k.url = "http://" + found[1] + "/kapacitor/v1"
		return ""
	})
	k.eventually("kapacitord answers", func() string {
		answer, err := http.Get(k.url + "/ping")
		if err != nil {
			return err.Error()
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusNoContent {
			return answer.Status
		}
		return ""
	})
	k.eventually("kapacitord takes signals", func() string {
		if !strings.Contains(k.log(), "listening for signals") {
			return "it has not said so" // SIGTERM would kill it
		}
		return ""
	})
}

// stop stops the server as its init system does, and fails the test if it does
// not end well.
func (k *kapacitor) stop() {
	k.t.Helper()
	k.end(syscall.SIGTERM)
	if k.exitErr != nil {
		k.t.Errorf("kapacitord did not stop well: %v", k.exitErr)
	}
}

// kill ends the server with no chance to do anything about it.
func (k *kapacitor) kill() { k.end(syscall.SIGKILL) }

// end sends the signal, waits until the server has ended, and returns when
// none of the processes that it started is left.
func (k *kapacitor) end(signal syscall.Signal) {
	k.t.Helper()
	if k.cmd == nil {
		return
	}
	group := k.cmd.Process.Pid
	k.cmd.Process.Signal(signal)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-k.exited:
	case <-ctx.Done():
		k.t.Errorf("kapacitord still runs %v after signal %v", patience, signal)
		syscall.Kill(-group, syscall.SIGKILL)
		<-k.exited
	}
	k.cmd = nil
	// The end of its stdin ends a function, whatever ended the server (P8).
	for len(inGroup(k.t, group)) > 0 {
		if ctx.Err() != nil {
			k.t.Errorf("functions still run %v after the end of kapacitord: %v", patience, inGroup(k.t, group))
			syscall.Kill(-group, syscall.SIGKILL)
			return
		}
		time.Sleep(poll)
	}
}

// poll is the time between two looks at a condition that cannot be waited on.
const poll = 10 * time.Millisecond

// eventually waits until look finds no problem any more.
func (k *kapacitor) eventually(what string, look func() (problem string)) {
	k.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		problem := look()
		if problem == "" {
			return
		}
		if time.Now().After(end) {
			k.t.Fatalf("waited %v until %s: %s", patience, what, problem)
		}
	}
}

// log returns what this start of the server has written so far. It holds the
// functions' own log lines too.
func (k *kapacitor) log() string {
	text, err := os.ReadFile(k.logs)
	if err != nil {
		k.t.Fatal(err)
	}
	return string(text)
}

// taskFailed finds in the log that a task has ended with an error.
var taskFailed = regexp.MustCompile(`(?m)^.*msg="task finished with error".*$`)

// failure returns what the server logged of the first task that has failed, or
// nil.
func (k *kapacitor) failure() error {
	text, err := os.ReadFile(k.logs)
	if err != nil {
		return err
	}
	if line := taskFailed.Find(text); line != nil {
		return errors.New(string(line))
	}
	return nil
}

// printLogs puts the ends of the logs of all starts into the test's log.
func (k *kapacitor) printLogs() {
	const most = 100
	for n := 1; n <= k.starts; n++ {
		text, _ := os.ReadFile(filepath.Join(k.dir, fmt.Sprintf("log-%d", n)))
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		k.t.Logf("kapacitord, start %d, the last lines:\n%s", n, strings.Join(lines[max(0, len(lines)-most):], "\n"))
	}
}

// lookForToken fails the test if the token is in anything that the server and
// its functions have written: logs, tasks, snapshots, outboxes (P9).
func (k *kapacitor) lookForToken() {
	for _, dir := range []string{k.dir, k.data} {
		err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() || path == k.conf {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte(token)) {
				k.t.Errorf("the token is in the file %s", entry.Name())
			}
			return err
		})
		if err != nil {
			k.t.Errorf("look for the token: %v", err)
		}
	}
}
