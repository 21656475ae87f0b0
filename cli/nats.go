package cli

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"log/slog"
	"os"

	"bigpanda-udf/stream"
)

// usesNATS tells whether alerts go to the stream in place of BigPanda.
func (s settings) usesNATS() bool { return len(s.NATS.URLs) > 0 }

// needNATS is the error of a command that works on the stream, and was told of none.
func (s settings) needNATS(does string) error {
	if s.usesNATS() {
		return nil
	}
	return usagef("no NATS: %s, so set --nats (BIGPANDA_NATS) to the URLs of its servers, such as nats://HOST:4222", does)
}

// connectNATS makes the connection, which the servers know by a name, and waits for no
// server. Every error names the setting and says what to do.
func (s settings) connectNATS(name string, log *slog.Logger) (*stream.Conn, error) {
	o := s.NATS
	o.Name, o.Log = name+" at "+thisHost(), log
	conn, err := stream.Connect(o)
	if err != nil {
		return nil, usageError{s.hidden.redactError(s.nameOrigin(err, natsErrors))}
	}
	return conn, nil
}

// natsErrors are those of the stream's options.
var natsErrors = []errorOf{
	{"nats url", "nats"}, {"creds file", "nats-creds-file"}, {"nkey file", "nats-nkey-file"}, {"password file", "nats-password-file"},
	{"password file", "nats-user"}, {"token file", "nats-token-file"}, {"CA file", "nats-ca-file"}, {"certificate", "nats-cert-file"},
	{"certificate", "nats-key-file"}, {"stream name", "nats-stream"}, {"inbox prefix", "nats-inbox-prefix"},
	{"use NATS: alerts are kept", "nats-max-age"}, {"use NATS: alerts are kept", "nats-window"},
}

// natsURL is where alerts go, as an outbox knows it. The servers may change: what they
// hold is the same.
func (s settings) natsURL() string { return "nats:" + s.NATS.Stream }

// natsFingerprint is a keyed hash as bigpanda.Client.Fingerprint is one: there is no
// token, and whoever reaches the stream may publish to it.
func (s settings) natsFingerprint(key []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s.natsURL()))
	return h.Sum(nil)
}

// thisHost is this machine's name, for people.
func thisHost() string {
	name, _ := os.Hostname()
	return cmp.Or(name, "a host without a name")
}
