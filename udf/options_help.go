package udf

import "strings"

// An OptionHelp is what a user reads of an option, as docs/options.md shows it.
type OptionHelp struct {
	Name      string
	Arguments []string // one word for each, such as KEY
	Text      string   // markdown
	Default   string   // markdown; "": there is none
}

// OptionsHelp is of every option of optionTable, the commoner ones first.
var OptionsHelp = []OptionHelp{
	{"appKey", []string{"'KEY'"}, "the integration's app key", "the setting `app-key`"},
	{"host", []string{"'TEMPLATE'"}, "the property `host`", "the tag `host`"},
	{"primaryProperty", []string{"'NAME'"}, "which property makes the incident's title, and with the secondary one tells alerts apart; not `status` or `timestamp`, which are another for each of its events", "BigPanda's"},
	{"secondaryProperty", []string{"'NAME'"}, "which property makes the incident's subtitle; as above", "BigPanda's"},
	{"incidentIdentifier", []string{"'TEMPLATE'"}, "tells alerts apart instead of the two properties", ""},
	{"attribute", []string{"'NAME'", "'TEMPLATE'"}, "a property; may be repeated; wins over tags and fields", ""},
	{"autoAttributes", []string{"'LIST'"}, "send `tags`, `fields`, `tags,fields` or, with `''`, neither as properties", "the setting `auto-attributes`"},
	{"levelField", []string{"'NAME'"}, "the field that holds the level: `OK`, `INFO`, `WARNING`/`WARN`, `CRITICAL`/`CRIT`, in any case", "the field `level`, else the tag"},
	{"levelTag", []string{"'NAME'"}, "the tag that holds it, instead", "the same"},
	{"level", []string{"'WORD'", "'LEVEL'"}, "another word for a level; may be repeated", ""},
	{"infoStatus", []string{"'STATUS'"}, "the BigPanda status of INFO", "`ok`"},
	{"idTag", []string{"'NAME'"}, "the tag that holds the alert's id, the property `check`", "the tag or field `alertID`, else `.id()`"},
	{"idField", []string{"'NAME'"}, "the field that holds it, instead", "the same"},
	{"id", []string{"'TEMPLATE'"}, "what makes the id, instead of both", "`{{ .Name }}:{{ .Group }}`"},
	{"messageField", []string{"'NAME'"}, "the field that holds the property `description`, cut at 2,048 characters", "the field `message`, else `.message()`"},
	{"message", []string{"'TEMPLATE'"}, "what makes it, instead", "`{{ .ID }} is {{ .Level }}`"},
	{"durationField", []string{"'NAME'"}, "how long the alert has lasted, an integer of nanoseconds; an OK with a positive one resolves an alert that this process never saw open, and 0 begins a new incident, so name another field if yours holds something else", "the field `duration`"},
	{"details", []string{"'TEMPLATE'"}, "the property `details`", ""},
	{"resendAfter", []string{"DURATION"}, "send an alert again that stays at its level for so long, in the points' time", "off"},
	{"resolveAfter", []string{"DURATION"}, "resolve an alert of which no point came for so long: [more of it](#resolveafter-alerts-whose-host-is-gone)", "off"},
	{"maxAge", []string{"DURATION"}, "do not send a change whose point is older", "off"},
	{"passThrough", []string{"FALSE"}, "let no point go on to the next node", "`TRUE`"},
}

// Usage is the option as a TICKscript has it.
func (o OptionHelp) Usage() string { return "." + o.Name + "(" + strings.Join(o.Arguments, ", ") + ")" }
