package recording_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"bigpanda-udf/recording"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/influxdata/kapacitor/udf/agent"
)

var now = time.Unix(1_700_000_000, 5)

func read(t *testing.T, text string, o recording.Options) (points []*agent.Point, bad []string, undated int) {
	t.Helper()
	o.Now = func() time.Time { return now }
	r := recording.NewReader(iotest.OneByteReader(strings.NewReader(text)), o)
	for {
		p, err := r.Next()
		line := (*recording.LineError)(nil)
		switch {
		case errors.Is(err, io.EOF):
			return points, bad, r.Undated()
		case errors.As(err, &line):
			bad = append(bad, fmt.Sprintf("%d: %s", line.Line, line))
		case err != nil:
			t.Fatal(err)
		default:
			points = append(points, p)
		}
	}
}

func TestLineProtocol(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		precision  time.Duration
		want       *agent.Point
	}{
		{"every type of field", `m,host=a f=1.5,i=2i,s="x",b=t 7`, 0, &agent.Point{
			Name: "m", Tags: map[string]string{"host": "a"}, Time: 7, FieldsDouble: map[string]float64{"f": 1.5},
			FieldsInt: map[string]int64{"i": 2}, FieldsString: map[string]string{"s": "x"}, FieldsBool: map[string]bool{"b": true}}},
		{"no tags", "m f=1 7", 0, &agent.Point{Name: "m", Time: 7, FieldsDouble: map[string]float64{"f": 1}}},
		{"escapes", `a\ b\,c,k\=1=v\ \,\= s="say \"hi\"=, \\" 7`, 0, &agent.Point{
			Name: "a b,c", Tags: map[string]string{"k=1": "v ,="}, Time: 7, FieldsString: map[string]string{"s": `say "hi"=, \`}}},
		{"quotes in a tag", `m,a="b f=1 7`, 0, &agent.Point{
			Name: "m", Tags: map[string]string{"a": `"b`}, Time: 7, FieldsDouble: map[string]float64{"f": 1}}},
		{"a text of two lines", "m s=\"one\n\ntwo\" 7", 0, &agent.Point{Name: "m", Time: 7, FieldsString: map[string]string{"s": "one\n\ntwo"}}},
		{"seconds", "m f=1 7", time.Second, &agent.Point{Name: "m", Time: 7e9, FieldsDouble: map[string]float64{"f": 1}}},
		{"before 1970", "m f=1 -7", time.Hour, &agent.Point{Name: "m", Time: -7 * 3600e9, FieldsDouble: map[string]float64{"f": 1}}},
		{"no time", "m f=1", time.Second, &agent.Point{Name: "m", Time: now.UnixNano(), FieldsDouble: map[string]float64{"f": 1}}},
		{"comments, blanks and CRLF", "# c\r\n\r\n  \n m f=1 7 \r\n#\"", 0, &agent.Point{Name: "m", Time: 7, FieldsDouble: map[string]float64{"f": 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			points, bad, undated := read(t, tt.text, recording.Options{Precision: tt.precision})
			if len(bad) > 0 || len(points) != 1 {
				t.Fatalf("points %v, bad lines %v", points, bad)
			}
			if !proto.Equal(points[0], tt.want) {
				t.Errorf("the point is %s, want %s", prototext.Format(points[0]), prototext.Format(tt.want))
			}
			if (undated == 1) != (tt.name == "no time") {
				t.Errorf("%d points without a time", undated)
			}
		})
	}
}

func TestBadLines(t *testing.T) {
	t.Parallel()
	const good = "\nm f=1 7\n"
	for _, tt := range []struct {
		name, line string
		precision  time.Duration
		want       string // the beginning, behind the line's number
		points     int
	}{
		{"no fields", "m", 0, "empty tag name", 2},
		{"a value without a type", "m f=x 7", 0, "field value has unrecognized type (column 5)", 2},
		{"a bad time", "m f=1 x", 0, "invalid timestamp", 2},
		{"a time out of range", "m f=1 1700000000000000000", time.Second, "the time 1700000000000000000 is out of range: is the precision right?", 2},
		{"an unsigned integer", "m f=1u 7", 0, `field "f" is an unsigned integer, which Kapacitor does not take`, 2},
		{"in the second line of a text", "m s=\"a\nb\",f=x 7", 0, "field value has unrecognized type", 2},
		{"before a text that looks like a point", "m v=1,oops,msg=\"a\nm f=1 8\nb\" 7", 0, "want '=' after field key", 2},
		{"a quote that is not closed", `m s="a 7`, 0, "expected closing quote", 1},
		{"a point without end", `m s="` + strings.Repeat("x", 2<<20) + `"`, 0, "the point is longer than 1048576 bytes: is a quote missing?", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			points, bad, _ := read(t, good+tt.line+good, recording.Options{Precision: tt.precision})
			number := "3: "
			if tt.name == "in the second line of a text" {
				number = "4: "
			}
			if len(bad) != 1 || !strings.HasPrefix(bad[0], number+tt.want) || len(points) != tt.points {
				t.Errorf("%d points and the bad lines %q, want %d and %q", len(points), bad, tt.points, number+tt.want)
			}
		})
	}
}

// A recording is what Kapacitor writes (replay.go, WritePointForRecording).
func TestStreamRecording(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		points     []string // name, database, policy and time
		bad        []string
	}{
		{name: "nothing"},
		{name: "points", text: "telegraf\nautogen\nm f=1 7\n# db\n\nn,a=b s=\"x\" 8\n", points: []string{"m telegraf autogen 7", "n # db  8"}},
		{name: "a bad point", text: "db\nrp\nm f= 7\ndb\nrp\nm f=1 8\n", points: []string{"m db rp 8"}, bad: []string{"3: "}},
		{name: "cut off behind the database", text: "db\n", bad: []string{"2: the recording ends where a retention policy should stand"}},
		{name: "cut off behind the policy", text: "db\nrp\n", bad: []string{"3: the recording ends where a point should stand"}},
		{name: "a blank for a point", text: "db\nrp\n\ndb\nrp\nm f=1 8", points: []string{"m db rp 8"}, bad: []string{"3: there is no point in the line"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			points, bad, _ := read(t, tt.text, recording.Options{Stream: true, Precision: time.Second})
			var got []string
			for _, p := range points {
				got = append(got, fmt.Sprintf("%s %s %s %d", p.Name, p.Database, p.RetentionPolicy, p.Time))
			}
			if !slices.Equal(got, tt.points) {
				t.Errorf("the points are %q, want %q", got, tt.points)
			}
			if !slices.EqualFunc(bad, tt.bad, strings.HasPrefix) {
				t.Errorf("the bad lines are %q, want %q", bad, tt.bad)
			}
		})
	}
}

func TestBrokenFile(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	r := recording.NewReader(io.MultiReader(strings.NewReader("m f=1 7\nm f=2"), iotest.ErrReader(broken)), recording.Options{})
	if _, err := r.Next(); err != nil {
		t.Error(err)
	}
	if _, err := r.Next(); !errors.Is(err, broken) {
		t.Errorf("the error is %v, want %v", err, broken)
	}
}

// Whatever a file holds, reading it comes to an end.
func FuzzReader(f *testing.F) {
	f.Add("m,a=b f=1,i=2i,s=\"x\ny\",b=t 7\n# c\n\nm f=1", false)
	f.Add("db\nrp\nm f=1 7\n", true)
	f.Fuzz(func(t *testing.T, text string, stream bool) {
		r := recording.NewReader(strings.NewReader(text), recording.Options{Stream: stream})
		for range len(text) + 2 {
			p, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if line := (*recording.LineError)(nil); err != nil && (!errors.As(err, &line) || line.Line < 1) {
				t.Fatal(err)
			}
			if err == nil && p.Name == "" {
				t.Fatal("a point without a name")
			}
		}
		t.Fatal("it does not end")
	})
}
