package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What is wrong stands in the task's error, where "kapacitor show" shows it,
// and each failed start leaves no process behind (P2).
func TestWrongOptions(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second // a function that is over is noticed by a keepalive
	panda := startBigPanda(t)
	config := functionConfig(t, panda, nil)
	functionTable(config)["timeout"] = timeout.String()
	k := startKapacitor(t, config)
	k.waitForFunctions(0) // the one that was asked for its options has left

	tests := []struct {
		name, options string
		want          []string // all are in the error
	}{
		{"unknown kind of attributes", `.autoAttributes('everything')`, []string{".autoAttributes()", "everything"}},
		{"unknown level", `.level('SEVERE', 'LOUD')`, []string{"level", "LOUD"}},
		{"unknown status", `.infoStatus('fine')`, []string{".infoStatus()", "fine"}},
		{"two sources of the level", `.levelField('a').levelTag('b')`, []string{".levelField()", ".levelTag()"}},
		{"two sources of the id", `.idField('a').idTag('b')`, []string{".idField()", ".idTag()"}},
		{"option given twice", `.host('a').host('b')`, []string{"host", "twice"}},
		{"template that does not parse", `.details('{{ .Message')`, []string{".details()"}},
		{"name that the template does not have", `.message('{{ .Sevice }}')`, []string{".message()", "Sevice"}},
		{"name that comes too late", `.id('{{ .Message }}')`, []string{".id()", "Message"}},
		{"attribute that the API defines", `.attribute('status', 'ok')`, []string{".attribute(", "status"}},
		{"no time to send again", `.resendAfter(0s)`, []string{".resendAfter()"}},
	}
	for i, test := range tests {
		id := fmt.Sprintf("wrong-%d", i)
		k.define(id, withOptions(test.options))
		got := k.waitForError(id)
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: the task's error %q has no %q", test.name, got, want)
			}
		}
		if strings.Contains(got, "\n") {
			t.Errorf("%s: the task's error has several lines: %q", test.name, got)
		}
	}
	k.waitForFunctions(0)

	// What Kapacitor checks itself, by what Info declares, is refused at once.
	for _, options := range []string{`.colour('red')`, `.host(5)`, `.attribute('only a name')`} {
		_, err := k.try(http.MethodPost, "/tasks", strings.NewReader(
			fmt.Sprintf(`{"id": "refused", "type": "stream", "dbrps": [{"db": "d", "rp": "r"}], "script": %q}`, withOptions(options))))
		if err == nil {
			t.Errorf("a task with %s was taken", options)
		}
	}

	// Of a capital letter it advises its own handler, of which the README warns.
	_, err := k.try(http.MethodPost, "/tasks", strings.NewReader(fmt.Sprintf(`{"id": "capital", "type": "stream", "dbrps": [{"db": "d", "rp": "r"}], "script": %q}`,
		strings.ReplaceAll(withOptions(""), "@bigpanda", "@bigPanda"))))
	if err == nil || !strings.Contains(err.Error(), "no dynamic method") || !strings.Contains(err.Error(), "Use '.' operator instead") {
		t.Errorf("to @bigPanda() Kapacitor says %v", err)
	}

	// The user corrects the script, and the task runs.
	k.call(http.MethodPatch, "/tasks/wrong-0", map[string]any{"script": withOptions(`.autoAttributes('tags')`)})
	k.disable("wrong-0")
	k.enable("wrong-0")
	k.write(fmt.Sprintf("cpu,host=h usage=95 %d", at(0)))
	wantStatuses(t, panda.waitForCount(1), "critical")
	k.waitForFunctions(1)
	if shown := k.show("wrong-0"); shown.Error != "" || !shown.Executing {
		t.Errorf("the corrected task is not well: %+v", shown)
	}
}

// A wrong flag or setting does not keep Kapacitor from starting; it is the
// error of each task that uses the function (P2).
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		env  map[string]string
		want []string
	}{
		{name: "unknown flag", args: []string{"--app-kee", "x"}, want: []string{"--app-kee"}},
		{name: "no token", env: map[string]string{"BIGPANDA_TOKEN_FILE": ""}, want: []string{"token", "BIGPANDA_TOKEN_FILE"}},
		{name: "token file that is not there", env: map[string]string{"BIGPANDA_TOKEN_FILE": "/nowhere/token"}, want: []string{"BIGPANDA_TOKEN_FILE", "/nowhere/token"}},
		{name: "no app key", env: map[string]string{"BIGPANDA_APP_KEY": ""}, want: []string{"app key", "BIGPANDA_APP_KEY"}},
		{name: "URL that is none", env: map[string]string{"BIGPANDA_URL": "not a url"}, want: []string{"BIGPANDA_URL"}},
		{name: "file that is not there", args: []string{"--config", "/nowhere/kapacitor.conf"}, want: []string{"/nowhere/kapacitor.conf"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			panda := startBigPanda(t)
			config := functionConfig(t, panda, test.env)
			table := functionTable(config)
			table["timeout"] = "2s"
			args, _ := table["args"].([]any)
			for _, arg := range test.args {
				args = append(args, arg)
			}
			table["args"] = args
			k := startKapacitor(t, config)
			k.define("cpu", withOptions(""))
			got := k.waitForError("cpu")
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("the task's error %q has no %q", got, want)
				}
			}
			k.waitForFunctions(0)
		})
	}
}
