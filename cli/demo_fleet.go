package cli

import (
	"math"
	"time"
)

const (
	// fleetLength is how much of the fleet's life the demo shows, and fleetTick
	// how often a host reports.
	fleetLength = 3 * time.Minute
	fleetTick   = time.Second

	warnOver = 80.0
	critOver = 90.0
)

// A host is a machine whose CPU load, in percent, is calm but for its peaks.
// There is no chance in it: each demo shows the same, and ends with one host that
// is still critical.
type host struct {
	name  string
	peaks []peak
}

// A peak raises the load by so much at most, around its time.
type peak struct {
	at, width time.Duration
	height    float64
}

var fleet = []host{
	{"web-1", []peak{{20 * time.Second, 9 * time.Second, 52}, {95 * time.Second, 14 * time.Second, 60}}},
	{"web-2", []peak{{32 * time.Second, 12 * time.Second, 60}, {142 * time.Second, 10 * time.Second, 50}}},
	{"db-1", []peak{{90 * time.Second, 20 * time.Second, 62}}},
	{"db-2", []peak{{55 * time.Second, 10 * time.Second, 51}, {118 * time.Second, 12 * time.Second, 59}}},
	{"cache-1", []peak{{45 * time.Second, 10 * time.Second, 58}, {105 * time.Second, 8 * time.Second, 52}}},
	{"queue-1", []peak{{80 * time.Second, 11 * time.Second, 54}, {178 * time.Second, 15 * time.Second, 62}}},
}

func (h host) load(at time.Duration) float64 {
	load := 35 + 3*math.Sin(at.Seconds()/7+float64(len(h.name)))
	for _, p := range h.peaks {
		x := (at - p.at).Seconds() / p.width.Seconds()
		load += p.height * math.Exp(-x*x)
	}
	return math.Round(load*10) / 10
}

// fleetChange is a host's level at a time of the play.
type fleetChange struct {
	host        string
	from, level string
	load        float64
	at          time.Duration
}

// evaluate does what |alert() does: it reports whether the host's load makes an
// event now, which is any level but OK, or the return to OK, and whether the
// level changed. levels are the last ones by host.
func (h host) evaluate(at time.Duration, levels map[string]string) (c fleetChange, event, changed bool) {
	c = fleetChange{host: h.name, from: levels[h.name], level: "OK", load: h.load(at), at: at}
	switch {
	case c.load > critOver:
		c.level = "CRITICAL"
	case c.load > warnOver:
		c.level = "WARNING"
	}
	if c.from == "" {
		c.from = "OK"
	}
	levels[h.name] = c.level
	return c, c.level != "OK" || c.from != "OK", c.level != c.from
}
