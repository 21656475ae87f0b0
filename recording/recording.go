// Package recording reads points that were kept in a file: line protocol, as
// InfluxDB and Kapacitor write and take it, or a recording of a stream that
// Kapacitor made. The grammar is github.com/influxdata/line-protocol's. It knows
// nothing of what becomes of them; replay is its user.
package recording

import (
	"bufio"
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
}

// Reader reads one file.
type Reader struct {
	options Options
	lines   lines
	points  *lineprotocol.Decoder // of lines; nil behind a point that cannot be read
	passed  int                   // lines that points does not count
	undated int
}

// NewReader returns a Reader of what in holds, uncompressed.
func NewReader(in io.Reader, o Options) *Reader {
	if o.Precision == 0 || o.Stream {
		o.Precision = time.Nanosecond
	}
	return &Reader{options: o, lines: lines{in: bufio.NewReader(in)}}
}

// LineError is a point that cannot be read. Those behind it can.
type LineError struct {
	Line int // from 1
	Err  error
}

// Error says what is wrong, without the line's number.
func (e *LineError) Error() string { return e.Err.Error() }

// Undated returns how many points had no time, and were dated now.
func (r *Reader) Undated() int { return r.undated }

// Next returns the next point, in no group. The error is io.EOF behind the last
// one, a *LineError for one that cannot be read, and else the file's, which is
// the end.
func (r *Reader) Next() (*agent.Point, error) {
	before := r.lines.n
	database, policy, err := r.heading()
	if err != nil {
		return nil, err
	}
	r.passed += r.lines.n - before - 1
	if r.points == nil {
		r.points, r.passed = lineprotocol.NewDecoder(&r.lines), r.lines.n-1
	}
	p, err := r.point()
	if failed := r.points.Err(); failed != nil { // which the decoder took for the end
		r.points = nil
		return nil, failed
	}
	if err != nil {
		line, syntax := r.lines.first, (*lineprotocol.DecodeError)(nil)
		if errors.As(err, &syntax) {
			line = r.passed + int(syntax.Line)
			err = fmt.Errorf("%w (column %d)", syntax.Err, syntax.Column)
		}
		r.points = nil
		return nil, &LineError{line, err}
	}
	p.Database, p.RetentionPolicy = database, policy
	return p, nil
}

// heading reads on to the first line of a point, and what is before it in a
// recording.
func (r *Reader) heading() (database, policy string, err error) {
	in, isStream := &r.lines, r.options.Stream
	if isStream {
		for i, text := range []*string{&database, &policy} {
			if err := in.next(); i > 0 && errors.Is(err, io.EOF) {
				return "", "", &LineError{in.first, errors.New("the recording ends where a retention policy should stand")}
			} else if err != nil {
				return "", "", err
			}
			*text = string(bytes.TrimRight(in.text, "\r\n"))
		}
	}
	for {
		err := in.next()
		in.text = bytes.TrimLeft(in.text, " \t")
		isBlank := len(bytes.TrimSpace(in.text)) == 0 || in.text[0] == '#'
		switch {
		case isStream && errors.Is(err, io.EOF):
			return "", "", &LineError{in.first, errors.New("the recording ends where a point should stand")}
		case err != nil:
			return "", "", err
		case isStream && isBlank:
			return "", "", &LineError{in.first, errors.New("there is no point in the line")}
		case !isBlank:
			return database, policy, nil
		}
	}
}

func (r *Reader) point() (*agent.Point, error) {
	d := r.points
	d.Next()
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
		p.Time = time.Now().UnixNano()
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
