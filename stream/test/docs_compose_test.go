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
	"slices"
	"strconv"
	"strings"
	"testing"

	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// compose reads a compose file of examples/ as docker compose does, which refuses what is
// not in its schema, and looks for the files that it names, but for those that the reader
// brings or makes. It takes nothing from the environment.
func compose(t *testing.T, name string, brings ...string) *types.Project {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: filepath.Dir(path), ConfigFiles: []types.ConfigFile{{Filename: path}},
	}, func(o *loader.Options) {
		o.SetProjectName("test", true)
		o.Interpolate.LookupValue = func(variable string) (string, bool) {
			t.Errorf("%s asks the environment for %s", name, variable)
			return "", false
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	exists := func(of, path string) {
		if _, err := os.Stat(path); err != nil && !slices.Contains(brings, filepath.Base(path)) {
			t.Errorf("%s: %s has a file that is not there: %v", name, of, err)
		}
	}
	for _, service := range project.Services {
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind {
				exists(service.Name, volume.Source)
			}
		}
		if build := service.Build; build != nil {
			exists(service.Name, filepath.Join(build.Context, build.Dockerfile))
		}
		for _, secret := range service.Secrets {
			exists(secret.Source, project.Secrets[secret.Source].File)
			// The program is told where Compose puts it.
			place := "/run/secrets/" + secret.Source
			for variable, value := range service.Environment {
				if strings.HasPrefix(*value, "/run/secrets/") && *value != place {
					t.Errorf("%s: %s has %s=%s, and its secret is at %s", name, service.Name, variable, *value, place)
				}
			}
		}
	}
	return project
}

// mounted is what a service reads at a path, which is in one of its volumes.
func mounted(t *testing.T, service types.ServiceConfig, path string) string {
	t.Helper()
	for _, volume := range service.Volumes {
		if rest, in := strings.CutPrefix(path, volume.Target+"/"); in && volume.Type == types.VolumeTypeBind {
			text, err := os.ReadFile(filepath.Join(volume.Source, rest))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	t.Fatalf("%s has no file %s", service.Name, path)
	return ""
}

// The compose example of the daemon beside Kapacitor is one, and its image has what is
// mounted there: else a volume belongs to root. That it works is a test of packaging/.
func TestComposeOfDaemon(t *testing.T) {
	t.Parallel()
	project := compose(t, "containers/compose.yaml", "kapacitor.conf", "bigpanda.token")
	image, err := os.ReadFile(filepath.Join("..", "..", "packaging", "image", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	volumes := strings.Fields(between(t, string(image), "VOLUME", "\n"))[1:]
	for _, volume := range project.Services["bigpanda-udf"].Volumes {
		if !slices.Contains(volumes, volume.Target) {
			t.Errorf("%s is no volume of the image, whose volumes are %q", volume.Target, volumes)
		}
	}
}

// The compose example does what its head says, with its commands, settings and files: each
// service is a process here, at another address, and the Kapacitors are their functions.
// That the real Kapacitor takes its configuration and its task is a test of e2e.
func TestCompose(t *testing.T) {
	t.Parallel()
	text := example(t, "compose/compose.yaml")
	project := compose(t, "nats/compose/compose.yaml", "functions.password", "deliverers.password")
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
	for name, secret := range project.Secrets {
		pairs = append(pairs, "/run/secrets/"+name, s.path("/home/"+filepath.Base(secret.File)))
	}
	routes := make([]string, len(s.servers))
	for i, server := range s.servers {
		routes[i] = fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
		pairs = append(pairs, server.Name()+":4222", strings.TrimPrefix(server.URL(), "nats://"), server.Name()+":6222", routes[i])
	}
	here := strings.NewReplacer(pairs...)

	for i, server := range s.servers {
		service := project.Services[server.Name()]
		own := strings.NewReplacer("$SERVER_NAME", *service.Environment["SERVER_NAME"], "/var/lib/nats", server.StoreDir(),
			"0.0.0.0:4222", strings.TrimPrefix(server.URL(), "nats://"), "0.0.0.0:6222", routes[i])
		server.Configure(own.Replace(here.Replace(mounted(t, service, service.Command[1]))) + fmt.Sprintf("\nhttp: %q\nlog_file: %q\n",
			strings.TrimPrefix(server.MonitorURL(), "http://"), filepath.Join(server.Dir(), "nats-server.log")))
		s.must(os.WriteFile(filepath.Join(server.Dir(), "passwords.conf"), made, 0o600))
		s.must(os.WriteFile(filepath.Join(filepath.Dir(server.Dir()), "rights.conf"), []byte(example(t, "rights.conf")), 0o600))
	}
	s.cluster = natstest.StartPlaced(t, s.servers...)
	environment := func(name string) (env []string) {
		for variable, value := range project.Services[name].Environment {
			env = append(env, variable+"="+here.Replace(*value))
		}
		return append(env, "BIGPANDA_DELIVER_LISTEN=127.0.0.1:0")
	}
	for _, name := range []string{"sandbox", "deliver-1", "deliver-2"} {
		var args []string
		for _, arg := range project.Services[name].Command {
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
