package topic

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/udf"
)

// posted is what Kapacitor 1.8.3 posts, with one part replaced.
func posted(old, new string) string {
	const body = `{"id":"cpu:host=a","message":"cpu:host=a is CRITICAL","details":"\u003cb\u003ex \u0026amp; y\u003c/b\u003e\n",` +
		`"time":"2023-11-14T22:13:20.5Z","duration":10000000000,"level":"CRITICAL","data":{"series":[{"name":"cpu","tags":{"dc":"x","host":"a"},` +
		`"columns":["time","b","f","i","s"],"values":[["2023-11-14T22:13:20.5Z",true,1e+21,9223372036854775807,"t"]]}]},"previousLevel":"OK","recoverable":true}` + "\n"
	if !strings.Contains(body, old) {
		panic("nothing to replace: " + old)
	}
	return strings.Replace(body, old, new, 1)
}

func TestDecode(t *testing.T) {
	t.Parallel()
	whole := udf.AlertEvent{
		ID: "cpu:host=a", Message: "cpu:host=a is CRITICAL", Details: "<b>x &amp; y</b>\n", Time: time.Unix(1700000000, 5e8).UTC(),
		Duration: 10 * time.Second, Level: udf.Critical, Previous: udf.OK,
		Name: "cpu", Tags: map[string]string{"dc": "x", "host": "a"},
		Fields: map[string]any{"b": true, "f": udf.Fraction(1e21), "i": udf.Whole(9223372036854775807), "s": "t"},
	}
	with := func(change func(*udf.AlertEvent)) udf.AlertEvent {
		e := whole
		change(&e)
		return e
	}
	fields := func(n udf.Whole) func(*udf.AlertEvent) {
		return func(e *udf.AlertEvent) { e.Fields = map[string]any{"n": n} }
	}
	series := func(columns, rows string) string {
		body := posted(`["time","b","f","i","s"]`, columns)
		return strings.Replace(body, `[["2023-11-14T22:13:20.5Z",true,1e+21,9223372036854775807,"t"]]`, rows, 1)
	}
	for _, tt := range []struct {
		name, body string
		want       udf.AlertEvent
	}{
		{"a stream's", posted("", ""), whole},
		{"of several rows the one at the event's time", series(`["time","n"]`, `[["2023-11-14T22:13:19Z",1],["2023-11-14T22:13:20.5Z",2],["2023-11-14T22:13:20.5Z",3]]`), with(fields(2))},
		{"at its time in another zone", series(`["time","n"]`, `[["2023-11-14T22:13:19Z",1],["2023-11-14T23:13:20.500+01:00",2]]`), with(fields(2))},
		{"of an OK the first row", strings.Replace(series(`["time","n"]`, `[["2023-11-14T22:13:19Z",1],["2023-11-14T22:13:20.5Z",2]]`), "CRITICAL\",\"data", "OK\",\"data", 1), with(func(e *udf.AlertEvent) { e.Level, e.Fields = udf.OK, map[string]any{"n": udf.Whole(1)} })},
		{"of rows at other times the first", series(`["time","n"]`, `[["2023-11-14T22:13:19Z",1],["2023-11-14T22:13:18Z",2]]`), with(fields(1))},
		{"a field that one row has not", series(`["time","m","n"]`, `[["2023-11-14T22:13:20.5Z",null,2]]`), with(fields(2))},
		{"no row", series(`["time"]`, `[]`), with(func(e *udf.AlertEvent) { e.Fields = map[string]any{} })},
		{"no columns and rows", series(`null`, `null`), with(func(e *udf.AlertEvent) { e.Fields = map[string]any{} })},
		{"no series", posted(`{"series":[`, `{"others":[`), with(func(e *udf.AlertEvent) { e.Name, e.Tags, e.Fields = "", nil, nil })},
		{"several series, of an aggregate handler", posted(`{"series":[`, `{"series":[{"name":"mem","columns":["time"],"values":[]},`), with(func(e *udf.AlertEvent) { e.Name, e.Tags, e.Fields = "", nil, nil })},
		{"no level before, of an old Kapacitor", posted(`"previousLevel"`, `"other"`), with(func(e *udf.AlertEvent) { e.Previous = udf.Critical })},
		{"more than Kapacitor says now", posted(`{"id"`, `{"new":{"a":[1,{"b":null}]},"id"`), whole},
		{"no tags and an empty id", strings.Replace(posted(`"tags":{"dc":"x","host":"a"},`, ""), `"cpu:host=a"`, `""`, 1), with(func(e *udf.AlertEvent) { e.ID, e.Tags = "", map[string]string{} })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decode([]byte(tt.body))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%#v, %v, want\n%#v", got, err, tt.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	many := func(format string) string {
		var b strings.Builder
		for i := range maxValues + 1 {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for _, tt := range []struct{ name, body, want string }{
		{"nothing", "", "it is not JSON"},
		{"no JSON", "alert!", "it is not JSON"},
		{"an end too soon", posted(`true}`, ""), "it is not JSON"},
		{"more behind it", posted("}\n", "} {}"), "it is not JSON"},
		{"depth without end", posted(`{"id"`, `{"new":`+strings.Repeat("[", 1<<20)+strings.Repeat("]", 1<<20)+`,"id"`), "it is not JSON"},
		{"a list", "[]", "it has no level"},
		{"null", "null", "it has no level"},
		{"no level", posted(`"level":"CRITICAL",`, ""), "it has no level"},
		{"a level that is none", posted(`"CRITICAL"`, `"DOWN"`), `"DOWN" is no level: it is OK, INFO, WARNING or CRITICAL`},
		{"a level before that is none", posted(`"OK"`, `"ok?"`), `"ok?" is no level: it is OK, INFO, WARNING or CRITICAL`},
		{"no time", posted(`"time":"2023-11-14T22:13:20.5Z",`, ""), "it has no time"},
		{"the time of a test", posted(`2023-11-14T22:13:20.5Z`, "0001-01-01T00:00:00Z"), "it has no time"},
		{"a time that nanoseconds cannot say", posted(`2023-11-14T22:13:20.5Z`, "2300-01-01T00:00:00Z"), "its time is of the year 2300"},
		{"a time that is none", posted(`2023-11-14T22:13:20.5Z`, "now"), `"now" is no time`},
		{"the time of a row that is none", posted(`[["2023-11-14T22:13:20.5Z"`, `[["now"`), `"now" is no time`},
		{"a duration that is none", posted("10000000000", `"10s"`), `its duration is "10s", no number of nanoseconds`},
		{"a duration of a part", posted("10000000000", `1.5`), "its duration is 1.5, no number of nanoseconds"},
		{"an id that is no text", posted(`"cpu:host=a"`, "7"), "its id is 7, no text"},
		{"an id with a zero byte", posted(`"cpu:host=a"`, `"a\u0000b"`), "its id has a zero byte"},
		{"a message that is a list", posted(`"cpu:host=a is CRITICAL"`, "[[]]"), "its message is [[]], no text"},
		{"too many tags", posted(`"tags":{`, `"tags":{`+many(`"%d":"",`)), "it has more than 10000 tags or columns"},
		{"too many columns", posted(`"columns":[`, `"columns":[`+many(`"%d",`)), "it has more than 10000 tags or columns"},
		{"a row that is longer than the columns", posted(`"t"]]`, `"t",1]]`), "a row has other columns than the series"},
		{"a list in a row", posted(`"t"]]`, `[]]]`), "a row has other columns than the series"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decode([]byte(tt.body))
			if err == nil || err.Error() != tt.want {
				t.Errorf("the error is\n%v, want\n%s", err, tt.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(posted("", ""))
	f.Add(posted(`"columns"`, `"values":[[1]],"columns"`))
	f.Fuzz(func(t *testing.T, body string) {
		e, err := decode([]byte(body))
		if err == nil && (e.Time.IsZero() || len(e.Tags) > maxValues || len(e.Fields) > maxValues) {
			t.Errorf("%q is taken for %#v", body, e)
		}
	})
}
