package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"
	"bigpanda-udf/test/docs"

	"github.com/BurntSushi/toml"
	"github.com/nats-io/nkeys"
)

// A site is all the hosts of the pages about NATS, with one file system: what a page has
// in / is below root, and what it has at other addresses is on loopback.
type site struct {
	t        *testing.T
	root     string
	servers  []*natstest.Server
	cluster  *natstest.Cluster
	keys     map[string]string // the public ones, by user
	panda    *sandbox.Server
	before   *strings.Replacer // from what pages say to what is here
	after    *strings.Replacer // and back
	env      []string          // of all that is started
	exported []string          // besides, of commands
	does     map[string]func() // commands that are done here, by their first words

	units map[string]*unit
}

// A unit is what systemd would have started.
type unit struct {
	cmd *exec.Cmd
	log test.LogBuffer
}

// users are those of the page, in the order of their keys in nats-server.conf.
var users = []string{"functions", "deliverers", "administrators", "system"}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, root: t.TempDir(), keys: make(map[string]string), units: make(map[string]*unit), does: make(map[string]func())}
	for _, dir := range []string{"/usr/local/bin", "/etc/nats", "/etc/bigpanda-udf", "/var/lib/kapacitor", "/keys", "/home"} {
		s.must(os.MkdirAll(s.path(dir), 0o755))
	}
	panda, env := test.NewBigPanda(t)
	s.panda = panda
	s.env = append(os.Environ(), env[0], "PATH="+s.path("/usr/local/bin")+":"+os.Getenv("PATH"), "HOME="+s.path("/home"))
	s.file("/etc/bigpanda-udf/token", test.Token, 0o600)
	ca, cert, key := certificates(t, net.IPv4(127, 0, 0, 1))
	for path, from := range map[string]string{"/etc/nats/ca.pem": ca, "/etc/bigpanda-udf/nats-ca.pem": ca, "/etc/nats/server.pem": cert, "/etc/nats/server.key": key} {
		text, err := os.ReadFile(from)
		s.must(err)
		s.file(path, string(text), 0o600)
	}
	s.tools()
	before, after := []string{"/etc/", s.path("/etc") + "/", "/var/lib/", s.path("/var/lib") + "/", "-o kapacitor -g kapacitor ", ""}, []string{s.root, ""}
	for i := range 3 {
		server := natstest.Place(t, fmt.Sprintf("nats-%d", i+1))
		s.servers = append(s.servers, server)
		here, there := strings.TrimPrefix(server.URL(), "nats://"), server.Name()+".example.com:4222"
		before, after = append(before, there, here), append(after, here, there)
	}
	s.before, s.after = strings.NewReplacer(before...), strings.NewReplacer(after...)
	return s
}

// tools are the commands: the program, and stand-ins of what is not of this project.
func (s *site) tools() {
	s.t.Helper()
	program := test.Command(nil)
	own := slices.DeleteFunc(program.Env, func(v string) bool { return slices.Contains(os.Environ(), v) })
	s.file("/usr/local/bin/bigpanda-udf", fmt.Sprintf("#!/bin/sh\nexec env '%s' '%s' \"$@\"\n", strings.Join(own, "' '"), program.Path), 0o755)
	s.file("/usr/local/bin/sudo", "#!/bin/sh\nif [ \"$1\" = -u ]; then shift 2; fi\nexec \"$@\"\n", 0o755)
	// As nats-io/natscli v0.5.1 does it, with keys that are made here.
	s.file("/usr/local/bin/nats", fmt.Sprintf("#!/bin/sh\nset -e\ncase \"$*\" in\n'auth nkey gen user --output '*) cp '%[1]s'/$6 $6 ;;\n"+
		"'auth nkey show '*) cat '%[1]s'/$4.pub ;;\n*) exit 1 ;;\nesac\n", s.path("/keys")), 0o755)
	for _, user := range users {
		key, err := nkeys.CreateUser()
		s.must(err)
		seed, err := key.Seed()
		s.must(err)
		s.keys[user], err = key.PublicKey()
		s.must(err)
		s.file("/keys/"+user+".nk", string(seed)+"\n", 0o600)
		s.file("/keys/"+user+".nk.pub", s.keys[user]+"\n", 0o600)
	}
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// path is where a path of the page is here.
func (s *site) path(path string) string { return filepath.Join(s.root, path) }

// file writes a file of the page, or of its hosts.
func (s *site) file(path, text string, mode os.FileMode) {
	s.t.Helper()
	s.must(os.WriteFile(s.path(path), []byte(text), mode))
}

var publicKey = regexp.MustCompile(`\bU[A-Z2-7]{55}\b`)

// startServers starts three servers with the configuration of the page, each with its own
// name and addresses, and the users' keys.
func (s *site) startServers(conf, rights string) {
	s.t.Helper()
	n := 0
	conf = publicKey.ReplaceAllStringFunc(conf, func(string) string {
		n++
		return s.keys[users[(n-1)%len(users)]]
	})
	if n != len(users) {
		s.t.Fatalf("nats-server.conf has %d keys, not %d", n, len(users))
	}
	routes := make([]string, len(s.servers))
	for i := range routes {
		routes[i] = fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(s.t))
	}
	for i, server := range s.servers {
		own := []string{
			"server_name: nats-1", "server_name: " + server.Name(), "/etc/nats", s.path("/etc/nats"), "/var/lib/nats", server.StoreDir(),
			"0.0.0.0:4222", strings.TrimPrefix(server.URL(), "nats://"), "127.0.0.1:8222", strings.TrimPrefix(server.MonitorURL(), "http://"),
			"0.0.0.0:6222", routes[i],
		}
		for j, route := range routes {
			own = append(own, s.servers[j].Name()+".example.com:6222", route)
		}
		log := fmt.Sprintf("\nlog_file: %q\ntrace: true\n", filepath.Join(server.Dir(), "nats-server.log"))
		server.Configure(strings.NewReplacer(own...).Replace(conf) + log)
		s.must(os.WriteFile(filepath.Join(server.Dir(), "rights.conf"), []byte(rights), 0o600))
	}
	s.cluster = natstest.StartPlaced(s.t, s.servers...)
}

// run runs a command of the page, and returns what it prints, as the page has it.
func (s *site) run(command string) (string, error) {
	for words, do := range s.does {
		if strings.HasPrefix(command, words) {
			do()
			return "", nil
		}
	}
	cmd := exec.CommandContext(s.t.Context(), "sh", "-ec", s.before.Replace(command))
	cmd.Dir, cmd.Env, cmd.WaitDelay = s.path("/home"), slices.Concat(s.env, s.exported), time.Second
	out, err := cmd.CombinedOutput()
	return s.after.Replace(string(out)), err
}

// start runs the program as a unit of systemd. It is killed at the end.
func (s *site) start(name string, env []string, args ...string) {
	s.t.Helper()
	u := &unit{cmd: test.Command(append(slices.Clone(s.env), env...), args...)}
	u.cmd.Stderr, u.cmd.Dir = &u.log, s.path("/home")
	s.must(u.cmd.Start())
	s.units[name] = u
	s.t.Cleanup(func() {
		s.kill(name)
		if s.t.Failed() {
			s.t.Logf("log of %s:\n%s", name, u.log.String())
		}
	})
}

// kill kills a unit, and stop stops it, if it runs.
func (s *site) kill(name string) { s.end(name, syscall.SIGKILL) }
func (s *site) stop(name string) { s.end(name, syscall.SIGTERM) }

func (s *site) end(name string, signal os.Signal) {
	if u := s.units[name]; u != nil {
		u.cmd.Process.Signal(signal)
		u.cmd.Wait()
		delete(s.units, name)
	}
}

// function is a section of a kapacitor.conf.
type function struct {
	Prog, Timeout string
	Args          []string
	Env           map[string]string
}

// functionOf reads the section [udf.functions.bigpanda].
func (s *site) functionOf(text string) function {
	s.t.Helper()
	var conf struct {
		UDF struct{ Functions map[string]function }
	}
	if _, err := toml.Decode(text, &conf); err != nil {
		s.t.Fatal(err)
	}
	return conf.UDF.Functions["bigpanda"]
}

// host starts the function as Kapacitor does on a host, with an outbox of its own: that
// of the page where the host has no name.
func (s *site) host(name string, f function) *test.Function {
	s.t.Helper()
	env := slices.Clone(s.env)
	for variable, value := range f.Env {
		if variable == "BIGPANDA_OUTBOX" && name != "" {
			value += "-" + name
		}
		env = append(env, variable+"="+s.before.Replace(value))
	}
	started := test.Start(s.t, env, f.Args...)
	started.MustInit()
	return started
}

// pageOf reads a page of the documentation.
func pageOf(t *testing.T, path string) docs.Page {
	t.Helper()
	all, err := docs.Pages(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(p docs.Page) bool { return p.Path == path })
	if i < 0 {
		t.Fatalf("there is no page %s", path)
	}
	return all[i]
}

// example reads a file of examples/nats.
func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "nats", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// follow does what a block says. What is shown is asked for until it is there.
func (s *site) follow(block docs.Block) {
	s.t.Helper()
	switch block.Language {
	case "sh":
		if out, err := s.run(block.Text); err != nil {
			s.t.Fatalf("%s: %v\n%s", block, err, out)
		}
	case "console":
		steps, err := block.Steps()
		s.must(err)
		for _, step := range steps {
			natstest.Await(s.t, block.String()+": "+step.Command, func() error {
				got, err := s.run(step.Command)
				if err == nil && docs.Shows(step.Output, got) {
					return nil
				}
				return errors.Join(fmt.Errorf("it prints\n%s", got), err)
			})
		}
	case "text": // a picture
	default:
		s.t.Fatalf("%s: nothing here knows what to do with it", block)
	}
}
