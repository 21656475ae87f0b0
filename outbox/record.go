package outbox

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	bolt "go.etcd.io/bbolt"
)

// formatVersion is that of everything in the database. A program reads its own
// version and older ones, and leaves newer ones alone.
const formatVersion = 1

// The database of an outbox:
//
//	meta   version, store (a random id), task, node, url, token (a keyed hash),
//	       queued, bytes, heir (id of the store that has its levels now, if another
//	       has), beginning (there until it has looked whose levels are its own)
//	queue  lane → id (8 bytes, big-endian) → change
//	levels hash of the series key → crc32c (4) of all that follows | time (8) |
//	       len key | key | value
//	dead   id → dead letter, as JSON
//
// A change:
//
//	crc32c (4) of id and all that follows | time (8) | len level | level |
//	len alert | alert | payload
//
// The checksums are needed since bbolt's own cover its meta pages only.
var (
	bucketMeta   = []byte("meta")
	bucketQueue  = []byte("queue")
	bucketLevels = []byte("levels")
	bucketDead   = []byte("dead")

	buckets = [][]byte{bucketMeta, bucketQueue, bucketLevels, bucketDead}

	keyVersion = []byte("version")
	keyStore   = []byte("store")
	keyTask    = []byte("task")
	keyNode    = []byte("node")
	keyURL     = []byte("url")
	keyToken   = []byte("token")
	keyQueued  = []byte("queued")
	keyBytes   = []byte("bytes")
	keyHeir    = []byte("heir")
	keyBegins  = []byte("beginning")
)

// storeSize is the size of a store's id, in bytes.
const storeSize = 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamagedRecord = errors.New("the record is damaged")

// nextID is the ID of a change that comes now. It is near the time of that, so
// that changes of several outboxes can be put in one order, and ascends also
// when the clock goes back.
func nextID(last uint64, now time.Time) uint64 { return max(last+1, uint64(max(0, now.UnixNano()))) }

func encodeID(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// decodeID is for use inside guard: a key that is no id is damage.
func decodeID(key []byte) uint64 {
	if len(key) != 8 {
		panic(errDamagedRecord)
	}
	return binary.BigEndian.Uint64(key)
}

// number is 0 for what is none.
func number(b []byte) int64 {
	if len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

func putNumber(b *bolt.Bucket, key []byte, n int64) error {
	return b.Put(key, binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func encodeChange(c Change) []byte {
	b := make([]byte, 4, 4+8+2*binary.MaxVarintLen64+len(c.Level)+len(c.Alert)+len(c.Payload))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Time))
	b = binary.AppendUvarint(b, uint64(len(c.Level)))
	b = append(b, c.Level...)
	b = binary.AppendUvarint(b, uint64(len(c.Alert)))
	b = append(b, c.Alert...)
	b = append(b, c.Payload...)
	binary.BigEndian.PutUint32(b, checksum(c.ID, b[4:]))
	return b
}

func checksum(id uint64, rest []byte) uint32 {
	return crc32.Update(crc32.Checksum(encodeID(id), castagnoli), castagnoli, rest)
}

// decodeChange reads a change. Its payload is a copy: what bbolt gives is valid
// within a transaction only.
func decodeChange(id uint64, lane string, b []byte) (Change, error) {
	c := Change{ID: id, Lane: lane}
	if len(b) < 12 || binary.BigEndian.Uint32(b) != checksum(id, b[4:]) {
		return c, errDamagedRecord
	}
	c.Time = int64(binary.BigEndian.Uint64(b[4:]))
	level, rest, ok := cutText(b[12:])
	if !ok {
		return c, errDamagedRecord
	}
	alert, rest, ok := cutText(rest)
	if !ok {
		return c, errDamagedRecord
	}
	c.Level, c.Alert = string(level), string(alert)
	c.Payload = append([]byte(nil), rest...)
	return c, nil
}

// peekChange reads what the schedule must know of a change. Whether it is
// damaged shows when it is read whole.
func peekChange(b []byte) (alert string, size int) {
	if len(b) < 12 {
		return "", 0
	}
	_, rest, ok := cutText(b[12:])
	if !ok {
		return "", 0
	}
	text, rest, ok := cutText(rest)
	if !ok {
		return "", 0
	}
	return string(text), len(rest)
}

// cutText takes a text behind its length off the front.
func cutText(b []byte) (text, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

// levelKey is where a series has its level: keys in bbolt have a limit, and
// those of series have none.
func levelKey(series string) []byte {
	sum := sha256.Sum256([]byte(series))
	return sum[:16]
}

func encodeLevel(l Level) []byte {
	b := make([]byte, 4, 4+8+binary.MaxVarintLen64+len(l.Key)+len(l.Value))
	b = binary.BigEndian.AppendUint64(b, uint64(l.Time))
	b = binary.AppendUvarint(b, uint64(len(l.Key)))
	b = append(b, l.Key...)
	b = append(b, l.Value...)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// readLevels calls f with the levels that can be read, until it returns false:
// a series whose level cannot is one that was never told.
func readLevels(tx *bolt.Tx, f func(Level) bool) (all bool) {
	c := tx.Bucket(bucketLevels).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if l, err := decodeLevel(v); err == nil && !f(l) {
			return false
		}
	}
	return true
}

// allLevels returns what readLevels gives.
func allLevels(tx *bolt.Tx) (all []Level) {
	readLevels(tx, func(l Level) bool {
		all = append(all, l)
		return true
	})
	return all
}

func decodeLevel(b []byte) (Level, error) {
	if len(b) < 12 || binary.BigEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return Level{}, errDamagedRecord
	}
	key, value, ok := cutText(b[12:])
	if !ok {
		return Level{}, errDamagedRecord
	}
	return Level{Key: string(key), Time: int64(binary.BigEndian.Uint64(b[4:])), Value: append([]byte{}, value...)}, nil
}
