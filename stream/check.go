package stream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/printable"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// checkTimeout is how long Check takes at most, about.
	checkTimeout = 10 * time.Second
	// clockMay is how far the clocks may be apart: how long alerts are kept, and what
	// is shown as waiting, goes by the servers'.
	clockMay = 2 * time.Second
)

// A Finding is what Check has found about one thing.
type Finding struct {
	State string // ok, note, warn or fail
	Check string // what was looked at, in a word or two
	Text  string // what was found
	Hint  string // what to do about it; empty if nothing
}

// A checkup is one Check.
type checkup struct {
	c         *Conn
	deliverer bool
	found     []Finding
}

func (k *checkup) add(state, check, hint, format string, args ...any) {
	k.found = append(k.found, Finding{state, check, fmt.Sprintf(format, args...), hint})
}

// failed adds an error of this package.
func (k *checkup) failed(check string, err error) {
	hint := ""
	var e *bigpanda.Error
	if errors.As(err, &e) {
		hint = e.Hint
		err = cmp.Or(e.Err, err)
	}
	k.add("fail", check, hint, "%s", err)
}

// Check looks at the servers as a publisher needs them, or a deliverer besides: reach,
// version, TLS, rights, the settings of what there is, whether writes are synced where
// that can be told, and the clock. It makes and changes nothing, and takes some ten
// seconds at most.
func (c *Conn) Check(ctx context.Context, deliverer bool) []Finding {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	k := &checkup{c: c, deliverer: deliverer}
	if err := c.reach(ctx); err != nil {
		k.failed("nats", err)
		return k.found
	}
	k.server()
	k.tls()
	if !k.rights(ctx) {
		return k.found
	}
	// An account's limit is told with the first answer.
	if limit := c.maxPayload(); limit < leastPayload {
		k.add("fail", "nats", hintPayload, "a message may have %d bytes here: larger alerts wait in the outboxes, the others go", limit)
	}
	k.streams(ctx)
	k.synced(ctx)
	return k.found
}

// server says which one is connected to.
func (k *checkup) server() {
	nc := k.c.nc()
	version := printable.Text(nc.ConnectedServerVersion())
	found := fmt.Sprintf("%s, server %s, version %s", nc.ConnectedUrlRedacted(), printable.Text(nc.ConnectedServerName()), version)
	major, minor := 0, 0
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	switch {
	case err != nil:
		k.add("warn", "nats", "run 2.12 or newer", "%s: that is no version that is known", found)
	case major < 2 || major == 2 && minor < 10:
		k.add("fail", "nats", "run 2.12 or newer", "%s: it cannot sync each write, so that a loss of power loses alerts", found)
	case major == 2 && minor < 12:
		k.add("warn", "nats", "run 2.12 or newer", "%s: it was not tried with this program", found)
	default:
		k.add("ok", "nats", "", "%s", found)
	}
}

func (k *checkup) tls() {
	state, err := k.c.nc().TLSConnectionState()
	host, _, _ := net.SplitHostPort(k.c.nc().ConnectedAddr())
	ip := net.ParseIP(host)
	switch {
	case err == nil && len(state.PeerCertificates) > 0:
		end := state.PeerCertificates[0].NotAfter
		if left := time.Until(end); left < 21*24*time.Hour {
			k.add("warn", "nats tls", "have it renewed", "the server's certificate ends in %d days", int(left.Hours()/24))
			return
		}
		k.add("ok", "nats tls", "", "certificate until %s, verified", end.Format(time.DateOnly))
	case ip != nil && ip.IsLoopback():
		k.add("ok", "nats tls", "", "none: the server is on this machine")
	default:
		k.add("warn", "nats tls", "use tls:// in the URLs, and configure TLS on the servers", "none: anybody in between can read the alerts and the login")
	}
}

// streams compares what there is with the options.
func (k *checkup) streams(ctx context.Context) {
	configs := []jetstream.StreamConfig{k.c.o.alertConfig()}
	if k.deliverer {
		configs = append(configs, k.c.o.deadConfig(), k.c.o.leaseConfig())
	}
	for i, want := range configs {
		asked := time.Now()
		s, err := ask(ctx, k.c, infoSubject(want.Name), func(ctx context.Context) (jetstream.Stream, error) {
			asked = time.Now()
			return k.c.js().Stream(ctx, want.Name)
		})
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound) && k.c.o.Create:
			k.missing(ctx, want.Name)
		case err != nil:
			k.failed("nats stream", err)
		default:
			info := s.CachedInfo()
			k.settings(info, want)
			if i == 0 {
				k.clock(info.TimeStamp, asked)
			}
		}
	}
}

// missing says whether this user may make a stream.
func (k *checkup) missing(ctx context.Context, stream string) {
	var denied *deniedError
	err := k.may(ctx, right{subject: "$JS.API.STREAM.CREATE." + stream, data: `{"name":"` + stream + `_NONE"}`})
	if errors.As(err, &denied) {
		k.add("fail", "nats stream", "allow it in the servers' configuration, or have another make it first", "there is no stream %s yet, and this user may not %s", stream, denied.right())
		return
	}
	k.add("note", "nats stream", "", "there is no stream %s yet: it will be made", stream)
}

// differences says of each setting that differs what it is.
type differences []string

func (d *differences) add(yes bool, format string, args ...any) {
	if yes {
		*d = append(*d, fmt.Sprintf(format, args...))
	}
}

// wrongSettings are those of a stream with which alerts are held or lost.
func wrongSettings(have, want jetstream.StreamConfig) (wrong differences) {
	wrong.add(have.Retention != want.Retention, "retention is %s, not %s", have.Retention, want.Retention)
	wrong.add(have.Storage != want.Storage, "storage is %s, not %s", have.Storage, want.Storage)
	wrong.add(have.Discard != want.Discard, "discard is %s, not %s", have.Discard, want.Discard)
	wrong.add(!slices.Equal(have.Subjects, want.Subjects), "subjects are %s, not %s", strings.Join(have.Subjects, " "), strings.Join(want.Subjects, " "))
	wrong.add(want.AllowDirect && !have.AllowDirect, "allow_direct is off")
	wrong.add(have.MaxMsgSize > 0 && have.MaxMsgSize < leastPayload, "max_msg_size is %d, which alerts may be above", have.MaxMsgSize)
	wrong.add(have.NoAck, "no_ack is on")
	wrong.add(have.Sealed, "it is sealed")
	wrong.add(want.MaxMsgs < 0 && have.MaxMsgs >= 0, "max_msgs is %d, not unlimited", have.MaxMsgs)
	wrong.add(max(have.MaxMsgsPerSubject, 0) != want.MaxMsgsPerSubject, "max_msgs_per_subject is %d, not %d (0: unlimited)", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	return wrong
}

// settings says what of a stream is another than the options have it.
func (k *checkup) settings(info *jetstream.StreamInfo, want jetstream.StreamConfig) {
	have := info.Config
	wrong := wrongSettings(have, want)
	var other differences
	other.add(have.Replicas != want.Replicas, "%d replicas, not %d", have.Replicas, want.Replicas)
	other.add(have.MaxAge != want.MaxAge, "max_age %v, not %v", have.MaxAge, want.MaxAge)
	other.add(have.Duplicates != want.Duplicates, "duplicate_window %v, not %v", have.Duplicates, want.Duplicates)
	other.add(have.MaxBytes != want.MaxBytes, "max_bytes %d, not %d", have.MaxBytes, want.MaxBytes)
	other.add(have.MaxMsgSize >= leastPayload, "max_msg_size %d, not unlimited", have.MaxMsgSize)
	other.add(want.DenyDelete && !have.DenyDelete, "deny_delete off")
	name := "stream " + have.Name
	switch {
	case len(wrong) > 0:
		k.add("fail", "nats stream", "correct it, or delete it and have it made anew when it is empty", "%s: %s", name, strings.Join(append(wrong, other...), "; "))
	case len(other) > 0:
		k.add("warn", "nats stream", "set what is right: here, or there with `nats stream edit`", "%s has other settings than here: %s", name, strings.Join(other, "; "))
	default:
		k.add("ok", "nats stream", "", "%s: %d replicas, max_age %v, duplicate_window %v, max_bytes %d",
			name, have.Replicas, have.MaxAge, have.Duplicates, have.MaxBytes)
	}
	k.replicas(name, info.Cluster)
}

// replicas says which servers are behind.
func (k *checkup) replicas(name string, cluster *jetstream.ClusterInfo) {
	if cluster == nil {
		return
	}
	var away []string
	for _, r := range cluster.Replicas {
		if r.Offline || !r.Current {
			away = append(away, printable.Text(r.Name))
		}
	}
	if len(away) > 0 {
		k.add("warn", "nats stream", "see to those servers", "%s has replicas that are away or behind: %s", name, strings.Join(away, ", "))
	}
}

// clock compares this machine's with the server's, which has answered since asked.
func (k *checkup) clock(server, asked time.Time) {
	now := time.Now()
	apart := time.Duration(0)
	if server.Before(asked) {
		apart = asked.Sub(server)
	} else if server.After(now) {
		apart = server.Sub(now)
	}
	if server.IsZero() {
		return
	}
	if apart > clockMay {
		k.add("warn", "nats clock", "set both by NTP", "the server's clock and this machine's are %v apart", apart.Round(time.Millisecond))
		return
	}
	k.add("ok", "nats clock", "", "the server's and this machine's are less than %v apart", clockMay)
}

// synced says whether the servers sync each write, where they tell: to who may ask the
// system account, or has imported this service of it.
func (k *checkup) synced(ctx context.Context) {
	const subject = "$SYS.REQ.SERVER.PING.JSZ"
	const hint = "set sync_interval: always in the block jetstream { } of each server"
	ctx, stop := k.c.denials.watch(ctx, subject)
	defer stop()
	answers, _ := k.c.askAll(ctx, subject, []byte(`{"config":true}`)) // none: it cannot be told
	told := 0
	for _, data := range answers {
		var j struct {
			Server struct {
				Name string `json:"name"`
			} `json:"server"`
			Data struct {
				Config struct {
					SyncInterval time.Duration `json:"sync_interval"`
					SyncAlways   bool          `json:"sync_always"`
				} `json:"config"`
			} `json:"data"`
		}
		_ = json.Unmarshal(data, &j) // else it has no name
		switch name := shown(j.Server.Name); {
		case name == "":
			continue
		case j.Data.Config.SyncAlways:
			k.add("ok", "nats sync", "", "server %s syncs each write", name)
		default:
			k.add("fail", "nats sync", hint, "server %s syncs every %v: a loss of power loses what it has acknowledged", name, j.Data.Config.SyncInterval)
		}
		told++
	}
	if told == 0 {
		k.add("note", "nats sync", hint+", if it is not", "whether the servers sync each write cannot be told with this login")
	}
}
