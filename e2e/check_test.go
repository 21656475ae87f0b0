package e2e

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// What Chronograf has set by the config API is in no file, and wins over
// kapacitor.conf: check asks the server.
func TestCheckAsksKapacitor(t *testing.T) {
	t.Parallel()
	needNativeHandler(t)
	panda := startBigPanda(t)
	config := functionConfig(t, panda, nil)
	config["bigpanda"] = map[string]any{"enabled": false}
	k := startKapacitor(t, config)
	server := strings.TrimSuffix(k.url, "/kapacitor/v1")
	check := func() string {
		t.Helper()
		out, _ := exec.Command(function, "check", "--kapacitor-conf", k.conf, "--kapacitor-url", server).CombinedOutput()
		return string(out)
	}
	wants := func(said string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(said, want) {
				t.Errorf("check does not say %q:\n%s", want, said)
			}
		}
	}
	wants(check(), "Kapacitor's own handler is off at ", "none of kind bigpanda at 0 topics")

	k.call(http.MethodPost, "/config/bigpanda/", map[string]any{"set": map[string]any{"enabled": true, "global": true, "token": "of Chronograf", "app-key": appKey}})
	k.call(http.MethodPost, "/alerts/topics/cpu/handlers", map[string]any{"id": "left", "kind": "bigpanda", "options": map[string]any{}})
	k.stop()
	k.start()
	server = strings.TrimSuffix(k.url, "/kapacitor/v1")
	said := check()
	wants(said, "every alert is sent twice: Kapacitor's own handler is on for all alerts at ", "kapacitor delete topic-handlers cpu left")

	// As the line says.
	_, curl, _ := strings.Cut(said, "or with curl -X POST ")
	address, body, _ := strings.Cut(strings.Split(curl, "\n")[0], " -d ")
	request, err := http.NewRequest(http.MethodPost, address, strings.NewReader(strings.Trim(body, "'")))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.Body.Close() != nil || answer.StatusCode != http.StatusNoContent {
		t.Fatalf("%v, %v", answer, err)
	}
	k.call(http.MethodDelete, "/alerts/topics/cpu/handlers/left", nil)
	wants(check(), "Kapacitor's own handler is off at ", "none of kind bigpanda at ")
}
