package cli

import (
	"fmt"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"

	"github.com/alecthomas/kong"
	"github.com/dustin/go-humanize"
)

// apiFlags are the settings of everything that talks to BigPanda. They are
// texts without defaults: settingTable reads flags, environment and files
// alike, and names in its errors where a bad value came from.
type apiFlags struct {
	Config             *string `placeholder:"FILE" help:"Read the section [bigpanda] of this TOML file, such as kapacitor.conf."`
	Handler            *string `placeholder:"FILE" help:"Take the options' defaults from this Kapacitor handler file of kind bigpanda."`
	TokenFile          *string `placeholder:"FILE" help:"Read the token from this file, again when BigPanda does not accept it."`
	AppKey             *string `placeholder:"KEY" help:"The app key of alerts whose TICKscript sets none."`
	URL                *string `name:"url" placeholder:"URL" help:"The Alerts API, or the Open Integration Manager (${default_url})."`
	CAFile             *string `name:"ca-file" placeholder:"FILE" help:"Trust the certificates in this PEM file, instead of the system's."`
	InsecureSkipVerify *bool   `help:"Accept any certificate."`
	Timeout            *string `placeholder:"TIME" help:"How long one request may take (${default_timeout})."`
}

// deliveryFlags are the settings of whoever makes alerts of points and delivers
// them.
type deliveryFlags struct {
	AutoAttributes *string `placeholder:"LIST" help:"Send tags, fields, both (tags,fields) or none of them with each alert (${default_auto_attributes})."`
	BatchSize      *string `placeholder:"N" help:"Alerts in one request at most (${default_batch_size})."`
	Connections    *string `placeholder:"N" help:"Requests at the same time at most (${default_connections})."`
	Rate           *string `placeholder:"N" help:"Requests a second at most; 0 for no limit (0)."`
	LogFormat      *string `placeholder:"FORMAT" help:"Log as logfmt or json (logfmt)."`
}

// functionFlags are the settings of function mode.
type functionFlags struct {
	apiFlags
	Enabled       *bool   `help:"Send alerts (true); with --enabled=false points pass, and nothing is sent."`
	Outbox        *string `placeholder:"DIR" help:"The folder in which alerts wait for delivery (bigpanda-udf in the user's state folder), or memory for none."`
	OutboxMaxSize *string `placeholder:"SIZE" help:"How large the queue may be before intermediate changes are given up (${default_outbox_max_size})."`
	Edge          *string `placeholder:"EDGE" help:"What the function takes and gives: stream, or batch (stream)."`
	MaxFrame      *string `placeholder:"SIZE" help:"The largest message that is taken from Kapacitor (${default_max_frame})."`
	DrainTimeout  *string `placeholder:"TIME" help:"How long a memory outbox is delivered after the end of the input (${default_drain_timeout})."`
	deliveryFlags
	LogLevel *string `placeholder:"LEVEL" help:"Log debug, info, warn or error and above (info)."`
}

// helpVariables are the defaults that the help texts name.
func helpVariables() kong.Vars {
	return kong.Vars{
		"default_url":             bigpanda.DefaultURL,
		"default_timeout":         bigpanda.DefaultTimeout.String(),
		"default_auto_attributes": defaultAutoAttributes,
		"default_batch_size":      fmt.Sprint(udf.DefaultBatchSize),
		"default_connections":     fmt.Sprint(udf.DefaultConnections),
		"default_outbox_max_size": humanize.IBytes(outbox.DefaultMaxSize),
		"default_max_frame":       humanize.IBytes(wire.DefaultMaxFrame),
		"default_drain_timeout":   defaultDrainTimeout.String(),
	}
}
