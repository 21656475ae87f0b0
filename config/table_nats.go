package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/stream"
)

const (
	// minStreamSize is less than any stream of alerts needs, and more than a slip of
	// the unit.
	minStreamSize = 1 << 20
	// maxReplicas is JetStream's limit (docs.nats.io, JetStream, Streams).
	maxReplicas = 5
	// minLeaseTTL is renewed five times a second, which servers on a network manage.
	minLeaseTTL = time.Second
)

// natsTable are the rows about NATS.
var natsTable = []Setting{
	{Name: "nats", InFile: true, Placeholder: "URL,…",
		Help:  "Send alerts to the stream on these servers, such as nats://a:4222,nats://b:4222, in place of BigPanda. That needs no token, and --rate has no effect: it is that of bigpanda-udf deliver, which takes them on.",
		field: addresses(func(s *Settings) *[]string { return &s.NATS.URLs })},
	{Name: "nats-creds-file", InFile: true, Secret: true, Placeholder: "FILE",
		Help:  "Log in with this file of credentials (JWT and seed).",
		field: text(func(s *Settings) *string { return &s.NATS.CredsFile })},
	{Name: "nats-nkey-file", InFile: true, Secret: true, Placeholder: "FILE",
		Help:  "Log in with the seed of an nkey in this file.",
		field: text(func(s *Settings) *string { return &s.NATS.NKeyFile })},
	{Name: "nats-user", InFile: true, Placeholder: "NAME",
		Help:  "Log in as this user, with the password of --nats-password-file.",
		field: text(func(s *Settings) *string { return &s.NATS.User })},
	{Name: "nats-password-file", InFile: true, Secret: true, Placeholder: "FILE",
		Help:  "Read the password of --nats-user from this file.",
		field: text(func(s *Settings) *string { return &s.NATS.PasswordFile })},
	{Name: "nats-token-file", InFile: true, Secret: true, Placeholder: "FILE",
		Help:  "Log in with the token of the NATS servers in this file.",
		field: text(func(s *Settings) *string { return &s.NATS.TokenFile })},
	{Name: "nats-ca-file", InFile: true, Placeholder: "FILE",
		Help:  "Trust the certificates in this PEM file for NATS, instead of the system's.",
		field: text(func(s *Settings) *string { return &s.NATS.CAFile })},
	{Name: "nats-cert-file", InFile: true, Placeholder: "FILE",
		Help:  "Show this certificate to the servers, a PEM file.",
		field: text(func(s *Settings) *string { return &s.NATS.CertFile })},
	{Name: "nats-key-file", InFile: true, Secret: true, Placeholder: "FILE",
		Help:  "The key of that certificate, a PEM file.",
		field: text(func(s *Settings) *string { return &s.NATS.KeyFile })},
	{Name: "nats-server-name", InFile: true, Placeholder: "NAME",
		Help:  "Expect this name in the servers' certificates, instead of the host of the URL.",
		field: text(func(s *Settings) *string { return &s.NATS.ServerName })},
	{Name: "nats-inbox-prefix", InFile: true, Placeholder: "PREFIX", Default: "_INBOX",
		Help:  "Take answers at subjects with this prefix, which the user may subscribe to (${default}).",
		field: text(func(s *Settings) *string { return &s.NATS.InboxPrefix })},
	{Name: "nats-stream", InFile: true, Placeholder: "NAME", Default: stream.DefaultStream,
		Help:  "The stream, and the first word of its subjects (${default}).",
		field: text(func(s *Settings) *string { return &s.NATS.Stream })},
	{Name: "nats-replicas", InFile: true, Placeholder: "N", Default: fmt.Sprint(stream.DefaultReplicas),
		Help:  "On how many servers the stream is kept, when it is made (${default}).",
		field: fromOne(func(s *Settings) *int { return &s.NATS.Replicas }, maxReplicas)},
	{Name: "nats-create", InFile: true, Default: "true",
		Help:  "Make the stream where it is missing (${default}); with --nats-create=false somebody else does.",
		field: yesNo(func(s *Settings) *bool { return &s.NATS.Create })},
	{Name: "nats-max-age", InFile: true, Placeholder: "TIME", Default: stream.DefaultMaxAge.String(),
		Help:  "How long the stream keeps an alert, delivered or not, when it is made (${default}).",
		field: lasting(func(s *Settings) *time.Duration { return &s.NATS.MaxAge }, time.Minute)},
	{Name: "nats-window", InFile: true, Placeholder: "TIME", Default: stream.DefaultWindow.String(),
		Help:  "For how long the same alert of two nodes is known to be one, when the stream is made (${default}).",
		field: lasting(func(s *Settings) *time.Duration { return &s.NATS.Window }, time.Second)},
	{Name: "nats-max-size", InFile: true, Placeholder: "SIZE", Default: fmt.Sprint(stream.DefaultMaxBytes),
		Help:  "How large the stream may become on each server, when it is made (${default}); a full one takes nothing more, and alerts wait in the outboxes.",
		field: atLeastBytes(func(s *Settings) *int64 { return &s.NATS.MaxBytes }, minStreamSize)},
	{Name: "nats-lease-ttl", InFile: true, Placeholder: "TIME", Default: stream.DefaultLeaseTTL.String(),
		Help:  "After how long without a sign of life another deliverer takes over (${default}); the same for all of them.",
		field: lasting(func(s *Settings) *time.Duration { return &s.NATS.LeaseTTL }, minLeaseTTL)},
}

// OfNATS reports whether a name is that of a setting about NATS.
func OfNATS(name string) bool { return name == "nats" || strings.HasPrefix(name, "nats-") }

// addresses are several, with commas between them.
func addresses(at func(*Settings) *[]string) field {
	return fieldOf(textKey, at, func(text string) ([]string, error) {
		var all []string
		for part := range strings.SplitSeq(text, ",") {
			part = strings.TrimSpace(part)
			if scheme, host, ok := strings.Cut(part, "://"); !ok || scheme == "" || host == "" {
				return nil, errors.New("write addresses with commas between them, such as nats://a:4222,nats://b:4222")
			}
			all = append(all, part)
		}
		return all, nil
	}, func(all []string) string {
		shown := make([]string, len(all))
		for i, address := range all {
			shown[i] = bigpanda.PublicURL(address)
		}
		return strings.Join(shown, ",")
	})
}

// warnOfNATS warns of settings that mean nothing, as --nats is not set. They are no
// error: whoever goes back to BigPanda empties that one first.
func (s *Settings) warnOfNATS() {
	if len(s.NATS.URLs) > 0 {
		return
	}
	i := slices.IndexFunc(natsTable, func(row Setting) bool { return row.Name != "nats" && s.Where[row.Name] != "" })
	if i >= 0 {
		s.Warnings = append(s.Warnings, s.Where[natsTable[i].Name]+" means nothing without --nats (BIGPANDA_NATS): set that, or leave this out")
	}
}
