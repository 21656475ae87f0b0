package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/regularfile"
)

// settingValues say what each setting is, for people.
var settingValues = map[string]func(settings) string{
	"config":               func(s settings) string { return s.configFile },
	"handler":              func(s settings) string { return s.handlerFile },
	"enabled":              func(s settings) string { return strconv.FormatBool(s.enabled) },
	"token-file":           func(s settings) string { return s.tokenFile },
	"app-key":              func(s settings) string { return s.defaults.AppKey },
	"url":                  func(s settings) string { return bigpanda.PublicURL(s.url) },
	"auto-attributes":      func(s settings) string { return s.defaults.AutoAttributes },
	"insecure-skip-verify": func(s settings) string { return strconv.FormatBool(s.insecureSkipVerify) },
	"ca-file":              func(s settings) string { return s.caFile },
	"outbox":               func(s settings) string { return s.outbox },
	"outbox-max-size":      func(s settings) string { return size(s.outboxMaxSize) },
	"max-frame":            func(s settings) string { return size(s.maxFrame) },
	"edge":                 func(s settings) string { return s.edge },
	"batch-size":           func(s settings) string { return strconv.Itoa(s.batchSize) },
	"connections":          func(s settings) string { return strconv.Itoa(s.connections) },
	"rate":                 func(s settings) string { return strconv.FormatFloat(s.rate, 'g', -1, 64) },
	"timeout":              func(s settings) string { return s.timeout.String() },
	"drain-timeout":        func(s settings) string { return s.drainTimeout.String() },
	"log-level":            func(s settings) string { return strings.ToLower(s.logLevel.String()) },
	"log-format":           func(s settings) string { return s.logFormat },
}

// settings prints each setting with where it came from, and what is wrong with
// them.
func (k *checkup) settings(s settings, err error) {
	if isNoPath(s.tokenFile) {
		k.hidden.add(s.tokenFile) // it may be the token, in the wrong place
	}
	for _, row := range settingTable {
		text := settingValues[row.name](s)
		if text == "" {
			text = "none"
		}
		where := s.where[row.name]
		switch {
		case where == "":
			where = "default"
		case row.name == "token-file" && s.tokenFile == "":
			where += ", but the token itself goes before it"
		}
		k.ok(row.name, "%s (%s)", cut(text, maxLogValue), where)
	}
	if s.token != "" {
		k.ok("token", "set, not shown (%s)", s.where["token"])
	}
	if err != nil {
		k.fail("settings", "", "%s", err)
	}
	if !s.enabled {
		// What follows is about sending.
		k.note("enabled", "leave it out to send alerts",
			"switched off: points pass, and nothing is sent, so token, app key, outbox and the way to BigPanda are not looked at")
		return
	}
	for _, warning := range s.warnings {
		k.warn("settings", "", "%s", warning)
	}
	if s.defaults.AppKey == placeholderAppKey {
		k.warn("app-key", "put the integration's app key in its place", "%s is only the example's", placeholderAppKey)
	}
	if s.defaults.AppKey == "" {
		k.note("app-key", "set --app-key (BIGPANDA_APP_KEY), or .appKey('…') in every task", "there is none: tasks that set none fail at Init")
	}
}

// placeholderAppKey is what stands in kapacitor.conf.snippet.
const placeholderAppKey = "YOUR_APP_KEY"

// hideTokens adds what is secret in the settings to what is not shown, also the
// token of the token file, which a payload or an answer in the outbox may
// repeat. A file that cannot be read hides nothing.
func (s settings) hideTokens(hidden *secrets) {
	hidden.add(s.secrets...)
	hidden.addAddresses(s.addresses...)
	if data, err := regularfile.Read(s.tokenFile, regularfile.MaxText); err == nil {
		hidden.add(string(data))
	}
}

// isNoPath tells whether what should be a file's name is none that is there,
// and looks like none.
func isNoPath(name string) bool {
	if name == "" || strings.ContainsRune(name, filepath.Separator) {
		return false
	}
	_, err := os.Stat(name)
	return err != nil
}

// files looks at the files that the settings name and the function reads. sound
// says that all can be read.
func (k *checkup) files(s settings) (sound bool) {
	files := []checkedFile{
		{"config file", "config", s.configFile, holdsToken(s.configFile)},
		{"handler file", "handler", s.handlerFile, false},
	}
	if s.enabled {
		files = append(files, checkedFile{"token file", "token-file", s.tokenFile, true}, checkedFile{"CA file", "ca-file", s.caFile, false})
	}
	sound = true
	for _, f := range files {
		if f.path != "" {
			sound = k.file(f) && sound
		}
	}
	return sound
}

// checkedFile is a file that the function reads.
type checkedFile struct {
	label, setting, path string
	secret               bool
}

func (k *checkup) file(f checkedFile) (readable bool) {
	info, err := os.Stat(f.path)
	mend := fmt.Sprintf("set --%s (%s) to a file that %s may read", f.setting, variable(f.setting), k.who.name)
	switch {
	case err != nil:
		k.fail(f.label, k.mend(err, mend), "it cannot be looked at: %s", bareError(err))
		return false
	case info.IsDir():
		k.fail(f.label, mend, "%s is a folder", f.path)
		return false
	case !info.Mode().IsRegular():
		k.fail(f.label, mend, "%s is no file", f.path)
		return false
	}
	if err := k.who.may(f.path, mayRead); err != nil {
		k.fail(f.label, k.mend(err, fmt.Sprintf("let %s read it, such as with chown %[1]s %s", k.who.name, f.path)), "%s", err)
		return false
	}
	mode := info.Mode().Perm()
	switch {
	case f.secret && mode&0o007 != 0: // a group is how kapacitord may read a file of root's
		k.warn(f.label, "chmod 600 "+f.path, "%s holds the token, and others may open it (%s)", f.path, mode)
	case mode&0o022 != 0:
		k.warn(f.label, "chmod go-w "+f.path, "others may change %s (%s)", f.path, mode)
	default:
		k.ok(f.label, "%s, which %s may read (%s)", f.path, k.who.name, mode)
	}
	if k.function != "" && !filepath.IsAbs(f.path) {
		k.warn(f.label, "write the full path", "%s counts from the folder that kapacitord runs in", f.path)
	}
	return true
}

// holdsToken tells whether a config file has a token in it.
func holdsToken(path string) bool {
	if path == "" {
		return false
	}
	l, err := readConfigFile(path, new(settings))
	return err == nil && l["token"].text != ""
}
