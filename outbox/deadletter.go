package outbox

import (
	"encoding/json"
	"time"

	"bigpanda-udf/boltfile"

	bolt "go.etcd.io/bbolt"
)

// Dead letters are kept until there are so many, or they are so old.
const (
	maxDeadLetters   = 10_000
	maxDeadLetterAge = 30 * 24 * time.Hour
)

func putDead(tx *bolt.Tx, letter DeadLetter) error {
	b := tx.Bucket(bucketDead)
	value, err := json.Marshal(letter)
	if err != nil {
		return err
	}
	if err := b.Put(boltfile.EncodeID(letter.ID), value); err != nil {
		return err
	}
	count := countDead(tx)
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.First() {
		var oldest DeadLetter
		err := json.Unmarshal(v, &oldest)
		if count <= maxDeadLetters && err == nil && time.Unix(letter.Died, 0).Sub(time.Unix(oldest.Died, 0)) <= maxDeadLetterAge {
			break
		}
		if err := c.Delete(); err != nil {
			return err
		}
		count--
	}
	return nil
}

// countDead counts the dead letters: there are maxDeadLetters at most. A key that is none
// is damage.
func countDead(tx *bolt.Tx) (n int) {
	c := tx.Bucket(bucketDead).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		boltfile.DecodeID(k)
		n++
	}
	return n
}
