package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/stream"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"
)

// What some settings may be.
const (
	OutboxMemory = "memory" // no folder
	EdgeStream   = "stream"
	EdgeBatch    = "batch"
	FormatLogfmt = "logfmt"
	FormatJSON   = "json"
)

// Settings are what the process was told by flags, environment and files.
type Settings struct {
	ConfigFile, HandlerFile string

	Enabled          bool
	bigpanda.Options // of Token and TokenFile at most one is set

	Outbox        string // a folder, or OutboxMemory; "": there is none to take
	OutboxMaxSize int64  // bytes
	Edge          string
	MaxFrame      int64 // bytes
	BatchSize     int
	Rate          float64 // requests a second; 0: no limit
	DrainTimeout  time.Duration
	LogLevel      slog.Level
	LogFormat     string
	NATS          stream.Options // no URLs: alerts go to BigPanda

	// Defaults are those of the options of a TICKscript.
	Defaults udf.Defaults

	// Where says of each setting that is not at its default where it came from,
	// as an error names it.
	Where map[string]string
	// Warnings are for the operator, at Init.
	Warnings []string
	// Secrets are all tokens that were seen, also those that lost to another, and
	// Addresses all URLs and proxies, which may hold secrets.
	Secrets, Addresses []string
}

const (
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
)

// A Scope says whose flag a setting is.
type Scope int

const (
	OfFunction Scope = iota // of the function alone
	OfDelivery              // also of whoever else makes alerts of points and delivers them
	OfAPI                   // also of whoever else talks to BigPanda
)

// A Setting is one row of the table. A new one is a row, and a field of Settings.
type Setting struct {
	Name        string // of the flag, and of the key in a file
	Scope       Scope
	Placeholder string // of the flag's value; "": the flag is true without one
	Help        string // of the flag; ${default} stands for the default
	Default     string // as text; "": none, or one that follows from others
	InFile      bool   // it may stand in [bigpanda], too
	Secret      bool   // the file that it names holds one, which nothing may show

	empty bool // an empty text is a value, too, in a file or a flag
	field
}

// Table is every setting but the token, which has rules of its own.
var Table = slices.Concat([]Setting{
	{Name: "config", Scope: OfAPI, Placeholder: "FILE",
		Help:  "Read the section [bigpanda] of this TOML file, such as kapacitor.conf.",
		field: text(func(s *Settings) *string { return &s.ConfigFile })},
	{Name: "handler", Scope: OfAPI, Placeholder: "FILE",
		Help:  "Take the options' defaults from this Kapacitor handler file of kind bigpanda.",
		field: text(func(s *Settings) *string { return &s.HandlerFile })},
	{Name: "enabled", Default: "true",
		Help:  "Send alerts (${default}); with --enabled=false points pass, and nothing is sent.",
		field: yesNo(func(s *Settings) *bool { return &s.Enabled })},
	{Name: "token-file", Scope: OfAPI, InFile: true, Secret: true, Placeholder: "FILE",
		Help:  "Read the token from this file, again when BigPanda does not accept it.",
		field: text(func(s *Settings) *string { return &s.TokenFile })},
	{Name: "app-key", Scope: OfAPI, InFile: true, Placeholder: "KEY",
		Help:  "The app key of alerts whose TICKscript sets none.",
		field: text(func(s *Settings) *string { return &s.Defaults.AppKey })},
	{Name: "url", Scope: OfAPI, InFile: true, Placeholder: "URL", Default: bigpanda.DefaultURL,
		Help:  "The Alerts API, or the Open Integration Manager (${default}).",
		field: address(func(s *Settings) *string { return &s.URL })},
	{Name: "auto-attributes", Scope: OfDelivery, InFile: true, Placeholder: "LIST", empty: true,
		Default: "tags,fields", // the native handler's
		Help:    "Send tags, fields, both (tags,fields) or none of them with each alert (${default}).",
		field:   attributes(func(s *Settings) *string { return &s.Defaults.AutoAttributes })},
	{Name: "insecure-skip-verify", Scope: OfAPI, InFile: true,
		Help:  "Accept any certificate.",
		field: yesNo(func(s *Settings) *bool { return &s.InsecureSkipVerify })},
	{Name: "ca-file", Scope: OfAPI, InFile: true, Placeholder: "FILE",
		Help:  "Trust the certificates in this PEM file, instead of the system's.",
		field: text(func(s *Settings) *string { return &s.CAFile })},
	{Name: "outbox", InFile: true, Placeholder: "DIR",
		Help:  "The outbox folder, in which alerts wait for delivery (bigpanda-udf in the user's state folder), or memory for none.",
		field: text(func(s *Settings) *string { return &s.Outbox })},
	{Name: "outbox-max-size", InFile: true, Placeholder: "SIZE", Default: fmt.Sprint(outbox.DefaultMaxSize),
		Help:  "How large the queue of an outbox may be before intermediate changes are given up (${default}).",
		field: atLeastBytes(func(s *Settings) *int64 { return &s.OutboxMaxSize }, minOutboxSize)},
	{Name: "edge", Placeholder: "EDGE", Default: EdgeStream,
		Help:  "What the function takes and gives: stream, or batch (${default}).",
		field: oneOf(func(s *Settings) *string { return &s.Edge }, EdgeStream, EdgeBatch)},
	{Name: "max-frame", InFile: true, Placeholder: "SIZE", Default: fmt.Sprint(wire.DefaultMaxFrame),
		Help:  "The largest message that is taken from Kapacitor (${default}).",
		field: atLeastBytes(func(s *Settings) *int64 { return &s.MaxFrame }, minMaxFrame)},
	{Name: "batch-size", Scope: OfDelivery, InFile: true, Placeholder: "N", Default: fmt.Sprint(udf.DefaultBatchSize),
		Help:  "Alerts in one request at most (${default}).",
		field: fromOne(func(s *Settings) *int { return &s.BatchSize }, 0)},
	{Name: "connections", Scope: OfDelivery, InFile: true, Placeholder: "N", Default: fmt.Sprint(bigpanda.DefaultConnections),
		Help:  "Requests at the same time at most (${default}).",
		field: fromOne(func(s *Settings) *int { return &s.Connections }, 0)},
	{Name: "rate", Scope: OfDelivery, InFile: true, Placeholder: "N", Default: "0",
		Help:  "Requests a second at most; 0 for no limit (${default}).",
		field: perSecond(func(s *Settings) *float64 { return &s.Rate })},
	{Name: "timeout", Scope: OfAPI, InFile: true, Placeholder: "TIME", Default: bigpanda.DefaultTimeout.String(),
		Help:  "The request timeout: how long BigPanda may take to answer (${default}).",
		field: lasting(func(s *Settings) *time.Duration { return &s.Timeout }, time.Millisecond)},
	{Name: "drain-timeout", Scope: OfDelivery, Placeholder: "TIME", Default: defaultDrainTimeout.String(),
		Help:  "How long a memory outbox is delivered after the end of the input (${default}).",
		field: lasting(func(s *Settings) *time.Duration { return &s.DrainTimeout }, 0)},
	{Name: "log-level", Scope: OfDelivery, InFile: true, Placeholder: "LEVEL", Default: "info",
		Help:  "Log debug, info, warn or error and above (${default}).",
		field: logLevel},
	{Name: "log-format", Scope: OfDelivery, InFile: true, Placeholder: "FORMAT", Default: FormatLogfmt,
		Help:  "Log as logfmt or json (${default}).",
		field: oneOf(func(s *Settings) *string { return &s.LogFormat }, FormatLogfmt, FormatJSON)},
}, natsTable)

// Values are all that may be written, where that is a list; else nil.
func (row Setting) Values() []string { return row.words }

// Show is a setting as people read it, without what is secret in an address.
func (row Setting) Show(s Settings) string { return row.show(&s) }

// FlagHelp is the help of the row, or another one for its flag, with the default.
func (row Setting) FlagHelp(other string) string {
	if other == "" {
		other = row.Help
	}
	var s Settings
	row.setDefault(&s)
	return strings.ReplaceAll(other, "${default}", row.Show(s))
}

// defaults are the settings that nothing was said of.
func defaults() Settings {
	s := Settings{Where: make(map[string]string)}
	for _, row := range Table {
		row.setDefault(&s)
	}
	return s
}

func (row Setting) setDefault(s *Settings) {
	if row.Default == "" {
		return
	}
	if err := row.set(s, row.Default); err != nil {
		panic(fmt.Sprintf("the default of %s: %v", row.Name, err)) // a mistake in the table
	}
}

// Variable is the name of the environment variable of a setting, or of what
// several words name.
func Variable(words ...string) string {
	return "BIGPANDA_" + strings.ReplaceAll(strings.ToUpper(strings.Join(words, "_")), "-", "_")
}

// Variables are those of all settings, and that of the token.
func Variables() []string {
	all := []string{Variable("token")}
	for _, name := range Names() {
		all = append(all, Variable(name))
	}
	return all
}

// Names are those of all rows, in their order.
func Names() (all []string) {
	for _, row := range Table {
		all = append(all, row.Name)
	}
	return all
}
