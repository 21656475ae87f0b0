package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/config"
	"bigpanda-udf/printable"
)

const (
	// apiPath is where Kapacitor's HTTP API is (services/httpd).
	apiPath = "/kapacitor/v1"
	// maxAPIAnswer is more than the list of any number of topics that is looked at.
	maxAPIAnswer = 16 << 20
	// maxTopics is of how many topics the handlers are asked for: each is a
	// request.
	maxTopics = 1000
)

// How long one answer of Kapacitor may take, and all of them.
const (
	kapacitorAnswers = 5 * time.Second
	kapacitorAsked   = 30 * time.Second
)

type kapacitorAPI struct {
	base   *url.URL
	client *http.Client
}

// newKapacitorAPI takes an address as --kapacitor-url has it. Its error does not
// repeat it, as there may be a password in it.
func newKapacitorAPI(address string, timeout time.Duration) (*kapacitorAPI, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, errors.New("--kapacitor-url is no address: write one such as http://localhost:9092, or http://USER:PASSWORD@localhost:9092")
	}
	u.RawQuery, u.Fragment = "", ""
	path := strings.TrimSuffix(strings.TrimRight(u.Path, "/"), apiPath)
	u.Path, u.RawPath = path+apiPath, ""
	return &kapacitorAPI{base: u, client: &http.Client{
		Timeout: cmp.Or(timeout, kapacitorAnswers),
		// A redirect would take the password elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

type apiError struct {
	host   string
	status int
}

func (e apiError) Error() string { return e.host + " answered " + bigpanda.StatusText(e.status) }

// get reads the JSON at a path into v.
func (a *kapacitorAPI) get(ctx context.Context, v any, path ...string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base.JoinPath(path...).String(), nil)
	if err != nil {
		return errors.New("ask kapacitord: no request can be made of the address")
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return a.unanswered(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return apiError{a.base.Host, answer.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAPIAnswer+1))
	switch {
	case err != nil:
		return a.unanswered(err)
	case len(body) > maxAPIAnswer:
		return fmt.Errorf("%s answered more than %s", a.base.Host, size(maxAPIAnswer))
	case json.Unmarshal(body, v) != nil:
		return fmt.Errorf("%s does not answer as Kapacitor does", a.base.Host)
	}
	return nil
}

// unanswered is an error without the address, which has the password.
func (a *kapacitorAPI) unanswered(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("%s gave no complete answer in time", a.base.Host)
	}
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("ask %s: %w", a.base.Host, err)
}

// server asks a running kapacitord what no file says: whether its own BigPanda
// handler sends the alerts, too.
func (k *checkup) server(ctx context.Context) {
	a := k.kapacitord
	if a == nil {
		k.note("kapacitord", "add --kapacitor-url http://localhost:9092 to have it asked, or look at "+apiPath+"/config/bigpanda there",
			"what its config API (Chronograf's BigPanda tab) or KAPACITOR_BIGPANDA_… variables say goes before kapacitor.conf, and cannot be seen from here")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, kapacitorAsked)
	defer cancel()
	isOn, err := k.nativeHandler(ctx)
	if err == nil {
		err = k.topicHandlers(ctx, isOn)
	}
	var (
		answer      apiError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case err == nil:
	case errors.As(err, &certificate):
		k.fail("kapacitord", "name the file of its certificate, or of the CA that signed it, in SSL_CERT_FILE", "%s", err)
	case errors.As(err, &answer) && (answer.status == http.StatusUnauthorized || answer.status == http.StatusForbidden):
		k.fail("kapacitord", "put a user and password into --kapacitor-url: http://USER:PASSWORD@"+a.base.Host, "%s", err)
	default:
		k.fail("kapacitord", "check that --kapacitor-url is where kapacitord listens, such as http://localhost:9092", "%s", err)
	}
}

// nativeHandler looks at [bigpanda] as it holds at the server, and tells whether
// Kapacitor's own handler is on.
func (k *checkup) nativeHandler(ctx context.Context) (isOn bool, err error) {
	const check = "[bigpanda]"
	a := k.kapacitord
	var config struct {
		Elements []struct {
			Options struct{ Enabled, Global bool }
		}
	}
	err = a.get(ctx, &config, "config", "bigpanda")
	var answer apiError
	switch {
	case errors.As(err, &answer) && answer.status == http.StatusForbidden:
		k.note(check, "look at KAPACITOR_BIGPANDA_… variables of its service", "%s does not tell what holds there, as [config-override] is switched off", a.base.Host)
		return true, nil
	case err != nil:
		return false, err
	case len(config.Elements) != 1:
		return false, fmt.Errorf("%s does not answer as Kapacitor does", a.base.Host)
	}
	o := config.Elements[0].Options
	shown := *a.base
	shown.User = nil
	hint := fmt.Sprintf("set enabled = false in [bigpanda] of its kapacitor.conf and restart it; what was switched on in Chronograf, "+
		"switch off there, or with curl -X POST %s/config/bigpanda/ -d '{\"set\":{\"enabled\":false}}'", &shown)
	switch {
	case o.Enabled && o.Global:
		k.warn(check, hint, "every alert is sent twice: Kapacitor's own handler is on for all alerts at %s", a.base.Host)
	case o.Enabled:
		k.warn(check, hint, "Kapacitor's own handler is on at %s: alerts of nodes with .bigPanda(), and of topics with its handler, are sent by it, too", a.base.Host)
	default:
		k.ok(check, "Kapacitor's own handler is off at %s", a.base.Host)
	}
	return o.Enabled, nil
}

// topicHandlers looks for topic handlers of kind bigpanda.
func (k *checkup) topicHandlers(ctx context.Context, isOn bool) error {
	const check = "topic handlers"
	a := k.kapacitord
	type topic struct{ ID string }
	var list struct{ Topics []topic }
	if err := a.get(ctx, &list, "alerts", "topics"); err != nil {
		return err
	}
	// Those that Kapacitor makes for alert nodes without a topic have a colon, and
	// hardly ever a handler.
	slices.SortStableFunc(list.Topics, func(a, b topic) int { return strings.Count(a.ID, ":") - strings.Count(b.ID, ":") })
	looked := list.Topics[:min(len(list.Topics), maxTopics)]
	found := 0
	for _, t := range looked {
		var of struct{ Handlers []struct{ ID, Kind string } }
		if err := a.get(ctx, &of, "alerts", "topics", url.PathEscape(t.ID), "handlers"); err != nil {
			return err
		}
		for _, h := range of.Handlers {
			if h.Kind != config.HandlerKind {
				continue
			}
			found++
			does := "whose alerts it sends, too"
			if !isOn {
				does = "which logs an error for each alert, as [bigpanda] is off"
			}
			k.warn(check, fmt.Sprintf("kapacitor delete topic-handlers %s %s", printable.ShellWord(cell(t.ID)), printable.ShellWord(cell(h.ID))),
				"the handler %s of kind %s is left at the topic %s, %s", cell(h.ID), config.HandlerKind, cell(t.ID), does)
		}
	}
	if found == 0 {
		k.ok(check, "none of kind %s at %s", config.HandlerKind, counted(len(looked), "topic", "topics"))
	}
	if more := len(list.Topics) - len(looked); more > 0 {
		k.note(check, "", "%s more were not looked at", counted(more, "topic", "topics"))
	}
	return nil
}
