package stream

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"
)

// maxHoles is how many holes a record has in all. With more, the last ones of an app
// key become one: what was delivered between them is sent again after a failover. Of
// more app keys than that it says only where the first hole begins.
const (
	maxHoles  = 4096
	fewHoles  = 8       // that each app key may have, however many there are
	maxRecord = 1 << 20 // bytes that are read; the servers take no larger message by default
)

// A leaseRecord is the value of the lease's key: who delivers, and up to where.
//
//	numbers   1 2 3 4 5 6 7 8 9 10 …      all of AppKeys[x] that is not in its holes,
//	app key   x x y x x y y x x  y        and all of an app key that has none, is
//	holes of x    [4 5]   [8 9]           delivered up to Read
//	                           Read
type leaseRecord struct {
	Owner string    `json:"owner,omitempty"` // none: it was handed over
	Epoch uint64    `json:"epoch"`           // one more with each owner
	Since time.Time `json:"since"`           // when the owner took it
	// TTL is the owner's: by it alone is known until when it may send.
	TTL time.Duration `json:"ttl_ns,omitempty"`

	Created time.Time        `json:"created"`          // of the stream that is meant; another one has other numbers
	Read    uint64           `json:"read"`             // the last message that was looked at
	ReadAt  time.Time        `json:"read_at,omitzero"` // when it was stored, to know it by
	AppKeys map[string]holes `json:"app_keys,omitempty"`
}

// short returns a record that says only up to where all app keys are delivered: what is
// behind that is sent again after a failover.
func (r leaseRecord) short() leaseRecord {
	read := r.Read
	for token := range r.AppKeys {
		read = min(read, r.deliveredTo(token))
	}
	r.Read, r.ReadAt, r.AppKeys = read, time.Time{}, nil
	return r
}

// deliveredTo returns the number up to which all of an app key is delivered.
func (r leaseRecord) deliveredTo(token string) uint64 {
	if h := r.AppKeys[token]; len(h) > 0 {
		return h[0].from - 1
	}
	return r.Read
}

// undelivered returns how many messages of an app key are known to be undelivered.
func (r leaseRecord) undelivered(token string) (n uint64) {
	for _, one := range r.AppKeys[token] {
		n += one.n
	}
	return n
}

// A hole is a range of numbers in which all that there is of an app key is undelivered:
// n messages.
type hole struct{ from, to, n uint64 }

// holes are those of an app key, ascending. Their text is base64 of varints, for each: how
// far it begins behind the end of the one before, how far it goes, and if it has more than
// one number, n.
type holes []hole

func (h holes) MarshalText() ([]byte, error) {
	var b []byte
	var end uint64
	for _, one := range h {
		b = binary.AppendUvarint(b, one.from-end)
		b = binary.AppendUvarint(b, one.to-one.from)
		if one.to > one.from {
			b = binary.AppendUvarint(b, one.n)
		}
		end = one.to
	}
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

var errRecord = errors.New("the lease's record cannot be read")

func (h *holes) UnmarshalText(text []byte) error {
	b, err := base64.RawURLEncoding.AppendDecode(nil, text)
	if err != nil {
		return errRecord
	}
	*h = nil
	short := false
	next := func() uint64 {
		value, n := binary.Uvarint(b)
		short = short || n <= 0
		b = b[max(0, n):]
		return value
	}
	var end uint64
	for len(b) > 0 {
		gap, length, n := next(), next(), uint64(1)
		if length > 0 {
			n = next()
		}
		from, to := end+gap, end+gap+length
		if short || from <= end || to < from {
			return errRecord
		}
		*h = append(*h, hole{from, to, min(n, length+1)})
		end = to
	}
	return nil
}

// within returns the holes with no more than limit of them, the last ones as one.
func (h holes) within(limit int) holes {
	if len(h) <= limit {
		return h
	}
	last := hole{from: h[limit-1].from, to: h[len(h)-1].to}
	for _, one := range h[limit-1:] {
		last.n += one.n
	}
	return append(h[:limit-1:limit-1], last)
}

// upTo returns what there is of the holes up to a number.
func (h holes) upTo(last uint64) (cut holes) {
	for _, one := range h {
		if one.from <= last {
			cut = append(cut, hole{one.from, min(one.to, last), one.n})
		}
	}
	return cut
}

// upTo returns the record of a stream that ends earlier than what was read of it. Of what
// is no token nothing could be read.
func (r leaseRecord) upTo(last uint64) leaseRecord {
	if last != r.Read {
		r.Read, r.ReadAt = last, time.Time{}
	}
	all := r.AppKeys
	r.AppKeys = make(map[string]holes, len(all))
	for token, h := range all {
		if cut := h.upTo(last); len(cut) > 0 && isToken(token) {
			r.AppKeys[token] = cut
		}
	}
	return r
}

// decodeRecord reads what may be anything. With errRecord the owner and the epoch are
// there all the same, if they can be read: a later version of this program may write
// the others in another way.
func decodeRecord(value []byte) (r leaseRecord, err error) {
	if len(value) > maxRecord {
		return r, errRecord
	}
	if json.Unmarshal(value, &r) != nil {
		var who struct {
			Owner string
			Epoch uint64
		}
		_ = json.Unmarshal(value, &who) // else they are empty
		return leaseRecord{Owner: who.Owner, Epoch: who.Epoch}, errRecord
	}
	return r.upTo(r.Read), nil // what is behind that is read anyway
}

func (r leaseRecord) encode() []byte {
	value, err := json.Marshal(r)
	if err != nil {
		panic(err) // it holds nothing that has no JSON
	}
	return value
}
