package topic

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"bigpanda-udf/udf"
)

// maxValues is how many tags, and how many columns, an event may have: far more than
// points have, and little memory, whatever the body is made of.
const maxValues = 10_000

// decode reads the body of Kapacitor's post handler (alert/types.go, Data), of which
// no more is held at a time than one row of its series. What Kapacitor may add to it
// is passed over.
func decode(body io.Reader) (udf.AlertEvent, error) {
	d := decoder{Decoder: json.NewDecoder(body)}
	d.UseNumber()
	err := d.object(d.property)
	if err == nil {
		if _, end := d.Token(); end != io.EOF {
			err = errors.New("there is more behind it")
		}
	}
	switch e := &d.event; {
	case err != nil:
		return *e, err
	case strings.ContainsRune(e.ID, 0): // which tells the parts of a series' key apart
		return *e, errors.New("its id has a zero byte")
	case !d.leveled:
		return *e, errors.New("it has no level")
	case e.Time.IsZero():
		return *e, errors.New("it has no time")
	case e.Time.Year() < 1678 || e.Time.Year() > 2261: // what nanoseconds of 64 bits can say
		return *e, fmt.Errorf("its time is of the year %d", e.Time.Year())
	case !d.followed:
		e.Previous = e.Level
	}
	if d.series > 1 {
		// An aggregate handler puts those of many events behind each other, and
		// Kapacitor's own handler then sends none of them.
		d.event.Name, d.event.Tags, d.event.Fields = "", nil, nil
	}
	return d.event, nil
}

// A decoder reads one event.
type decoder struct {
	*json.Decoder
	event             udf.AlertEvent
	leveled, followed bool // it has a level, and one before it
	series            int
}

func (d *decoder) property(name string) (err error) {
	e := &d.event
	var text string
	switch name {
	case "id":
		e.ID, err = d.text()
	case "message":
		e.Message, err = d.text()
	case "details":
		e.Details, err = d.text()
	case "time":
		if text, err = d.text(); err == nil {
			e.Time, err = time.Parse(time.RFC3339Nano, text)
		}
	case "duration":
		e.Duration, err = d.duration()
	case "level":
		e.Level, d.leveled, err = d.level()
	case "previousLevel":
		e.Previous, d.followed, err = d.level()
	case "data":
		return d.object(func(name string) error {
			if name != "series" {
				return d.skip()
			}
			return d.array(d.oneSeries)
		})
	default:
		return d.skip()
	}
	if err != nil {
		return fmt.Errorf("its %s: %w", name, err)
	}
	return nil
}

// oneSeries reads the first series. A stream has one with one row. Of the rows of a
// batch the one at the event's time is taken, else the first. An OK has the time of
// the batch's end, and the alert node takes the first (alert.go, BufferedBatch).
func (d *decoder) oneSeries() error {
	d.series++
	if d.series > 1 {
		return d.skip()
	}
	var columns []string
	return d.object(func(name string) (err error) {
		switch name {
		case "name":
			d.event.Name, err = d.text()
		case "tags":
			d.event.Tags = make(map[string]string)
			err = d.object(func(tag string) (err error) {
				if len(d.event.Tags) == maxValues {
					return errTooMany
				}
				d.event.Tags[tag], err = d.text()
				return err
			})
		case "columns":
			err = d.array(func() error {
				column, err := d.text()
				if columns = append(columns, column); len(columns) > maxValues {
					return errTooMany
				}
				return err
			})
		case "values":
			atTime := false
			err = d.array(func() error {
				if atTime {
					return d.skip()
				}
				fields, at, err := d.row(columns)
				if atTime = at.Equal(d.event.Time) && d.event.Level != udf.OK; atTime || d.event.Fields == nil {
					d.event.Fields = fields
				}
				return err
			})
		default:
			err = d.skip()
		}
		return err
	})
}

var errTooMany = fmt.Errorf("it has more than %d tags or columns", maxValues)

// row reads one row. Its first column is the time (Kapacitor, edge/messages.go,
// ToRow), and null stands for what this point of a batch has not.
func (d *decoder) row(columns []string) (fields map[string]any, at time.Time, err error) {
	fields = make(map[string]any)
	n := 0
	err = d.array(func() error {
		if n == len(columns) {
			return errors.New("a row has other columns than the series")
		}
		value, err := d.scalar()
		if text, ok := value.(string); n == 0 && ok && columns[0] == "time" {
			at, err = time.Parse(time.RFC3339Nano, text)
		} else if value != nil {
			fields[columns[n]] = value
		}
		n++
		return err
	})
	return fields, at, err
}

func (d *decoder) object(each func(name string) error) error {
	return d.all('{', func() error {
		name, err := d.text()
		if err != nil {
			return err
		}
		return each(name)
	})
}

func (d *decoder) array(each func() error) error { return d.all('[', each) }

// all calls each for what is in an object or array; null has nothing in it.
func (d *decoder) all(opening json.Delim, each func() error) error {
	token, err := d.Token()
	if err != nil || token == nil {
		return broken(err)
	}
	if token != opening {
		return fmt.Errorf("there is %v in the place of %v", token, opening)
	}
	for d.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return broken(err)
}

// broken is the error of a token, of which the end of the body is one, too.
func broken(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// maxDepth is more than the levels of anything that is posted.
const maxDepth = 100

// skip passes over a value.
func (d *decoder) skip() error {
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			return broken(err)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return errors.New("it is too deep")
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// scalar returns a string, a bool, a udf.Whole or Fraction, or nil.
func (d *decoder) scalar() (any, error) {
	token, err := d.Token()
	switch token := token.(type) {
	case json.Delim:
		return nil, fmt.Errorf("there is %v in the place of a value", token)
	case json.Number:
		return udf.ParseNumber(token.String()), nil
	}
	return token, broken(err)
}

func (d *decoder) text() (string, error) {
	value, err := d.scalar()
	if err != nil || value == nil {
		return "", err
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%v is no text", value)
	}
	return text, nil
}

func (d *decoder) duration() (time.Duration, error) {
	value, err := d.scalar()
	n, ok := value.(udf.Whole)
	if err == nil && !ok {
		err = fmt.Errorf("%v is no number of nanoseconds", value)
	}
	return time.Duration(n), err
}

func (d *decoder) level() (level udf.Level, there bool, err error) {
	word, err := d.text()
	if err != nil {
		return level, false, err
	}
	if level, there = udf.ParseLevel(word); !there {
		err = fmt.Errorf("%q is none: it is OK, INFO, WARNING or CRITICAL", word)
	}
	return level, there, err
}
