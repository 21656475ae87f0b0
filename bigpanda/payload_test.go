package bigpanda

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

func TestEncode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   Payload
		want string
	}{
		{
			"status and timestamp are there even when nothing is",
			Payload{},
			`{"status":"","timestamp":0}`,
		},
		{
			"names are sorted bytewise (P10)",
			Payload{AppKey: "k", Status: "critical", Timestamp: 1402302570, Properties: map[string]string{
				"host": "a", "zone": "b", "Check": "c", "tag_host": "d", "ärger": "e", "staging": "f", "time": "g",
			}},
			`{"Check":"c","host":"a","staging":"f","status":"critical","tag_host":"d","time":"g","timestamp":1402302570,"zone":"b","ärger":"e"}`,
		},
		{
			"the app key is left to the request",
			Payload{AppKey: "k", Status: "ok"},
			`{"status":"ok","timestamp":0}`,
		},
		{
			"empty values and names are left out",
			Payload{Status: "ok", Properties: map[string]string{"host": "", "": "x", "check": "c"}},
			`{"check":"c","status":"ok","timestamp":0}`,
		},
		{
			"no property takes the place of a field or of the request's own names",
			Payload{Status: "ok", Timestamp: 7, Properties: map[string]string{
				"app_key": "evil", "alerts": "evil", "status": "evil", "timestamp": "evil", "Status": "fine",
			}},
			`{"Status":"fine","status":"ok","timestamp":7}`,
		},
		{
			"a time before 1970 is a negative number",
			Payload{Status: "ok", Timestamp: -5},
			`{"status":"ok","timestamp":-5}`,
		},
		{
			"the text of numbers that JSON has none for is a string",
			Payload{Status: "ok", Properties: map[string]string{"a": "NaN", "b": "+Inf", "c": "1.5"}},
			`{"a":"NaN","b":"+Inf","c":"1.5","status":"ok","timestamp":0}`,
		},
		{
			"quotes, backslashes and control characters are escaped",
			Payload{Status: "ok", Properties: map[string]string{`a"b`: "\"\\\x00\x1f\b\f\n\r\t/\x7f"}},
			`{"a\"b":"\"\\\u0000\u001f\b\f\n\r\t/` + "\x7f" + `","status":"ok","timestamp":0}`,
		},
		{
			"HTML stays as it is",
			Payload{Status: "ok", Properties: map[string]string{"details": `<a href="x">R&D</a>`}},
			`{"details":"<a href=\"x\">R&D</a>","status":"ok","timestamp":0}`,
		},
		{
			"other alphabets stay as they are, line separators are escaped",
			Payload{Status: "ok", Properties: map[string]string{"a": "žluťoučký 日本 🐼\u2028\u2029\ufffd"}},
			`{"a":"žluťoučký 日本 🐼\u2028\u2029` + "\ufffd" + `","status":"ok","timestamp":0}`,
		},
		{
			"each byte that is not UTF-8 becomes U+FFFD",
			Payload{Status: "o\xffk", Properties: map[string]string{"a": "x\xf0\x9fy\xed\xa0\x80\xc3"}},
			"{\"a\":\"x\ufffd\ufffdy\ufffd\ufffd\ufffd\ufffd\",\"status\":\"o\ufffdk\",\"timestamp\":0}",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := maps.Clone(tt.in.Properties)
			for range 10 { // a map's order changes from one time to the next
				if got := string(tt.in.Encode()); got != tt.want {
					t.Fatalf("got  %s\nwant %s", got, tt.want)
				}
			}
			if !maps.Equal(before, tt.in.Properties) {
				t.Errorf("Encode changed the properties to %q", tt.in.Properties)
			}
		})
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	one := Payload{Status: "ok", Timestamp: 1}.Encode()
	two := Payload{Status: "critical", Timestamp: 2, Properties: map[string]string{"host": "h"}}.Encode()
	tests := []struct {
		name   string
		appKey string
		alerts [][]byte
		want   string
	}{
		{"one alert is a plain object", "k", [][]byte{one}, `{"app_key":"k","status":"ok","timestamp":1}`},
		{"several are a list, in the order given", "k", [][]byte{two, one},
			`{"app_key":"k","alerts":[{"host":"h","status":"critical","timestamp":2},{"status":"ok","timestamp":1}]}`},
		{"the app key is escaped", "a\"b\xff", [][]byte{one}, "{\"app_key\":\"a\\\"b\ufffd\",\"status\":\"ok\",\"timestamp\":1}"},
		{"an alert without properties is still JSON", "k", [][]byte{[]byte("{}")}, `{"app_key":"k","alerts":[{}]}`},
		{"none is an empty list", "k", nil, `{"app_key":"k","alerts":[]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Body(tt.appKey, tt.alerts)
			if string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !json.Valid(got) {
				t.Error("this is not JSON")
			}
		})
	}
}

func TestEncodeAllocatesOnce(t *testing.T) {
	p := Payload{AppKey: "k", Status: "critical", Timestamp: 1402302570, Properties: map[string]string{
		"check": "cpu:host=a", "description": "cpu:host=a is CRITICAL", "host": "a", "task": "cpu_usage:cpu",
		"usage_user": "93.2", "usage_idle": "1.5", "cpu": "cpu-total", "region": "eu",
	}}
	if n := testing.AllocsPerRun(100, func() { p.Encode() }); n > 1 {
		t.Errorf("Encode allocates %v times for a usual alert, want once", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	p := Payload{AppKey: "k", Status: "critical", Timestamp: 1402302570, Properties: map[string]string{
		"check": "cpu:host=a", "description": "cpu:host=a is CRITICAL", "host": "a", "task": "cpu_usage:cpu",
		"usage_user": "93.2", "usage_idle": "1.5", "cpu": "cpu-total", "region": "eu",
	}}
	b.ReportAllocs()
	for b.Loop() {
		p.Encode()
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("k", "critical", int64(1402302570), "host", "a", "check", "<\u2028\xff\"\\\x00>")
	f.Add("", "", int64(-1), "status", "a", "", "b")
	f.Add("\xff", "ok", int64(0), "n\xfe", "1", "n", "2")
	f.Fuzz(func(t *testing.T, appKey, status string, timestamp int64, name1, value1, name2, value2 string) {
		p := Payload{AppKey: appKey, Status: status, Timestamp: timestamp,
			Properties: map[string]string{name1: value1, name2: value2}}
		if name1 != name2 && fixed(name1) == fixed(name2) {
			t.Skip("two names that nobody can tell apart")
		}
		alert := p.Encode()

		want := map[string]any{"status": fixed(status), "timestamp": json.Number(jsonText(t, timestamp))}
		for name, value := range p.Properties {
			if name != "" && value != "" && !ofRequest(name) {
				want[fixed(name)] = fixed(value)
			}
		}
		if got := decoded(t, alert); !maps.Equal(got, want) {
			t.Errorf("encoded %s\nwant    %v", alert, want)
		}
		want["app_key"] = fixed(appKey)
		if got := decoded(t, Body(appKey, [][]byte{alert})); !maps.Equal(got, want) {
			t.Errorf("the request says %v\nwant             %v", got, want)
		}
		if !json.Valid(Body(appKey, [][]byte{alert, alert})) {
			t.Error("the body of a batch is not JSON")
		}
	})
}

// fixed is what encoding/json makes of a text that is not UTF-8.
func fixed(s string) string {
	var out string
	b, _ := json.Marshal(s)
	_ = json.Unmarshal(b, &out)
	return out
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func decoded(t *testing.T, text []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return m
}
