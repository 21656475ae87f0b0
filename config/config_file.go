package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"bigpanda-udf/regularfile"

	"github.com/BurntSushi/toml"
)

// configSection is the one section of a kapacitor.conf that is read.
const configSection = "bigpanda"

// A kind is the TOML type of a key in [bigpanda].
type kind int

const (
	textKey kind = iota
	boolKey
	wholeKey
	numberKey
	durationKey // a text
)

// example is a right value of the kind, as it stands in the file.
func (k kind) example() string {
	return [...]string{textKey: `"…"`, boolKey: "true", wholeKey: "100", numberKey: "5.0", durationKey: `"10s"`}[k]
}

// nativeKeys are those that belong to Kapacitor's own BigPanda handler and mean
// nothing here, so that a kapacitor.conf serves as it stands.
var nativeKeys = []string{"enabled", "global", "state-changes-only"}

// configKeys returns the kinds of all keys that [bigpanda] may hold.
func configKeys() map[string]kind {
	keys := map[string]kind{"token": textKey}
	for _, row := range Table {
		if row.InFile {
			keys[row.Name] = row.kind
		}
	}
	for _, name := range nativeKeys {
		keys[name] = boolKey
	}
	return keys
}

// readConfigFile reads the section [bigpanda] of a TOML file, which may be a
// kapacitor.conf: what else it holds does not matter. It notes in s what the
// operator should be warned of.
func readConfigFile(path string, s *Settings) (layer, error) {
	data, err := regularfile.Read(path, regularfile.MaxText)
	if err != nil {
		return nil, fmt.Errorf("read config file: %w: name a kapacitor.conf that this user may read", err)
	}
	var file map[string]any
	if err := toml.Unmarshal(data, &file); err != nil {
		if twice := DefinedTwice(data); twice != "" {
			return nil, fmt.Errorf("config file %s: %s", path, twice)
		}
		// The error's own text repeats what stands there, which may be a secret.
		var at toml.ParseError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("config file %s is not TOML in line %d: correct that line (texts need quotes)", path, at.Position.Line)
		}
		return nil, fmt.Errorf("config file %s is not TOML: write key = value lines under [%s]", path, configSection)
	}
	found, ok := file[configSection]
	if !ok {
		hint := "add it, or leave --config out"
		if near := nearest(configSection, slices.Sorted(maps.Keys(file))); near != "" {
			hint = "rename [" + near + "]"
		}
		return nil, fmt.Errorf("config file %s has no section [%s]: %s", path, configSection, hint)
	}
	section, ok := found.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("config file %s: %s is not a section: write [%s]", path, configSection, configSection)
	}
	return readSection(path, section, s)
}

func readSection(path string, section map[string]any, s *Settings) (layer, error) {
	l := make(layer)
	keys := configKeys()
	for _, name := range slices.Sorted(maps.Keys(section)) {
		where := fmt.Sprintf("[%s] %s in %s", configSection, name, path)
		want, known := keys[name]
		if !known {
			return nil, fmt.Errorf("%s is unknown: %s", where,
				DidYouMean(name, slices.Sorted(maps.Keys(keys)), "%s", "remove it"))
		}
		text, got, ok := settingText(section[name], want)
		if !ok {
			return nil, fmt.Errorf("%s is %s: write %s = %s", where, got, name, want.example())
		}
		if !slices.Contains(nativeKeys, name) {
			l[name] = value{text, where}
		}
	}
	if section["enabled"] == true && section["global"] == true {
		s.Warnings = append(s.Warnings, fmt.Sprintf(
			"every alert is sent twice: [%s] in %s also switches Kapacitor's own handler on for all of them, set enabled = false there", configSection, path))
	}
	return l, nil
}

// settingText returns a TOML value as the text that a flag would have. If it is
// not of the kind, it says what it is instead.
func settingText(v any, want kind) (text, got string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, "a text", want == textKey || want == durationKey
	case bool:
		return strconv.FormatBool(v), "a boolean", want == boolKey
	case int64:
		return strconv.FormatInt(v, 10), "a whole number", want == wholeKey || want == numberKey
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), "a number with a fraction", want == numberKey
	case time.Time:
		return "", "a time", false
	case []any, []map[string]any:
		return "", "a list", false
	}
	return "", "a section", false
}

// HoldsToken tells whether a config file that can be read has a token in it.
func HoldsToken(path string) bool {
	if path == "" {
		return false
	}
	l, err := readConfigFile(path, new(Settings))
	return err == nil && l["token"].text != ""
}
