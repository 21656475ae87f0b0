package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCanonicalPayload(t *testing.T) {
	t.Parallel()
	const want = `{"a":"é/\"\\\n\u0001<>","app_key":"k","b":["x",1],"host":"h","n":1.50,"status":"ok"}`
	for _, test := range []struct{ name, body string }{
		{"as it is", want},
		{"other order and white space", "{ \"status\":\"ok\",\"n\" : 1.50,\n\"host\":\"h\",\"b\":[ \"x\" , 1 ],\"app_key\":\"k\",\"a\":\"é/\\\"\\\\\\n\\u0001<>\"}"},
		{"other escapes", `{"\u0061":"\u00e9\/\u0022\u005c\u000a\u0001\u003c\u003e","app_key":"k","b":["\u0078",1],"host":"h","n":1.50,"status":"ok"}`},
		{"in a batch", `{"app_key":"k","alerts":[{"a":"é/\"\\\n\u0001<>","b":["x",1],"host":"h","n":1.50,"status":"ok"}]}`},
		{"in a batch, with app_key escaped", `{"app_key":"\u006b","alerts":[{"a":"é/\"\\\n\u0001<>","b":["x",1],"host":"h","n":1.50,"status":"ok"}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := readBatch([]byte(test.body), "")
			if b.err != "" || len(b.items) != 1 {
				t.Fatalf("%+v", b)
			}
			if got := string(b.items[0].Payload); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestPayload(t *testing.T) {
	t.Parallel()
	p := Payload(`{"a":["x",1],"app_key":"k","n":12345678901234567890,"t":"\u00e9"}`)
	want := map[string]any{"a": []any{"x", json.Number("1")}, "app_key": "k", "n": json.Number("12345678901234567890"), "t": "é"}
	if got := p.Map(); !reflect.DeepEqual(got, want) {
		t.Errorf("Map: %#v", got)
	}
	for property, want := range map[string]string{"a": "x|1", "n": "12345678901234567890", "t": "é", "none": ""} {
		if got := p.Text(property); got != want {
			t.Errorf("Text(%s): %q, want %q", property, got, want)
		}
	}
	if Payload("{").Map() != nil || Payload("{").Text("a") != "" {
		t.Error("a payload that is not JSON gives something")
	}
}

// FuzzReadBatch: the payloads made of a body decode to what the body as a whole
// decodes to.
func FuzzReadBatch(f *testing.F) {
	for _, seed := range []string{
		`{"app_key":"k","status":"ok","host":"h","n":-1.5e3,"z":null,"b":[true,false,"x"]}`,
		`{"app_key":"k","alerts":[{"status":"ok","host":"\ud83d\ude00\ud800"},{"status":"warning","host":"}]\\\""}]}`,
		" {\"a\":[ ],\"status\":\"ok\" , \"app_key\":\"\\u0000\"}\n", `{}`, `[]`, `"x"`, ``, `{"alerts":[1,{"a":{}}],"app_key":"k"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := readBatch(body, "")
		if b.err != "" {
			return
		}
		if !json.Valid(body) || !utf8.Valid(body) {
			t.Fatal("taken, and not JSON in UTF-8")
		}
		var top map[string]any
		decode(t, body, &top)
		alerts := []any{top}
		if several, ok := top["alerts"]; ok {
			alerts = several.([]any)
		}
		if len(alerts) != len(b.items) {
			t.Fatalf("%d alerts, want %d", len(b.items), len(alerts))
		}
		for i, it := range b.items {
			if it.refused != "" {
				continue
			}
			want := alerts[i].(map[string]any)
			want["app_key"] = top["app_key"]
			var got map[string]any
			decode(t, []byte(it.Payload), &got)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("alert %d is %v, want %v", i, got, want)
			}
			again := readBatch([]byte(it.Payload), "")
			if len(again.items) != 1 || again.items[0].Payload != it.Payload {
				t.Fatalf("the canonical form of %s is %+v", it.Payload, again)
			}
			if it.Status != want["status"] || b.appKey != want["app_key"] {
				t.Fatalf("status %q, app key %q in %v", it.Status, b.appKey, want)
			}
			reasonOf(objectFields(string(it.Payload)), outcomeUnsure)
		}
	})
}

func decode(t *testing.T, data []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
}

// batchBody makes a request of n alerts of about 500 bytes each.
func batchBody(round, n int) []byte {
	var b strings.Builder
	b.WriteString(`{"app_key":"k","alerts":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"status":"critical","timestamp":%d,"host":"server%05d","check":"cpu_usage:host=server%05d","description":"CPU usage is \"%d\" percent","task":"cpu_usage:cpu","region":"eu-west-1","details":"%s"}`,
			1700000000+round, i, i, round%100, strings.Repeat("detail ", 40))
	}
	b.WriteString(`]}`)
	return []byte(b.String())
}

func BenchmarkReadBatch(b *testing.B) {
	body := batchBody(0, 100)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if got := readBatch(body, ""); len(got.items) != 100 {
			b.Fatal(got.err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	s := New(Options{})
	b.ReportAllocs()
	round := 0
	for b.Loop() {
		b.StopTimer()
		items := readBatch(batchBody(round, 100), "").items
		round++
		b.StartTimer()
		s.record.take(items, s.now())
	}
}
