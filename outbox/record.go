package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"iter"
	"slices"
	"time"

	"bigpanda-udf/boltfile"

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

// decodeID is for use inside boltfile.Guard: a key that is no id is damage.
func decodeID(key []byte) uint64 {
	if len(key) != 8 {
		panic(boltfile.ErrDamaged)
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

// encodeRecord returns a record: its checksum, which is of prefix, too, a time, texts
// behind their lengths, and the rest.
func encodeRecord(prefix []byte, time int64, rest []byte, texts ...string) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 4, 128+len(rest)), uint64(time))
	for _, text := range texts {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	b = append(b, rest...)
	binary.BigEndian.PutUint32(b, checksum(prefix, b[4:]))
	return b
}

func checksum(prefix, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(prefix, castagnoli), castagnoli, b)
}

// decodeRecord reads a record. The rest is a part of b. Also of one that is damaged
// it returns what it can.
func decodeRecord(prefix, b []byte, texts ...*string) (time int64, rest []byte, err error) {
	if len(b) < 12 {
		return 0, nil, errDamagedRecord
	}
	if binary.BigEndian.Uint32(b) != checksum(prefix, b[4:]) {
		err = errDamagedRecord
	}
	rest = b[12:]
	for _, text := range texts {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			return 0, nil, errDamagedRecord
		}
		rest = rest[size:]
		*text, rest = string(rest[:n]), rest[n:]
	}
	return int64(binary.BigEndian.Uint64(b[4:])), rest, err
}

func encodeChange(c Change) []byte {
	return encodeRecord(encodeID(c.ID), c.Time, c.Payload, c.Level, c.Alert)
}

// decodeChange reads a change. Its payload is valid within the transaction only. One
// that is damaged has what the schedule must know, if that can be read.
func decodeChange(id uint64, appKey string, b []byte) (c Change, err error) {
	c.ID, c.AppKey = id, appKey
	c.Time, c.Payload, err = decodeRecord(encodeID(id), b, &c.Level, &c.Alert)
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
	return b.Put(encodeID(c.ID), encodeChange(c))
}

func dropChange(tx *bolt.Tx, appKey string, id uint64) error {
	b := tx.Bucket(bucketQueue).Bucket([]byte(appKey))
	if b == nil {
		return nil
	}
	return b.Delete(encodeID(id))
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
			r.key, r.value = r.cursor.Seek(encodeID(from))
			all = append(all, r)
		})
		for {
			all = slices.DeleteFunc(all, func(r *reading) bool { return r.key == nil })
			if len(all) == 0 {
				return
			}
			oldest := slices.MinFunc(all, func(a, b *reading) int { return bytes.Compare(a.key, b.key) })
			if !yield(decodeChange(decodeID(oldest.key), oldest.appKey, oldest.value)) {
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
