package program

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"bigpanda-udf/outbox"
	"bigpanda-udf/test"
)

// Two who collect look on while tasks start, end and are killed: each scrape is whole,
// what was committed is never taken back, and no task finds its outbox taken.
func TestMetricsWhileTasksComeAndGo(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	urls := []string{served(t, env, "metrics", "--listen=127.0.0.1:0"), served(t, env, "metrics", "--listen=127.0.0.1:0")}
	const tasks, lives = 3, 4
	var living, looking sync.WaitGroup
	over := make(chan struct{})
	for _, url := range urls {
		looking.Go(func() {
			highest := make(map[string]float64)
			for {
				status, body := get(t, url, "")
				if status != http.StatusOK {
					t.Errorf("a scrape is answered %d: %s", status, body)
				}
				for series, v := range parse(t, body) {
					if strings.HasPrefix(series, "bigpanda_udf_changes_total{") && strings.Contains(series, "critical") {
						if v < highest[series] {
							t.Errorf("%s went from %v to %v", series, highest[series], v)
						}
						highest[series] = v
					}
				}
				select {
				case <-over:
					return
				default:
				}
			}
		})
	}
	for task := range tasks {
		living.Go(func() {
			for life := range lives {
				f := test.Start(t, env)
				f.Send(test.Init(fmt.Sprint("task", task), "n"))
				if answer := f.Receive().GetInit(); !answer.GetSuccess() {
					t.Error(answer)
					return
				}
				// What the function answered was committed before.
				f.Send(test.Point(fmt.Sprint("web", life), "CRITICAL", int64(1000+life)), test.Keepalive(1))
				f.Receive()
				f.Receive()
				if life%2 == 0 {
					f.Cmd.Process.Kill()
					f.Wait()
				} else {
					f.End()
				}
			}
		})
	}
	living.Wait()
	close(over)
	looking.Wait()
	s := scraped(t, urls[0])
	for task := range tasks {
		if n := s.of(t, "changes_total", fmt.Sprintf(`task="task%d"`, task), `level="critical"`); n != lives {
			t.Errorf("task%d has made %v changes, want %d", task, n, lives)
		}
	}
	folders, err := outbox.Folders(strings.TrimPrefix(env[len(env)-1], "BIGPANDA_OUTBOX="))
	if err != nil || len(folders) != tasks {
		t.Errorf("there are %v (%v), want an outbox for each of %d tasks", folders, err, tasks)
	}
}

// systemd may have made the socket: it is taken over, whatever --listen says.
func TestMetricsOnASocketOfSystemd(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// The shell becomes the program, which has the number that it names.
	cmd := exec.Command("sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" metrics --listen=192.0.2.1:1`, os.Args[0])
	cmd.Env = append(append(os.Environ(), test.AsChild+"="+test.AsProgram), env...)
	cmd.ExtraFiles = []*os.File{file}
	test.LaunchCommand(t, cmd)
	if status, body := get(t, "http://"+l.Addr().String()+"/metrics", ""); status != http.StatusOK {
		t.Errorf("the scrape is answered %d: %s", status, body)
	}
}
