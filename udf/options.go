package udf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"

	"github.com/influxdata/kapacitor/udf/agent"
)

// Defaults are the values of the options that a TICKscript does not set: from
// the settings and from a Kapacitor handler file. Host, IncidentIdentifier and
// Attributes are templates, as in the options; the zero value of each but
// AutoAttributes leaves an option unset.
type Defaults struct {
	AppKey             string
	Host               string
	PrimaryProperty    string
	SecondaryProperty  string
	IncidentIdentifier string
	InfoStatus         string
	Attributes         map[string]string
	AutoAttributes     string // "tags", "fields", both with a comma between, or "" for none

	ResendAfter, ResolveAfter, MaxAge time.Duration
}

// CheckTopic finds what is wrong with defaults that alone are the options of a topic
// handler.
func (d Defaults) CheckTopic() error {
	o, err := parseOptions(nil, d)
	if err != nil {
		return err
	}
	if o.appKey == "" {
		return errors.New("no app key: set option app-key, or the daemon's setting (BIGPANDA_APP_KEY)")
	}
	names := slices.DeleteFunc(slices.Clone(attributeNames), func(name string) bool { return name == "Group" })
	for _, text := range append(slices.Collect(maps.Values(d.Attributes)), d.Host, d.IncidentIdentifier) {
		if _, err := compile(text, names, nil); err != nil {
			return errors.New("a template asks for .Group, which is not in the events of a topic: use .Tags")
		}
	}
	return nil
}

// options are what one use of @bigpanda() was given, checked and compiled.
type options struct {
	appKey            string
	primaryProperty   string
	secondaryProperty string

	levelField, levelTag string
	levels               map[string]Level // by their words, in upper case
	idField, idTag       string
	messageField         string
	durationField        string

	id, incidentIdentifier, message, details, host *compiled // nil: not set
	attributes                                     map[string]*compiled

	infoStatus           string
	autoTags, autoFields bool
	passThrough          bool
	resendAfter          time.Duration // 0: never
	resolveAfter         time.Duration // 0: never
	maxAge               time.Duration // 0: any age
}

var (
	stringType   = []agent.ValueType{agent.ValueType_STRING}
	stringsType  = []agent.ValueType{agent.ValueType_STRING, agent.ValueType_STRING}
	boolType     = []agent.ValueType{agent.ValueType_BOOL}
	durationType = []agent.ValueType{agent.ValueType_DURATION}
)

// An option is one property of @bigpanda() in a TICKscript. Kapacitor checks
// the number and the types of its arguments against Info (pipeline/udf.go).
type option struct {
	types []agent.ValueType
	keyed bool // may be given once for each value of its first argument, not just once
	set   func(o *options, args []argument) error
}

// optionTable is every option by its TICKscript name.
var optionTable = map[string]option{
	"appKey":            textOption(func(o *options) *string { return &o.appKey }),
	"primaryProperty":   chosenOption(func(o *options) *string { return &o.primaryProperty }),
	"secondaryProperty": chosenOption(func(o *options) *string { return &o.secondaryProperty }),
	"levelField":        textOption(func(o *options) *string { return &o.levelField }),
	"levelTag":          textOption(func(o *options) *string { return &o.levelTag }),
	"idField":           textOption(func(o *options) *string { return &o.idField }),
	"idTag":             textOption(func(o *options) *string { return &o.idTag }),
	"messageField":      textOption(func(o *options) *string { return &o.messageField }),
	"durationField":     textOption(func(o *options) *string { return &o.durationField }),

	"id":                 templateOption(func(o *options) **compiled { return &o.id }, idNames, nil),
	"incidentIdentifier": templateOption(func(o *options) **compiled { return &o.incidentIdentifier }, incidentNames, nil),
	"message":            templateOption(func(o *options) **compiled { return &o.message }, messageNames, nil),
	"details":            templateOption(func(o *options) **compiled { return &o.details }, detailsNames, jsonFunctions),
	"host":               templateOption(func(o *options) **compiled { return &o.host }, attributeNames, nil),

	"attribute": {types: stringsType, keyed: true, set: func(o *options, args []argument) error {
		return o.addAttribute(args[0].text, args[1].text)
	}},
	"level": {types: stringsType, keyed: true, set: func(o *options, args []argument) error {
		return o.addLevel(args[0].text, args[1].text)
	}},
	"infoStatus": {types: stringType, set: func(o *options, args []argument) error {
		if !slices.Contains(bigpanda.Statuses, args[0].text) {
			return fmt.Errorf("%q is no status: use one of %s", args[0].text, strings.Join(bigpanda.Statuses, ", "))
		}
		o.infoStatus = args[0].text
		return nil
	}},
	"autoAttributes": {types: stringType, set: func(o *options, args []argument) (err error) {
		o.autoTags, o.autoFields, err = ParseAutoAttributes(args[0].text)
		return err
	}},
	"passThrough": {types: boolType, set: func(o *options, args []argument) error {
		o.passThrough = args[0].bool
		return nil
	}},
	"resendAfter":  positiveOption(func(o *options) *time.Duration { return &o.resendAfter }),
	"resolveAfter": positiveOption(func(o *options) *time.Duration { return &o.resolveAfter }),
	"maxAge":       positiveOption(func(o *options) *time.Duration { return &o.maxAge }),
}

// textOption is a name or key; the empty string leaves it unset, as it does
// for the native handler.
func textOption(field func(*options) *string) option {
	return option{types: stringType, set: func(o *options, args []argument) error {
		if args[0].text != "" {
			*field(o) = args[0].text
		}
		return nil
	}}
}

// chosenOption is a textOption that names a property to tell alerts apart by.
func chosenOption(field func(*options) *string) option {
	text := textOption(field)
	return option{types: text.types, set: func(o *options, args []argument) error {
		return errors.Join(checkChosen(args[0].text), text.set(o, args))
	}}
}

func checkChosen(name string) error {
	if !bigpanda.Chooseable(name) {
		return fmt.Errorf("%s cannot tell alerts apart: name a tag, a field or an attribute", name)
	}
	return nil
}

func templateOption(field func(*options) **compiled, names []string, further textFunctions) option {
	return option{types: stringType, set: func(o *options, args []argument) (err error) {
		if args[0].text != "" {
			*field(o), err = compile(args[0].text, names, further)
		}
		return err
	}}
}

func positiveOption(field func(*options) *time.Duration) option {
	return option{types: durationType, set: func(o *options, args []argument) error {
		if args[0].duration <= 0 {
			return errors.New("must be longer than nothing: leave the option out to switch it off")
		}
		*field(o) = args[0].duration
		return nil
	}}
}

// addAttribute sets an attribute; the last one of a name wins.
func (o *options) addAttribute(name, text string) error {
	switch name {
	case "":
		return errors.New("an attribute needs a name: put one before its template")
	case "app_key", "alerts", "status", "timestamp":
		return fmt.Errorf("an attribute cannot be called %s, which BigPanda defines: choose another name", name)
	case "primary_property", "secondary_property":
		if err := checkChosen(text); err != nil {
			return err
		}
	}
	t, err := compile(text, attributeNames, nil)
	if err != nil {
		return err
	}
	o.attributes[name] = t
	return nil
}

func (o *options) addLevel(word, level string) error {
	l, ok := ParseLevel(level)
	switch {
	case word == "":
		return errors.New("there is no word to map: put the point's word before the level")
	case !ok:
		return fmt.Errorf("%q is no level: use OK, INFO, WARNING or CRITICAL", level)
	}
	word = strings.ToUpper(word)
	if old, twice := o.levels[word]; twice && old != l {
		return fmt.Errorf("%q is mapped to %s and to %s: keep one", word, old, l)
	}
	o.levels[word] = l
	return nil
}

// ParseAutoAttributes reads a list of what is sent of each point: tags, fields, both
// or, if it is empty, neither.
func ParseAutoAttributes(s string) (tags, fields bool, err error) {
	for word := range strings.SplitSeq(s, ",") {
		switch strings.ToLower(strings.TrimSpace(word)) {
		case "tags":
			tags = true
		case "fields":
			fields = true
		case "":
		default:
			return false, false, fmt.Errorf("%q is no kind of attribute: use 'tags', 'fields', 'tags,fields' or ''", word)
		}
	}
	return tags, fields, nil
}

// parseOptions checks and compiles what a TICKscript gives, over the defaults.
// The error is one sentence that names the option and what to do: a user reads
// it in `kapacitor show`.
func parseOptions(given []*agent.Option, d Defaults) (*options, error) {
	o := &options{
		appKey:      validText(d.AppKey), // of the environment
		levels:      make(map[string]Level),
		attributes:  make(map[string]*compiled),
		infoStatus:  "ok",
		passThrough: true,
	}
	var err error
	if o.autoTags, o.autoFields, err = ParseAutoAttributes(d.AutoAttributes); err != nil {
		return nil, fmt.Errorf("setting auto-attributes: %w", err)
	}
	for _, given := range []struct {
		label, option string
		value         argument
	}{
		{"host", "host", argument{text: d.Host}},
		{"primary-property", "primaryProperty", argument{text: d.PrimaryProperty}},
		{"secondary-property", "secondaryProperty", argument{text: d.SecondaryProperty}},
		{"incident-identifier", "incidentIdentifier", argument{text: d.IncidentIdentifier}},
		{"info-status", "infoStatus", argument{text: d.InfoStatus}},
		{"resend-after", "resendAfter", argument{duration: d.ResendAfter}},
		{"resolve-after", "resolveAfter", argument{duration: d.ResolveAfter}},
		{"max-age", "maxAge", argument{duration: d.MaxAge}},
	} {
		if given.value == (argument{}) {
			continue
		}
		if err := optionTable[given.option].set(o, []argument{given.value}); err != nil {
			return nil, fmt.Errorf("%s of the handler file: %w", given.label, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Attributes)) {
		if err := o.addAttribute(name, d.Attributes[name]); err != nil {
			return nil, fmt.Errorf("attribute %s of the handler file: %w", name, err)
		}
	}

	seen := make(map[string]bool)
	for _, g := range given {
		spec, ok := optionTable[g.GetName()]
		if !ok {
			return nil, fmt.Errorf("there is no option .%s(): the options are %s", g.GetName(), strings.Join(slices.Sorted(maps.Keys(optionTable)), ", "))
		}
		args, err := convert(g.GetValues(), spec.types)
		if err != nil {
			return nil, fmt.Errorf("option .%s() %w", g.GetName(), err)
		}
		call := g.GetName() + "()"
		if spec.keyed {
			call = fmt.Sprintf("%s('%s', …)", g.GetName(), args[0].text)
		}
		if seen[call] {
			return nil, fmt.Errorf("option .%s is given twice: keep one", call)
		}
		seen[call] = true
		if err := spec.set(o, args); err != nil {
			return nil, fmt.Errorf("option .%s: %w", call, err)
		}
	}
	mapped := o.levels
	o.levels = maps.Clone(levelWords)
	maps.Copy(o.levels, mapped)
	return o, o.check()
}

// check finds options that contradict each other.
func (o *options) check() error {
	for _, pair := range []struct {
		a, b       string
		aSet, bSet bool
	}{
		{"levelField", "levelTag", o.levelField != "", o.levelTag != ""},
		{"idField", "idTag", o.idField != "", o.idTag != ""},
		{"id", "idField", o.id != nil, o.idField != ""},
		{"id", "idTag", o.id != nil, o.idTag != ""},
		{"message", "messageField", o.message != nil, o.messageField != ""},
	} {
		if pair.aSet && pair.bSet {
			return fmt.Errorf("options .%s() and .%s() contradict each other: keep one", pair.a, pair.b)
		}
	}
	return nil
}

// Info describes the function. It needs nothing (P2).
func (h *Handler) Info() (*agent.InfoResponse, error) {
	all := make(map[string]*agent.OptionInfo, len(optionTable))
	for name, spec := range optionTable {
		all[name] = &agent.OptionInfo{ValueTypes: spec.types}
	}
	return &agent.InfoResponse{Wants: h.config.Edge, Provides: h.config.Edge, Options: all}, nil
}
