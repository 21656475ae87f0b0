package config

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/stream"
)

// ofText is a setting that is the text that it was given.
func ofText(get func(n stream.Options) string, byDefault string) sources {
	return sources{"/flag", "/env", none, `"/config"`, [5]any{"/flag", "/env", nil, "/config", byDefault}, func(s Settings) any { return get(s.NATS) }}
}

func init() {
	maps.Copy(everySetting, map[string]sources{
		"nats": {"nats://a:1, tls://b", "nats://env", none, `"nats://config"`, [5]any{"nats://a:1|tls://b", "nats://env", nil, "nats://config", ""},
			func(s Settings) any { return strings.Join(s.NATS.URLs, "|") }},
		"nats-creds-file":    ofText(func(n stream.Options) string { return n.CredsFile }, ""),
		"nats-nkey-file":     ofText(func(n stream.Options) string { return n.NKeyFile }, ""),
		"nats-user":          ofText(func(n stream.Options) string { return n.User }, ""),
		"nats-password-file": ofText(func(n stream.Options) string { return n.PasswordFile }, ""),
		"nats-token-file":    ofText(func(n stream.Options) string { return n.TokenFile }, ""),
		"nats-ca-file":       ofText(func(n stream.Options) string { return n.CAFile }, ""),
		"nats-cert-file":     ofText(func(n stream.Options) string { return n.CertFile }, ""),
		"nats-key-file":      ofText(func(n stream.Options) string { return n.KeyFile }, ""),
		"nats-server-name":   ofText(func(n stream.Options) string { return n.ServerName }, ""),
		"nats-inbox-prefix":  ofText(func(n stream.Options) string { return n.InboxPrefix }, "_INBOX"),
		"nats-stream":        ofText(func(n stream.Options) string { return n.Stream }, "BIGPANDA"),
		"nats-replicas": {"1", "2", none, "5", [5]any{1, 2, nil, 5, 3},
			func(s Settings) any { return s.NATS.Replicas }},
		"nats-create": {"false", "true", none, "false", [5]any{false, true, nil, false, true},
			func(s Settings) any { return s.NATS.Create }},
		"nats-max-age": {"1h", "2h", none, `"3h"`, [5]any{time.Hour, 2 * time.Hour, nil, 3 * time.Hour, 7 * 24 * time.Hour},
			func(s Settings) any { return s.NATS.MaxAge }},
		"nats-window": {"1h", "2h", none, `"3h"`, [5]any{time.Hour, 2 * time.Hour, nil, 3 * time.Hour, 24 * time.Hour},
			func(s Settings) any { return s.NATS.Window }},
		"nats-max-size": {"1GiB", "2GB", none, `"3MiB"`, [5]any{int64(1 << 30), int64(2e9), nil, int64(3 << 20), int64(4 << 30)},
			func(s Settings) any { return s.NATS.MaxBytes }},
		"nats-lease-ttl": {"1s", "2s", none, `"3s"`, [5]any{time.Second, 2 * time.Second, nil, 3 * time.Second, 5 * time.Second},
			func(s Settings) any { return s.NATS.LeaseTTL }},
	})
}

func TestBadValuesOfNATS(t *testing.T) {
	for name, wrong := range map[string]map[string]string{
		"nats":           {"host:4222": "such as nats://a:4222", "nats://a,,nats://b": "such as nats://a:4222", "nats://": "such as nats://a:4222"},
		"nats-replicas":  {"0": "from 1 to 5", "6": "from 1 to 5", "x": "from 1 to 5"},
		"nats-create":    {"maybe": "write true or false"},
		"nats-max-age":   {"1s": "write 1m0s or more"},
		"nats-window":    {"0s": "write 1s or more"},
		"nats-max-size":  {"1kB": "write a size of 1.0 MiB or more"},
		"nats-lease-ttl": {"100ms": "write 1s or more"},
	} {
		for text, want := range wrong {
			_, err := Resolve(nil, environment(map[string]string{Variable(name): text}))
			if err == nil || !strings.HasPrefix(err.Error(), Variable(name)+" is ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %q is %v, want %q", name, text, err, want)
			}
		}
	}
}

// P9: what a URL of NATS has before the host is shown nowhere.
func TestLoginInTheURLOfNATS(t *testing.T) {
	const urls = "nats://me:pa55word@a:4222,tls://t0ken-of-nats@b"
	s, err := Resolve(map[string]string{"nats": urls}, environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	row := Table[slices.IndexFunc(Table, func(row Setting) bool { return row.Name == "nats" })]
	if got := row.Show(s); got != "nats://…@a:4222,tls://…@b" {
		t.Errorf("it is shown as %s", got)
	}
	if !slices.Contains(s.Addresses, urls) {
		t.Errorf("nobody hides what is secret in it: %q", s.Addresses)
	}
}

// Without the servers, what is said of them has no effect, and is said to have none.
func TestSettingsOfNATSWithoutIt(t *testing.T) {
	vars := map[string]string{"BIGPANDA_NATS_STREAM": "ALERTS", "BIGPANDA_NATS": ""}
	s, err := Resolve(nil, environment(vars))
	if err != nil || len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], "BIGPANDA_NATS_STREAM means nothing without --nats") {
		t.Errorf("it warns of %q (%v)", s.Warnings, err)
	}
	vars["BIGPANDA_NATS"] = "nats://a"
	if s, err = Resolve(nil, environment(vars)); err != nil || len(s.Warnings) != 0 {
		t.Errorf("it warns of %q (%v)", s.Warnings, err)
	}
}

// The token crosses the network only where a deliverer has it.
func TestPlainHTTPWithNATS(t *testing.T) {
	s, err := Resolve(map[string]string{"url": "http://bigpanda.example/x", "nats": "nats://a"}, environment(nil))
	if err != nil || len(s.Warnings) != 0 || s.PlainHTTP() == "" {
		t.Errorf("it warns of %q (%v), and of plain HTTP %q", s.Warnings, err, s.PlainHTTP())
	}
}
