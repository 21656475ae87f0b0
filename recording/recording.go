// Package recording reads points that were kept in a file: line protocol, as
// InfluxDB and Kapacitor write and take it, or a recording of a stream that
// Kapacitor made. The grammar is github.com/influxdata/line-protocol's. It knows
// nothing of what becomes of them; replay is its user.
package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
	"github.com/influxdata/line-protocol/v2/lineprotocol"
)

// Options say how a file is to be read.
type Options struct {
	// Stream is for a recording: the database and the retention policy are in
	// lines of their own before each point, whose time is in nanoseconds
	// (Kapacitor, replay.go).
	Stream bool
	// Precision is the unit of timestamps; 0 means nanoseconds.
	Precision time.Duration
	// Now dates points that have no time; nil means time.Now.
	Now func() time.Time
}

// Reader reads one file.
type Reader struct {
	options Options
	entries entries
	undated int
}

// NewReader returns a Reader of what in holds, uncompressed.
func NewReader(in io.Reader, o Options) *Reader {
	if o.Precision == 0 || o.Stream {
		o.Precision = time.Nanosecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Reader{options: o, entries: newEntries(in)}
}

// LineError is a point that cannot be read. Those behind it can.
type LineError struct {
	Line int // from 1
	Err  error
}

// Error says what is wrong, without the line's number.
func (e *LineError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *LineError) Unwrap() error { return e.Err }

// Undated returns how many points had no time, and were dated now.
func (r *Reader) Undated() int { return r.undated }

// Next returns the next point, in no group. The error is io.EOF behind the last
// one, a *LineError for one that cannot be read, and else the file's, which is
// the end.
func (r *Reader) Next() (*agent.Point, error) {
	database, policy := "", ""
	if r.options.Stream {
		var err error
		if database, policy, err = r.heading(); err != nil {
			return nil, err
		}
	}
	for {
		entry, line, err := r.entries.next()
		if err != nil {
			if errors.Is(err, io.EOF) && r.options.Stream {
				return nil, &LineError{line, errors.New("the recording ends where a point should stand")}
			}
			return nil, err
		}
		if !r.options.Stream && isBlank(entry) {
			continue
		}
		p, err := r.point(entry)
		if err != nil {
			var syntax *lineprotocol.DecodeError
			if errors.As(err, &syntax) {
				line += int(syntax.Line) - 1
				err = fmt.Errorf("%w (column %d)", syntax.Err, syntax.Column)
			}
			return nil, &LineError{line, err}
		}
		p.Database, p.RetentionPolicy = database, policy
		return p, nil
	}
}

// heading reads what is before a point of a recording.
func (r *Reader) heading() (database, policy string, err error) {
	first, _, err := r.entries.line()
	if err != nil {
		return "", "", err
	}
	second, line, err := r.entries.line()
	if errors.Is(err, io.EOF) {
		return "", "", &LineError{line, errors.New("the recording ends where a retention policy should stand")}
	}
	return string(first), string(second), err
}

func isBlank(entry []byte) bool {
	entry = bytes.TrimSpace(entry)
	return len(entry) == 0 || entry[0] == '#'
}

// point decodes one entry of line protocol.
func (r *Reader) point(entry []byte) (*agent.Point, error) {
	d := lineprotocol.NewDecoderWithBytes(bytes.TrimSpace(entry))
	if !d.Next() {
		return nil, errors.New("there is no point in the line")
	}
	name, err := d.Measurement()
	if err != nil {
		return nil, err
	}
	p := &agent.Point{Name: string(name), Tags: make(map[string]string)}
	for {
		key, value, err := d.NextTag()
		if err != nil {
			return nil, err
		}
		if key == nil {
			break
		}
		p.Tags[string(key)] = string(value)
	}
	for {
		key, value, err := d.NextField()
		if err != nil {
			return nil, err
		}
		if key == nil {
			break
		}
		if err := setField(p, string(key), value); err != nil {
			return nil, err
		}
	}
	text, err := d.TimeBytes()
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		r.undated++
		p.Time = r.options.Now().UnixNano()
		return p, nil
	}
	p.Time, err = nanoseconds(string(text), r.options.Precision)
	return p, err
}

// setField gives a point a field. The protocol of functions has four types of
// them (udf/agent/udf.proto).
func setField(p *agent.Point, name string, v lineprotocol.Value) error {
	switch v.Kind() {
	case lineprotocol.String:
		set(&p.FieldsString, name, v.StringV())
	case lineprotocol.Float:
		set(&p.FieldsDouble, name, v.FloatV())
	case lineprotocol.Int:
		set(&p.FieldsInt, name, v.IntV())
	case lineprotocol.Bool:
		set(&p.FieldsBool, name, v.BoolV())
	default:
		return fmt.Errorf("field %q is an unsigned integer, which Kapacitor does not take: write i instead of u behind the number", name)
	}
	return nil
}

func set[V any](fields *map[string]V, name string, v V) {
	if *fields == nil {
		*fields = make(map[string]V)
	}
	(*fields)[name] = v
}

// nanoseconds reads a timestamp.
func nanoseconds(text string, unit time.Duration) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > math.MaxInt64/int64(unit) || n < math.MinInt64/int64(unit) {
		return 0, fmt.Errorf("the time %s is out of range: is the precision right?", text)
	}
	return n * int64(unit), nil
}
