package outbox

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	bolt "go.etcd.io/bbolt"
)

// formatVersion is that of everything in the database. A program reads its own
// version and older ones, and leaves newer ones alone.
const formatVersion = 2

// The database of an outbox:
//
//	meta   version, store (a random id), task, node, url, token (a keyed hash),
//	       queued, bytes, orphan (since when, in Unix seconds; absent in others)
//	queue  app key → id (8 bytes, big-endian) → change
//	levels hash of the series key → crc32c (4) of all that follows | time (8) |
//	       len key | key | value
//	again  hash of the series key → 1, for each level that is to be told again
//	dead   id → dead letter, as JSON
//
// Format 1 had no again, and named the folder by the URL, too. In its meta, heir
// says that another outbox has the levels, and beginning that it was looking for
// such ones.
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
	bucketAgain  = []byte("again")
	bucketDead   = []byte("dead")

	buckets = [][]byte{bucketMeta, bucketQueue, bucketLevels, bucketAgain, bucketDead}

	keyVersion = []byte("version")
	keyStore   = []byte("store")
	keyTask    = []byte("task")
	keyNode    = []byte("node")
	keyURL     = []byte("url")
	keyToken   = []byte("token")
	keyQueued  = []byte("queued")
	keyBytes   = []byte("bytes")
	keyOrphan  = []byte("orphan")

	keyHeir   = []byte("heir")      // of format 1
	keyBegins = []byte("beginning") // of format 1
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
func decodeChange(id uint64, appKey string, b []byte) (Change, error) {
	c := Change{ID: id, AppKey: appKey}
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

// eachAppKey calls f with the queue of every app key.
func eachAppKey(tx *bolt.Tx, f func(appKey string, queue *bolt.Bucket)) {
	queue := tx.Bucket(bucketQueue)
	queue.ForEachBucket(func(appKey []byte) error {
		f(string(appKey), queue.Bucket(appKey))
		return nil
	})
}

func putChange(tx *bolt.Tx, c Change) error {
	b, err := tx.Bucket(bucketQueue).CreateBucketIfNotExists([]byte(c.AppKey))
	if err != nil {
		return err
	}
	b.FillPercent = 1 // ids only ascend
	return b.Put(encodeID(c.ID), encodeChange(c))
}

func dropChange(tx *bolt.Tx, appKey string, id uint64) error {
	b := tx.Bucket(bucketQueue).Bucket([]byte(appKey))
	if b == nil {
		return nil
	}
	return b.Delete(encodeID(id))
}

// A queuedChange is one on disk, as far as it is known without being read whole.
type queuedChange struct {
	appKey, alert string
	id            uint64
	size          int // of the payload, in bytes
}

// findQueued looks a queued change up by its id alone.
func findQueued(tx *bolt.Tx, id uint64) (found queuedChange, ok bool) {
	eachAppKey(tx, func(appKey string, queue *bolt.Bucket) {
		if v := queue.Get(encodeID(id)); v != nil && !ok {
			alert, size := peekChange(v)
			found, ok = queuedChange{appKey, alert, id, size}, true
		}
	})
	return found, ok
}

// merged goes through the changes of all app keys in their order, from an id on.
func merged(tx *bolt.Tx, from uint64) func(yield func(queuedChange) bool) {
	return func(yield func(queuedChange) bool) {
		type reading struct {
			appKey     string
			cursor     *bolt.Cursor
			key, value []byte
		}
		var all []*reading
		eachAppKey(tx, func(appKey string, queue *bolt.Bucket) {
			r := &reading{appKey: appKey, cursor: queue.Cursor()}
			r.key, r.value = r.cursor.Seek(encodeID(from))
			all = append(all, r)
		})
		for {
			var oldest *reading
			for _, r := range all {
				if r.key != nil && (oldest == nil || string(r.key) < string(oldest.key)) {
					oldest = r
				}
			}
			if oldest == nil {
				return
			}
			alert, size := peekChange(oldest.value)
			if !yield(queuedChange{oldest.appKey, alert, decodeID(oldest.key), size}) {
				return
			}
			oldest.key, oldest.value = oldest.cursor.Next()
		}
	}
}

func sizeOf(changes []Change) (size int64) {
	for _, c := range changes {
		size += int64(len(c.Payload))
	}
	return size
}
