package powerloss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"bigpanda-udf/outbox"
)

// A promise is one piece of the writer's work.
type promise struct {
	kind                string // append, ack, dead
	box, from, to, size int    // of append
	numbers             []int  // of ack and dead
	done                bool
}

// readPromises reads the lines that the writer said. Only the last may be of
// work that was under way.
func readPromises(lines []string) (promises []promise, err error) {
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) == 1 && words[0] == "done" && len(promises) > 0 {
			promises[len(promises)-1].done = true
			continue
		}
		if len(words) < 3 || words[0] != "begin" {
			return nil, fmt.Errorf("no promise: %q", line)
		}
		p := promise{kind: words[1]}
		for _, word := range words[2:] {
			var n int
			if _, err := fmt.Sscan(word, &n); err != nil {
				return nil, fmt.Errorf("no promise: %q: %w", line, err)
			}
			p.numbers = append(p.numbers, n)
		}
		if p.kind == "append" {
			p.box, p.from, p.to, p.size = p.numbers[0], p.numbers[1], p.numbers[2], p.numbers[3]
		}
		promises = append(promises, p)
	}
	return promises, nil
}

// A verdict is what an outbox held after the loss, beside what it had to.
type verdict struct {
	changes int // that came back
	again   int // of them, those that had been acknowledged
}

// check opens what a loss of power left, and takes everything out of it. The
// error is of what does not hold:
//
//   - It opens, nothing is damaged, and nothing is logged that should worry.
//   - The levels are those of a commit, the last that was promised or the one
//     under way, and the changes are those of the same commit (P4).
//   - A change that was promised, and was not acknowledged, is there, byte for
//     byte, and those of one alert are in order (P5).
//   - The counts agree, and what is appended next comes out last.
func check(folder string, promises []promise) (v verdict, err error) {
	journal, later := &journal{}, &clock{}
	later.Store(int64(time.Hour))
	d, err := outbox.Open(filepath.Join(folder, boxes), options(later, journal))
	if err != nil {
		return v, fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close(), journal.err(), nothingAside(folder)) }()

	var levels []outbox.Level
	_, err = d.Levels(func(l outbox.Level) bool {
		l.Value = bytes.Clone(l.Value)
		levels = append(levels, l)
		return true
	})
	if err != nil {
		return v, fmt.Errorf("read levels: %w", err)
	}
	upTo, err := commitOf(levels, promises)
	if err != nil {
		return v, err
	}
	appended, gone, dead := fates(promises[:upTo], promises[upTo:])
	sawDead := d.Stats().Dead

	got, err := takeAll(d)
	if err != nil {
		return v, err
	}
	newest := make(map[string]uint64)
	back := make(map[int]bool)
	for _, c := range got {
		n := numberOf(c)
		want := changeOf(n, appended[n])
		want.ID = c.ID
		switch {
		case appended[n] == 0:
			return v, fmt.Errorf("change %d was not appended, or after the commit of the levels", n)
		case back[n]:
			return v, fmt.Errorf("change %d is there twice", n)
		case string(c.Payload) != string(want.Payload) || c.Alert != want.Alert || c.AppKey != want.AppKey || c.Time != want.Time || c.Level != want.Level:
			return v, fmt.Errorf("change %d is not what was appended", n)
		case c.ID <= newest[c.Alert] || n < int(newest["number of "+c.Alert]):
			return v, fmt.Errorf("change %d, id %d, is out of order: behind change %d, id %d", n, c.ID, newest["number of "+c.Alert], newest[c.Alert])
		}
		newest[c.Alert], newest["number of "+c.Alert] = c.ID, uint64(n)
		back[n] = true
		v.changes++
		if done, begun := gone[n]; begun && done {
			v.again++
		}
	}
	for n := range appended {
		if _, begun := gone[n]; !back[n] && !begun {
			return v, fmt.Errorf("change %d is lost", n)
		}
	}
	wantDead := 0
	for _, n := range dead {
		if !back[n] {
			wantDead++
		}
	}
	if sawDead != wantDead {
		return v, fmt.Errorf("%d dead letters, want %d", sawDead, wantDead)
	}
	return v, nil
}

// commitOf finds the commit that the levels are of. It returns the number of
// promises up to it.
func commitOf(levels []outbox.Level, promises []promise) (upTo int, err error) {
	sure := len(promises)
	if sure > 0 && !promises[sure-1].done {
		sure--
	}
	have := make(map[string]string)
	for _, l := range levels {
		have[l.Key] = fmt.Sprint(l.Time, " ", string(l.Value))
	}
	for upTo = len(promises); upTo >= sure; upTo-- {
		want := make(map[string]string)
		for _, p := range promises[:upTo] {
			if p.kind != "append" {
				continue
			}
			for _, l := range levelsOf(p.box, p.from, p.to, p.size) {
				if want[l.Key] = fmt.Sprint(l.Time, " ", string(l.Value)); l.Value == nil {
					delete(want, l.Key)
				}
			}
		}
		if fmt.Sprint(have) == fmt.Sprint(want) {
			return upTo, nil
		}
	}
	return 0, fmt.Errorf("levels are those of no commit from the last promised on: %d of them, that of the commit is %q", len(have), have["commit"])
}

// fates says what became of changes: the sizes of those that were appended up
// to a commit, those whose end had begun and whether it was promised, and those
// that were to be dead letters.
func fates(before, after []promise) (appended map[int]int, gone map[int]bool, dead []int) {
	appended, gone = make(map[int]int), make(map[int]bool)
	for _, p := range slices.Concat(before, after) {
		if p.kind == "append" {
			continue
		}
		if p.kind == "dead" {
			dead = append(dead, p.numbers...)
		}
		for _, n := range p.numbers {
			gone[n] = p.done
		}
	}
	for _, p := range before {
		for n := p.from; p.kind == "append" && n <= p.to; n++ {
			appended[n] = p.size
		}
	}
	return appended, gone, dead
}

// takeAll appends a last change and takes everything until it has come.
func takeAll(d *outbox.Disk) (all []outbox.Change, err error) {
	const last = "the last"
	d.Append([]outbox.Change{{Alert: last, AppKey: appKeyOf(1), Payload: []byte(last)}}, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for came := false; !came || d.Stats().Queued > 0; {
		taken, err := d.Next(ctx, 500, nil)
		if err != nil {
			return all, fmt.Errorf("take what is queued: %d came, %d are said to be there still: %w", len(all), d.Stats().Queued, err)
		}
		var ids []uint64
		for _, c := range taken {
			ids = append(ids, c.ID)
			if c.Alert == last {
				came = true
				continue
			}
			all = append(all, c)
		}
		if err := d.Ack(ids...); err != nil {
			return all, err
		}
	}
	return all, nil
}

func nothingAside(folder string) error {
	return filepath.WalkDir(folder, func(name string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(name, "damaged") {
			err = fmt.Errorf("%s was moved aside", filepath.Base(name))
		}
		return err
	})
}

// A journal remembers what is logged for somebody to act on.
type journal struct {
	mu     sync.Mutex
	failed error
}

func (j *journal) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler               { return j }
func (j *journal) WithGroup(string) slog.Handler                    { return j }
func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	j.failed = errors.Join(j.failed, errors.New("logged: "+text))
	return nil
}

func (j *journal) err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failed
}
