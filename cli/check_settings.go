package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bigpanda-udf/config"
	"bigpanda-udf/printable"
)

// settings prints each setting with where it came from, and what is wrong with
// them.
func (k *checkup) settings(s settings, err error) {
	if isNoPath(s.TokenFile) {
		k.hidden.add(s.TokenFile) // it may be the token, in the wrong place
	}
	for _, row := range config.Table {
		text := row.Show(s.Settings)
		if config.OfNATS(row.Name) && s.Where[row.Name] == "" && (text == "" || !s.usesNATS()) {
			continue // a long list of what is not meant
		}
		if text == "" {
			text = "none"
		}
		where := s.Where[row.Name]
		switch {
		case where == "":
			where = "default"
		case row.Name == "token-file" && s.TokenFile == "":
			where += ", but the token itself goes before it"
		}
		k.ok(row.Name, "%s (%s)", printable.Cut(text, maxLogValue), where)
	}
	if s.Token != "" {
		k.ok("token", "set, not shown (%s)", s.Where["token"])
	}
	if err != nil {
		k.fail("settings", "", "%s", err)
	}
	if !s.Enabled {
		// What follows is about sending.
		k.note("enabled", "leave it out to send alerts",
			"switched off: points pass, and nothing is sent, so token, app key, outbox and the connection to BigPanda are not looked at")
		return
	}
	for _, warning := range s.Warnings {
		k.warn("settings", "", "%s", warning)
	}
	if s.Defaults.AppKey == placeholderAppKey {
		k.warn("app-key", "put the integration's app key in its place", "%s is only the example's", placeholderAppKey)
	}
	if s.Defaults.AppKey == "" {
		k.note("app-key", "set --app-key (BIGPANDA_APP_KEY), or .appKey('…') in every task", "there is none: tasks that set none fail at Init")
	}
}

// placeholderAppKey is what stands in kapacitor.conf.snippet.
const placeholderAppKey = "YOUR_APP_KEY"

// isNoPath tells whether what should be a file's name is none that is there,
// and looks like none.
func isNoPath(name string) bool {
	if name == "" || strings.ContainsRune(name, filepath.Separator) {
		return false
	}
	_, err := os.Stat(name)
	return err != nil
}

// fileLabels makes what a check of a file is called of its setting's name.
var fileLabels = strings.NewReplacer("ca-file", "CA file", "cert-file", "certificate", "-", " ")

// files looks at the files that the settings name and the function reads. sound
// says that all can be read.
func (k *checkup) files(s settings) (sound bool) {
	sound = true
	for _, row := range config.Table {
		isRead := s.Enabled && (s.usesNATS() || !config.OfNATS(row.Name)) || row.Name == "config" || row.Name == "handler"
		path := row.Show(s.Settings)
		if row.Placeholder != "FILE" || path == "" || !isRead {
			continue
		}
		label := fileLabels.Replace(row.Name)
		if row.Name == "config" || row.Name == "handler" {
			label += " file"
		}
		secret := row.Secret || row.Name == "config" && config.HoldsToken(path)
		sound = k.file(label, row.Name, path, secret) && sound
	}
	return sound
}

// file looks at one of them; with secret, what it holds is.
func (k *checkup) file(label, setting, path string, secret bool) (readable bool) {
	hint := fmt.Sprintf("set --%s (%s) to a file that %s may read", setting, config.Variable(setting), k.user)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		k.fail(label, hint, "%s is a folder", path)
		return false
	}
	reading := use{0, "file", "read", mayRead, "it cannot be looked at: "}
	info, readable := k.usable(label, path, reading, hint, fmt.Sprintf("let %s read it, such as with chown %[1]s %s", k.user, path))
	if !readable {
		return false
	}
	mode := info.Mode().Perm()
	switch {
	case secret && mode&0o007 != 0: // a group is how kapacitord may read a file of root's
		holds := "the token"
		if config.OfNATS(setting) {
			holds = "what logs in to NATS"
		}
		k.warn(label, "chmod 600 "+path, "%s holds %s, and others may open it (%s)", path, holds, mode)
	case mode&0o022 != 0:
		k.warn(label, "chmod go-w "+path, "others may change %s (%s)", path, mode)
	default:
		k.ok(label, "%s, which %s may read (%s)", path, k.user, mode)
	}
	if k.function != "" && !filepath.IsAbs(path) {
		k.warn(label, "write the full path", "%s counts from the folder that kapacitord runs in", path)
	}
	return true
}
