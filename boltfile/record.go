package boltfile

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamagedRecord is the error of a record that is not as it was written. bbolt does
// not notice: its own checksums cover its meta pages only.
var ErrDamagedRecord = errors.New("the record is damaged")

// EncodeID makes a key of an ID; keys are in the order of IDs.
func EncodeID(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// DecodeID reads what EncodeID has made. It is for use inside Guard: a key that is no ID
// is damage.
func DecodeID(key []byte) uint64 {
	if len(key) != 8 {
		panic(ErrDamaged)
	}
	return binary.BigEndian.Uint64(key)
}

// Number reads what PutNumber has put. It is 0 for what is none.
func Number(b []byte) int64 {
	if len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

// PutNumber puts a number, as 8 bytes, big-endian.
func PutNumber(b *bolt.Bucket, key []byte, n int64) error {
	return b.Put(key, binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// EncodeRecord returns a record: its checksum, which is of prefix, too, a time, texts
// behind their lengths, and the rest:
//
//	crc32c (4) of prefix and all that follows | time (8) | len text | text | … | rest
func EncodeRecord(prefix []byte, time int64, rest []byte, texts ...string) []byte {
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

// DecodeRecord reads a record. The rest is a part of b. Also of one that is damaged
// it returns what it can.
func DecodeRecord(prefix, b []byte, texts ...*string) (time int64, rest []byte, err error) {
	if len(b) < 12 {
		return 0, nil, ErrDamagedRecord
	}
	if binary.BigEndian.Uint32(b) != checksum(prefix, b[4:]) {
		err = ErrDamagedRecord
	}
	rest = b[12:]
	for _, text := range texts {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			return 0, nil, ErrDamagedRecord
		}
		rest = rest[size:]
		*text, rest = string(rest[:n]), rest[n:]
	}
	return int64(binary.BigEndian.Uint64(b[4:])), rest, err
}
