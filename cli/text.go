package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"bigpanda-udf/printable"

	"github.com/dustin/go-humanize"
)

// maxCell is how many bytes of a text a table shows.
const maxCell = 80

// flushEvery is how many rows of a table are printed together, with columns of
// one width: so a long list begins at once, and takes no memory.
const flushEvery = 20

// printJSON prints an object in a line of its own, that does nothing to a
// terminal either.
func (p Process) printJSON(v any) error { return p.printRedacted(new(secrets), v) }

// printRedacted is printJSON without the secrets.
func (p Process) printRedacted(hidden *secrets, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	return printed(p.Stdout.Write(printable.JSON([]byte(hidden.redact(b.String())))))
}

// printed is the error of a write to stdout.
func printed(_ int, err error) error {
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// A table prints rows in columns.
type table struct {
	w    *tabwriter.Writer
	head string // printed before the first row
	rows int
}

func newTable(w io.Writer, head string) *table {
	return &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0), head: head}
}

func (t *table) row(cells ...string) error {
	if t.rows == 0 {
		fmt.Fprintln(t.w, t.head)
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
	if t.rows++; t.rows%flushEvery == 0 {
		return t.flush()
	}
	return nil
}

// flush prints the rows that wait for the widths of their columns.
func (t *table) flush() error { return printed(0, t.w.Flush()) }

func cell(text string) string { return plain(printable.Cut(text, maxCell)) }

// plain is a text that does nothing to a terminal or a table.
func plain(text string) string { return printable.Text(text) }

func count(n int) string { return humanize.Comma(int64(n)) }

// counted is a number of things, and what they do: counted(n, "alert waits",
// "alerts wait").
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

func size(bytes int64) string { return humanize.IBytes(uint64(max(0, bytes))) }

// age is for how long something is there, as people say it.
func age(since, now time.Time) string {
	if since.IsZero() {
		return "-"
	}
	if since.After(now) {
		since = now // the clock was put back
	}
	if now.Sub(since) < time.Second {
		return "0 seconds"
	}
	text := humanize.RelTime(since, now, "", "")
	return text[:len(text)-1] // without the blank before "ago"
}
