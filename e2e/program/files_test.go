package program

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// P2: a file that is waited for, or that has no end, fails Init like any other
// that cannot be read, and takes no memory.
func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 1<<40); err != nil {
		t.Skip(err) // no sparse files
	}
	for _, file := range []struct{ name, path, want string }{
		{"a pipe", pipe, "it is a pipe and no regular file"},
		{"a device", "/dev/zero", "it is a device and no regular file"},
		{"a terabyte", large, "it is larger than"},
	} {
		for _, setting := range []string{"token-file", "config", "handler", "ca-file"} {
			t.Run(file.name+" as "+setting, func(t *testing.T) {
				t.Parallel()
				_, env := test.NewBigPanda(t)
				if setting == "token-file" {
					env = slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, "BIGPANDA_TOKEN=") })
				}
				f := test.Start(t, env, "--"+setting+"="+file.path)
				answer := f.Init()
				if answer.Success || !strings.Contains(answer.Error, file.want) || !strings.Contains(answer.Error, setting) {
					t.Errorf("Init answers %v, want %q", answer, file.want)
				}
				if strings.ContainsAny(answer.Error, "\n\t") {
					t.Errorf("error %q is more than one sentence", answer.Error)
				}
				// stdin stays open.
				if code := f.Wait(); code != 0 {
					t.Errorf("exit code %d", code)
				}
			})
		}
		t.Run(file.name+" as kapacitor.conf", func(t *testing.T) {
			t.Parallel()
			f := test.Start(t, nil, "check", "--kapacitor-conf="+file.path)
			if code := f.Wait(); code != 2 || !strings.Contains(f.Log.String(), file.want) {
				t.Errorf("exit code %d, %s", code, f.Log)
			}
		})
	}
}

// P6, P8: a pipe in the place of the token file, once BigPanda refuses the Token,
// holds neither keepalives nor the end.
func TestTokenFileThatBecomesAPipe(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"the end of stdin", "SIGTERM"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			bp, env := test.NewBigPanda(t)
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte(test.Token), 0o600); err != nil {
				t.Fatal(err)
			}
			env = slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, "BIGPANDA_TOKEN=") })
			f := test.Start(t, env, "--token-file="+file)
			f.MustInit()
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(file, 0o600); err != nil {
				t.Fatal(err)
			}
			test.SetFaults(t, bp, sandbox.Faults{Status: 401})
			f.Send(test.Point("web", "CRITICAL", 1000))
			test.WaitFor(t, bp, func(s sandbox.Stats) bool { return s.Requests > 0 })
			f.Send(test.Keepalive(7))
			answers := []*agent.Response{f.Receive(), f.Receive()}
			if answers[0].GetPoint() == nil || answers[1].GetKeepalive().GetTime() != 7 {
				t.Errorf("answered %v", answers)
			}
			f.WaitLog("it is a pipe and no regular file")
			begin := time.Now()
			if how == "SIGTERM" {
				if err := f.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			} else {
				f.In.Close()
			}
			f.Wait()
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %s to end", took)
			}
		})
	}
}

// P2: where no file can be opened any more, Init says which limit to raise, and what is
// logged with a few fewer is a line of the log.
func TestFewOpenFiles(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	for limit := 16; ; limit-- {
		cmd := test.Command(append(env, "BIGPANDA_LOG_LEVEL=debug"))
		cmd.Args, cmd.Path = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0"`, limit), cmd.Path}, "/bin/sh"
		f := test.StartCommand(t, cmd)
		answer := f.Init()
		if answer.Success {
			f.Send(test.Point("web1", "CRITICAL", int64(1000+limit)), test.Keepalive(1))
			for f.Receive().GetKeepalive() == nil {
			}
		}
		f.End()
		for line := range strings.Lines(f.Log.String()) {
			if !strings.HasPrefix(line, "time=") {
				t.Errorf("with %d files the log has %s", limit, line)
			}
		}
		if !answer.Success {
			if !strings.Contains(answer.Error, "too many open files") || !strings.Contains(answer.Error, "raise the limit of open files") {
				t.Errorf("with %d files Init says %q", limit, answer.Error)
			}
			return
		}
	}
}

// What net/http says where no connection can be taken is a line of the log, too.
func TestMetricsWithFewOpenFiles(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	cmd := test.Command(append(env, "BIGPANDA_LOG_LEVEL=debug"), "serve", "--socket", filepath.Join(test.SocketDir(t), "s"), "--metrics-listen=127.0.0.1:0")
	cmd.Args, cmd.Path = append([]string{"sh", "-c", `ulimit -n 20 && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...), "/bin/sh"
	f := test.LaunchCommand(t, cmd)
	f.WaitLog("metrics are served")
	_, address, _ := strings.Cut(f.Log.String(), "url=http://")
	address, _, _ = strings.Cut(address, "/")
	for range 20 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	f.WaitLog("Accept error")
	f.Cmd.Process.Signal(syscall.SIGTERM)
	f.Wait()
	for line := range strings.Lines(f.Log.String()) {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("the log has %s", line)
		}
	}
}
