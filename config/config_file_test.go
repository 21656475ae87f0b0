package config

import (
	"strings"
	"testing"
)

func TestConfigFile(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		err        string // its end, after the file's name was put in for FILE
		warning    string
	}{
		{name: "only the section", text: "[bigpanda]\n"},
		{name: "the file that Kapacitor comes with", text: `
			hostname = "localhost"
			[http]
			  bind-address = ":9092"
			[bigpanda]
			  enabled = false
			  url = "https://api.bigpanda.io/data/v2/alerts"
			  # app-key = ""
			[[mqtt]]
			  enabled = false
			[udf.functions.bigpanda]
			  prog = "/usr/local/bin/bigpanda-udf"`},
		{name: "every key of the native handler", text: `[bigpanda]
			enabled = true
			global = false
			state-changes-only = true
			app-key = "k"
			token = "t"
			url = ""
			insecure-skip-verify = false
			auto-attributes = ""`},
		{name: "other sections do not matter", text: "[bigpanda]\n[big-panda]\ntokn = 1\n[x]\nurl = 1"},
		{name: "sent twice", text: "[bigpanda]\nenabled = true\nglobal = true", warning: "every alert is sent twice"},

		{name: "no section", text: "[http]", err: "config file FILE has no section [bigpanda]: add it, or leave --config out"},
		{name: "a misspelt section", text: "[big-panda]", err: "config file FILE has no section [bigpanda]: rename [big-panda]"},
		{name: "a list of sections", text: "[[bigpanda]]", err: "config file FILE: bigpanda is not a section: write [bigpanda]"},
		{name: "a section twice", text: "[bigpanda]\ntoken = \"" + testToken + "\"\n[bigpanda]\n", err: "config file FILE: the section [bigpanda] stands a second time in line 3: leave that line out"},
		{name: "not TOML", text: "[bigpanda]\ntoken = " + testToken, err: "config file FILE is not TOML in line 2: correct that line (texts need quotes)"},
		{name: "an unknown key", text: "[bigpanda]\napp-kye = 'x'", err: "[bigpanda] app-kye in FILE is unknown: did you mean app-key?"},
		{name: "a key in camel case", text: "[bigpanda]\ntokenFile = 'x'", err: "[bigpanda] tokenFile in FILE is unknown: did you mean token-file?"},
		{name: "a key like no other", text: "[bigpanda]\ncolour = 'x'", err: "[bigpanda] colour in FILE is unknown: remove it"},
		{name: "a setting that is no key", text: "[bigpanda]\nedge = 'stream'", err: "[bigpanda] edge in FILE is unknown: remove it"},
		{name: "a number for a text", text: "[bigpanda]\ntoken = 4711", err: `[bigpanda] token in FILE is a whole number: write token = "…"`},
		{name: "a text for a whole number", text: "[bigpanda]\nbatch-size = '5'", err: "[bigpanda] batch-size in FILE is a text: write batch-size = 100"},
		{name: "a fraction for a whole number", text: "[bigpanda]\nconnections = 1.5", err: "[bigpanda] connections in FILE is a number with a fraction: write connections = 100"},
		{name: "a text for a number", text: "[bigpanda]\nrate = '5'", err: "[bigpanda] rate in FILE is a text: write rate = 5.0"},
		{name: "a number for a duration", text: "[bigpanda]\ntimeout = 10", err: `[bigpanda] timeout in FILE is a whole number: write timeout = "10s"`},
		{name: "a text for a boolean", text: "[bigpanda]\ninsecure-skip-verify = 'no'", err: "[bigpanda] insecure-skip-verify in FILE is a text: write insecure-skip-verify = true"},
		{name: "a text for a native boolean", text: "[bigpanda]\nenabled = 'yes'", err: "[bigpanda] enabled in FILE is a text: write enabled = true"},
		{name: "a list", text: "[bigpanda]\nurl = ['x']", err: `[bigpanda] url in FILE is a list: write url = "…"`},
		{name: "a section for a key", text: "[bigpanda.url]\nx = 1", err: `[bigpanda] url in FILE is a section: write url = "…"`},
		{name: "a time", text: "[bigpanda]\ntimeout = 2020-01-01", err: `[bigpanda] timeout in FILE is a time: write timeout = "10s"`},
		{name: "a value out of range", text: "[bigpanda]\nbatch-size = 0", err: `[bigpanda] batch-size in FILE is "0": write a whole number from 1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, "kapacitor.conf", tt.text)
			s, err := Resolve(map[string]string{"config": path}, environment(nil))
			if want := strings.ReplaceAll(tt.err, "FILE", path); (err == nil) != (want == "") || err != nil && err.Error() != want {
				t.Errorf("the error is\n%v, want\n%v", err, want)
			}
			if !strings.Contains(strings.Join(s.Warnings, "\n"), tt.warning) || tt.warning == "" && len(s.Warnings) > 0 {
				t.Errorf("the warnings are %q, want %q", s.Warnings, tt.warning)
			}
		})
	}
}

func TestConfigFileIsMissing(t *testing.T) {
	_, err := Resolve(map[string]string{"config": "/nonexistent/kapacitor.conf"}, environment(nil))
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/kapacitor.conf") || !strings.Contains(err.Error(), "name a kapacitor.conf that this user may read") {
		t.Errorf("the error is %v", err)
	}
}

// An empty list of attributes means none, as it does for the native handler.
func TestEmptyAutoAttributes(t *testing.T) {
	s, err := Resolve(map[string]string{"config": write(t, "k.conf", "[bigpanda]\nauto-attributes = ''")}, environment(nil))
	if err != nil || s.Defaults.AutoAttributes != "" {
		t.Errorf("auto-attributes are %q (%v)", s.Defaults.AutoAttributes, err)
	}
}
