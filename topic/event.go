package topic

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"bigpanda-udf/udf"

	"github.com/tidwall/gjson"
)

// maxValues is how many tags, and how many columns, an event may have: far more than
// points have, and little memory, whatever the body is made of.
const maxValues = 10_000

// decode reads the body of Kapacitor's post handler (alert/types.go, Data). What
// Kapacitor may add to it is passed over, and but for what is returned nothing is
// copied of it.
func decode(body []byte) (e udf.AlertEvent, err error) {
	if !json.Valid(body) { // whose depth is bounded, too
		return e, errors.New("it is not JSON")
	}
	d := decoder{Result: gjson.ParseBytes(body)}
	level, before := d.text("level"), d.text("previousLevel")
	e = udf.AlertEvent{
		ID: d.text("id"), Message: d.text("message"), Details: d.text("details"),
		Time: d.time(d.Get("time")), Level: d.level(level), Previous: d.level(before),
	}
	if duration := d.Get("duration"); duration.Exists() {
		n, ok := udf.ParseNumber(duration.Raw).(udf.Whole)
		if !ok || duration.Type != gjson.Number {
			d.fail("its duration is %s, no number of nanoseconds", duration.Raw)
		}
		e.Duration = time.Duration(n)
	}
	switch year := e.Time.Year(); {
	case d.err != nil:
	case level == "":
		d.fail("it has no level")
	case e.Time.IsZero():
		d.fail("it has no time")
	case year < 1678 || year > 2261: // what nanoseconds of 64 bits can say
		d.fail("its time is of the year %d", year)
	case strings.ContainsRune(e.ID, 0): // which tells the parts of a series' key apart
		d.fail("its id has a zero byte")
	}
	if before == "" {
		e.Previous = e.Level
	}
	// An aggregate handler puts the series of many events behind each other, and
	// Kapacitor's own handler then sends none of them.
	if series := d.Get("data.series"); series.Get("0").Exists() && !series.Get("1").Exists() {
		d.series(series.Get("0"), &e)
	}
	return e, d.err
}

// A decoder reads one event. err is the first thing that is wrong with it.
type decoder struct {
	gjson.Result
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// text returns a property, empty if it is not there.
func (d *decoder) text(name string) string {
	value := d.Get(name)
	if value.Type != gjson.String && value.Type != gjson.Null {
		d.fail("its %s is %s, no text", name, value.Raw)
	}
	return value.Str
}

func (d *decoder) time(value gjson.Result) time.Time {
	if value.Type == gjson.Null {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, value.Str)
	if err != nil {
		d.fail("%s is no time", value.Raw)
	}
	return t
}

func (d *decoder) level(word string) udf.Level {
	level, ok := udf.ParseLevel(word)
	if !ok && word != "" {
		d.fail("%q is no level: it is OK, INFO, WARNING or CRITICAL", word)
	}
	return level
}

// series reads the one of an event. A stream's has one row. Of those of a batch the
// one at the event's time is taken, else the first. An OK has the time of the batch's
// end, and the alert node takes the first (alert.go, BufferedBatch).
func (d *decoder) series(s gjson.Result, e *udf.AlertEvent) {
	e.Name, e.Tags, e.Fields = s.Get("name").Str, make(map[string]string), make(map[string]any)
	var columns []string
	s.Get("columns").ForEach(func(_, column gjson.Result) bool {
		columns = append(columns, column.Str)
		return len(columns) <= maxValues
	})
	s.Get("tags").ForEach(func(tag, value gjson.Result) bool {
		e.Tags[tag.Str] = value.Str
		return len(e.Tags) <= maxValues
	})
	if max(len(columns), len(e.Tags)) > maxValues {
		d.fail("it has more than %d tags or columns", maxValues)
		return
	}
	var chosen gjson.Result
	s.Get("values").ForEach(func(_, row gjson.Result) bool {
		// The first column is the time (Kapacitor, edge/messages.go, ToRow).
		atTime := e.Level != udf.OK && d.time(row.Get("0")).Equal(e.Time)
		if atTime || !chosen.Exists() {
			chosen = row
		}
		return !atTime && d.err == nil
	})
	n := 0
	chosen.ForEach(func(_, value gjson.Result) bool {
		if n == len(columns) || value.IsObject() || value.IsArray() {
			d.fail("a row has other columns than the series")
			return false
		}
		switch {
		case n == 0 && columns[0] == "time", value.Type == gjson.Null: // what this point of a batch has not
		case value.Type == gjson.Number:
			e.Fields[columns[n]] = udf.ParseNumber(value.Raw)
		default:
			e.Fields[columns[n]] = value.Value()
		}
		n++
		return true
	})
}
