package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/config"
	"bigpanda-udf/printable"
)

// sendFlags are the settings and the test alert. It is a warning unless asked
// for otherwise: seen by whoever looks, and waking nobody.
type sendFlags struct {
	settingFlags
	Status      string            `default:"warning" placeholder:"STATUS" values:"ok warning critical unknown acknowledged" help:"The alert's status: ok, warning, critical, unknown or acknowledged (${default})."`
	Host        string            `placeholder:"NAME" help:"The host that the alert is about (this machine)."`
	Check       string            `default:"bigpanda-udf test" placeholder:"NAME" help:"The check that alerts (${default})."`
	Description string            `default:"A test alert, sent by hand to try the settings." placeholder:"TEXT" help:"What the alert says."`
	Attribute   map[string]string `placeholder:"NAME=VALUE" mapsep:"none" help:"A further property; may be given several times."`
	JSON        bool              `name:"json" help:"Print one JSON object."`
}

// sendReport is what send prints with --json.
type sendReport struct {
	URL       string          `json:"url"`
	Payload   json.RawMessage `json:"payload"`
	Status    int             `json:"status"` // of HTTP; 0: there was no answer
	Answer    string          `json:"answer"`
	Accepted  bool            `json:"accepted"`
	Duplicate bool            `json:"duplicate"`
	Error     string          `json:"error,omitempty"`
	Hint      string          `json:"hint,omitempty"`
}

// run sends one test alert, once, and tells what was sent and answered.
func (f *sendFlags) run(ctx context.Context, p Process, c *command) error {
	s, err := c.settings(p)
	if err != nil {
		return err
	}
	s.sayWarnings(p, "send")
	payload, err := f.testAlert(s)
	if err != nil {
		return err
	}
	client, err := s.newClient()
	if err != nil {
		return err
	}
	defer client.Close()

	alert := payload.Encode()
	answer, err := client.Send(ctx, payload.AppKey, [][]byte{alert})
	r := sendReport{
		URL:       s.hidden.redact(bigpanda.PublicURL(s.URL)),
		Payload:   json.RawMessage(s.hidden.redact(string(bigpanda.Body(payload.AppKey, [][]byte{alert})))),
		Status:    answer.Status,
		Answer:    s.hidden.redact(strings.TrimSpace(answer.Body)),
		Accepted:  err == nil,
		Duplicate: err == nil && answer.Status == http.StatusNoContent,
	}
	if err != nil {
		if failure := (*bigpanda.Error)(nil); errors.As(err, &failure) {
			switch {
			case failure.Reason == bigpanda.ReasonServer, failure.Reason == bigpanda.ReasonThrottled:
				failure.Hint = "try again later: send makes one attempt, the function goes on until the alert is accepted"
			case failure.Reason == bigpanda.ReasonRefused && r.Answer == "":
				failure.Hint = "BigPanda does not say what it does not accept in the alert: leave out attributes one by one"
			}
			r.Hint = s.hidden.redact(failure.Hint)
		}
		r.Error = s.hidden.redact(err.Error())
	}
	return errors.Join(p.printSent(r, f.JSON), err)
}

func (p Process) printSent(r sendReport, asJSON bool) error {
	if asJSON {
		return p.printJSON(r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "sent to %s\n%s\n", r.URL, printable.JSON(r.Payload))
	if r.Status != 0 {
		fmt.Fprintf(&b, "answered %s\n", bigpanda.StatusText(r.Status))
	}
	if r.Answer != "" {
		// Of one line: an answer shall not look like what follows it.
		fmt.Fprintln(&b, printable.Text(r.Answer))
	}
	switch {
	case r.Duplicate:
		fmt.Fprintln(&b, "accepted, as a duplicate of an earlier alert")
	case r.Accepted:
		fmt.Fprintln(&b, "accepted")
	}
	return printed(fmt.Fprint(p.Stdout, b.String()))
}

// testAlert makes the alert of the flags and of what the settings say about
// every alert.
func (f *sendFlags) testAlert(s settings) (bigpanda.Payload, error) {
	p := bigpanda.Payload{AppKey: s.Defaults.AppKey, Status: f.Status, Timestamp: time.Now().Unix()}
	if p.AppKey == "" {
		return p, usagef("no app key: set --app-key, BIGPANDA_APP_KEY, or app-key in [bigpanda] of the --config file")
	}
	if !slices.Contains(bigpanda.Statuses, f.Status) {
		return p, usagef("--status is %q: write %s", config.Shown(f.Status), strings.Join(bigpanda.Statuses, ", "))
	}
	p.Properties = map[string]string{
		"host":               f.Host,
		"check":              f.Check,
		"description":        f.Description,
		"primary_property":   s.Defaults.PrimaryProperty,
		"secondary_property": s.Defaults.SecondaryProperty,
	}
	if f.Host == "" {
		p.Properties["host"] = hostOf(s)
	}
	for name, text := range s.Defaults.Attributes {
		if !isTemplate(text) {
			p.Properties[name] = text
		}
	}
	for name, text := range f.Attribute {
		if slices.Contains([]string{"app_key", "alerts", "status", "timestamp"}, name) {
			return p, usagef("--attribute %s is not an attribute: BigPanda defines that name, choose another", name)
		}
		p.Properties[name] = text
	}
	if chosen := s.Defaults.PrimaryProperty; chosen != "" && p.Properties[chosen] == "" {
		return p, usagef("the primary property %q of the handler file is not in this alert: add --attribute %s=NAME", chosen, chosen)
	}
	if p.Identity().Primary == "" {
		return p, usagef("no primary property, BigPanda would drop the alert: add --host NAME")
	}
	return p, nil
}

// hostOf returns what stands for the host of points: there are none here for a
// template to read.
func hostOf(s settings) string {
	if s.Defaults.Host != "" && !isTemplate(s.Defaults.Host) {
		return s.Defaults.Host
	}
	name, _ := os.Hostname() // without one, the primary property is said to be missing
	return name
}

func isTemplate(text string) bool { return strings.Contains(text, "{{") }
