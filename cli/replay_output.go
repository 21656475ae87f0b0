package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"
)

// alertPrinter prints alerts, as a table or as lines of JSON.
type alertPrinter struct {
	out    io.Writer
	asJSON bool
	hidden *secrets
	*table
}

func newAlertPrinter(out io.Writer, asJSON bool, hidden *secrets) *alertPrinter {
	return &alertPrinter{out: out, asJSON: asJSON, hidden: hidden, table: newTable(out, "TIME\tSTATUS\tPRIMARY\tSECONDARY\tDESCRIPTION")}
}

func (a *alertPrinter) print(c outbox.Change) error {
	if a.asJSON {
		return printed(fmt.Fprintf(a.out, "%s\n", printable.JSON([]byte(a.hidden.redact(string(bigpanda.Body(c.Lane, [][]byte{c.Payload})))))))
	}
	payload, err := decodePayload(c)
	if err != nil {
		return err
	}
	primary, secondary := identityCells(payload.Identity())
	return a.row(time.Unix(payload.Timestamp, 0).UTC().Format(time.RFC3339), cell(payload.Status), cell(a.hidden.redact(primary)),
		cell(a.hidden.redact(secondary)), cell(a.hidden.redact(payload.Properties["description"])))
}

// decodePayload reads what the function has encoded.
func decodePayload(c outbox.Change) (p bigpanda.Payload, err error) {
	var properties map[string]any
	if err := json.Unmarshal(c.Payload, &properties); err != nil {
		return p, fmt.Errorf("read the payload: %w", err)
	}
	p = bigpanda.Payload{AppKey: c.AppKey, Timestamp: c.Time, Properties: make(map[string]string)}
	for name, v := range properties {
		if text, ok := v.(string); ok && name == "status" {
			p.Status = text
		} else if ok {
			p.Properties[name] = text
		}
	}
	return p, nil
}

// identityCells say what BigPanda takes the alert for.
func identityCells(i bigpanda.Identity) (primary, secondary string) {
	if i.Incident != "" {
		return "incident_identifier=" + i.Incident, "-"
	}
	if i.Secondary == "" {
		return property(i.Primary, i.PrimaryValue), "-"
	}
	return property(i.Primary, i.PrimaryValue), property(i.Secondary, i.SecondaryValue)
}
