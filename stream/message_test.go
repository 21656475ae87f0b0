package stream

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"bigpanda-udf/bigpanda"
)

var options, _ = Options{URLs: []string{"nats://localhost:4222"}}.withDefaults()

// A message holds the same bytes that were published, the same alert, and a subject and
// an id that are the same on every host (P10).
func TestMessage(t *testing.T) {
	t.Parallel()
	c := &Conn{o: options}
	for _, tt := range []struct {
		name, appKey, level string
		properties          map[string]string
	}{
		{"usual", "app", "CRITICAL", map[string]string{"host": "h", "check": "cpu"}},
		{"an incident's identifier", "app", "OK", map[string]string{"incident_identifier": "i", "host": "h"}},
		{"an app key that no subject holds", `a.b*c> "d\e` + "\n\u2028", "WARNING", map[string]string{"host": "h\"\\\ufffd"}},
		{"no app key", "", "UNKNOWN", map[string]string{"host": "h", "app": "x,\"y\":"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := bigpanda.Payload{AppKey: tt.appKey, Status: strings.ToLower(tt.level), Timestamp: 1_700_000_000, Properties: tt.properties}
			m := c.o.encode(tt.appKey, p.Encode())
			got, err := c.decode(m.Subject, m.Data)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Payload, p.Encode()) || got.Alert != p.Identity().Key() || got.AppKey != p.Identity().AppKey ||
				got.Time != p.Timestamp || got.Level != tt.level {
				t.Errorf("it became %+v, of %s", got, m.Data)
			}
			again := c.o.encode(got.AppKey, got.Payload)
			if again.Subject != m.Subject || again.Header.Get(headerID) != m.Header.Get(headerID) || len(m.Header.Get(headerID)) != 22 {
				t.Errorf("it is published as %v, then as %v", m, again)
			}
			if _, err := c.decode(c.o.alertSubject("another"), m.Data); !errors.Is(err, errMessage) {
				t.Errorf("of another app key's subject: %v", err)
			}
		})
	}
}

// Whatever is in the stream is a change, or is told from one.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"app_key":"app","status":"ok","timestamp":5,"host":"h"}`))
	f.Add([]byte(`{"app_key":"a\"\\","alerts":[{"status":"ok"}]}`))
	f.Add([]byte(`{"app_key":"\`))
	f.Add([]byte(`{"app_key":"",`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, ok := decodeData(data)
		if !ok {
			return
		}
		again, ok := decodeData(bigpanda.Body(c.AppKey, [][]byte{c.Payload}))
		if !ok || again.Alert != c.Alert || !bytes.Equal(again.Payload, c.Payload) || again.AppKey != c.AppKey {
			t.Errorf("%q became %+v, and then %+v", data, c, again)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	c := &Conn{o: options}
	m := c.o.encode("app", bigpanda.Payload{AppKey: "app", Status: "critical", Timestamp: 1_700_000_000, Properties: map[string]string{
		"host": "server-17.example.com", "check": "cpu:host=server-17", "description": "cpu is CRITICAL", "task": "cpu_usage:cpu",
		"primary_property": "host", "secondary_property": "check", "usage_idle": "3.25", "usage_user": "95.5", "datacenter": "eu-1", "details": strings.Repeat("x", 200),
	}}.Encode())
	b.SetBytes(int64(len(m.Data)))
	for b.Loop() {
		if _, err := c.decode(m.Subject, m.Data); err != nil {
			b.Fatal(err)
		}
	}
}

// What the servers say of missing rights, as nats.go hands it on.
// What somebody else has put into the stream is no alert, however deep it is nested, and
// ends nobody.
func TestDeepMessage(t *testing.T) {
	t.Parallel()
	if _, ok := decodeData([]byte(`{"app_key":"k","status":"ok","x":` + strings.Repeat("[", 8_000_000))); ok {
		t.Error("it is an alert")
	}
}

func TestParseDenial(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*deniedError{
		`nats: permissions violation: Permissions Violation for Publish to "$JS.API.STREAM.INFO.BIGPANDA"`: {subject: "$JS.API.STREAM.INFO.BIGPANDA"},
		`nats: permissions violation: Permissions Violation for Subscription to "a.b" using queue "q"`:     {subject: "a.b", subscribe: true},
		`nats: permissions violation: Permissions Violation for Publish with Reply of "x"`:                 nil,
		"nats: slow consumer, messages dropped":                                                            nil,
	} {
		got := parseDenial(errors.New(text))
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%s: got %+v", text, got)
		}
	}
}
