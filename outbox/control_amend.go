package outbox

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
)

// maxAmendment bounds a request to amend, in bytes: one alert may be that of
// thousands of series.
const maxAmendment = 64 << 20

// Levels calls each with the level of every series, in no order. The levels
// that another outbox has and this one has only taken over are not among them.
func (c *Control) Levels(ctx context.Context, each func(Level)) error {
	return eachLevelPage(func(path string, page *levelPage) error {
		return c.ask(ctx, "read the outbox", http.MethodGet, path, nil, page)
	}, each)
}

// eachLevelPage gets the levels page by page, and calls each with every one.
func eachLevelPage(get func(path string, page *levelPage) error, each func(Level)) error {
	for after, more := []byte(nil), true; more; {
		var page levelPage
		if err := get("/levels?after="+hex.EncodeToString(after), &page); err != nil {
			return err
		}
		for _, l := range page.Levels {
			each(Level{Key: string(l.Key), Time: l.Time, Value: l.Value})
		}
		after, more = page.Next, page.Next != nil
	}
	return nil
}

// Amend makes amendments, as Disk.Amend does, in pieces. With an error, what the
// outcome counts is done.
func (c *Control) Amend(ctx context.Context, amendments []Amendment) (all AmendOutcome, err error) {
	for len(amendments) > 0 {
		var body bytes.Buffer
		body.WriteByte('[')
		n, series := 0, 0
		for ; n < len(amendments) && series < maxSelected && body.Len() < maxRequest; n++ {
			b, err := json.Marshal(amendments[n])
			if err != nil {
				return all, err
			}
			if n > 0 {
				body.WriteByte(',')
			}
			body.Write(b)
			series += len(amendments[n].Series)
		}
		body.WriteByte(']')
		var o AmendOutcome
		if err := c.ask(ctx, "amend alerts", http.MethodPost, "/amend", body.Bytes(), &o); err != nil {
			return all, err
		}
		all.Done += o.Done
		all.Changed = append(all.Changed, o.Changed...)
		all.InMemory = o.InMemory // of the last: by then the disk may take everything again
		amendments = amendments[n:]
	}
	return all, nil
}
