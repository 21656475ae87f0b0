package outbox

import (
	"bytes"
	"iter"
	"slices"
	"time"

	"bigpanda-udf/boltfile"

	bolt "go.etcd.io/bbolt"
)

// formatVersion is that of everything in the database. It is the first that was
// released: a program leaves newer ones alone, and takes older ones for damage.
const formatVersion = 2

// The database of an outbox:
//
//	meta   version, store (a random id), task, node, url, token (a keyed hash),
//	       queued, bytes, orphan (since when, in Unix seconds; absent in others),
//	       counters (what was counted, as JSON)
//	queue  app key → id (8 bytes, big-endian) → change
//	levels hash of the series key → crc32c (4) of all that follows | time (8) |
//	       len key | key | value
//	again  hash of the series key → 1, for each level that is to be told again
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

	keyCounters = []byte("counters")
)

// nextID is the ID of a change that comes now. It is near the time of that, so
// that changes of several outboxes can be put in one order, and ascends also
// when the clock goes back.
func nextID(last uint64, now time.Time) uint64 { return max(last+1, uint64(max(0, now.UnixNano()))) }

func encodeChange(c Change) []byte {
	return boltfile.EncodeRecord(boltfile.EncodeID(c.ID), c.Time, c.Payload, c.Level, c.Alert)
}

// decodeChange reads a change. Its payload is valid within the transaction only. One
// that is damaged has what the schedule must know, if that can be read.
func decodeChange(id uint64, appKey string, b []byte) (c Change, err error) {
	c.ID, c.AppKey = id, appKey
	c.Time, c.Payload, err = boltfile.DecodeRecord(boltfile.EncodeID(id), b, &c.Level, &c.Alert)
	return c, err
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
	return b.Put(boltfile.EncodeID(c.ID), encodeChange(c))
}

// recordOf returns the record of a change; nil when there is none.
func recordOf(tx *bolt.Tx, appKey string, id uint64) []byte {
	if b := tx.Bucket(bucketQueue).Bucket([]byte(appKey)); b != nil {
		return b.Get(boltfile.EncodeID(id))
	}
	return nil
}

// readChange reads one change. Its payload is a copy.
func readChange(tx *bolt.Tx, appKey string, id uint64) (Change, error) {
	c, err := decodeChange(id, appKey, recordOf(tx, appKey, id))
	c.Payload = bytes.Clone(c.Payload)
	return c, err
}

func dropChange(tx *bolt.Tx, appKey string, id uint64) error {
	if b := tx.Bucket(bucketQueue).Bucket([]byte(appKey)); b != nil {
		return b.Delete(boltfile.EncodeID(id))
	}
	return nil
}

// merged goes through the changes of all app keys in their order, from an id on, as
// decodeChange returns them.
func merged(tx *bolt.Tx, from uint64) iter.Seq2[Change, error] {
	type reading struct {
		appKey     string
		cursor     *bolt.Cursor
		key, value []byte
	}
	return func(yield func(Change, error) bool) {
		var all []*reading
		eachAppKey(tx, func(appKey string, queue *bolt.Bucket) {
			r := &reading{appKey: appKey, cursor: queue.Cursor()}
			r.key, r.value = r.cursor.Seek(boltfile.EncodeID(from))
			all = append(all, r)
		})
		for {
			all = slices.DeleteFunc(all, func(r *reading) bool { return r.key == nil })
			if len(all) == 0 {
				return
			}
			oldest := slices.MinFunc(all, func(a, b *reading) int { return bytes.Compare(a.key, b.key) })
			if !yield(decodeChange(boltfile.DecodeID(oldest.key), oldest.appKey, oldest.value)) {
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
