package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"

	"go.yaml.in/yaml/v3"
)

// composed is what is read of compose.yaml.
type composed struct {
	Services map[string]struct {
		Command     []string
		Environment map[string]string
		Volumes     []string
		Secrets     []string
	}
	Secrets map[string]struct{ File string }
}

// The compose example does what its head says, with its commands, settings and files: each
// service is a process here, at another address, and the Kapacitors are their functions.
// That the real Kapacitor takes its configuration and its task is a test of e2e.
func TestCompose(t *testing.T) {
	t.Parallel()
	text := example(t, "compose/compose.yaml")
	var file composed
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	passwords := exec.Command("sh", "-ec", between(t, text, "for user in", "> passwords.conf"))
	passwords.Dir = s.path("/home")
	if out, err := passwords.CombinedOutput(); err != nil {
		t.Fatalf("the passwords: %v\n%s", err, out)
	}
	made, err := os.ReadFile(s.path("/home/passwords.conf"))
	s.must(err)

	// Where the services are here.
	sandbox := fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
	pairs := []string{"sandbox:8089", sandbox, "0.0.0.0:8089", sandbox, "/var/lib/kapacitor", s.path("/var/lib/kapacitor")}
	for name, secret := range file.Secrets {
		pairs = append(pairs, "/run/secrets/"+name, s.path("/home/"+secret.File))
	}
	routes := make([]string, len(s.servers))
	for i, server := range s.servers {
		routes[i] = fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
		pairs = append(pairs, server.Name()+":4222", strings.TrimPrefix(server.URL(), "nats://"), server.Name()+":6222", routes[i])
	}
	here := strings.NewReplacer(pairs...)

	for i, server := range s.servers {
		service := file.Services[server.Name()]
		conf := strings.TrimPrefix(service.Command[1], strings.TrimPrefix(strings.TrimSuffix(service.Volumes[0], ":ro"), "..:")+"/")
		own := strings.NewReplacer("$SERVER_NAME", service.Environment["SERVER_NAME"], "/var/lib/nats", server.StoreDir(),
			"0.0.0.0:4222", strings.TrimPrefix(server.URL(), "nats://"), "0.0.0.0:6222", routes[i])
		server.Configure(own.Replace(here.Replace(example(t, conf))) + fmt.Sprintf("\nhttp: %q\nlog_file: %q\n",
			strings.TrimPrefix(server.MonitorURL(), "http://"), filepath.Join(server.Dir(), "nats-server.log")))
		s.must(os.WriteFile(filepath.Join(server.Dir(), "passwords.conf"), made, 0o600))
		s.must(os.WriteFile(filepath.Join(filepath.Dir(server.Dir()), "rights.conf"), []byte(example(t, "rights.conf")), 0o600))
	}
	s.cluster = natstest.StartPlaced(t, s.servers...)
	environment := func(name string) (env []string) {
		for variable, value := range file.Services[name].Environment {
			env = append(env, variable+"="+here.Replace(value))
		}
		return append(env, "BIGPANDA_DELIVER_LISTEN=127.0.0.1:0")
	}
	for _, name := range []string{"sandbox", "deliver-1", "deliver-2"} {
		var args []string
		for _, arg := range file.Services[name].Command {
			args = append(args, here.Replace(arg))
		}
		s.start(name, environment(name), args...)
	}
	kapacitor := s.functionOf(example(t, "compose/kapacitor.conf"))
	for variable, value := range kapacitor.Env {
		kapacitor.Env[variable] = here.Replace(value)
	}
	first, second := s.host("1", kapacitor), s.host("2", kapacitor)

	// The commands of the head. What both see is one event, also when the one that
	// delivers is killed, and the recovery is told by the Kapacitor that is left.
	events := func() (all []struct{ Status string }) {
		answer, err := http.Get("http://" + sandbox + "/events")
		if err != nil {
			return nil
		}
		defer answer.Body.Close()
		_ = json.NewDecoder(answer.Body).Decode(&all)
		return all
	}
	wait := func(want ...string) {
		t.Helper()
		natstest.Await(t, fmt.Sprintf("the sandbox has %q", want), func() error {
			var got []string
			for _, e := range events() {
				got = append(got, e.Status)
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				return fmt.Errorf("it has %q", got)
			}
			return nil
		})
	}
	both := func(level string, at int64) {
		first.Send(test.Point("web-1", level, at))
		second.Send(test.Point("web-1", level, at))
	}
	both("WARNING", 1700000000)
	wait("warning")
	command := strings.Fields(between(t, text, "bigpanda-udf cluster", "cluster"))
	leads := ""
	natstest.Await(t, "cluster says who delivers and who stands by, and that nothing waits", func() error {
		out, err := test.Command(append(s.env, environment("deliver-1")...), command[1:]...).Output()
		found := regexp.MustCompile(`/(\d+)-\S+ delivers, .*; \S+ stands by\n(?:.*\n)*YOUR_APP_KEY +1 +1 +0 +-`).FindSubmatch(out)
		if found == nil {
			return errors.Join(fmt.Errorf("it prints\n%s", out), err)
		}
		for name, u := range s.units {
			if strconv.Itoa(u.cmd.Process.Pid) == string(found[1]) {
				leads = name
			}
		}
		return nil
	})
	s.kill(leads)
	both("CRITICAL", 1700000010)
	wait("warning", "critical")
	first.Cmd.Process.Kill()
	second.Send(test.Point("web-1", "OK", 1700000020))
	wait("warning", "critical", "ok")
	s.noViolation()
}

// between returns what a comment of a file has from one text to the end of another.
func between(t *testing.T, text, from, to string) string {
	t.Helper()
	text = strings.ReplaceAll(text, "\n#", "\n")
	a := strings.Index(text, from)
	b := strings.Index(text[max(a, 0):], to)
	if a < 0 || b < 0 {
		t.Fatalf("there is nothing from %q to %q", from, to)
	}
	return text[a : a+b+len(to)]
}
