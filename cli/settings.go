package cli

import (
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"

	"github.com/influxdata/kapacitor/udf/agent"
)

const (
	defaultAutoAttributes = "tags,fields" // the native handler's

	// defaultDrainTimeout is how long a memory outbox is emptied after the end
	// of stdin. Kapacitor waits for the process meanwhile, and holds up all its
	// task operations.
	defaultDrainTimeout = 5 * time.Second

	// minOutboxSize is less than any database of the outbox, and more than a
	// slip of the unit.
	minOutboxSize = 1 << 20

	// minMaxFrame is more than a snapshot is, whatever JSON makes of its
	// characters (udf.Handler.Snapshot): Kapacitor gives it back in one frame.
	minMaxFrame = 64 << 20

	outboxMemory = "memory"
	edgeStream   = "stream"
	edgeBatch    = "batch"
)

// settings are what the process was told by flags, environment and files.
type settings struct {
	configFile, handlerFile string

	enabled            bool
	url                string
	token, tokenFile   string // at most one is set
	caFile             string
	insecureSkipVerify bool
	timeout            time.Duration
	proxy              func(*url.URL) (*url.URL, error) // nil: the process's environment says

	outbox                 string // a folder, or outboxMemory
	outboxMaxSize          int64  // bytes
	edge                   string
	maxFrame               int64 // bytes
	batchSize, connections int
	rate                   float64 // requests a second; 0: no limit
	drainTimeout           time.Duration
	logLevel               slog.Level
	logFormat              string

	defaults udf.Defaults

	// where says of each setting that is not at its default where it came from,
	// as an error names it.
	where map[string]string
	// warnings are for the operator, at Init.
	warnings []string
	// secrets are all tokens that were seen, also those that lost to another, and
	// addresses all URLs and proxies, which may hold secrets.
	secrets, addresses []string
}

// A setting is one row of the settings table. Its name is that of the flag and
// of the key in [bigpanda].
type setting struct {
	name  string
	key   kind // of its value in [bigpanda]; noKey: it is none there
	empty bool // an empty text is a value, too, in a file or a flag
	set   func(s *settings, text string) error
}

// settingTable is every setting but the token, which has rules of its own. The
// errors end the sentence "--name is "text": …".
var settingTable = []setting{
	{name: "config", set: into(func(s *settings) *string { return &s.configFile })},
	{name: "handler", set: into(func(s *settings) *string { return &s.handlerFile })},
	{name: "enabled", set: yesNo(func(s *settings) *bool { return &s.enabled })},
	{name: "token-file", key: textKey, set: into(func(s *settings) *string { return &s.tokenFile })},
	{name: "app-key", key: textKey, set: into(func(s *settings) *string { return &s.defaults.AppKey })},
	{name: "url", key: textKey, set: into(func(s *settings) *string { return &s.url })},
	{name: "auto-attributes", key: textKey, empty: true, set: func(s *settings, text string) (err error) {
		s.defaults.AutoAttributes, err = parseAutoAttributes(text)
		return err
	}},
	{name: "insecure-skip-verify", key: boolKey, set: yesNo(func(s *settings) *bool { return &s.insecureSkipVerify })},
	{name: "ca-file", key: textKey, set: into(func(s *settings) *string { return &s.caFile })},
	{name: "outbox", key: textKey, set: into(func(s *settings) *string { return &s.outbox })},
	{name: "outbox-max-size", key: textKey, set: atLeastBytes(func(s *settings) *int64 { return &s.outboxMaxSize }, minOutboxSize)},
	{name: "edge", set: oneOf(func(s *settings) *string { return &s.edge }, edgeStream, edgeBatch)},
	{name: "max-frame", key: textKey, set: atLeastBytes(func(s *settings) *int64 { return &s.maxFrame }, minMaxFrame)},
	{name: "batch-size", key: wholeKey, set: atLeastOne(func(s *settings) *int { return &s.batchSize })},
	{name: "connections", key: wholeKey, set: atLeastOne(func(s *settings) *int { return &s.connections })},
	{name: "rate", key: numberKey, set: func(s *settings, text string) (err error) {
		s.rate, err = parseRate(text)
		return err
	}},
	{name: "timeout", key: durationKey, set: lasting(func(s *settings) *time.Duration { return &s.timeout }, time.Millisecond)},
	{name: "drain-timeout", set: lasting(func(s *settings) *time.Duration { return &s.drainTimeout }, 0)},
	{name: "log-level", key: textKey, set: func(s *settings, text string) (err error) {
		s.logLevel, err = parseLogLevel(text)
		return err
	}},
	{name: "log-format", key: textKey, set: oneOf(func(s *settings) *string { return &s.logFormat }, formatLogfmt, formatJSON)},
}

// edgeType returns the edge as Kapacitor's protocol has it.
func (s settings) edgeType() agent.EdgeType {
	if s.edge == edgeBatch {
		return agent.EdgeType_BATCH
	}
	return agent.EdgeType_STREAM
}

func isSetting(name string) bool {
	for _, row := range settingTable {
		if row.name == name {
			return true
		}
	}
	return false
}

// A value is a setting's text and where it was found.
type value struct{ text, where string }

// A layer is one place that settings come from.
type layer map[string]value

// resolve puts the layers together: flags over environment over handler file
// over config file over defaults. It reads the two files, and nothing else:
// neither the token file nor the network. After an error, which is the first
// in the order of the table, the other settings hold all the same.
func resolve(flags map[string]string, lookup func(string) (string, bool)) (settings, error) {
	s := settings{
		enabled:       true,
		url:           bigpanda.DefaultURL,
		timeout:       bigpanda.DefaultTimeout,
		drainTimeout:  defaultDrainTimeout,
		outboxMaxSize: outbox.DefaultMaxSize,
		edge:          edgeStream,
		maxFrame:      wire.DefaultMaxFrame,
		batchSize:     udf.DefaultBatchSize,
		connections:   udf.DefaultConnections,
		logLevel:      slog.LevelInfo,
		logFormat:     formatLogfmt,
		defaults:      udf.Defaults{AutoAttributes: defaultAutoAttributes},
		where:         make(map[string]string),
	}
	layers := []layer{flagLayer(flags), environmentLayer(lookup)}
	var errs []error
	if file, ok := find(layers, "handler", false); ok {
		handler, err := readHandlerFile(file.text, &s.defaults)
		layers, errs = append(layers, handler), append(errs, err)
	}
	if file, ok := find(layers, "config", false); ok {
		config, err := readConfigFile(file.text, &s)
		layers, errs = append(layers, config), append(errs, err)
	}
	for _, row := range settingTable {
		v, ok := find(layers, row.name, row.empty)
		if !ok {
			continue
		}
		s.where[row.name] = v.where
		if err := row.set(&s, v.text); err != nil {
			errs = append(errs, fmt.Errorf("%s is %q: %w", v.where, shown(v.text), err))
		}
	}
	if s.outbox == "" {
		s.outbox = stateFolder(lookup)
	}
	s.resolveToken(layers)
	s.addresses = proxyVariables(lookup)
	for _, l := range layers {
		s.addresses = append(s.addresses, l["url"].text)
	}
	s.warnOfPlainHTTP()
	for _, err := range errs {
		if err != nil {
			return s, usageError{err}
		}
	}
	return s, nil
}

// resolveToken takes the token, or the token file, from the first layer that
// has one. Of both in one layer the file wins, since it can be changed without
// a restart.
func (s *settings) resolveToken(layers []layer) {
	s.tokenFile = ""
	for _, l := range layers {
		token, file := l["token"], l["token-file"]
		if token.text != "" {
			s.secrets = append(s.secrets, token.text)
		}
		switch {
		case s.token != "" || s.tokenFile != "":
		case file.text != "":
			s.tokenFile = file.text
		case token.text != "":
			s.token, s.where["token"] = token.text, token.where
		}
	}
}

func (s *settings) warnOfPlainHTTP() {
	u, err := url.Parse(s.url)
	if err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		s.warnings = append(s.warnings, "url is http: the token crosses the network unencrypted, use https")
	}
}

// proxyVariables returns the values of the variables that name a proxy.
func proxyVariables(lookup func(string) (string, bool)) []string {
	return append(eitherCase(lookup, "HTTP_PROXY"), eitherCase(lookup, "HTTPS_PROXY")...)
}

// eitherCase returns what a variable holds that is named in capitals or in small
// letters, in this order.
func eitherCase(lookup func(string) (string, bool), name string) []string {
	capitals, _ := lookup(name)
	small, _ := lookup(strings.ToLower(name))
	return []string{capitals, small}
}

// stateFolder is where the outbox is unless a setting says otherwise: in the
// user's state folder (XDG Base Directory Specification); "" if there is none.
func stateFolder(lookup func(string) (string, bool)) string {
	if dir, _ := lookup("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, programName)
	}
	if home, _ := lookup("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", programName)
	}
	return ""
}

// find returns the first layer's value. An empty text is no value, as in the
// files that come with Kapacitor, unless it means something and is not in the
// environment, where a variable is often emptied to unset it.
func find(layers []layer, name string, emptyToo bool) (value, bool) {
	for _, l := range layers {
		if v, ok := l[name]; ok && (v.text != "" || emptyToo) {
			return v, true
		}
	}
	return value{}, false
}

func flagLayer(flags map[string]string) layer {
	l := make(layer)
	for name, text := range flags {
		l[name] = value{text, "--" + name}
	}
	return l
}

func environmentLayer(lookup func(string) (string, bool)) layer {
	l := make(layer)
	add := func(name string) {
		if text, _ := lookup(variable(name)); text != "" {
			l[name] = value{text, variable(name)}
		}
	}
	for _, row := range settingTable {
		add(row.name)
	}
	add("token")
	return l
}
