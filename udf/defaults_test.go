package udf_test

import (
	"errors"
	"testing"

	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	defaults := udf.Defaults{
		AppKey: "setting", Host: "{{ .Tags.host }}.example", PrimaryProperty: "cluster", SecondaryProperty: "rack",
		Attributes: map[string]string{"team": "db of {{ .Tags.host }}", "tier": "1"}, AutoAttributes: "tags",
	}
	with := func(d udf.Defaults) func(*udf.Config) { return func(c *udf.Config) { c.Defaults = d } }
	p := at(0, "id", "CRITICAL").tagged("cluster", "c").with("usage", 1.5)

	t.Run("serve where the TICKscript says nothing", func(t *testing.T) {
		c := newRig(t, with(defaults)).init().one(p)
		wantProperties(t, c, map[string]string{
			"status": "critical", "check": "id", "description": "id is CRITICAL", "task": "task:cpu",
			"host": "a.example", "primary_property": "cluster", "secondary_property": "rack", "cluster": "c",
			"team": "db of a", "tier": "1",
		})
		if c.AppKey != "setting" {
			t.Errorf("app key %q", c.AppKey)
		}
	})
	t.Run("give way to the options", func(t *testing.T) {
		c := newRig(t, with(defaults)).init(
			opt("appKey", "script"), opt("host", "h"), opt("primaryProperty", "host"), opt("secondaryProperty", "check"),
			opt("attribute", "tier", "2"), opt("autoAttributes", "fields"),
		).one(p)
		wantProperties(t, c, map[string]string{
			"status": "critical", "check": "id", "description": "id is CRITICAL", "task": "task:cpu",
			"host": "h", "primary_property": "host", "secondary_property": "check", "usage": "1.5",
			"team": "db of a", "tier": "2",
		})
		if c.AppKey != "script" {
			t.Errorf("app key %q", c.AppKey)
		}
	})
	t.Run("stay where an option is empty", func(t *testing.T) {
		c := newRig(t, with(defaults)).init(opt("appKey", ""), opt("host", ""), opt("primaryProperty", "")).one(p)
		if c.AppKey != "setting" || c.properties["host"] != "a.example" || c.properties["primary_property"] != "cluster" {
			t.Errorf("app key %q, properties %v", c.AppKey, c.properties)
		}
	})

	for _, tt := range []struct {
		name     string
		defaults udf.Defaults
		want     string
	}{
		{"no app key", udf.Defaults{}, "no app key: add .appKey('…') to @bigpanda(), or set app-key (BIGPANDA_APP_KEY) for the function"},
		{"auto-attributes", udf.Defaults{AppKey: "k", AutoAttributes: "all"}, `setting auto-attributes: "all" is no kind of attribute: use 'tags', 'fields', 'tags,fields' or ''`},
		{"primary property", udf.Defaults{AppKey: "k", PrimaryProperty: "status"}, "primary-property of the handler file: status cannot tell alerts apart: name a tag, a field or an attribute"},
		{"secondary property", udf.Defaults{AppKey: "k", SecondaryProperty: "timestamp"}, "secondary-property of the handler file: timestamp cannot tell alerts apart: name a tag, a field or an attribute"},
		{"host", udf.Defaults{AppKey: "k", Host: "{{ . "}, "host of the handler file: parse template: 1: unclosed action"},
		{"attribute", udf.Defaults{AppKey: "k", Attributes: map[string]string{"a": "x", "team": "{{ end }}"}}, "attribute team of the handler file: parse template: 1: unexpected {{end}}"},
		{"reserved attribute", udf.Defaults{AppKey: "k", Attributes: map[string]string{"status": "x"}}, "attribute status of the handler file: an attribute cannot be called status, which BigPanda defines: choose another name"},
	} {
		t.Run("P2: "+tt.name, func(t *testing.T) {
			r := newRig(t, with(tt.defaults))
			if got := r.tryInit(); got != tt.want {
				t.Errorf("Init said\n%q, want\n%q", got, tt.want)
			}
			if len(r.opened) > 0 {
				t.Error("the outbox was opened for nothing")
			}
		})
	}
}

// Kapacitor sends one Init: what a second would have to end is under way.
func TestSecondInitFails(t *testing.T) {
	t.Parallel()
	r := start(t)
	if got, want := r.tryInit(), "a function is initialised once: this is its second Init"; got != want {
		t.Errorf("Init said %q, want %q", got, want)
	}
	wantTold(t, r.send(at(0, "id", "CRITICAL")), "CRITICAL@0")
	if len(r.opened) != 1 {
		t.Errorf("%d outboxes are open", len(r.opened))
	}
}

// P2: whatever is wrong outside the TICKscript fails Init as it is.
func TestInitFails(t *testing.T) {
	t.Parallel()
	bad := errors.New("the setting is bad: mend it")
	for _, tt := range []struct {
		name   string
		change func(*udf.Config)
	}{
		{"bad setting", func(c *udf.Config) { c.Err = bad }},
		{"bad setting of a function that is switched off", func(c *udf.Config) { c.Err, c.Enabled = bad, false }},
		{"no outbox", func(c *udf.Config) {
			c.Open = func(udf.Use) (udf.Store, error) { return nil, bad }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.change)
			if got := r.tryInit(); got != bad.Error() {
				t.Errorf("Init said %q, want %q", got, bad)
			}
			// What a host may still call does nothing.
			r.h.Commit()
			r.h.Stop()
			if len(r.store.commits) > 0 {
				t.Error("something was stored")
			}
		})
	}
}

// P1: once the outbox is open, nothing in it stops the function.
func TestUnreadableLevels(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.store.failure = errors.New("the disk is gone")
	r.init()
	wantTold(t, r.send(at(0, "id", "CRITICAL")), "CRITICAL@0")
	r.wantLogged(1, "level=ERROR", "what BigPanda was told cannot be read", "the disk is gone")
}

func TestSwitchedOff(t *testing.T) {
	t.Parallel()
	off := func(c *udf.Config) { c.Enabled = false }
	t.Run("nothing is opened or sent", func(t *testing.T) {
		r := newRig(t, off).init()
		if got := r.send(at(0, "id", "CRITICAL"), at(1, "id", "WARNING")); len(got) > 0 {
			t.Errorf("told %s", told(got))
		}
		r.h.Stop()
		if len(r.opened) > 0 {
			t.Error("the outbox was opened")
		}
		r.wantLogged(1, "level=INFO", "switched off by --enabled=false")
	})
	t.Run("needs no app key", func(t *testing.T) {
		newRig(t, off, func(c *udf.Config) { c.Defaults.AppKey = "" }).init()
	})
	t.Run("options are checked all the same", func(t *testing.T) {
		if newRig(t, off).tryInit(opt("level", "a", "b")) == "" {
			t.Error("Init succeeded")
		}
	})
	t.Run("points pass, or not, as passThrough says", func(t *testing.T) {
		if !newRig(t, off).init().h.Mirrors() || newRig(t, off).init(opt("passThrough", false)).h.Mirrors() {
			t.Error("passThrough is not obeyed")
		}
	})
	t.Run("a snapshot is still not empty", func(t *testing.T) {
		r := newRig(t, off).init()
		s, err := r.h.Snapshot()
		if err != nil || len(s.Snapshot) == 0 {
			t.Errorf("snapshot of %d bytes, error %v", len(s.GetSnapshot()), err)
		}
		if res, err := r.h.Restore(&agent.RestoreRequest{Snapshot: s.Snapshot}); err != nil || !res.Success {
			t.Errorf("restore: %v, %v", res, err)
		}
	})
}

// P3: points leave as they came, unless passThrough(FALSE).
func TestMirrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		want    bool
	}{
		{"as it is", nil, true},
		{"passThrough(TRUE)", all(opt("passThrough", true)), true},
		{"passThrough(FALSE)", all(opt("passThrough", false)), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.options...)
			if got := r.h.Mirrors(); got != tt.want {
				t.Errorf("Mirrors is %v, want %v", got, tt.want)
			}
			wantTold(t, r.send(at(0, "id", "CRITICAL")), "CRITICAL@0")
		})
	}
}
