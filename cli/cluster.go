package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/stream"
)

// clusterAnswers is how long the servers may take to answer: an election among them
// takes some seconds.
const clusterAnswers = 10 * time.Second

// clusterFlags say which stream is meant. What is done with it is a command of its own.
type clusterFlags struct {
	settingFlags
	JSON bool `name:"json" help:"Print JSON objects."`

	Status   clusterStatusFlags   `cmd:"" default:"withargs" help:"What is stored, what waits and why, and who delivers. The same as cluster alone."`
	Dead     clusterDeadFlags     `cmd:"" help:"The alerts that BigPanda refused for good, with its answer."`
	Retry    clusterRetryFlags    `cmd:"" help:"Put dead letters back into the stream, behind all others."`
	Drop     clusterDropFlags     `cmd:"" help:"Remove dead letters for good."`
	HandOver clusterHandOverFlags `cmd:"" help:"Have a process that stands by deliver, in the place of the one that does."`
}

func newClusterFlags() any {
	return &clusterFlags{settingFlags: settingsWhere(ofOutboxAndNATS, map[string]string{
		"nats":   "The servers that have the stream, such as nats://a:4222,nats://b:4222.",
		"outbox": "The outbox folder of this host, from which alerts go to the stream (bigpanda-udf in the user's state folder).",
	})}
}

// Help is what kong prints above the flags.
func (clusterFlags) Help() string {
	return `Looks into the stream that functions with --nats publish to, from any host that may.
Its user needs the rights of a deliverer.`
}

// A clusterAction is a subcommand of cluster.
type clusterAction interface {
	do(ctx context.Context, p Process, in *cluster) error
}

// A cluster is the stream, and whoever delivers it.
type cluster struct {
	*stream.Conn
	settings
	asJSON bool
}

func (f *clusterFlags) run(ctx context.Context, p Process, c *command) error {
	s, err := c.settings(p)
	if err != nil {
		return err
	}
	if err := s.needNATS("this is about its stream"); err != nil {
		return err
	}
	s.NATS.Create = false // looking makes nothing
	conn, err := s.connectNATS(programName+" cluster", newLogger(p.Stderr, slog.LevelError, config.FormatLogfmt, c.hidden))
	if err != nil {
		return err
	}
	defer conn.Close()
	return c.below.(clusterAction).do(ctx, p, &cluster{conn, s, f.JSON})
}

type clusterStatusFlags struct{}

// A clusterReport is what cluster prints with --json.
type clusterReport struct {
	stream.Status
	Host *hostBacklog `json:"host,omitempty"`
}

// A hostBacklog is what the outboxes of this host have not published yet.
type hostBacklog struct {
	Folder   string    `json:"folder"`
	Outboxes int       `json:"outboxes"`
	Queued   int       `json:"queued"`
	Oldest   time.Time `json:"oldest,omitzero"`
	Dead     int       `json:"dead"`
}

func (f *clusterStatusFlags) do(ctx context.Context, p Process, in *cluster) error {
	// What is on this host is shown also when no server answers.
	host, hostErr := in.host(ctx)
	ctx, cancel := context.WithTimeout(ctx, clusterAnswers)
	defer cancel()
	status, err := in.Conn.Status(ctx)
	switch {
	case err != nil:
		if host != nil && !in.asJSON {
			fmt.Fprintln(p.Stdout, host.sentence(time.Now()))
		}
	case in.asJSON:
		err = p.printRedacted(in.hidden, clusterReport{status, host})
	default:
		err = in.print(p, status, host, time.Now())
	}
	return errors.Join(err, hostErr)
}

// host adds the outboxes of this host up whose alerts go to the stream; nil: there is
// no folder of them.
func (in *cluster) host(ctx context.Context) (*hostBacklog, error) {
	dir := in.Outbox
	if dir == "" || dir == config.OutboxMemory {
		return nil, nil
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	all, _, err := findTargets(ctx, dir, "", "", in.hidden)
	b := &hostBacklog{Folder: dir}
	for _, tgt := range all {
		if tgt.URL != in.natsURL() {
			continue
		}
		b.Outboxes++
		b.Queued += tgt.Queued
		b.Dead += tgt.Status.Dead
		if b.Oldest.IsZero() || !tgt.Oldest.IsZero() && tgt.Oldest.Before(b.Oldest) {
			b.Oldest = tgt.Oldest
		}
	}
	return b, err
}

func (b *hostBacklog) sentence(now time.Time) string {
	text := fmt.Sprintf("this host: %s in %s of %s", counted(b.Queued, "alert waits", "alerts wait"), counted(b.Outboxes, "outbox", "outboxes"), plain(b.Folder))
	if !b.Oldest.IsZero() {
		text += ", the oldest for " + age(b.Oldest, now)
	}
	if b.Dead > 0 {
		text += ", " + counted(b.Dead, "dead letter", "dead letters") + " (bigpanda-udf outbox dead)"
	}
	return text
}

// days is a time as people say it, where it is of whole days.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d < day || d%day != 0 {
		return d.String()
	}
	return counted(int(d/day), "day", "days")
}

// print prints the state of the stream for people: sentences, and a row for each app
// key that has something in it.
func (in *cluster) print(p Process, s stream.Status, host *hostBacklog, now time.Time) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	st := s.Stream
	limit := "no limit"
	if st.MaxBytes > 0 {
		limit = size(st.MaxBytes)
	}
	leader := ""
	if st.Replicas > 1 {
		leader = ", leader " + cell(cmp.Or(st.Leader, "none"))
	}
	line("stream %s: %s, %s of %s, kept for %s on %s%s", plain(st.Name), counted(int(st.Messages), "alert stored", "alerts stored"),
		size(int64(st.Bytes)), limit, days(st.MaxAge), counted(st.Replicas, "server", "servers"), leader)
	if s.Lease.Owner == "" {
		line("nobody delivers: start bigpanda-udf deliver")
	} else {
		standby := "nobody"
		if len(s.Lease.Standby) > 0 {
			standby = cell(strings.Join(s.Lease.Standby, ", "))
		}
		line("%s delivers, for %s (term %d); %s stands by", cell(s.Lease.Owner), age(s.Lease.Since, now), s.Lease.Epoch, standby)
	}
	for _, remark := range deliveryRemarks(s.Delivery, now) {
		line("%s", plain(remark))
	}
	if s.Dead > 0 {
		line("%s: see %s cluster dead", counted(s.Dead, "dead letter", "dead letters"), programName)
	}
	if host != nil {
		line("%s", host.sentence(now))
	}
	if err := printed(fmt.Fprint(p.Stdout, in.hidden.redact(b.String()))); err != nil {
		return err
	}
	t := newTable(p.Stdout, "\nAPP KEY\tSTORED\tDELIVERED UP TO\tWAIT\tOLDEST")
	for _, of := range s.AppKeys {
		if err := t.row(in.hidden.cell(of.AppKey), count(int(of.Stored)), strconv.FormatUint(of.DeliveredTo, 10), count(int(of.Lag)), age(of.OldestWaiting, now)); err != nil {
			return err
		}
	}
	return t.flush()
}
