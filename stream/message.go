package stream

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"

	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"
)

// A message is the body of a request with one alert, as BigPanda itself would get it:
//
//	subject  BIGPANDA.a.<token of the app key>
//	header   Nats-Msg-Id: <id>
//	data     {"app_key":"…","status":"…",…}   (bigpanda.Body)
//
// Two hosts that tell the same change make the same bytes (P10), and so the same id, by
// which the servers store it once.

// headerID is how JetStream is told a message's id.
const headerID = "Nats-Msg-Id"

// encode makes the message of an alert, which is a result of bigpanda.Payload.Encode.
func (o Options) encode(appKey string, alert []byte) *nats.Msg {
	m := nats.NewMsg("")
	m.Data = bigpanda.Body(appKey, [][]byte{alert})
	appKey, _, _ = cutAppKey(m.Data) // as it is read there
	m.Subject = o.alertSubject(appKey)
	m.Header.Set(headerID, hash(m.Data))
	return m
}

// alertSubject is that of an app key's alerts. The app key itself may hold what no
// subject does.
func (o Options) alertSubject(appKey string) string { return o.Stream + ".a." + hash([]byte(appKey)) }

// deadSubject is that of an app key's dead letters.
func (o Options) deadSubject(appKey string) string { return o.Stream + ".d." + hash([]byte(appKey)) }

// hash returns the first 16 bytes of SHA-256, as 22 characters of base64url.
func hash(parts ...[]byte) string {
	h := sha256.New()
	for _, part := range parts {
		h.Write(part)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// tokenOf returns the last token of a subject.
func tokenOf(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

// isToken reports whether a token of a subject may be that of an app key. Others may
// stand for those of all.
func isToken(token string) bool { return token != "" && strings.Trim(token, streamCharacters) == "" }

// errMessage says that a message is none of this package's.
var errMessage = errors.New("it is not an alert as a publisher makes it")

// decode returns the change that a message holds: its payload has the same bytes that
// were published. It has no ID. The error is errMessage.
func (c *Conn) decode(subject string, data []byte) (outbox.Change, error) {
	change, ok := decodeData(data)
	if !ok || subject != c.o.alertSubject(change.AppKey) {
		return outbox.Change{}, errMessage
	}
	return change, nil
}

// decodeData reports false for what is no message of this package.
func decodeData(data []byte) (c outbox.Change, ok bool) {
	appKey, payload, ok := cutAppKey(data)
	// Not gjson's: what is nested a million times takes a gigabyte of its stack, and the
	// process ends.
	if !ok || !json.Valid(payload) {
		return c, false
	}
	p := alertOf(appKey, payload)
	if p.Status == "" || p.Properties["alerts"] != "" {
		return c, false
	}
	return outbox.Change{
		Alert: p.Identity().Key(), AppKey: appKey,
		Time: p.Timestamp, Level: strings.ToUpper(p.Status), Payload: payload,
	}, true
}

// alertOf reads what bigpanda.Payload.Encode has written.
func alertOf(appKey string, payload []byte) bigpanda.Payload {
	p := bigpanda.Payload{AppKey: appKey, Properties: make(map[string]string)}
	gjson.ParseBytes(payload).ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "status":
			p.Status = value.String()
		case "timestamp":
			p.Timestamp = value.Int()
		default:
			p.Properties[name.Str] = value.String()
		}
		return true
	})
	return p
}

// cutAppKey takes apart what bigpanda.Body has made of an app key and one alert.
func cutAppKey(data []byte) (appKey string, payload []byte, ok bool) {
	const head = `{"app_key":`
	if !bytes.HasPrefix(data, []byte(head)) {
		return "", nil, false
	}
	value := gjson.GetBytes(data, "app_key")
	end := value.Index + len(value.Raw)
	if value.Type != gjson.String || value.Index != len(head) || end+1 >= len(data) || data[end] != ',' {
		return "", nil, false
	}
	return value.Str, append([]byte{'{'}, data[end+1:]...), true
}
