package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
)

// Levels returns none: a replay begins anew.
func (r *replayRun) Levels(func(outbox.Level) bool) (isNew bool, err error) { return true, nil }

func (r *replayRun) Append(changes []outbox.Change, levels []outbox.Level) {
	for _, c := range changes {
		r.changes++
		if err := r.print(c); r.err == nil {
			r.err = err
		}
	}
	if r.delivery != nil {
		r.queue.Append(changes, levels)
	}
}

func (r *replayRun) print(c outbox.Change) error {
	if r.asJSON {
		return r.p.printRedacted(r.hidden, json.RawMessage(bigpanda.Body(c.AppKey, [][]byte{c.Payload})))
	}
	payload, err := decodePayload(c)
	if err != nil {
		return err
	}
	primary, secondary := identityCells(payload.Identity())
	return r.row(time.Unix(payload.Timestamp, 0).UTC().Format(time.RFC3339), cell(payload.Status), r.hidden.cell(primary),
		r.hidden.cell(secondary), r.hidden.cell(payload.Properties["description"]))
}

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

// alertText is both of identityCells in one.
func alertText(i bigpanda.Identity) string {
	primary, secondary := identityCells(i)
	if i.Incident != "" || i.SecondaryValue == "" {
		return primary
	}
	return primary + " " + secondary
}

// identityCells say what BigPanda tells the alert apart by, besides its app key.
func identityCells(i bigpanda.Identity) (primary, secondary string) {
	property := func(name, value string) string {
		if name == "" {
			return value
		}
		return name + "=" + value
	}
	switch {
	case i.Incident != "":
		return property("incident_identifier", i.Incident), "-"
	case i.SecondaryValue == "":
		return property(i.Primary, i.PrimaryValue), "-"
	}
	return property(i.Primary, i.PrimaryValue), property(i.Secondary, i.SecondaryValue)
}
