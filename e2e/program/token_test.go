package program

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// P9: the token appears nowhere but in the request's header, the URL's query
// nowhere but in what is asked, and the proxy's password nowhere at all: neither in
// what the function and the other commands write, nor in files and their names,
// also when BigPanda or the proxy repeats all of them.
func TestSecretsAreNotSeen(t *testing.T) {
	t.Parallel()
	const (
		query    = "qu3ry-not-to-be-seen"
		password = "pa55word-not-to-be-seen"
	)
	secrets := []string{test.Token, query, password, base64.StdEncoding.EncodeToString([]byte("proxyuser:" + password))}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(test.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"BIGPANDA_TOKEN=" + test.Token, "BIGPANDA_TOKEN_FILE=" + file} {
		t.Run(strings.SplitN(source, "=", 2)[0], func(t *testing.T) {
			t.Parallel()
			bp := sandbox.New(sandbox.Options{Token: test.Token})
			t.Cleanup(bp.Close)
			var through atomic.Int64
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.Header.Get("Proxy-Authorization"), secrets[3]) && r.URL.Query().Get("key") == query {
					through.Add(1)
				}
				r.Host = "localhost" // where the proxy finds that host
				bp.ServeHTTP(w, r)
			}))
			t.Cleanup(proxy.Close)
			outbox := filepath.Join(t.TempDir(), "outbox")
			env := []string{source, "BIGPANDA_APP_KEY=app", "BIGPANDA_OUTBOX=" + outbox, "NO_PROXY=", "no_proxy=",
				"BIGPANDA_URL=http://bigpanda.example/data/v2/alerts?key=" + query,
				"http_proxy=" + strings.Replace(proxy.URL, "://", "://proxyuser:"+password+"@", 1), "HTTP_PROXY=",
			}
			f := test.Start(t, env, "--log-level=debug")
			f.MustInit(test.Option("attribute", "env", `{{ .Tags.token }}{{ .Name }}`))
			repeated := strings.Join(secrets, " ")
			for i, fault := range []struct {
				sandbox.Faults
				says string
			}{
				{sandbox.Faults{Status: 400, Count: 1, Body: `{"error":"` + repeated + `"}`}, "it is now a dead letter"},
				{sandbox.Faults{Status: 401, Count: 1, Body: "bad token " + repeated}, "all alerts are held"},
			} {
				test.SetFaults(t, bp, fault.Faults)
				f.Send(test.Point(fmt.Sprint("web", i), "CRITICAL", 1000))
				f.WaitLog(fault.says)
			}
			f.Send(test.Snapshot())
			for f.Receive().GetSnapshot() == nil {
			}
			test.WaitEvents(t, bp, 1) // the first is a dead letter by then
			cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", f.Cmd.Process.Pid))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			seen := map[string]string{"ps": string(cmdline)}
			command := func(args ...string) {
				out, err := test.Command(env, args...).CombinedOutput()
				if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				if len(out) == 0 {
					t.Errorf("%q says nothing", args)
				}
				seen[strings.Join(args, " ")] = string(out)
			}
			outboxes := func() {
				for _, args := range []string{"status", "status --json", "status --prometheus", "list --payload", "dead", "dead --json", "export", "active", "active --json"} {
					command(append([]string{"outbox"}, strings.Fields(args)...)...)
				}
			}
			command("outbox", "--json") // while the process lives
			command("outbox", "export")
			if code := f.End(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			outboxes()
			command("check")
			command("check", "--json")
			for _, status := range []int{200, 400, 407, 500} {
				test.SetFaults(t, bp, sandbox.Faults{Status: status, Body: repeated})
				command("send", "--attribute=x="+repeated)
				command("send", "--json")
				command("check")
			}
			command("check", "--url=https://proxyuser:"+password+"@h/?key="+query)
			command("send", "--ulr=http://h/?key="+query)
			command("send", "http://h/?key="+query)
			command("https://proxyuser:" + password + "@h/")
			conf := filepath.Join(t.TempDir(), "kapacitor.conf")
			if err := os.WriteFile(conf, []byte(`[udf.functions.bigpanda]
  prog = "bigpanda-udf"
  args = ["--url", "http://bigpanda.example/?key=`+query+`"]
  timeout = "10s"
  [udf.functions.bigpanda.env]
    BIGPANDA_TOKEN = "`+test.Token+`"
    HTTP_PROXY = "`+strings.Replace(proxy.URL, "://", "://proxyuser:"+password+"@", 1)+`"
`), 0o600); err != nil {
				t.Fatal(err)
			}
			command("check", "--kapacitor-conf", conf)

			seen["stderr"], seen["stdout"] = f.Log.String(), f.Raw.String()
			for i, e := range bp.Events() {
				if e.Payload.Text("x") == "" { // what was asked for is sent
					seen[fmt.Sprint("payload ", i)] = string(e.Payload)
				}
			}
			stored := 0
			err = filepath.WalkDir(outbox, func(path string, e fs.DirEntry, err error) error {
				if err != nil || !e.Type().IsRegular() {
					return err
				}
				data, err := os.ReadFile(path)
				seen[path] = path + string(data)
				stored++
				return err
			})
			if err != nil || stored == 0 || through.Load() < 10 || seen["stderr"] == "" || !strings.Contains(seen["outbox dead"], "[secret]") {
				t.Fatalf("there is nothing to search: %v, %d files, %d requests through the proxy\n%s", err, stored, through.Load(), seen["outbox dead"])
			}
			for where, text := range seen {
				for _, secret := range secrets {
					if strings.Contains(text, secret) {
						t.Errorf("%s is in %s:\n%s", secret, where, test.Tail(text))
					}
				}
			}
		})
	}
}

// P9: a token file is read anew after BigPanda refused the token.
func TestTokenFileIsReadAnew(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	bp, env := test.NewBigPanda(t)
	f := test.Start(t, append(env, "BIGPANDA_TOKEN=", "BIGPANDA_TOKEN_FILE="+file))
	f.MustInit()
	f.Send(test.Point("web1", "CRITICAL", 1000))
	test.WaitFor(t, bp, func(s sandbox.Stats) bool { return s.Statuses[401] > 0 })
	if err := os.WriteFile(file, []byte(test.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	test.WaitEvents(t, bp, 1)
}
