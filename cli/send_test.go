package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"bigpanda-udf/sandbox"
)

func TestSend(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		faults sandbox.Faults
		args   []string
		code   int
		stdout []string // parts
		stderr string   // a part
	}{
		{name: "accepted", stdout: []string{`{"app_key":"k",`, "answered 201 Created", "\naccepted\n"}},
		{name: "a duplicate", faults: sandbox.Faults{Status: 204}, stdout: []string{"answered 204 No Content", "accepted, as a duplicate"}},
		{name: "what was asked for", args: []string{"--status=ok", "--host=h1", "--check=c1", "--description=d;1", "--attribute=a=b;c=d", "--attribute=e=f"},
			stdout: []string{`"a":"b;c=d"`, `"check":"c1"`, `"description":"d;1"`, `"e":"f"`, `"host":"h1"`, `"status":"ok"`}},
		{name: "a wrong token", faults: sandbox.Faults{Token: "another"}, code: 1, stdout: []string{"answered 401 Unauthorized"}, stderr: "check the token"},
		{name: "an unknown app key or region", faults: sandbox.Faults{Status: 404}, code: 1, stdout: []string{"answered 404 Not Found"}, stderr: "check that the app key exists"},
		{name: "refused", faults: sandbox.Faults{Status: 400}, code: 1, stdout: []string{"answered 400 Bad Request"}, stderr: "see the answer"},
		{name: "down", faults: sandbox.Faults{Status: 503}, code: 1, stdout: []string{"answered 503 Service Unavailable"}, stderr: "answered 503 Service Unavailable; try again later"},
		{name: "a login page", faults: sandbox.Faults{Body: "<html>log in"}, code: 1, stdout: []string{"answered 200 OK", "<html>log in"}, stderr: "no proxy or login page"},
		{name: "no answer", faults: sandbox.Faults{Hang: true}, args: []string{"--timeout=1s"}, code: 1, stdout: []string{"sent to http://"}, stderr: "within 1s"},
		{name: "a dropped connection", faults: sandbox.Faults{Drop: true}, code: 1, stderr: "can be reached"},
		{name: "a wrong status", args: []string{"--status=red"}, code: 2, stderr: `--status is "red": write ok, `},
		{name: "an attribute of BigPanda's own", args: []string{"--attribute=status=x"}, code: 2, stderr: "BigPanda defines that name"},
		{name: "an attribute without a value", args: []string{"--attribute=x"}, code: 2, stderr: "--attribute: "},
		{name: "a bad setting", args: []string{"--timeout=0"}, code: 2, stderr: `--timeout is "0": write 1ms or more`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, url := newAPI(t, tt.faults)
			vars := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_URL": url, "BIGPANDA_APP_KEY": "k"}
			r := run(t, nil, vars, append([]string{"send"}, tt.args...)...)
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d", r.code, tt.code)
			}
			for _, part := range tt.stdout {
				if !strings.Contains(r.stdout, part) {
					t.Errorf("stdout has no %q:\n%s", part, r.stdout)
				}
			}
			if !strings.Contains(r.stderr, tt.stderr) || tt.stderr == "" && r.stderr != "" {
				t.Errorf("stderr has no %q:\n%s", tt.stderr, r.stderr)
			}
			if strings.Contains(r.stdout, "accepted") != (tt.code == 0) {
				t.Errorf("exit code %d and stdout\n%s", tt.code, r.stdout)
			}
		})
	}
}

func TestSendJSON(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                string
		faults              sandbox.Faults
		code, status        int
		accepted, duplicate bool
	}{
		{name: "accepted", status: 201, accepted: true},
		{name: "a duplicate", faults: sandbox.Faults{Status: 204}, status: 204, accepted: true, duplicate: true},
		{name: "a wrong token", faults: sandbox.Faults{Token: "another"}, code: 1, status: 401},
		{name: "a dropped connection", faults: sandbox.Faults{Drop: true}, code: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, url := newAPI(t, tt.faults)
			r := run(t, nil, map[string]string{"BIGPANDA_TOKEN": testToken}, "send", "--json", "--app-key=k", "--url="+url)
			var report sendReport
			if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
				t.Fatalf("stdout is not one JSON object: %v\n%s", err, r.stdout)
			}
			if r.code != tt.code || report.Status != tt.status || report.Accepted != tt.accepted || report.Duplicate != tt.duplicate {
				t.Errorf("exit code %d, report %+v", r.code, report)
			}
			if (report.Error != "") != (tt.code != 0) || (report.Hint != "") != (tt.code != 0) {
				t.Errorf("error %q, hint %q", report.Error, report.Hint)
			}
			var payload map[string]any
			if err := json.Unmarshal(report.Payload, &payload); err != nil || payload["app_key"] != "k" || payload["status"] != "warning" {
				t.Errorf("the payload is %s (%v)", report.Payload, err)
			}
		})
	}
}

// A token file is what most use; a token that is passed as an attribute by
// mistake is sent, but not shown.
func TestSendHidesToken(t *testing.T) {
	t.Parallel()
	_, url := newAPI(t, sandbox.Faults{Body: "your token is " + testToken})
	run(t, nil, nil, "send", "--app-key=k", "--url="+url, "--token-file="+write(t, "token", testToken+"\n"), "--attribute=x="+testToken)
}

func TestSendWithHandlerFile(t *testing.T) {
	t.Parallel()
	handler := func(url, options string) string {
		return write(t, "h.yaml", "kind: bigpanda\noptions:\n  app-key: h\n  url: "+url+"\n"+options)
	}
	vars := map[string]string{"BIGPANDA_TOKEN": testToken}

	api, url := newAPI(t, sandbox.Faults{})
	file := handler(url, "  host: fixed\n  attributes: {env: test, who: '{{ .Name }}'}\n")
	if r := run(t, nil, vars, "send", "--handler="+file); r.code != 0 {
		t.Fatalf("exit code %d, %s", r.code, r.stderr)
	}
	if p := api.Events()[0].Payload; p.Text("host") != "fixed" || p.Text("env") != "test" || p.Text("who") != "" {
		t.Errorf("the payload is %s", p)
	}

	file = handler(url, "  host: '{{ index .Tags \"host\" }}'\n  primary-property: device\n")
	r := run(t, nil, vars, "send", "--handler="+file)
	if want := `the primary property "device" of the handler file is not in this alert: add --attribute device=NAME`; r.code != 2 || !strings.Contains(r.stderr, want) {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	if r := run(t, nil, vars, "send", "--handler="+file, "--attribute=device=d1", "--host=h1"); r.code != 0 {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	if e := api.Events()[1]; e.Title != "d1" {
		t.Errorf("the alert is about %q", e.Title)
	}
}

func TestSendNeeds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		vars map[string]string
		want string
	}{
		"an app key": {map[string]string{"BIGPANDA_TOKEN": testToken}, "no app key: set --app-key"},
		"a token":    {map[string]string{"BIGPANDA_APP_KEY": "k"}, "no token: set BIGPANDA_TOKEN"},
	} {
		if r := run(t, nil, tt.vars, "send"); r.code != 2 || r.stdout != "" || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("without %s: exit code %d, %q", name, r.code, r.stderr)
		}
	}
}
