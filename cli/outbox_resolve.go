package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"
	"bigpanda-udf/udf"
)

// minKey is how much of a key has to be written: with less, a slip is soon
// another alert's.
const minKey = 4

// A keyStart is a key, or as much of one as says which is meant.
type keyStart string

// UnmarshalText reads what a person copied of a key.
func (k *keyStart) UnmarshalText(text []byte) error {
	if len(text) < minKey || len(bytes.Trim(text, "0123456789abcdef")) > 0 {
		return fmt.Errorf("%q is no key: take one that active shows, or its first %d letters or more", config.Shown(string(text)), minKey)
	}
	*k = keyStart(text)
	return nil
}

type outboxResolveFlags struct {
	Keys []keyStart `arg:"" optional:"" name:"key" help:"Which ones, by the keys that active shows, or enough of each."`
	All  bool       `help:"All that there are, but those that were left behind."`
	asking
}

// AfterApply is called by kong.
func (f outboxResolveFlags) AfterApply() error {
	if f.All == (len(f.Keys) > 0) {
		return errors.New("which ones? Give keys, which active shows, or --all")
	}
	return f.yesWithoutAll(f.All, "a key")
}

func (f *outboxResolveFlags) do(ctx context.Context, p Process, in targets) error {
	alerts := make([][]*udf.Active, len(in.all))
	var failed error
	total, open := 0, 0
	told := make(map[string]int64) // when the last of the outboxes told of an alert, by key
	for i, tgt := range in.all {
		if f.All && !tgt.LeftBehind.IsZero() {
			continue // whether those are over nobody knows
		}
		var err error
		alerts[i], err = tgt.active(ctx)
		failed = errors.Join(failed, err)
		if err != nil {
			in.unread = append(in.unread, tgt.Folder)
		}
		for _, a := range alerts[i] {
			told[a.Key] = max(told[a.Key], a.Timestamp)
		}
		if n := len(alerts[i]); n > 0 {
			total, open = total+n, open+1
		}
	}
	switch {
	case !f.All:
		failed = errors.Join(failed, selectKeys(f.Keys, alerts, in.where()))
	case total > 0:
		question := fmt.Sprintf("Tell BigPanda that %s OK, of %s?", counted(total, "alert is", "alerts are"), counted(open, "outbox", "outboxes"))
		if err := f.refused(p, question, "resolved"); err != nil {
			return errors.Join(failed, err)
		}
	case len(in.all) > 0 && !in.asJSON:
		fmt.Fprintf(p.Stdout, "nothing to resolve: every alert is OK%s\n", in.where())
	}
	now := time.Now() // of one alert, all outboxes send the same: BigPanda takes it once
	for i, tgt := range in.all {
		for _, a := range alerts[i] {
			a.Timestamp = told[a.Key]
		}
		failed = errors.Join(failed, p.resolveIn(ctx, in.asJSON, tgt, alerts[i], now))
	}
	return failed
}

// selectKeys leaves the alerts whose keys begin with one that was given. An
// alert that several outboxes have is one. The error names what is nobody's,
// and what is not one's alone.
func selectKeys(given []keyStart, alerts [][]*udf.Active, where string) (failed error) {
	all := make(map[string]bool)
	for _, some := range alerts {
		for _, a := range some {
			all[a.Key] = true
		}
	}
	meant := make(map[string]bool)
	for _, of := range given {
		start := string(of) // all keys have one length: a whole one begins no other
		found := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(key string) bool { return !strings.HasPrefix(key, start) })
		switch len(found) {
		case 0:
			failed = errors.Join(failed, fmt.Errorf("no alert that is not OK has the key %s%s: see %s outbox active", config.Shown(start), where, programName))
		case 1:
			meant[found[0]] = true
		default:
			failed = errors.Join(failed, fmt.Errorf("%d keys begin with %s, write more of the one that is meant: %s",
				len(found), start, printable.Cut(strings.Join(found, ", "), 200)))
		}
	}
	for i := range alerts {
		alerts[i] = slices.DeleteFunc(alerts[i], func(a *udf.Active) bool { return !meant[a.Key] })
	}
	return failed
}

// resolveIn resolves alerts in one outbox, and says what became of them.
func (p Process) resolveIn(ctx context.Context, asJSON bool, tgt target, alerts []*udf.Active, now time.Time) error {
	keys := make(map[string]string) // by alert
	all := make([]outbox.Amendment, len(alerts))
	for i, a := range alerts {
		all[i] = a.Resolve(now)
		keys[all[i].Change.Alert] = a.Key
	}
	o, err := tgt.control.Amend(ctx, all)
	switch n := len(o.Changed); {
	case err != nil && o.Done == 0:
	case asJSON:
		r := tgt.result("resolve", "active", o.Done)
		r.Changed = &n
		p.printRedacted(tgt.hidden, r)
	case o.Done > 0: // else they are in another one
		said := fmt.Sprintf("%s: %s resolved", tgt.name(), counted(o.Done, "alert was", "alerts were"))
		if tgt.Process == 0 {
			said += "; BigPanda is told " + byWhom
		}
		fmt.Fprintln(p.Stdout, said)
	}
	if len(o.Changed) > 0 {
		var changed []string
		for _, alert := range o.Changed {
			changed = append(changed, keys[alert])
		}
		err = errors.Join(err, fmt.Errorf("%s: %s: look again with active: %s",
			tgt.name(), counted(len(changed), "alert has changed just now and was not resolved", "alerts have changed just now and were not resolved"), printable.Cut(strings.Join(changed, ", "), 200)))
	}
	return err
}
