package outbox

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// P5: what nobody delivers is found, and nothing else.
func TestWaiting(t *testing.T) {
	dir := memoryDir(t)
	leave := func(change ...func(*Options)) *rig {
		t.Helper()
		r := openIn(t, dir, change...).adopted()
		r.put(1, "a")
		return r
	}
	leave(node("z left first", "n")).close()
	leave(node("left then", "m")).close()
	leave(node("of another token", "n"), func(o *Options) { o.Fingerprint = fingerprint("another") }).close()
	leave(node("for another URL", "n"), func(o *Options) { o.URL = "https://elsewhere" }).close()
	leave(node("held", "n"))
	openIn(t, dir, node("empty", "n")).adopted().close()
	twice := leave(node("twice", "n"))
	leave(node("twice", "n")).close() // the numbered one, whose changes its neighbour takes over
	if err := os.Mkdir(filepath.Join(dir, "something else"), 0o700); err != nil {
		t.Fatal(err)
	}
	look := func() string {
		t.Helper()
		o := testOptions(slog.New(slog.DiscardHandler))
		o.Task, o.Node = "", ""
		uses, err := Waiting(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(uses)
	}
	if got, want := look(), "[{z left first n} {left then m}]"; got != want {
		t.Errorf("%s wait, want %s", got, want)
	}
	twice.close()
	if got, want := look(), "[{z left first n} {left then m} {twice n}]"; got != want {
		t.Errorf("%s wait, want %s", got, want)
	}
	if uses, err := Waiting(filepath.Join(dir, "missing"), testOptions(slog.New(slog.DiscardHandler))); err != nil || len(uses) > 0 {
		t.Errorf("in a folder that is not there: %v, %v", uses, err)
	}
}

// Drain waits for what is just being taken over: it is not counted yet.
func TestDrainWaitsForTheLeftovers(t *testing.T) {
	dir := memoryDir(t)
	own := openIn(t, dir).adopted()
	numbered := openIn(t, dir).adopted()
	numbered.put(1, "a")
	own.close()
	numbered.close()
	r := openIn(t, dir)
	drained := make(chan error, 1)
	go func() { drained <- r.Drain(t.Context()) }()
	r.adopted()
	select {
	case err := <-drained:
		t.Fatalf("Drain has ended (%v) while a change is left", err)
	default:
	}
	if got := payloadsOf(r.drain()); got != "a#1" {
		t.Errorf("delivered %s", got)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
